// The comparison job, kind by kind: an old engine that writes its own tables, and the shadows beside it.
import type { JSONValue, Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHost, type Host, LAKESIDE, LENA, MANUEL, speakAs, SUMMIT } from "../support/host.ts";
import { OldEngine, oldRender } from "./old-engine.ts";
import { type Given, Side } from "./side.ts";

let host: Host & { sql: Sql };
let sql: Sql;
let side: Side;

interface Report {
  runs: number;
  identical: number;
  differ: number;
  open: number;
  kinds: Record<string, number>;
  text: string;
  workflows: { name: string; runs: number; identical: number; differ: number }[];
}
async function compare(tolerance = "5 minutes", tenant = SUMMIT): Promise<Report> {
  const [row] = await sql<{ report: Report }[]>`
    select ridgeline.compare_engines(
      automation.now() - interval '30 days', automation.now() + interval '1 second', ${tolerance}::interval, ${tenant}) as report`;
  return row!.report;
}
const found = (workflow: string) =>
  sql<{ kind: string; step_key: string | null; old: JSONValue; shadow: JSONValue }[]>`
    select kind, step_key, old, shadow from ridgeline.legacy_discrepancies
    where workflow_id = ${workflow} order by at, kind, step_key`;

const sms = (body: string): Given => ["send_sms", { to: "{{trigger.contact.phone}}", body }];
const hello = sms("Hi {{trigger.contact.first_name}}");

async function switchOffAll(): Promise<void> {
  await sql`update public.workflows set is_active = false`;
  await sql`update ridgeline.workflows set is_active = false`;
}

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  side = new Side(sql);
  await sql`delete from public.workflows`;
  await sql`select automation.set_clock('2026-11-02 15:00:00+00')`;
  await speakAs(sql, SUMMIT, "+15125550100");
  await sql`select ridgeline.set_engine('shadow', ${SUMMIT})`;
  await sql`select ridgeline.set_engine('shadow', ${LAKESIDE})`;
});
afterAll(() => host?.drop());

describe("the old rendering", () => {
  it.each([
    "plain",
    "{{trigger.name}}",
    "{{ trigger.name }}!",
    "{{trigger.none}} {{trigger.nil}} {{trigger.n}} {{trigger.yes}}",
    "{{trigger.list}} {{trigger.object}} {{trigger.list.1}} {{trigger.object.a}}",
    "{{{{trigger.name}}}}",
    "{{}} {{ }} {{trigger}}",
    "{{contact.name}} {{trigger.name}}{{trigger.name}}",
    "{{trigger.name",
  ])("%s", async (template) => {
    const data = {
      name: "Ann {{trigger.n}}",
      nil: null,
      n: 1.5,
      yes: true,
      list: [1, "b", null],
      object: { a: "x" },
    };
    const [row] = await sql<{ text: string }[]>`
      select automation.legacy_render(${template}, ${sql.json({ trigger: data })}) as text`;
    expect(row!.text).toBe(oldRender(template, data));
  });
});

describe("comparing", () => {
  it("finds nothing where both do the same", async () => {
    const { id } = await side.adopt("Greet", "contact_created", [
      hello,
      ["create_task", { title: "Call {{trigger.contact.first_name}}", tenant_id: SUMMIT }, 60],
      ["update_contact", { contact_id: "{{trigger.contact_id}}", updates: { stage: "contacted" } }],
    ]);
    const old = new OldEngine(sql, SUMMIT);
    for (const name of ["Ann", "Bob", "Zoë"]) await side.lead(old, name);
    expect(await side.work()).toBe(0);
    expect(await compare()).toMatchObject({
      runs: 3,
      identical: 0,
      open: 3,
      text: "3 runs, 0 identical, 0 differ; 3 not over yet",
    });
    await side.later("61 minutes");
    await old.cron();
    // The shadows have not come to it yet: that is no difference.
    expect(await compare()).toMatchObject({ runs: 3, differ: 0, open: 3 });
    expect(await side.work()).toBe(0);
    expect(await compare()).toMatchObject({
      runs: 3,
      identical: 3,
      differ: 0,
      open: 0,
      text: "3 runs, 3 identical, 0 differ",
    });
    expect(await found(id)).toEqual([]);
    expect(old.texts.map(({ body }) => body)).toEqual(["Hi Ann", "Hi Bob", "Hi Zoë"]);
    await switchOffAll();
  });

  it.each<[string, Given[], Given[], object[]]>([
    ["other text", [hello], [sms("Hello {{trigger.contact.first_name}}")], [
      {
        kind: "text",
        step_key: "s1",
        old: { texts: { body: "Hi Ann" } },
        shadow: { texts: { body: "Hello Ann" } },
      },
    ]],
    ["another recipient", [hello], [["send_sms", {
      to: "+15125550177",
      body: "Hi {{trigger.contact.first_name}}",
    }]], [
      { kind: "recipient", step_key: "s1", shadow: { recipients: ["+15125550177"] } },
    ]],
    [
      "another time",
      [hello, [...sms("Later")] as Given].map((one, place) =>
        place === 1 ? [one[0], one[1], 120] : one
      ) as Given[],
      [hello, ["send_sms", { to: "{{trigger.contact.phone}}", body: "Later" }, 30]],
      [
        { kind: "time", step_key: "s2" },
      ],
    ],
    ["a step that the old engine has not", [hello], [hello, sms("And more")], [
      { kind: "extra", step_key: "s2", old: null, shadow: { done: true } },
    ]],
    ["a step that the shadow would not do", [hello], [["send_sms", {
      to: "{{custom.nobody}}",
      body: "x",
    }]], [
      {
        kind: "missing",
        step_key: "s1",
        old: { done: true },
        shadow: { done: false, note: { code: "no_recipient" } },
      },
    ]],
  ])("%s", async (name, theirs, ours, expected) => {
    // Strangers are a refusal of its own.
    await sql`
      insert into ridgeline.tenant_settings (tenant_id, text_strangers) values (${SUMMIT}, true)
      on conflict (tenant_id) do update set text_strangers = true`;
    const { id } = await side.adopt(name, "contact_created", theirs, ours);
    const old = new OldEngine(sql, SUMMIT);
    await side.lead(old, "Ann");
    for (const interval of ["1 second", "31 minutes", "90 minutes"]) {
      await side.later(interval);
      await old.cron();
      expect(await side.work()).toBe(0);
    }
    await compare();
    expect(await found(id)).toMatchObject(expected);
    const [by] =
      await sql`select kind, discrepancies::int, runs::int from ridgeline.legacy_discrepancies_by_kind where workflow_id = ${id}`;
    expect(by).toEqual({ kind: (expected[0] as { kind: string }).kind, discrepancies: 1, runs: 1 });
    await switchOffAll();
  });

  it("another order, said once", async () => {
    const { id, steps, old: legacy } = await side.adopt("Order", "contact_created", [
      sms("First"),
      ["send_sms", { to: "{{trigger.contact.phone}}", body: "Second" }, 10],
    ], [
      sms("Second"),
      ["send_sms", { to: "{{trigger.contact.phone}}", body: "First" }, 10],
    ]);
    await sql`
      update automation.legacy_imports set step_keys = ${
      sql.json({ [steps[0]!]: "s2", [steps[1]!]: "s1" })
    }
      where legacy_id = ${legacy}`;
    const old = new OldEngine(sql, SUMMIT);
    await side.lead(old, "Ann");
    await side.work();
    await side.later("11 minutes");
    await old.cron();
    await side.work();
    await compare("1 hour");
    expect(await found(id)).toMatchObject([{
      kind: "order",
      step_key: null,
      old: ["s2", "s1"],
      shadow: ["s1", "s2"],
    }]);
    await switchOffAll();
  });

  it("a run that only one of them has", async () => {
    const { id } = await side.adopt("Alone", "contact_created", [hello]);
    const old = new OldEngine(sql, SUMMIT);
    // Written by SQL: the application was not asked, so the old engine never knew.
    await side.lead(undefined, "Imported");
    // Called without a write: the old engine took the caller's word.
    await old.trigger("contact_created", {
      contact_id: crypto.randomUUID(),
      contact: { phone: "+15125550190", first_name: "Nobody" },
    });
    await side.work();
    await side.later("1 hour");
    await compare();
    expect((await found(id)).map(({ kind, step_key }) => [kind, step_key]).sort()).toEqual([[
      "extra",
      null,
    ], ["missing", null]]);
    await switchOffAll();
  });

  it("two runs of one record at once are paired one to one, and looked at again when they have gone on", async () => {
    const { id } = await side.adopt("Twice", "contact_updated", [
      ["send_sms", { to: "+15125550101", body: "Changed {{trigger.n}}" }],
    ], [["send_sms", { to: "+15125550101", body: "Changed {{trigger.contact.lead_score}}!" }]]);
    const old = new OldEngine(sql, SUMMIT);
    const contact = await side.lead(undefined, "Ann");
    for (const n of [1, 2]) {
      await sql`update public.contacts set lead_score = ${n} where id = ${contact}`;
    }
    for (const n of [1, 2]) {
      await old.trigger("contact_updated", { contact_id: contact, n });
      await side.later("10 seconds");
    }
    await side.work();
    await compare();
    expect(await found(id)).toMatchObject([1, 2].map((n) => ({
      kind: "text",
      old: { texts: { body: `Changed ${n}` } },
      shadow: { texts: { body: `Changed ${n}!` } },
    })));
    const pairs =
      await sql`select distinct execution_id from automation.legacy_pairs where workflow_id = ${id}`;
    expect(pairs).toHaveLength(2);
    // The same report, however often it is asked for.
    const [first, second] = [await compare(), await compare()];
    expect(second).toEqual({
      ...first,
      until: (second as { until?: string }).until,
      since: (second as { since?: string }).since,
    });
    expect(await found(id)).toHaveLength(2);
    await switchOffAll();
  });

  it("is done by the tick, a day of an office at a time, without being asked", async () => {
    const before =
      await sql`select verdict, count(*)::int from automation.legacy_pairs group by 1 order by 1`;
    await sql`delete from automation.legacy_pairs`;
    const turn = async () =>
      (await sql<{ tenant: string | null }[]>`select automation.compare_next() as tenant`)[0]!
        .tenant;
    const turns: (string | null)[] = [];
    for (let n = 0; n < 10; n++) {
      turns.push(await turn());
      expect(await turn()).toBeNull();
      await side.later("61 seconds");
    }
    // Eight days, and then not before an hour has gone. Lakeside is in the shadow of nothing.
    expect(turns).toEqual([...Array(8).fill(SUMMIT), null, null]);
    await side.later("1 hour");
    expect(await turn()).toBe(SUMMIT);
    expect(
      await sql`select verdict, count(*)::int from automation.legacy_pairs group by 1 order by 1`,
    ).toEqual(before);
    await sql`call automation.tick_for('10 milliseconds')`;
  });

  it("says so in a sentence, worst first", async () => {
    const { text, workflows, runs, identical, differ } = await compare();
    expect(text).toMatch(
      new RegExp(
        `^${runs} runs, ${identical} identical, ${differ} differ: \\d+ missing, \\d+ extra, \\d+ with other text`,
      ),
    );
    expect(workflows[0]!.differ).toBeGreaterThanOrEqual(workflows.at(-1)!.differ);
    expect(workflows.reduce((sum, one) => sum + one.runs, 0)).toBe(runs);
  });

  it("keeps offices apart", async () => {
    expect(await compare("5 minutes", LAKESIDE)).toMatchObject({ runs: 0 });
    await sql.begin(async (as) => {
      await as`select set_config('request.jwt.claims', ${
        JSON.stringify({ sub: LENA, role: "authenticated" })
      }, true), set_config('role', 'authenticated', true)`;
      expect(await as`select 1 from ridgeline.legacy_discrepancies`).toHaveLength(0);
      expect(await as`select 1 from ridgeline.legacy_discrepancies_by_kind`).toHaveLength(0);
      await as.savepoint(async (inner) => {
        await expect(inner`select ridgeline.compare_engines(tenant_id => ${SUMMIT})`).rejects
          .toThrow();
        throw new Error("undone");
      }).catch(() => {});
      await as.savepoint(async (inner) => {
        await expect(inner`select ridgeline.set_engine('on', ${SUMMIT})`).rejects.toThrow();
        throw new Error("undone");
      }).catch(() => {});
    });
    await sql.begin(async (as) => {
      await as`select set_config('request.jwt.claims', ${
        JSON.stringify({ sub: MANUEL, role: "authenticated" })
      }, true), set_config('role', 'authenticated', true)`;
      expect((await as`select kind from ridgeline.legacy_discrepancies`).length).toBeGreaterThan(5);
    });
  });

  it.each([["engine", "loud", "engine: off, shadow or on"], [
    "engine",
    null,
    "engine: off, shadow or on",
  ]])(
    "refuses %s %s",
    async (_what, value, message) => {
      await expect(sql`select ridgeline.set_engine(${value}, ${SUMMIT})`).rejects.toThrow(message);
    },
  );
});

describe("a shadow that is held", () => {
  it("does not miss what is held till morning: it is open, then another time, and missing only where it will not come", async () => {
    await sql`set automation.quiet_hours = on`;
    const { id } = await side.adopt("By night", "contact_created", [hello]);
    const over = await side.adopt("Of use tonight alone", "contact_created", [hello], [[
      "send_sms",
      { ...hello[1], purpose: "transactional", expires_after: "2 hours" },
    ]]);
    // Half past ten in the evening, where the number is.
    await sql`select automation.set_clock('2026-11-05 22:30'::timestamp at time zone 'America/Chicago')`;
    const old = new OldEngine(sql, SUMMIT);
    await side.lead(old, "Ann");
    expect(await side.work()).toBe(0);
    expect(old.texts.map(({ body }) => body)).toEqual(["Hi Ann", "Hi Ann"]);
    const night = await compare();
    expect(await found(id)).toEqual([]);
    expect(await found(over.id)).toMatchObject([
      {
        kind: "missing",
        step_key: "s1",
        old: { done: true },
        shadow: { note: { code: "expired" } },
      },
    ]);
    expect(night.open).toBe(1);
    await sql`select automation.set_clock('2026-11-06 09:30'::timestamp at time zone 'America/Chicago')`;
    expect(await side.work()).toBe(0);
    expect((await compare()).open).toBe(0);
    expect(await found(id)).toMatchObject([{
      kind: "time",
      step_key: "s1",
      shadow: { done: true },
    }]);
    // One whose workflow is switched off meanwhile does not go on, and the old engine's did: that is missed, at once.
    await sql`update ridgeline.workflows set is_active = false where id = ${over.id}`;
    await sql`select automation.set_clock('2026-11-06 22:30'::timestamp at time zone 'America/Chicago')`;
    await side.lead(old, "Bob");
    await sql`update ridgeline.workflows set is_active = false where id = ${id}`;
    await side.later("5 days");
    expect(await side.work()).toBe(0);
    expect((await compare()).open).toBe(0);
    expect(await found(id)).toMatchObject([{ kind: "time" }, {
      kind: "missing",
      step_key: "s1",
      old: { done: true, texts: { body: "Hi Bob" } },
      shadow: null,
    }]);
    await sql`reset automation.quiet_hours`;
    await switchOffAll();
  });
});
