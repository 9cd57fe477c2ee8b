import process from "node:process";

export interface Shutdown {
  signal: AbortSignal;
  /** The process ends only when this is settled. */
  track<T>(work: Promise<T>): Promise<T>;
}

/** The hosted runtime's own: keeps the worker while the work goes on, even if the caller left. */
interface EdgeRuntime {
  waitUntil?: (work: Promise<unknown>) => void;
}

/**
 * The end of the process, announced: SIGTERM or SIGINT from an operator, `beforeunload` from the
 * Edge Runtime shortly before it stops a worker.
 */
export function listenForShutdown(): Shutdown {
  const controller = new AbortController();
  const running = new Set<Promise<unknown>>();
  const runtime = (globalThis as { EdgeRuntime?: EdgeRuntime }).EdgeRuntime;

  globalThis.addEventListener?.("beforeunload", () => controller.abort());
  if (!runtime) {
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      process.once(name, async () => {
        controller.abort();
        await Promise.allSettled(running);
        process.exit(0);
      });
    }
  }

  return {
    signal: controller.signal,
    track(work) {
      const settled = work.then(() => {}, () => {}).finally(() => running.delete(settled));
      running.add(settled);
      runtime?.waitUntil?.(settled);
      return work;
    },
  };
}
