/** Wakes everyone who waits; each looks again whether there is something to do. */
export class Bell {
  #waiting = new Set<() => void>();

  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Until the next ring, or at most so many milliseconds. */
  wait(milliseconds?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(wake, milliseconds);
      const waiting = this.#waiting;
      function wake() {
        clearTimeout(timer);
        waiting.delete(wake);
        resolve();
      }
      waiting.add(wake);
    });
  }
}
