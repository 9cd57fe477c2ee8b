// Events, deletions and re-entry while other sessions are at work: nobody waits for long, nothing is lost,
// and what has committed counts.
import type { ReservedSql, Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { type Step, useSessions } from "./support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const text: Step = { type: "send_sms", config: { body: "Hi" } };
const task: Step = { type: "create_task", config: { title: "Call" } };
const replyExit = { exit_events: ["sms_received"] };

const reply = (session: Sql | ReservedSql, tenantId: string, contactId: string) =>
  session`insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    select tenant_id, id, 'inbound', phone, 'Yes' from contacts
    where tenant_id = ${tenantId} and id = ${contactId}`;
const claim = (session: Sql | ReservedSql, most = 10) =>
  session`select tenant_id, step_id, attempt_token from automation.claim_steps('w', ${most})`;
const signals = async (session: Sql | ReservedSql): Promise<number> => {
  const [ran] = await session`select automation.run_signals() as ran`;
  return ran?.ran;
};
/** All that is due: on a busy machine one portion may be over after the first step. */
const run = async (session: Sql | ReservedSql): Promise<number> => {
  const [{ ran }] = await session<[{ ran: number }]>`select automation.run_database_steps() as ran`;
  return ran > 0 ? ran + await run(session) : 0;
};
const later = (interval: string) => sql`select automation.advance_clock(${interval}::interval)`;
/** What is put off for a moment of real time is due again. */
const aMomentLater = () => sql`update automation.signals set next_try_at = clock_timestamp()`;
const statuses = async () =>
  (await sql`select status from ridgeline.workflow_executions order by id`).map(({ status }) =>
    status
  );

describe("a reply that ends a run", () => {
  it("counts for every claim after its commit, read or not", async () => {
    const { tenantId } = await sessions.office([{ ...text, delay: 1 }], replyExit);
    const contact = await sessions.lead(tenantId);
    await later("2 minutes");
    const customer = await sessions.begin();
    await reply(customer, tenantId, contact);
    // A claim in a transaction that began before the reply has committed sees it too.
    const worker = await sessions.begin();
    await worker`select 1`;
    await customer`commit`;
    expect(await claim(worker)).toHaveLength(0);
    await worker`commit`;
    expect(await statuses()).toEqual(["cancelled"]);
  });

  it("waits for nobody, and nobody for it", async () => {
    const { tenantId } = await sessions.office([{ ...text, delay: 1 }, task], replyExit);
    const contact = await sessions.lead(tenantId);
    await later("2 minutes");
    const worker = await sessions.begin();
    expect(await claim(worker)).toHaveLength(1);
    await reply(sql, tenantId, contact);
    expect(await signals(sql)).toBe(0);
    await worker`commit`;
    expect(await statuses()).toEqual(["running"]);
    await aMomentLater();
    expect(await signals(sql)).toBe(1);
    expect(await statuses()).toEqual(["cancelled"]);
  });

  it("is acted on once by two that read at the same time", async () => {
    const { tenantId } = await sessions.office([{ ...task, delay: 60 }], replyExit);
    const contact = await sessions.lead(tenantId);
    await reply(sql, tenantId, contact);
    const first = await sessions.begin();
    expect(await signals(first)).toBe(1);
    expect(await signals(sql)).toBe(0);
    await first`commit`;
    expect(await statuses()).toEqual(["cancelled"]);
    expect(await sql`select * from automation.signals where kept_for is null`).toEqual([]);
  });

  it("is read again when the session that read it dies", async () => {
    const { tenantId } = await sessions.office([{ ...task, delay: 60 }], replyExit);
    const contact = await sessions.lead(tenantId);
    await reply(sql, tenantId, contact);
    const dying = await sessions.begin();
    expect(await signals(dying)).toBe(1);
    await dying`rollback`;
    expect(await statuses()).toEqual(["waiting"]);
    expect(await signals(sql)).toBe(1);
    expect(await statuses()).toEqual(["cancelled"]);
  });
});

describe("a step that waits for a reply", () => {
  const asking: Step[] = [
    { type: "wait", key: "reply", config: { event: "sms_received", timeout: "1 day" } },
    { type: "create_task", config: { title: "{{steps.reply.result}}" } },
  ];

  it("hears one that comes while it begins to wait", async () => {
    const { tenantId } = await sessions.office(asking);
    const contact = await sessions.lead(tenantId);
    const engine = await sessions.begin();
    expect(await run(engine)).toBe(1);
    await reply(sql, tenantId, contact);
    // Whoever reads the reply now finds the run in the engine's hands, and leaves it for later.
    expect(await signals(sql)).toBe(0);
    await engine`commit`;
    await aMomentLater();
    expect(await run(sql)).toBe(2);
    expect(await sql`select title from tasks`).toEqual([{ title: "event" }]);
  });

  it("goes one way when the reply and the timeout come at once", async () => {
    const { tenantId } = await sessions.office(asking);
    const contact = await sessions.lead(tenantId);
    await run(sql);
    await later("1 day");
    const engine = await sessions.begin();
    expect(await run(engine)).toBe(2);
    await reply(sql, tenantId, contact);
    await engine`commit`;
    await aMomentLater();
    await run(sql);
    expect(await sql`select title from tasks`).toEqual([{ title: "timeout" }]);
    expect(await statuses()).toEqual(["completed"]);
  });
});

describe("re-entry", () => {
  it("lets one of two in that ask at the same time", async () => {
    const { tenantId } = await sessions.office([task], {
      reentry: "never",
      dedupe_key: "{{contact.phone}}",
    });
    await sessions.lead(tenantId);
    await sessions.lead(tenantId);
    const first = await sessions.begin();
    await first`select automation.run_database_steps(1)`;
    // The other is put off, not refused: the first may still be undone.
    await run(sql);
    expect(await statuses()).toEqual(["pending", "pending"]);
    await first`rollback`;
    await later("1 minute");
    await run(sql);
    expect((await statuses()).sort()).toEqual(["completed", "skipped"]);
    expect(await sql`select title from tasks`).toHaveLength(1);
  });

  it("lets one in of a crowd, whoever runs them", async () => {
    const { tenantId } = await sessions.office([task], {
      reentry: "never",
      dedupe_key: "{{contact.phone}}",
    });
    for (let n = 0; n < 30; n++) await sessions.lead(tenantId, `+1512555010${n % 3}`);
    const runners = Array.from({ length: 4 }, () => sessions.connect());
    for (let round = 0; round < 100; round++) {
      await Promise.all(runners.map((runner) => runner`select automation.run_database_steps(5)`));
      await later("2 seconds");
      const [open] = await sql`select count(*)::int from ridgeline.scheduled_steps`;
      if (open?.count === 0) break;
    }
    expect(await sql`select count(*)::int as tasks from tasks`).toEqual([{ tasks: 3 }]);
    expect((await statuses()).filter((status) => status === "skipped")).toHaveLength(27);
  });
});

describe("a contact that is deleted", () => {
  it("does not wait for a run that is being worked on", async () => {
    const { tenantId } = await sessions.office([{ ...text, delay: 1 }, task]);
    const contact = await sessions.lead(tenantId);
    await later("2 minutes");
    const worker = await sessions.begin();
    const [step] = await claim(worker);
    await sql`set lock_timeout = '2s'`;
    await sql`delete from contacts where id = ${contact}`;
    await worker`commit`;
    await aMomentLater();
    await run(sql);
    expect(await statuses()).toEqual(["cancelled"]);
    // What was under way is reported all the same.
    const report = sql.json([{ ...step, outcome: "succeeded" }] as never);
    expect(await sql`select accepted from automation.finish_steps(${report})`)
      .toEqual([{ accepted: true }]);
    expect(await sql`select * from ridgeline.scheduled_steps`).toEqual([]);
  });
});

describe("under load", () => {
  it("no text is claimed after a reply has committed, and nothing ends in a deadlock", async () => {
    const { tenantId } = await sessions.office([text, { ...text, delay: 1 }, task], replyExit);
    const contacts: string[] = [];
    for (let n = 0; n < 120; n++) {
      contacts.push(await sessions.lead(tenantId, `+1512555${1000 + n}`));
    }
    await later("2 seconds");
    const errors: string[] = [];
    const replied = new Map<string, number>();
    const claimed: { contact: string; began: number }[] = [];
    const stop = { now: false };
    const until = async (work: (session: Sql) => Promise<unknown>) => {
      const session = sessions.connect();
      while (!stop.now) await work(session).catch((error: Error) => errors.push(error.message));
    };
    const worker = async (session: Sql) => {
      const began = performance.now();
      const steps = await claim(session, 7);
      const ids = steps.map(({ step_id }) => step_id);
      const runs = await session`
        select e.record_id from ridgeline.workflow_step_executions as s
        join ridgeline.workflow_executions as e on e.id = s.execution_id where s.id = any (${ids})`;
      claimed.push(...runs.map(({ record_id }) => ({ contact: record_id, began })));
      const reports = steps.map((step) => ({ ...step, outcome: "succeeded" }));
      await session`select automation.finish_steps(${session.json(reports as never)})`;
      await session`select automation.advance_clock('1 minute')`;
    };
    const running = [until(worker), until(worker), until((session) => run(session))];
    const customer = sessions.connect();
    for (const contact of contacts.filter((_, index) => index % 2 === 0)) {
      await reply(customer, tenantId, contact);
      replied.set(contact, performance.now());
    }
    const open = async () => {
      await aMomentLater();
      return (await sql`select count(*)::int from ridgeline.scheduled_steps`)[0]?.count;
    };
    try {
      while (errors.length === 0 && await open() > 0) await later("1 minute");
    } finally {
      stop.now = true;
      await Promise.all(running);
    }
    expect(errors).toEqual([]);
    const wrong = claimed.filter(({ contact, began }) =>
      began > (replied.get(contact) ?? Infinity)
    );
    expect(wrong).toEqual([]);
    expect(new Set(await statuses())).toEqual(new Set(["completed", "cancelled"]));
    const [silent] = await sql`
      select count(*)::int from ridgeline.workflow_executions as e
      where e.status = 'completed' and e.record_id = any (${[...replied.keys()]})
        and not exists (select from ridgeline.workflow_step_executions as s
          where s.execution_id = e.id and s.step_key = 'step_3')`;
    expect(silent?.count).toBe(0);
  });
});

describe("a definition that is saved", () => {
  const save = (
    session: Sql | ReservedSql,
    id: string,
    tenantId: string,
    title: string,
    base?: string,
  ) =>
    session<{ saved: { saved: boolean; conflict?: { definition: { steps: Step[] } } } }[]>`
      select ridgeline.save_workflow(${
      session.json({
        id,
        name: "Welcome",
        trigger_type: "contact_created",
        steps: [{ step_type: "create_task", step_config: { title } }],
      })
    }, ${base ?? null}, ${tenantId}) as saved`.then(([row]) => row!.saved);

  it("meets an edit of a step that commits meanwhile", async () => {
    const { tenantId, workflowId } = await sessions.office([task]);
    const [{ revision }] = await sql<[{ revision: string }]>`
      select ridgeline.get_definition(${workflowId}, null, ${tenantId}) ->> 'revision' as revision`;
    const studio = await sessions.begin();
    await studio`update ridgeline.workflow_steps set step_config = '{"title": "Ring"}'`;
    const screen = save(sql, workflowId, tenantId, "Write", revision);
    await sessions.somebodyWaits();
    await studio`commit`;
    expect(await screen).toMatchObject({
      saved: false,
      conflict: { definition: { steps: [{ step_config: { title: "Ring" } }] } },
    });
    expect(await sql`select step_config ->> 'title' as title from ridgeline.workflow_steps`)
      .toEqual([{ title: "Ring" }]);
  });

  it("does not wait for long for a step that somebody has left open", async () => {
    const { tenantId, workflowId } = await sessions.office([task]);
    const [{ revision }] = await sql<[{ revision: string }]>`
      select ridgeline.get_definition(${workflowId}, null, ${tenantId}) ->> 'revision' as revision`;
    const studio = await sessions.begin();
    await studio`update ridgeline.workflow_steps set step_config = '{"title": "Ring"}'`;
    await expect(save(sql, workflowId, tenantId, "Write", revision))
      .rejects.toThrow("somebody is editing a step of this workflow");
  });

  it("and is new is written by one of two who save it under the same id", async () => {
    const { tenantId } = await sessions.office([task]);
    const id = crypto.randomUUID();
    const first = await sessions.begin();
    expect(await save(first, id, tenantId, "Ring")).toMatchObject({ saved: true });
    const second = save(sql, id, tenantId, "Write");
    await sessions.somebodyWaits();
    await first`commit`;
    await expect(second).rejects.toThrow("this workflow exists");
  });
});
