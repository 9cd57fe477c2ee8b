import { TimeoutError } from "./errors.ts";

/** What a client may take to notice its signal and say what it knows. */
const GRACE_MS = 500;

/**
 * Runs `work` with a signal that aborts after `milliseconds`, and waits no longer for work that
 * ignores it. The timer is cleared as soon as the work ends, which `AbortSignal.timeout` would not do;
 * the error, with its trace of calls, is made when it is needed: every send comes through here.
 */
export function withTimeout<T>(
  what: string,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController();
    let timer = setTimeout(() => {
      const timeout = new TimeoutError(what, milliseconds);
      timer = setTimeout(() => reject(timeout), GRACE_MS);
      controller.abort(timeout);
    }, milliseconds);
    start(work, controller.signal).then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** What throws at once fails like what fails later. */
function start<T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return work(signal);
  } catch (error) {
    return Promise.reject(error);
  }
}
