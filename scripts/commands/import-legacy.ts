// Brings the automations of the older engines over: see docs/legacy.md.
import fs from "node:fs";
import path from "node:path";
import {
  type Choices,
  safeChoices,
} from "../../functions/workflows/legacy/translate/definition.ts";
import { importLegacy, undoLegacy } from "../legacy/import.ts";
import { markdown, type Report, summary } from "../legacy/report.ts";
import { fail, readArguments } from "../lib/arguments.ts";
import { connect } from "../lib/scratch.ts";

const usage =
  `Usage: scripts/import-legacy --database-url URL [--from SOURCE]... [--tenant ID]... [--dry-run | --apply | --undo]

  --database-url URL   the database that Ridgeline is installed in (or set DATABASE_URL)
  --from SOURCE        server, campaigns, automations, or a file of JSON documents; all three tables when left out
  --tenant ID          only of these tenants; documents of a file that name none are of this one
  --dry-run            writes nothing but the report (the default)
  --apply              writes definitions and history; what was on comes switched off
  --activate           with --apply: switches on what was on, and takes the runs in flight over
  --overwrite          with --apply: also what was edited here since
  --no-history         definitions alone
  --undo               takes out what an import made and has not run since
  --report PATH        where the report goes, as PATH.md and PATH.json (import-legacy when left out)

Choices, with what is taken when left out:
  --ties first|all              steps with one step_order: the old engine ran one (first)
  --first-delay keep|drop       the delay of a first step, which the old engines ignored (keep)
  --delays before|after         delays of the server's steps stand before them, or after, as until February 2026 (before)
  --never-ran pause|activate    what was on and never fired (pause)
  --stored-filters apply|ignore filters and hours that were stored and never looked at (apply)
  --purpose unsaid|transactional|marketing  what its messages are for (unsaid, which counts as marketing)
  --wait longer|row|config      a wait that names two lengths (longer)
  --failed-step end|draft|branch  a server step that every run failed at: the run ends there, as it did; the workflow
                                stays a draft; or, of a conditional, its branches are taken (end)

Exit code: 0, nothing needs a person; 2, something does, the report says what; 1, it could not be done.`;

const allowed: { [K in keyof Choices]: Choices[K][] } = {
  ties: ["first", "all"],
  firstDelay: ["keep", "drop"],
  delays: ["before", "after"],
  neverRan: ["pause", "activate"],
  storedFilters: ["apply", "ignore"],
  purpose: ["unsaid", "transactional", "marketing"],
  wait: ["longer", "row", "config"],
  failedStep: ["end", "draft", "branch"],
};

const given = readArguments(usage, {
  "database-url": { type: "string", default: process.env.DATABASE_URL },
  from: { type: "string", multiple: true },
  tenant: { type: "string", multiple: true },
  "dry-run": { type: "boolean", default: false },
  apply: { type: "boolean", default: false },
  undo: { type: "boolean", default: false },
  activate: { type: "boolean", default: false },
  overwrite: { type: "boolean", default: false },
  "no-history": { type: "boolean", default: false },
  report: { type: "string", default: "import-legacy" },
  ties: { type: "string" },
  "first-delay": { type: "string" },
  delays: { type: "string" },
  "never-ran": { type: "string" },
  "stored-filters": { type: "string" },
  purpose: { type: "string" },
  wait: { type: "string" },
  "failed-step": { type: "string" },
});

function readChoices(): Choices {
  const asked = {
    ties: given.ties,
    firstDelay: given["first-delay"],
    delays: given.delays,
    neverRan: given["never-ran"],
    storedFilters: given["stored-filters"],
    purpose: given.purpose,
    wait: given.wait,
    failedStep: given["failed-step"],
  };
  const choices: Record<string, string> = { ...safeChoices };
  for (const [name, value] of Object.entries(asked)) {
    if (value === undefined) continue;
    const known: string[] = allowed[name as keyof Choices];
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (!known.includes(value)) fail(`${flag}: ${value} is none of ${known.join(", ")}.`);
    choices[name] = value;
  }
  return choices as unknown as Choices;
}

const databaseUrl = given["database-url"] ?? fail(`Which database?\n\n${usage}`);
if ([given["dry-run"], given.apply, given.undo].filter(Boolean).length > 1) {
  fail("One of --dry-run, --apply and --undo.");
}
if ((given.activate || given.overwrite) && !given.apply) {
  fail("--activate and --overwrite go with --apply.");
}
const tenants = given.tenant?.map((tenant) => tenant.toLowerCase()) ?? null;
for (const tenant of tenants ?? []) {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(tenant)) {
    fail(`--tenant: ${tenant} is no UUID.`);
  }
}

function write(report: Report): void {
  const file = path.resolve(given.report);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(`${file}.md`, markdown(report));
  fs.writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 2)}\n`);
  console.log(
    [...summary(report), `The report: ${given.report}.md and ${given.report}.json`].join("\n"),
  );
}

const choices = readChoices();
const sql = connect(databaseUrl, { max: 1 });
try {
  const report = given.undo
    ? await undoLegacy(sql, given.from ?? [], tenants)
    : await importLegacy(sql, {
      from: given.from ?? ["server", "campaigns", "automations"],
      tenants,
      choices,
      apply: given.apply,
      activate: given.activate,
      overwrite: given.overwrite,
      history: !given["no-history"],
    });
  write(report);
  process.exitCode = report.needsPerson ? 2 : 0;
} catch (error) {
  const { message, code } = error as { message?: string; code?: string };
  const isMissing = code === "3F000" || code === "42883" || code === "42P01";
  fail(
    isMissing
      ? `${message}\nIs Ridgeline of this version installed in this database? docs/install.md`
      : message ?? String(error),
  );
} finally {
  await sql.end({ timeout: 5 });
}
