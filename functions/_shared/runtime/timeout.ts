import { TimeoutError } from "./errors.ts";

/** What a client may take to notice its signal and say what it knows. */
const GRACE_MS = 500;

/**
 * Runs `work` with a signal that aborts after `milliseconds`, and waits no longer for work that
 * ignores it. The timers are cleared as soon as the work ends, which `AbortSignal.timeout` would
 * not do.
 */
export async function withTimeout<T>(
  what: string,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const timeout = new TimeoutError(what, milliseconds);
  const timer = setTimeout(() => controller.abort(timeout), milliseconds);
  let lastTimer: ReturnType<typeof setTimeout> | undefined;
  const abandoned = new Promise<never>((_resolve, reject) => {
    lastTimer = setTimeout(() => reject(timeout), milliseconds + GRACE_MS);
  });
  try {
    return await Promise.race([work(controller.signal), abandoned]);
  } finally {
    clearTimeout(timer);
    clearTimeout(lastTimer);
  }
}
