/** Claimed ahead: what will be started within this time at the present speed. */
const AHEAD_MS = 50;
const AHEAD_ROUNDS = 20;
/** begin_portions takes no more at once. */
const CLAIM_BATCH = 1_000;

/**
 * The places of a channel, and who waits for one. A tenant may have half of what the others leave of
 * twice the concurrency: alone it has `concurrency` of them, two have two thirds of that each, and
 * there is always one for whoever comes next, however long the sends of the others hang.
 */
export class Slots<Held> {
  readonly #concurrency: number;
  readonly #tenantOf: (held: Held) => string;
  readonly #waiting = new Map<string, Held[]>();
  readonly #underWay = new Map<string, number>();
  #total = 0;
  #sendMs = 100;
  /** The count of events at which nothing more was due, but for tenants of whom enough was waiting. */
  #dryAt = -1;
  #but: readonly string[] = [];

  constructor(concurrency: number, tenantOf: (held: Held) => string) {
    this.#concurrency = concurrency;
    this.#tenantOf = tenantOf;
  }

  get isQuiet(): boolean {
    return this.#total === 0 && this.#waiting.size === 0;
  }

  get someWait(): boolean {
    return this.#waiting.size > 0;
  }

  /** A look for what is due of all but these found no more. */
  noteDry(news: number, but: readonly string[]): void {
    this.#dryAt = news;
    this.#but = but;
  }

  /** Nothing has happened since, and of each whom that look left out enough is waiting still. */
  isDry(news: number): boolean {
    return this.#dryAt === news && this.#but.every((tenant) => this.#isCrowded(tenant));
  }

  /** How many steps may wait for a place: few when sends are slow, more when they are quick. */
  get target(): number {
    const rounds = Math.ceil(AHEAD_MS / this.#sendMs);
    return this.#concurrency * Math.min(Math.max(rounds, 1), AHEAD_ROUNDS);
  }

  /** What a claim asks for where none wait. */
  get batch(): number {
    return Math.min(this.target, CLAIM_BATCH);
  }

  /** Tenants of whom enough is waiting: no more of theirs is claimed. */
  get crowded(): string[] {
    return [...this.#waiting.keys()].filter((tenant) => this.#isCrowded(tenant));
  }

  /** What waits because its tenant has all the places it may have takes no room from others. */
  get room(): number {
    let waiting = 0;
    for (const [tenant, held] of this.#waiting) if (this.#mayStart(tenant)) waiting += held.length;
    return Math.min(this.target - waiting, CLAIM_BATCH);
  }

  wait(held: Held): void {
    const tenant = this.#tenantOf(held);
    const waiting = this.#waiting.get(tenant);
    if (waiting) waiting.push(held);
    else this.#waiting.set(tenant, [held]);
  }

  empty(): Held[] {
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    return all;
  }

  /** The next that may start: the tenants take turns. */
  next(): Held | undefined {
    for (const [tenant, waiting] of this.#waiting) {
      if (!this.#mayStart(tenant)) continue;
      const held = waiting.shift();
      this.#waiting.delete(tenant);
      if (waiting.length > 0) this.#waiting.set(tenant, waiting);
      return held;
    }
    return undefined;
  }

  start(held: Held): void {
    const tenant = this.#tenantOf(held);
    this.#total++;
    this.#underWay.set(tenant, (this.#underWay.get(tenant) ?? 0) + 1);
  }

  end(held: Held, milliseconds: number): void {
    const tenant = this.#tenantOf(held);
    this.#sendMs += (milliseconds - this.#sendMs) / 16;
    this.#total--;
    const left = (this.#underWay.get(tenant) ?? 1) - 1;
    if (left > 0) this.#underWay.set(tenant, left);
    else this.#underWay.delete(tenant);
  }

  #isCrowded(tenant: string): boolean {
    return (this.#waiting.get(tenant)?.length ?? 0) >= this.target;
  }

  #mayStart(tenant: string): boolean {
    const own = this.#underWay.get(tenant) ?? 0;
    return own < (2 * this.#concurrency - (this.#total - own)) / 2;
  }
}
