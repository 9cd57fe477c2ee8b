// One table, each row a ratio of two things measured side by side.

export interface Aim {
  text: string;
  met: (ratio: number) => boolean;
}

export const atMost = (limit: number): Aim => ({
  text: `at most ${limit}x`,
  met: (ratio) => ratio <= limit,
});

export const atLeast = (limit: number): Aim => ({
  text: `at least ${limit}x`,
  met: (ratio) => ratio >= limit,
});

export interface Row {
  row: string;
  what: string;
  ours: string;
  against: string;
  ratio: number;
  aim?: Aim;
}

export function microseconds(milliseconds: number): string {
  return milliseconds < 1
    ? `${(milliseconds * 1000).toFixed(0)} us`
    : `${milliseconds.toPrecision(3)} ms`;
}

export const perSecond = (value: number, of = "") => `${Math.round(value)}${of && ` ${of}`}/s`;

export function printTable(rows: readonly Row[]): string {
  const cells = rows.map(({ row, what, ours, against, ratio, aim }) => [
    row,
    what,
    ours,
    against,
    `${ratio.toFixed(2)}x`,
    aim?.text ?? "",
    aim ? (aim.met(ratio) ? "met" : "missed") : "",
  ]);
  const head = ["", "what", "measured", "against", "ratio", "aim", ""];
  const table = [head, ...cells];
  const widths = head.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  const isNumber = (column: number) => column === 4;
  const line = (columns: readonly string[]) =>
    `| ${
      columns.map((text, column) =>
        isNumber(column) ? text.padStart(widths[column]!) : text.padEnd(widths[column]!)
      ).join(" | ")
    } |`;
  const rule = `|${
    widths.map((width, column) => "-".repeat(width + 1) + (isNumber(column) ? ":" : "-")).join("|")
  }|`;
  return [line(head), rule, ...cells.map(line)].join("\n");
}
