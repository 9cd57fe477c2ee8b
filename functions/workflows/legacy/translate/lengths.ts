// Lengths of time and dates as the old engines wrote them.
export const longest = 5_256_000;

const units: Record<string, number> = { hour: 60, day: 1_440, week: 10_080 };

export const minutesOf = (value: number, unit: string): number =>
  value * (units[unit.replace(/s$/, "")] ?? Number.NaN);

/** "+3 days", "+12 hours", "+1 week": whole numbers, and no other unit. An absolute date otherwise. */
export function dueDate(
  written: string,
): { due_in_hours: number } | { due_in_days: number } | { due_at: string } | undefined {
  const relative = /^\s*\+\s*(\d+)\s*(hour|day|week)s?\s*$/i.exec(written);
  if (relative) {
    const [, count = "0", unit = "day"] = relative;
    const number = Number(count);
    if (unit.toLowerCase() === "hour") return { due_in_hours: number };
    return { due_in_days: unit.toLowerCase() === "week" ? number * 7 : number };
  }
  if (/^\s*\{\{[^{}]+\}\}\s*$/.test(written)) return { due_at: written.trim() };
  const date = new Date(written);
  if (Number.isNaN(date.getTime())) return undefined;
  return {
    due_at: /^\d{4}-\d{2}-\d{2}$/.test(written.trim()) ? written.trim() : date.toISOString(),
  };
}

/** How long a wait lasts whose length stands in its configuration, in its row, or in both: never the sum. */
export function waitLength(
  row: number,
  config: number | undefined,
  choice: "longer" | "row" | "config",
): { minutes: number; differ: boolean } {
  if (config === undefined || config <= 0) return { minutes: Math.max(row, 0), differ: false };
  if (row <= 0 || row === config) return { minutes: config, differ: false };
  const minutes = choice === "longer" ? Math.max(row, config) : choice === "row" ? row : config;
  return { minutes, differ: true };
}
