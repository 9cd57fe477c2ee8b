// The report of an import, for people (Markdown) and for programs (JSON): the same, in two spellings.
import type { Source } from "../../functions/workflows/legacy/translate/definition.ts";
import type { Note } from "../../functions/workflows/legacy/translate/notes.ts";

export interface Problem {
  path: string;
  severity: "error" | "warning";
  code: string;
  message: string;
  hint?: string | null;
}

export interface Entry {
  source: Source;
  legacyId: string;
  part: number;
  tenantId: string | null;
  name: string;
  /** created, updated, unchanged, activated, edited, refused; would_... on a dry run. */
  outcome: string;
  workflowId: string | null;
  /** The trigger, and the steps in order, as they are here. */
  becomes: string;
  isOn: boolean;
  isDraft: boolean;
  secrets: string[];
  notes: Note[];
  problems: Problem[];
}

export interface History {
  source: string;
  runs: number;
  steps: number;
  foreign: number;
  /** Rows that could not be brought, and why. */
  failed: { table: string; id: string; message: string }[];
}

export interface Taken {
  tenantId: string;
  source: string;
  outcomes: Record<string, number>;
}

export interface Report {
  mode: "dry-run" | "apply" | "undo";
  choices: Record<string, string>;
  entries: Entry[];
  history: History[];
  taken: Taken[];
  undone: {
    legacyId: string;
    source: string;
    name: string;
    undone: boolean;
    reason?: string;
    given_back?: number;
  }[];
  /** false: the database is read-only, and what validation would say is not known. */
  isValidated: boolean;
  needsPerson: boolean;
}

export const needsPerson = ({ notes, problems, outcome }: Entry): boolean =>
  ["refused", "would_be_refused", "edited", "would_be_edited"].includes(outcome) ||
  notes.some(({ kind }) => kind === "person" || kind === "impossible") ||
  problems.some(({ severity }) => severity === "error");

/** A cell of a table: no pipe, no line break, nothing that Markdown or HTML would read as its own. */
const cell = (value: unknown): string =>
  (typeof value === "string" ? value : JSON.stringify(value) ?? "")
    .replaceAll(/[\r\n]+/g, " ").replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll(
      "<",
      "&lt;",
    )
    .replaceAll("`", "'").slice(0, 400);

function table(head: string[], rows: unknown[][]): string[] {
  if (rows.length === 0) return [];
  return [
    `| ${head.join(" | ")} |`,
    `|${head.map(() => "---").join("|")}|`,
    ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`),
    "",
  ];
}

const general = `What holds for every definition:

| then | here |
|---|---|
| a variable without a value stayed as it was written, and null read "null" | it reads as nothing, and the step has a warning |
| values were put into HTML as they were | they are escaped |
| nobody was asked for consent, and no hour was too late | whoever opted out gets nothing, and quiet hours hold |
| a failed step of a campaign left it standing for ever | the run fails, is listed, and can be tried again |
| \`test\` sent real messages | \`ridgeline.test_workflow\` has no effect |
`;

function entryLines(entry: Entry): string[] {
  const of = (...kinds: Note["kind"][]) => entry.notes.filter(({ kind }) => kinds.includes(kind));
  return [
    `### ${cell(entry.name)}`,
    "",
    `${entry.source} ${cell(entry.legacyId)}${
      entry.part > 0 ? `, part ${entry.part + 1}` : ""
    }: **${entry.outcome}**` +
    `${entry.isDraft ? ", a draft" : entry.isOn ? ", was on" : ", off"}. ${cell(entry.becomes)}`,
    "",
    ...table(
      ["needs a person", "", "it was"],
      of("person", "impossible").map((note) => [note.key, note.becomes, note.was ?? ""]),
    ),
    ...table(
      ["cannot be published", "", ""],
      entry.problems.filter(({ severity }) => severity === "error")
        .map((problem) => [problem.path, problem.message, problem.hint ?? ""]),
    ),
    ...table(
      ["another meaning", "then", "here", "flag"],
      of("difference").map((note) => [note.key, note.old, note.becomes, note.flag ?? ""]),
    ),
    ...table(
      ["translated", "it was", "it is"],
      of("translated").map((note) => [note.key, note.was, note.becomes]),
    ),
    ...table(["kept", "it was", ""], of("kept").map((note) => [note.key, note.was, note.becomes])),
    ...table(
      ["doubtful", "", ""],
      entry.problems.filter(({ severity }) => severity === "warning")
        .map((problem) => [problem.path, problem.message, problem.hint ?? ""]),
    ),
  ];
}

export function summary(report: Report): string[] {
  const count = new Map<string, number>();
  for (const { outcome } of report.entries) count.set(outcome, (count.get(outcome) ?? 0) + 1);
  const asked = report.entries.filter(needsPerson);
  return [
    `${report.entries.length} definitions: ${
      [...count].map(([outcome, number]) => `${number} ${outcome.replaceAll("_", " ")}`).join(
        ", ",
      ) || "none"
    }.`,
    ...(report.isValidated
      ? []
      : ["The database is read-only: what publishing would say is not known yet."]),
    ...report.history.flatMap(({ failed }) =>
      failed.length === 0
        ? []
        : [`${failed.length} rows of history could not be brought; they are listed below.`]
    ),
    ...report.history.map(({ source, runs, steps, foreign }) =>
      `History of ${source}: ${runs} runs and ${steps} steps came along${
        foreign > 0 ? `; ${foreign} runs of another tenant than their definition's stayed` : ""
      }.`
    ),
    ...report.taken.flatMap(({ tenantId, source, outcomes }) =>
      Object.entries(outcomes).map(([outcome, number]) =>
        `Runs in flight of ${source}, tenant ${tenantId}: ${number} ${outcome}.`
      )
    ),
    ...report.undone.map(({ name, legacyId, undone, reason, given_back }) =>
      `${cell(name || legacyId)}: ${undone ? "undone" : `left: ${reason}`}${
        given_back ? `; ${given_back} runs went back` : ""
      }.`
    ),
    report.mode === "undo"
      ? report.needsPerson
        ? `${report.undone.filter(({ undone }) => !undone).length} stay, and say why.`
        : "Nothing is left of it."
      : asked.length === 0
      ? "Nothing needs a person."
      : `${asked.length} need a person: ${asked.map(({ name }) => cell(name)).join("; ")}.`,
  ];
}

export function markdown(report: Report): string {
  return [
    `# Import from the older engines (${report.mode})`,
    "",
    ...summary(report).map((line) => `- ${line}`),
    "",
    ...(report.entries.length > 0 ? [general] : []),
    ...table(
      ["choice", "taken"],
      Object.entries(report.choices).map(([name, taken]) => [
        `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
        taken,
      ]),
    ),
    ...table(
      ["row of history that stayed", "id", "why"],
      report.history.flatMap(({ failed }) =>
        failed.map(({ table, id, message }) => [table, id, message])
      ),
    ),
    ...(report.entries.length > 0 ? ["## Definitions", ""] : []),
    ...report.entries.flatMap(entryLines),
  ].join("\n").trimEnd() + "\n";
}
