import { TimeoutError } from "./errors.ts";

/** What a client may take to notice its signal and say what it knows. */
const GRACE_MS = 500;

/**
 * Runs `work` with a signal that aborts after `milliseconds`, and waits no longer for work that
 * ignores it. The timer is cleared as soon as the work ends, which `AbortSignal.timeout` would not do;
 * the error, with its trace of calls, is made when it is needed: every send comes through here.
 */
export async function withTimeout<T>(
  what: string,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abandoned = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const timeout = new TimeoutError(what, milliseconds);
      timer = setTimeout(() => reject(timeout), GRACE_MS);
      controller.abort(timeout);
    }, milliseconds);
  });
  try {
    return await Promise.race([work(controller.signal), abandoned]);
  } finally {
    clearTimeout(timer);
  }
}
