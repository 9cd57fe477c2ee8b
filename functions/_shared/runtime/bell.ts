/**
 * Wakes everyone who waits; each looks again whether there is something to do. Some are woken for nothing: one timer
 * rings for all of them, and is set anew only for who cannot wait as long, since most waits end by an event.
 */
export class Bell {
  #waiting: (() => void)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerRingsAt = Infinity;

  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Until the next ring, or at most so many milliseconds. */
  wait(milliseconds?: number): Promise<void> {
    if (milliseconds !== undefined) this.#ringWithin(milliseconds);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Nobody waits any more. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timerRingsAt = Infinity;
  }

  #ringWithin(milliseconds: number): void {
    const at = performance.now() + milliseconds;
    if (at >= this.#timerRingsAt) return;
    clearTimeout(this.#timer);
    this.#timerRingsAt = at;
    this.#timer = setTimeout(() => {
      this.#timerRingsAt = Infinity;
      this.ring();
    }, milliseconds);
  }
}
