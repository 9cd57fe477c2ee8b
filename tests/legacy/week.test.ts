// An office moves over: twenty workflows, three campaigns, history and runs in flight are looked at, imported, shadowed
// for a week beside the old engine, compared, switched on, and switched back. Nobody gets a text twice, or never.
import type { JSONValue, Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { safeChoices } from "../../functions/workflows/legacy/translate/definition.ts";
import { importLegacy, type Order } from "../../scripts/legacy/import.ts";
import { createHost, type Host, LAKESIDE, OLIVIA, send, speakAs, SUMMIT } from "../support/host.ts";
import { OldCampaigns, OldEngine, type OldText } from "./old-engine.ts";

let host: Host & { sql: Sql };
let sql: Sql;
let old: OldEngine;
let campaigns: OldCampaigns;

const OFFICE = "+15125550101";
type Given = [type: string, config: Record<string, JSONValue>, delay?: number];
const toLead = (body: string, delay = 0): Given => [
  "send_sms",
  { to: "{{trigger.contact.phone}}", body: `${body} {{trigger.contact.first_name}}` },
  delay,
];
const toOffice = (body: string, delay = 0): Given => ["send_sms", { to: OFFICE, body }, delay];
const task = (title: string, delay = 0): Given => [
  "create_task",
  { title, tenant_id: SUMMIT, due_date_days: 2, priority: "high" },
  delay,
];
const HOUR = 60;
const DAY = 24 * HOUR;

interface OldWorkflow {
  name: string;
  trigger: string;
  config?: Record<string, JSONValue>;
  steps: Given[];
  state?: "off" | "deleted";
}

const contactFlows: OldWorkflow[] = [
  { name: "Welcome", trigger: "contact_created", steps: [toLead("Welcome")] },
  {
    name: "Welcome, then ask",
    trigger: "contact_created",
    steps: [toLead("Thanks"), toLead("Any questions,", DAY)],
  },
  {
    name: "Three touches",
    trigger: "contact_created",
    steps: [toLead("One"), toLead("Two", 2 * DAY), toLead("Three", 3 * DAY)],
  },
  {
    name: "Call them",
    trigger: "contact_created",
    steps: [
      task("Call {{trigger.contact.first_name}}"),
      task("Call {{trigger.contact.first_name}} again", DAY),
    ],
  },
  {
    name: "Mail",
    trigger: "contact_created",
    steps: [["send_email", {
      to: "{{trigger.contact.email}}",
      subject: "Hello {{trigger.contact.first_name}}",
      text: "Plain words",
    }]],
  },
  {
    name: "A day's wait",
    trigger: "contact_created",
    steps: [toLead("Soon"), ["wait", { delay_minutes: DAY }, DAY], toLead("Now")],
  },
  {
    name: "Mark them",
    trigger: "contact_created",
    steps: [["update_contact", {
      contact_id: "{{trigger.contact_id}}",
      updates: { substatus: "greeted" },
    }, 0], toLead("Marked", 6 * HOUR)],
  },
];
const stageFlows: OldWorkflow[] = ["qualified", "quote_sent", "negotiation"].flatMap((stage) => [
  {
    name: `To the office: ${stage}`,
    trigger: "pipeline_stage_changed",
    config: { new_stage: stage },
    steps: [
      toOffice(`{{trigger.project_name}}: {{trigger.previous_stage}} to {{trigger.new_stage}}`),
    ],
  },
  {
    name: `Follow ${stage}`,
    trigger: "pipeline_stage_changed",
    config: { new_stage: stage },
    steps: [
      task("{{trigger.project_name}} {{trigger.new_stage}}"),
      toOffice("Still {{trigger.project_name}} at {{trigger.new_stage}}?", 2 * DAY),
    ],
  },
]);
const otherFlows: OldWorkflow[] = [
  {
    name: "Won",
    trigger: "project_won",
    steps: [
      toOffice("Won {{trigger.project_name}}"),
      task("Invoice {{trigger.project_name}}", DAY),
    ],
  },
  {
    name: "Won from negotiation",
    trigger: "pipeline_stage_changed",
    config: { previous_stage: "negotiation", new_stage: "won" },
    steps: [toOffice("At last {{trigger.project_name}}")],
  },
  { name: "Job done", trigger: "job_completed", steps: [toOffice("Done {{trigger.job_number}}")] },
  {
    name: "Job survey",
    trigger: "job_completed",
    steps: [
      ["wait", { delay_minutes: DAY }, DAY],
      toOffice("Ask about {{trigger.job_number}}", HOUR),
    ],
  },
  {
    name: "Job task",
    trigger: "job_completed",
    steps: [task("Look at #{{trigger.job_number}}", 7 * DAY)],
  },
  { name: "Switched off", trigger: "contact_created", steps: [toLead("Never")], state: "off" },
  { name: "Deleted", trigger: "contact_created", steps: [toLead("Never ever")], state: "deleted" },
];
const all = [...contactFlows, ...stageFlows, ...otherFlows];

async function fillOld(): Promise<void> {
  await sql`delete from public.workflows`;
  for (const { name, trigger, config = {}, steps, state } of all) {
    const [row] = await sql<{ id: string }[]>`
      insert into public.workflows (tenant_id, name, trigger_type, trigger_config, is_active, is_deleted)
      values (${SUMMIT}, ${name}, ${trigger}, ${sql.json(config)}, ${state === undefined}, ${
      state === "deleted"
    })
      returning id`;
    for (const [place, [type, step_config, delay]] of steps.entries()) {
      await sql`
        insert into public.workflow_steps (workflow_id, step_order, step_type, step_config, delay_minutes)
        values (${row!.id}, ${place + 1}, ${type}, ${sql.json(step_config)}, ${delay ?? 0})`;
    }
  }
  for (const stage of ["qualified", "quote_sent", "negotiation"]) {
    const [campaign] = await sql<{ id: string }[]>`
      insert into public.campaigns (tenant_id, name, status, respect_business_hours)
      values (${SUMMIT}, ${`Campaign ${stage}`}, 'active', false) returning id`;
    await sql`
      insert into public.campaign_triggers (campaign_id, trigger_type, trigger_config)
      values (${campaign!.id}, 'stage_change', ${
      sql.json({ entity_type: "project", to_stage: stage })
    })`;
    for (const [place, words] of ["first", "second"].entries()) {
      await sql`
        insert into public.campaign_steps (campaign_id, step_order, step_type, step_config, delay_value, delay_unit)
        values (${campaign!.id}, ${place}, 'send_sms', ${
        sql.json({ message: `Campaign ${stage}, ${words}` })
      }, ${place * 2}, 'days')`;
    }
  }
}

/** Does the application call the old engine? Whoever deploys it decides, a little after the switch. */
let calls = true;
let phones = 2_000;
const expected: { to: string; body: string }[] = [];

async function lead(first_name: string): Promise<string> {
  const phone = `+1512555${++phones}`;
  const [contact] = await sql<{ contact: { id: string } }[]>`
    insert into public.contacts as c (tenant_id, first_name, last_name, phone, email)
    values (${SUMMIT}, ${first_name}, 'Lopez', ${phone}, ${`${first_name.toLowerCase()}@example.com`})
    returning to_jsonb(c) as contact`;
  const id = contact!.contact.id;
  for (const { steps } of contactFlows) {
    for (const [type, config] of steps) {
      if (type === "send_sms") {
        expected.push({
          to: phone,
          body: String(config.body).replace("{{trigger.contact.first_name}}", first_name),
        });
      }
    }
  }
  if (calls) {
    await old.trigger("contact_created", {
      contact_id: id,
      contact: contact!.contact,
      user_id: OLIVIA,
    });
  }
  await sql`insert into public.projects (tenant_id, contact_id, name, estimated_value) values (${SUMMIT}, ${id}, ${`Roof of ${first_name}`}, 9000)`;
  return id;
}

/** PATCH /api/projects/:id: the write, then triggerWorkflows() and handleStageChange(). */
async function moveStage(contact: string, to: string): Promise<void> {
  const [before] = await sql<{ id: string; name: string; pipeline_stage: string }[]>`
    select id, name, pipeline_stage from public.projects where contact_id = ${contact}`;
  const from = before!.pipeline_stage;
  await sql`update public.projects set pipeline_stage = ${to} where id = ${before!.id}`;
  const data = {
    project_id: before!.id,
    project_name: before!.name,
    previous_stage: from,
    new_stage: to,
    contact_id: contact,
    estimated_value: 9000,
    approved_value: null,
    changed_by: OLIVIA,
    changed_at: (await old.now()).toISOString(),
  };
  if (!calls) return;
  await old.trigger("pipeline_stage_changed", data);
  if (to === "won") await old.trigger("project_won", data);
  await campaigns.stageChanged(contact, from, to);
}

async function finishJob(contact: string): Promise<void> {
  const [project] = await sql<
    { id: string; name: string }[]
  >`select id, name from public.projects where contact_id = ${contact}`;
  const number = `J-${project!.name}`;
  const [job] = await sql<{ id: string }[]>`
    insert into public.jobs (tenant_id, project_id, job_number, status) values (${SUMMIT}, ${
    project!.id
  }, ${number}, 'in_progress') returning id`;
  await sql`update public.jobs set status = 'completed' where id = ${job!.id}`;
  if (calls) {
    await old.trigger("job_completed", {
      job_id: job!.id,
      job_number: number,
      project_id: project!.id,
      completion_date: null,
      completed_by: OLIVIA,
    });
  }
}

const ours: OldText[] = [];
async function work(): Promise<void> {
  for (let round = 0; round < 4; round++) {
    await sql`select automation.tick()`;
    for (const { payload } of await send(sql)) {
      if (payload.body !== undefined && typeof payload.to === "string") {
        ours.push({ to: payload.to, body: payload.body, workflow: "", at: await old.now() });
      }
    }
  }
}

/** The crons of both come by every three hours. */
async function pass(hours: number): Promise<void> {
  for (let gone = 0; gone < hours; gone += 3) {
    await sql`select automation.advance_clock('3 hours')`;
    await old.cron();
    await campaigns.cron();
    await work();
  }
}

let people = 0;
const moving: string[] = [];
async function day(): Promise<void> {
  moving.unshift(await lead(`Ann${++people}`));
  await lead(`Bob${++people}`);
  await work();
  await pass(6);
  // Each day a stage further.
  const [, qualified, quoted, negotiating, won] = moving;
  if (qualified) await moveStage(qualified, "qualified");
  if (quoted) await moveStage(quoted, "quote_sent");
  if (negotiating) await moveStage(negotiating, "negotiation");
  if (won) {
    await moveStage(won, "won");
    await finishJob(won);
  }
  await work();
  await pass(18);
}

const order = (more: Partial<Order> = {}): Order => ({
  from: ["server", "campaigns", "automations"],
  tenants: [SUMMIT],
  choices: { ...safeChoices, purpose: "transactional" } as Order["choices"],
  apply: true,
  activate: true,
  overwrite: false,
  history: true,
  ...more,
});

interface Switched {
  was: string;
  cancelled_shadows?: number;
  taken_over?: Record<string, { outcomes: Record<string, number> }>;
  stop_calling?: { call: string }[];
  given_back?: number;
  going_on_here?: number;
  duplicates_stopped?: number;
}
async function setEngine(engine: string): Promise<Switched> {
  const [row] = await sql<
    { report: Switched }[]
  >`select ridgeline.set_engine(${engine}, ${SUMMIT}) as report`;
  return row!.report;
}

const open = async () =>
  Number(
    (await sql`select count(*) as n from public.workflow_executions where status = 'running'`)[0]!
      .n,
  );
const counted = (texts: { to: string; body: string }[]) => {
  const counts: Record<string, number> = {};
  for (const { to, body } of texts) counts[`${to} ${body}`] = (counts[`${to} ${body}`] ?? 0) + 1;
  return counts;
};
const toCustomers = (texts: OldText[]) => texts.filter(({ to }) => to !== OFFICE);

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  // A Monday morning, early enough for the day's texts to go out by daylight.
  await sql`select automation.set_clock('2026-11-02 15:00:00+00')`;
  await speakAs(sql, SUMMIT, "+15125550100");
  await fillOld();
  old = new OldEngine(sql, SUMMIT, (text) =>
    // Somebody's hot fix, which no definition knows of.
    text.body === "Welcome Ann13" ? { ...text, body: "WELCOME Ann13" } : text);
  campaigns = new OldCampaigns(sql, SUMMIT);
});
afterAll(() => host?.drop());

describe("an office moves over", () => {
  it("worked with the old engine alone, and this one was off", async () => {
    await setEngine("off");
    for (let n = 0; n < 3; n++) await day();
    expect(await open()).toBeGreaterThan(3);
    expect(old.texts.length).toBeGreaterThan(20);
    expect(ours).toEqual([]);
  }, 120_000);

  it("looks first: twenty workflows and three campaigns, and nothing is written", async () => {
    const report = await importLegacy(sql, order({ apply: false }));
    expect(report.entries).toHaveLength(23);
    expect(await sql`select 1 from ridgeline.workflows`).toHaveLength(0);
  });

  it("imports, in the shadow of the old engine", async () => {
    await setEngine("shadow");
    const report = await importLegacy(sql, order());
    const wrong = report.entries.flatMap(({ name, problems }) =>
      problems.filter(({ severity }) => severity === "error").map((one) => [name, one])
    );
    expect(wrong).toEqual([]);
    const [{ active, history }] = await sql<[{ active: number; history: number }]>`
      select (select count(*)::int from ridgeline.workflows where tenant_id = ${SUMMIT} and is_active) as active,
        (select count(*)::int from ridgeline.workflow_executions where mode = 'imported') as history`;
    expect(active).toBe(21);
    expect(history).toBeGreaterThan(10);
  });

  it("a week beside it: nothing goes out of the shadow, and what differs is named", async () => {
    const since = await old.now();
    for (let n = 0; n < 7; n++) {
      await day();
      // A migration writes contacts: the application is not asked.
      if (n === 2) {
        await sql`insert into public.contacts (tenant_id, first_name, last_name, phone) values (${SUMMIT}, 'Imported', 'Lopez', '+15125559999')`;
      }
    }
    expect(ours).toEqual([]);
    const [row] = await sql<
      {
        report: {
          runs: number;
          identical: number;
          differ: number;
          open: number;
          text: string;
          kinds: Record<string, number>;
        };
      }[]
    >`
      select ridgeline.compare_engines(${since}, automation.now() + interval '1 second', '1 hour', ${SUMMIT}) as report`;
    const { report } = row!;
    const differing = await sql<
      {
        kind: string;
        workflow_name: string;
        step_key: string | null;
        discrepancies: number;
        latest: JSONValue;
      }[]
    >`
      select kind, workflow_name, step_key, discrepancies::int, latest from ridgeline.legacy_discrepancies_by_kind order by 1, 2`;
    if (process.env.DEBUG_WEEK) console.log(report, JSON.stringify(differing, null, 1));
    expect(
      differing.filter(({ kind }) => kind === "text").map(({ workflow_name }) => workflow_name),
    ).toEqual(["Welcome"]);
    // One run of each workflow that listens to new contacts.
    expect(
      differing.filter(({ kind }) => kind === "extra").map(({ workflow_name }) => workflow_name)
        .sort(),
    )
      .toEqual(contactFlows.map(({ name }) => name).sort());
    // The old engine did not wait where a wait came first; the import keeps what was meant.
    expect(
      differing.filter(({ kind }) => kind === "time").map(({ workflow_name }) => workflow_name),
    ).toEqual(["Job survey"]);
    expect(Object.keys(report.kinds).sort()).toEqual(["extra", "text", "time"]);
    expect(report.differ).toBe(contactFlows.length + 1 + report.kinds.time!);
    expect(report.identical).toBeGreaterThan(100);
    expect(report.runs).toBe(report.identical + report.differ + report.open);
    expect(report.text).toContain(
      `${report.runs} runs, ${report.identical} identical, ${report.differ} differ: ${contactFlows.length} extra, 1 with other text, ${report.kinds.time} at another time`,
    );
  }, 300_000);

  it(
    "switched on: shadows end, runs in flight come over, and it is told what to stop calling",
    async () => {
      const running = await open();
      expect(running).toBeGreaterThan(5);
      const report = await setEngine("on");
      expect(report.was).toBe("shadow");
      expect(report.cancelled_shadows).toBeGreaterThan(5);
      expect(report.taken_over!.server!.outcomes).toEqual({ taken: running });
      expect(report.taken_over!.campaigns!.outcomes.taken).toBeGreaterThan(0);
      expect(report.stop_calling!.map(({ call }) => call)).toEqual([
        "triggerWorkflows('contact_created')",
        "triggerWorkflows('job_completed')",
        "triggerWorkflows('pipeline_stage_changed')",
        "triggerWorkflows('project_won')",
        "handleStageChange()",
        "/api/cron/process-workflows",
        "/api/cron/process-campaigns",
      ]);
      const [left] = await sql`
      select count(*)::int as open from ridgeline.workflow_executions where mode = 'shadow' and finished_at is null`;
      expect(left).toEqual({ open: 0 });
      const before = old.texts.length + campaigns.texts.length;
      calls = false;
      // Its crons go on for a while, and find nothing.
      for (let n = 0; n < 3; n++) await day();
      expect(old.texts.length + campaigns.texts.length).toBe(before);
      expect(ours.length).toBeGreaterThan(30);
      const [again] = await sql<
        { report: { begun_there_since: number } }[]
      >`select ridgeline.engine_report(${SUMMIT}) as report`;
      expect(again!.report.begun_there_since).toBe(0);
      // A second time nothing is left to take.
      expect((await setEngine("on")).taken_over!.server!.outcomes).toEqual({});
    },
    120_000,
  );

  it(
    "switched back: what stands where it stood goes back, the rest ends here, and what is new is the old engine's",
    async () => {
      const report = await setEngine("off");
      expect(report.was).toBe("on");
      expect(report.going_on_here).toBeGreaterThan(5);
      calls = true;
      const before = ours.length;
      for (let n = 0; n < 2; n++) await day();
      expect(old.texts.length).toBeGreaterThan(20);
      // Runs that had begun here say what they have left to say.
      expect(ours.length).toBeGreaterThan(before);
      await pass(14 * 24);
      expect(await open()).toBe(0);
      const [ended] = await sql`
      select count(*)::int as open from ridgeline.workflow_executions where finished_at is null`;
      expect(ended).toEqual({ open: 0 });
    },
    300_000,
  );

  it("and through all of it each customer got each text once", () => {
    const heard = counted([
      ...toCustomers(old.texts),
      ...toCustomers(campaigns.texts),
      ...toCustomers(ours),
    ]);
    const meant = counted(expected);
    // Campaigns tell in the order of their stages; each contact once.
    const fromCampaigns = Object.entries(heard).filter(([text]) => text.includes(" Campaign "));
    expect(fromCampaigns.length).toBeGreaterThan(15);
    expect(fromCampaigns.filter(([, times]) => times !== 1)).toEqual([]);
    const fromWorkflows = Object.fromEntries(
      Object.entries(heard).filter(([text]) => !text.includes(" Campaign ")),
    );
    const [hotFixed] = Object.keys(fromWorkflows).filter((text) => text.includes("WELCOME"));
    expect(hotFixed).toBeDefined();
    delete fromWorkflows[hotFixed!];
    fromWorkflows[hotFixed!.replace("WELCOME", "Welcome")] = 1;
    expect(fromWorkflows).toEqual(meant);
    const office = counted([...old.texts, ...ours].filter(({ to }) => to === OFFICE));
    expect(Object.entries(office).filter(([, times]) => times !== 1)).toEqual([]);
  });

  it("while the neighbour was left alone", async () => {
    expect(await sql`select 1 from ridgeline.workflow_executions where tenant_id = ${LAKESIDE}`)
      .toHaveLength(0);
  });
});
