// What conditions and templates cost, against the alternatives that were not taken: each block is
// measured side by side in one backend, medians over alternating repetitions.
// npx tsx scripts/bench-language.ts [--repetitions N] [--binaries DIRECTORY]
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { cloneDatabase, connect, createTemplate, startScratchServer } from "./lib/scratch.ts";

const { values } = parseArgs({
  options: { repetitions: { type: "string", default: "7" }, binaries: { type: "string" } },
});
const repetitions = Number(values.repetitions);

const context = {
  trigger: { record: { stage: "Won" }, old: { stage: "New" }, changed: ["stage"] },
  contact: {
    id: "0f0e0d0c-0000-7000-8000-000000000001",
    first_name: "Ann",
    last_name: "Lee",
    stage: "Lead",
    email: "ann@example.com",
    phone: "+15551234567",
    lead_score: 12,
    tags: ["VIP", "storm"],
    custom_fields: { source: "Web", roof: "Tile" },
    created_at: "2026-03-08T05:30:00+00:00",
  },
  tenant: { name: "Ridge Roofing", timezone: "America/New_York" },
};

interface Candidate {
  name: string;
  /** An SQL expression over x (the prepared operand, as jsonb) and context. */
  expression: string;
  operand: string;
  type: "boolean" | "jsonb";
}

const stage = { field: "contact.stage", operator: "equals", value: "lead" };
const literal = (value: unknown) => `'${JSON.stringify(value).replaceAll("'", "''")}'::jsonb`;
const compiled = (document: unknown) =>
  `(select compiled from automation.compile_conditions(${literal(document)}))`;
const template = (config: unknown) =>
  `(select compiled from automation.compile_template(${literal(config)}))`;
const path = (text: string) => `to_jsonb('${text}'::text)`;
const evaluate = (name: string, document: unknown): Candidate => ({
  name,
  type: "boolean",
  expression: "automation.evaluate_conditions(x, context, 'America/New_York', now())",
  operand: compiled(document),
});
const jsonPath = (name: string, text: string): Candidate => ({
  name,
  type: "boolean",
  expression: "jsonb_path_match(context, (x #>> '{}')::jsonpath, '{}', true)",
  operand: path(text),
});
const render = (name: string, config: unknown): Candidate => ({
  name,
  type: "jsonb",
  expression: `(automation.render(x, context, '{"zone": "America/New_York"}')).rendered`,
  operand: template(config),
});
const all = (condition: string, times: number) => Array(times).fill(condition).join(" && ");

const sms = { to: "{{contact.phone}}", body: "Hi {{contact.first_name}}, {{tenant.name}} here." };
const blocks: Record<string, Candidate[]> = {
  "one text comparison": [
    evaluate("compiled, without case", stage),
    jsonPath("JSON path, case counts", '$.contact.stage == "Lead"'),
    jsonPath("JSON path, like_regex i", '$.contact.stage like_regex "^lead$" flag "i"'),
    {
      name: "compiled at each evaluation",
      type: "boolean",
      expression:
        "automation.evaluate_conditions((automation.compile_conditions(x)).compiled, context)",
      operand: literal(stage),
    },
  ],
  "twenty text comparisons": [
    evaluate("compiled, without case", Array(20).fill(stage)),
    jsonPath("JSON path, case counts", all('$.contact.stage == "Lead"', 20)),
    jsonPath(
      "JSON path, like_regex i",
      all('$.contact.stage like_regex "^lead$" flag "i"', 20),
    ),
  ],
  "other operators, one each": [
    evaluate("equals", stage),
    evaluate("greater_than", { field: "contact.lead_score", operator: "greater_than", value: 10 }),
    evaluate("contains", { field: "contact.email", operator: "contains", value: "@example" }),
    evaluate("matches", { field: "contact.email", operator: "matches", value: "@.*[.]com$" }),
    evaluate("includes_any", {
      field: "contact.tags",
      operator: "includes_any",
      value: ["vip", "gold"],
    }),
    evaluate("changed_to", { field: "stage", operator: "changed_to", value: "won" }),
    evaluate("before", { field: "contact.created_at", operator: "before", value: "2026-04-01" }),
    evaluate("within_last", {
      field: "contact.created_at",
      operator: "within_last",
      value: { days: 30 },
    }),
  ],
  "a text message with three variables": [
    render("compiled", sms),
    {
      name: "written by hand in SQL",
      type: "jsonb",
      expression: `jsonb_build_object('to', context #> '{contact,phone}', 'body',
        'Hi ' || coalesce(context #>> '{contact,first_name}', '') || ', '
        || coalesce(context #>> '{tenant,name}', '') || ' here.')`,
      operand: "'null'::jsonb",
    },
    {
      name: "compiled at each rendering",
      type: "jsonb",
      expression:
        "(automation.render((automation.compile_template(x)).compiled, context)).rendered",
      operand: literal(sms),
    },
  ],
  "other templates": [
    render("two variables", { body: "Hi {{contact.first_name}}, {{tenant.name}} here." }),
    render("no variable", { to: "+15551234567", body: "Thank you!" }),
    render("a whole value", { value: "{{contact.lead_score}}" }),
    render("two filters", {
      body: 'Hi {{contact.first_name | default: "there"}}, {{contact.phone | formatPhone}}',
    }),
    render("a date in a zone", { body: "On {{contact.created_at | formatDate: 'MMM d'}}." }),
    render("a block", { body: "{{#if contact.stage == 'lead'}}Welcome!{{else}}Hello.{{/if}}" }),
  ],
};

/** Microseconds for one evaluation, the loop itself taken off. */
async function measure(sql: Sql, candidate: Candidate, loops: number): Promise<number> {
  const { expression, operand, type } = candidate;
  const body = (work: string) => `
    create or replace function pg_temp.run() returns double precision language plpgsql as $run$
    declare
      x jsonb := ${operand};
      context jsonb := ${literal(context)};
      result ${type};
      started timestamptz := clock_timestamp();
    begin
      for i in 1..${loops} loop ${work} end loop;
      return extract(epoch from clock_timestamp() - started) * 1000000 / ${loops};
    end $run$`;
  const time = async (work: string) => {
    await sql.unsafe(body(work));
    const [row] = await sql<{ run: number }[]>`select pg_temp.run()`;
    return row?.run ?? NaN;
  };
  const empty = await time("result := null;");
  return Math.max(await time(`result := ${expression};`) - empty, 0.01);
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

async function report(sql: Sql, title: string, candidates: Candidate[]): Promise<void> {
  const times = candidates.map((): number[] => []);
  for (let repetition = 0; repetition <= repetitions; repetition++) {
    for (const [index, candidate] of candidates.entries()) {
      const time = await measure(sql, candidate, 2000);
      // The first round fills caches.
      if (repetition > 0) times[index]?.push(time);
    }
  }
  const medians = times.map(median);
  console.log(
    `\n${title.padEnd(40)}${"µs".padStart(8)}${"a second".padStart(12)}${"ratio".padStart(8)}`,
  );
  for (const [index, { name }] of candidates.entries()) {
    const time = medians[index] ?? NaN;
    console.log(
      `  ${name.padEnd(38)}${time.toFixed(1).padStart(8)}` +
        `${Math.round(1e6 / time).toLocaleString("en-US").padStart(12)}` +
        `${(time / (medians[0] ?? NaN)).toFixed(2).padStart(8)}`,
    );
  }
}

const { server, stop } = await startScratchServer(
  values.binaries ? { binaries: values.binaries } : {},
);
try {
  await createTemplate(server.url());
  const sql = connect(await cloneDatabase(server.url(), "bench_language"), { max: 1 });
  const [version] = await sql<{ server_version: string }[]>`show server_version`;
  console.log(`Postgres ${version?.server_version}, one backend, ${repetitions} repetitions`);
  for (const [title, candidates] of Object.entries(blocks)) await report(sql, title, candidates);
  await sql.end({ timeout: 1 });
} finally {
  await stop();
}
