/**
 * How many cases a property is tried with: a third of `whole`, since they are the same in every run, and all of them
 * with --soak. RIDGELINE_PROPERTY_RUNS says another number.
 */
export function propertyRuns(whole: number): number {
  const asked = process.env.RIDGELINE_PROPERTY_RUNS;
  if (asked) return Number(asked);
  return process.env.RIDGELINE_SOAK === "1" ? whole : Math.ceil(whole / 3);
}
