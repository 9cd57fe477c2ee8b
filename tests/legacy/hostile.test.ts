// What other people's databases and files hold: each gets an error that says what to do, or a line in the report, and
// nothing is lost.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { safeChoices } from "../../functions/workflows/legacy/translate/definition.ts";
import type { JsonObject } from "../../functions/workflows/legacy/translate/keys.ts";
import { importLegacy, type Order, undoLegacy } from "../../scripts/legacy/import.ts";
import { markdown } from "../../scripts/legacy/report.ts";
import { connect, using } from "../../scripts/lib/scratch.ts";
import { createHost, type Host, SUMMIT } from "../support/host.ts";
import { clientWorkflow } from "./shapes.ts";

let host: Host & { sql: Sql };
let sql: Sql;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "legacy-hostile-"));

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  await sql`delete from public.workflows`;
});
afterAll(async () => {
  fs.rmSync(directory, { recursive: true, force: true });
  await host.drop();
});

const order = (from: string[], more: Partial<Order> = {}): Order => ({
  from,
  tenants: [SUMMIT],
  choices: safeChoices,
  apply: true,
  activate: false,
  overwrite: false,
  history: true,
  ...more,
});

const text = (message: string): JsonObject => ({
  type: "send_sms",
  config: { to: "{{contact.phone}}", message },
});
const named = (name: string, message = "Hi", more: JsonObject = {}) =>
  clientWorkflow("contact_created", {}, [text(message)], { name, ...more });

function file(bytes: string | Uint8Array): string {
  const found = path.join(directory, `${fs.readdirSync(directory).length}.json`);
  fs.writeFileSync(found, bytes);
  return found;
}

describe("a file", () => {
  const document = () => JSON.stringify(named("Grüße"));
  it.each<[string, () => Uint8Array]>([
    ["UTF-8 with its mark", () => Buffer.from(`\ufeff${document()}`)],
    ["UTF-16, as some editors save it", () => Buffer.from(`\ufeff${document()}`, "utf16le")],
  ])("%s is read", async (_name, bytes) => {
    const report = await importLegacy(sql, order([file(bytes())], { apply: false }));
    expect(report.entries.map(({ name, outcome }) => [name, outcome])).toEqual([
      ["Grüße", "would_be_created"],
    ]);
  });
  it.each<[string, string | Uint8Array, string]>([
    ["Latin-1", Buffer.from(JSON.stringify(named("Grüße")), "latin1"), "save it as UTF-8"],
    ["no JSON", "name: x", "a file of JSON"],
    ["empty", "", "a file of JSON"],
    ["something else", '{"rows": 5}', "a list of them"],
  ])("%s is refused, and says what to do", async (_name, bytes, message) => {
    await expect(importLegacy(sql, order([file(bytes)]))).rejects.toThrow(message);
  });
  it("that is not there", async () => {
    await expect(importLegacy(sql, order([path.join(directory, "none.json")])))
      .rejects.toThrow("no such file");
  });
});

describe("documents", () => {
  it("without a name, with too long a one, huge, deep or with what no database takes stop no other", async () => {
    const rows = [
      named("", "one"),
      named("n".repeat(900), "two"),
      named("Ten megabytes", "x".repeat(10_000_000)),
      named("A zero", "a\u0000b"),
      named("Half a letter", "a\ud800b"),
      null,
      5,
      { name: "No trigger", actions: [] },
      named("The good one"),
    ];
    const nested = `{"name": "Deep", "trigger": {"type": "manual", "config": ${"[".repeat(20_000)}${
      "]".repeat(20_000)
    }}, "actions": []}`;
    const source = file(`[${rows.map((row) => JSON.stringify(row)).join(",")},${nested}]`);
    const report = await importLegacy(sql, order([source]));
    const outcomes = Object.fromEntries(
      report.entries.map(({ name, outcome }) => [name.slice(0, 20), outcome]),
    );
    expect(outcomes).toMatchObject({
      "Without a name": "created",
      [`${"n".repeat(20)}`]: "created",
      "Ten megabytes": "refused",
      "A zero": "refused",
      "Half a letter": "refused",
      "No trigger": "refused",
      "The good one": "created",
      "Deep": "refused",
    });
    expect(report.entries).toHaveLength(10);
    expect(report.needsPerson).toBe(true);
    // Each refusal says why, and the report is one that can be read.
    for (const entry of report.entries.filter(({ outcome }) => outcome === "refused")) {
      const why = [
        ...entry.problems.map(({ message }) => message),
        ...entry.notes.map((note) => note.becomes),
      ];
      expect(why.join()).not.toBe("");
    }
    expect(markdown(report).length).toBeLessThan(100_000);
    expect(JSON.stringify(report).length).toBeLessThan(300_000);
    const cut = report.entries.find(({ name }) => name.startsWith("nnn"))!;
    expect([cut.name.length, cut.notes.filter(({ key }) => key === "name").length]).toEqual([
      500,
      2,
    ]);
    await undoLegacy(sql, [], [SUMMIT]);
  });
});

describe("the old tables", () => {
  const FLOW = "1a000000-0000-4000-8000-00000000f001";
  it("of an older version, a step that leads to itself and rows that are half there", async () => {
    await sql`alter table public.workflow_steps drop column delay_minutes`;
    await sql`alter table public.workflows drop column description, drop column is_deleted`;
    await sql`alter table public.workflow_executions drop column error_message`;
    await sql`insert into public.workflows (id, tenant_id, name, trigger_type, is_active)
      values (${FLOW}, ${SUMMIT}, 'Old', 'contact_created', true)`;
    const self = "1b000000-0000-4000-8000-00000000f001";
    await sql`insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config) values
      (gen_random_uuid(), ${FLOW}, 1, 'send_sms', '{"to": "{{trigger.contact.phone}}", "body": "Hi"}'),
      (${self}, ${FLOW}, 2, 'conditional', ${
      sql.json({ condition: "{{contact.stage}} === 'x'", then_step_id: self, else_step_id: self })
    }),
      (gen_random_uuid(), ${FLOW}, 3, 'send_sms', 'null'), (gen_random_uuid(), ${FLOW}, 3, 'webhook', '[1]')`;
    const report = await importLegacy(sql, order(["server"]));
    expect(report.entries.map(({ name, outcome }) => [name, outcome])).toEqual([[
      "Old",
      "created",
    ]]);
    const [row] = await sql`
      select string_agg(s.step_type || case when s.enabled then '' else ' off' end, ', ' order by s.step_order) as steps
      from ridgeline.workflow_steps as s where s.workflow_id = ${FLOW} and s.parent_step_id is null`;
    expect(row!.steps).toBe("send_sms, stop, conditional off");
  });

  it("history of no time, of all times and with a row that cannot come: named, and the rest comes", async () => {
    const at = ["infinity", "-infinity", "0044-03-15 BC", "29999-01-01", "2026-01-05"];
    for (const moment of at) {
      await sql`insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, created_at, started_at, completed_at)
        values (${FLOW}, ${SUMMIT}, '{}', 'completed', ${moment}::text::timestamptz, ${moment}::text::timestamptz, ${moment}::text::timestamptz)`;
    }
    await sql`insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, created_at) values
      (${FLOW}, ${SUMMIT}, '"text"', 'completed', now()), (${FLOW}, ${SUMMIT}, '[1]', 'unheard of', null)`;
    await sql`insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, created_at, completed_at)
      select ${FLOW}, ${SUMMIT}, '{}', 'completed', t, t from generate_series('2026-01-01'::timestamptz, '2026-01-02', '10 minutes') as t`;
    // Stands for whatever a row may break: a limit of ours, a value that does not fit.
    const odd = "1c000000-0000-4000-8000-00000000f001";
    await sql`insert into public.workflow_executions (id, workflow_id, tenant_id, trigger_data, status, created_at, completed_at)
      values (${odd}, ${FLOW}, ${SUMMIT}, '{"odd": true}', 'completed', now(), now())`;
    await sql`alter table ridgeline.workflow_executions add constraint odd check (not trigger_data ? 'odd') not valid`;
    const report = await importLegacy(sql, order(["server"]));
    expect(report.history).toEqual([{
      source: "server",
      runs: 152,
      steps: 0,
      foreign: 0,
      failed: [{ table: "workflow_executions", id: odd, message: expect.stringContaining("odd") }],
    }]);
    expect(report.needsPerson).toBe(true);
    expect(markdown(report)).toContain(odd);
    await sql`alter table ridgeline.workflow_executions drop constraint odd`;
    expect((await importLegacy(sql, order(["server"]))).history).toMatchObject([
      { runs: 1, failed: [] },
    ]);
    await sql`select automation.tick()`;
  });
});

describe("who calls", () => {
  it("on a read-only copy may look, and is told that nothing can be written", async () => {
    const copy = connect(host.url, {
      max: 1,
      connection: { default_transaction_read_only: true },
    });
    try {
      const report = await importLegacy(copy, order(["server"], { apply: false }));
      expect(report.entries.map(({ outcome }) => outcome)).toEqual(["would_be_unchanged"]);
      expect(markdown(report)).toContain("The database is read-only");
      await expect(importLegacy(copy, order(["server"]))).rejects.toThrow(
        "--apply needs the primary",
      );
      await expect(undoLegacy(copy, [], [SUMMIT])).rejects.toThrow("read-only");
    } finally {
      await copy.end({ timeout: 1 });
    }
  });

  it("without rights is told which, and rows that are hidden are not taken for none", async () => {
    const name = `stranger_${process.pid}`;
    await using(host.adminUrl, (admin) => admin.unsafe(`create role ${name} login`));
    const url = new URL(host.url);
    url.username = name;
    const asked = (from = "server") =>
      using(url.href, (session) => importLegacy(session, order([from], { apply: false })));
    try {
      await expect(asked()).rejects.toThrow(`The role ${name} may not import`);
      await using(host.adminUrl, (admin) =>
        admin.unsafe(`
          grant usage on schema automation to ${name};
          grant execute on all functions in schema automation to ${name}`));
      await expect(asked()).rejects.toThrow("may not read public.workflows");
      await using(host.adminUrl, (admin) =>
        admin.unsafe(`
          grant select on all tables in schema public to ${name};
          alter table public.workflows enable row level security`));
      await expect(asked()).rejects.toThrow("Row level security hides rows of public.workflows");
    } finally {
      await using(host.adminUrl, (admin) =>
        admin.unsafe(`
          alter table public.workflows disable row level security;
          drop owned by ${name}; drop role ${name}`));
    }
  });
});
