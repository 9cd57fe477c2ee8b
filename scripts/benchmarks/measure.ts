// Medians over alternating repetitions: a busy moment of the machine falls on every variant alike.

export function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  const position = (sorted.length - 1) * share;
  const low = sorted[Math.floor(position)] ?? NaN;
  const high = sorted[Math.ceil(position)] ?? NaN;
  return low + (high - low) * (position - Math.floor(position));
}

export const median = (numbers: readonly number[]) => quantile(numbers, 0.5);

/** The median of the ratios of what was measured side by side, round for round. */
export function ratio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => value / (theirs[round] ?? NaN)));
}

/**
 * Runs every variant once a round, in an order that turns with the rounds, so that none always
 * follows the same other. The first round warms caches and plans and does not count.
 */
export async function alternate<Variants extends Partial<Record<string, () => Promise<unknown>>>>(
  variants: Variants,
  rounds: number,
): Promise<Measured<Variants>> {
  const all = Object.entries(variants).flatMap(([name, run]) => run ? [{ name, run }] : []);
  const measured: Record<string, unknown[]> = {};
  for (let round = 0; round <= rounds; round++) {
    for (let index = 0; index < all.length; index++) {
      const { name, run } = all[(index + round) % all.length]!;
      const value = await run();
      if (round > 0) (measured[name] ??= []).push(value);
    }
  }
  return measured as Measured<Variants>;
}

type Measured<Variants> = {
  [Name in keyof Variants]: Variants[Name] extends (() => Promise<infer Value>) | undefined
    ? Value[]
    : never;
};

export async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
