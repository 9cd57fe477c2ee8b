import type { Bell } from "./bell.ts";
import { isTransient } from "./database.ts";

export interface RetryOptions {
  /** Milliseconds on the same clock as `now`, after which the last error is thrown. */
  until: () => number;
  now: () => number;
  onRetry: (error: unknown, attempt: number) => void;
  /** Of errors that a moment mends, those that are thrown all the same. */
  butFor?: (error: unknown) => boolean;
}

const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 2_000;

/** Repeats a database call over a restart: full jitter, capped; other errors are thrown at once. */
export async function withRetries<T>(
  call: () => Promise<T>,
  bell: Bell,
  { until, now, onRetry, butFor = () => false }: RetryOptions,
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await call();
    } catch (error) {
      const ceiling = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS);
      const wakeAt = now() + Math.max(Math.random() * ceiling, 20);
      if (!isTransient(error) || butFor(error) || wakeAt >= until()) throw error;
      onRetry(error, attempt);
      while (now() < wakeAt && now() < until()) await bell.wait(wakeAt - now());
    }
  }
}
