// A session keeps in mind who listens. Whatever others publish meanwhile, no write is missed.
import type { Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  cloneDatabase,
  connect,
  createTemplate,
  startScratchServer,
} from "../../../scripts/lib/scratch.ts";

const APEX = "00000000-0000-0000-0000-00000000000a";
let stop: () => Promise<void>;
let url: string;
let made = 0;
const opened: Sql[] = [];

/** A database with one office, and the sessions of those who work in it. */
async function office(sessions: number): Promise<[Sql, ...Sql[]]> {
  const database = await cloneDatabase(url, `listening_${made++}`);
  const all = Array.from({ length: sessions }, () => connect(database, { max: 1 }));
  opened.push(...all);
  await all[0]!`insert into public.tenants (id, name) values (${APEX}, 'Apex Roofing')`;
  return all as [Sql, ...Sql[]];
}

interface Condition {
  field: string;
  operator: string;
  value: string;
}

async function draft(
  sql: Sql,
  config: Record<string, string> = {},
  conditions: Condition[] = [],
): Promise<string> {
  const [workflow] = await sql<[{ id: string }]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, conditions)
    values (${APEX}, 'Call new leads', 'contact_created', ${sql.json(config)},
      ${sql.json(conditions as unknown as Record<string, string>[])}) returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
    values (${APEX}, ${workflow.id}, 'create_task', '{"title": "Call"}')`;
  return workflow.id;
}

const turn = (sql: Sql, id: string, on: boolean) =>
  sql`update ridgeline.workflows set is_active = ${on} where id = ${id}`;

/** So many leads, each written by a statement of its own inside the server. */
const leads = (sql: Sql, times: number, source = "web") =>
  sql.unsafe(`do $$ begin for n in 1..${times} loop
    insert into public.contacts (tenant_id, first_name, source)
    values ('${APEX}', 'Lead', '${source.replaceAll("'", "''")}'); end loop; end $$`);

const runs = async (sql: Sql) =>
  (await sql<[{ n: number }]>`select count(*)::integer as n from ridgeline.workflow_executions`)[0]
    .n;

const kept = async (sql: Sql) =>
  (await sql<[{ kept: string | null }]>`
    select current_setting('automation.heard_contact_insert_a', true) as kept`)[0].kept;

beforeAll(async () => {
  const started = await startScratchServer({ settings: { max_prepared_transactions: "5" } });
  stop = started.stop;
  url = started.server.url();
  await createTemplate(url);
});
afterAll(async () => {
  await Promise.all(opened.map((sql) => sql.end({ timeout: 1 })));
  await stop();
});

describe("what a session knows of who listens", () => {
  it("is that nobody does, until somebody publishes", async () => {
    const [writer, author] = await office(2);
    await leads(writer, 200);
    expect(await kept(writer)).toMatch(new RegExp(`^\\d+ ${APEX}$`));
    await turn(author!, await draft(author!), true);
    await leads(writer, 1);
    expect(await runs(writer)).toBe(1);
  });

  it("is not learnt while somebody who publishes has not committed", async () => {
    const [writer, author, other] = await office(3);
    const id = await draft(author!);
    await author!.begin(async (sql) => {
      await turn(sql as unknown as Sql, id, true);
      await leads(writer, 200);
      expect(await kept(writer)).toBeNull();
      await leads(other!, 200);
    });
    await leads(writer, 3);
    await leads(other!, 3);
    expect(await runs(writer)).toBe(6);
  });

  it("is not learnt from an old snapshot", async () => {
    const [writer, author] = await office(2);
    const id = await draft(author!);
    await writer.begin("isolation level repeatable read", async (sql) => {
      await sql`select count(*) from public.contacts`;
      await turn(author!, id, true);
      await leads(sql as unknown as Sql, 200);
    });
    await leads(writer, 3);
    expect(await runs(writer)).toBe(3);
  });

  it("is forgotten with a transaction that is rolled back", async () => {
    const [writer] = await office(1);
    const id = await draft(writer);
    await turn(writer, id, true);
    await leads(writer, 200);
    await writer.begin(async (sql) => {
      await sql.savepoint(async (inner) => {
        await turn(inner as unknown as Sql, id, false);
        await leads(inner as unknown as Sql, 200);
        throw new Error("back");
      }).catch(() => {});
      await leads(sql as unknown as Sql, 2);
    });
    await leads(writer, 1);
    expect(await runs(writer)).toBe(203);
  });

  it("is not learnt from what a transaction has changed itself, which another session may undo", async () => {
    const [writer, other] = await office(2);
    const id = await draft(writer);
    await turn(writer, id, true);
    await leads(writer, 200);
    await writer.unsafe("begin").simple();
    await turn(writer, id, false);
    await leads(writer, 200);
    await writer.unsafe("prepare transaction 'off'");
    await leads(writer, 2);
    expect(await runs(writer)).toBe(202);
    await other!.unsafe("rollback prepared 'off'");
    await leads(writer, 3);
    expect(await runs(writer)).toBe(205);
  });

  it("does not come back when a dump sets the number back", async () => {
    const [writer, author] = await office(2);
    const id = await draft(author!);
    // The first number is the clock's.
    for (const on of [true, false]) await turn(author!, id, on);
    const [{ dumped }] = await author!<[{ dumped: string }]>`
      select last_value::text as dumped from pg_sequences
      where schemaname = 'automation' and sequencename = 'listening'`;
    // What is learnt now is of the numbers that follow, which the restored database has again.
    for (let n = 0; n < 12; n++) {
      await turn(author!, id, n % 2 === 0);
    }
    await leads(writer, 200);
    const known = await kept(writer);
    expect(known).toMatch(new RegExp(`^\\d+ ${APEX}$`));
    const saved = await author!`select * from automation.active_triggers`;
    expect(saved.length).toBe(0);
    await turn(author!, id, true);
    await author!.begin(async (sql) => {
      await sql.unsafe(
        `create temporary table saved_workflows on commit drop as table ridgeline.workflows;
        create temporary table saved_steps on commit drop as table ridgeline.workflow_steps;
        create temporary table saved_versions on commit drop as table ridgeline.workflow_versions;
        create temporary table saved_listeners on commit drop as table automation.active_triggers;
        alter table saved_listeners drop column plainly;
        create temporary table saved_entities on commit drop as table automation.entities;
        create temporary table saved_tenancy on commit drop as table automation.tenancy;
        create temporary table saved_membership on commit drop as table automation.membership;
        create temporary table saved_settings on commit drop as table automation.settings;
        create temporary table saved_targets on commit drop as table automation.targets;
        truncate ridgeline.workflow_executions, ridgeline.scheduled_steps, ridgeline.messages, ridgeline.workflows cascade;
        select automation.begin_restore();
        insert into ridgeline.workflows table saved_workflows;
        insert into ridgeline.workflow_steps table saved_steps;
        insert into ridgeline.workflow_versions table saved_versions;
        insert into automation.active_triggers table saved_listeners;
        insert into automation.entities table saved_entities;
        insert into automation.tenancy table saved_tenancy;
        insert into automation.membership table saved_membership;
        insert into automation.settings table saved_settings;
        insert into automation.targets table saved_targets;
        select setval('automation.listening', ${dumped});
        select automation.end_restore();`,
      ).simple();
    });
    // Whatever number the restore ended with, and those that follow it, none is one that a session knows: they are
    // taken up to that one, and past it.
    const next = () => author!`select automation.change_listening()`;
    const last = async () =>
      BigInt((await author!`select last_value from automation.listening`)[0]!.last_value);
    while (await last() < BigInt(known!.split(" ")[0]!) - 1n) await next();
    for (let n = 0; n < 3; n++) {
      await leads(writer, 1);
      await next();
    }
    expect(await runs(writer)).toBe(3);
  });

  it("is forgotten when listeners arrive a row at a time, by replication", async () => {
    const [writer, author, subscriber] = await office(3);
    await turn(author!, await draft(author!), true);
    await author!.unsafe(`
      set session_replication_role = replica;
      create temporary table saved as table automation.active_triggers;
      alter table saved drop column plainly;
      delete from automation.active_triggers`);
    await leads(writer, 200);
    expect(await kept(writer)).toMatch(new RegExp(`${APEX}$`));
    // An apply worker fires what belongs to rows, and nothing that belongs to statements.
    await subscriber!.unsafe(`
      set session_replication_role = replica;
      alter table automation.active_triggers disable trigger active_triggers_note_listening`);
    await author!.unsafe("insert into automation.active_triggers table saved");
    await leads(writer, 1);
    expect(await runs(writer)).toBe(1);
  });

  it("is forgotten when listeners are loaded by a session whose triggers do not fire", async () => {
    const [writer, loader] = await office(2);
    await turn(loader!, await draft(loader!), true);
    await loader!.unsafe(`
      set session_replication_role = replica;
      create temporary table saved as table automation.active_triggers;
      alter table saved drop column plainly;
      delete from automation.active_triggers`);
    await leads(writer, 200);
    expect(await kept(writer)).toMatch(new RegExp(`${APEX}$`));
    await loader!.unsafe("insert into automation.active_triggers table saved");
    await leads(writer, 1);
    expect(await runs(writer)).toBe(1);
  });

  it("tells rows by the texts that listeners ask for, whatever is in them", async () => {
    const [writer] = await office(1);
    const odd = `Joe's "roofs", {x} \\ NULL`;
    for (const source of ["angi", odd]) await turn(writer, await draft(writer, { source }), true);
    await leads(writer, 200);
    expect(await kept(writer)).toContain('",of,none,');
    expect(await runs(writer)).toBe(0);
    await leads(writer, 2, "angi");
    await leads(writer, 3, odd);
    expect(await runs(writer)).toBe(5);
  });

  it("tells rows by the conditions of listeners, whatever they compare with", async () => {
    const [writer, author] = await office(2);
    const odd = `Joe's "roofs", {x} \\ NULL\n|| (1 == 1) é`;
    const is = (field: string, value: string): Condition[] => [
      { field: `contact.${field}`, operator: "equals", value },
    ];
    const ids: string[] = [];
    for (const conditions of [is("source", "Angi"), is("source", odd), is("city", "Waco")]) {
      ids.push(await draft(author!, {}, conditions));
      await turn(author!, ids.at(-1)!, true);
    }
    await leads(writer, 200);
    expect(await kept(writer)).toContain('",any,none,none,folded,');
    expect(await runs(writer)).toBe(0);
    await leads(writer, 2, "angi");
    await leads(writer, 3, odd.toUpperCase());
    // Nobody can tell without looking: a final sigma, a key that is not in lower case, a record that is long.
    await leads(writer, 1, "ΟΔΟΣ");
    expect(await runs(writer)).toBe(5);
    await writer`insert into public.contacts (tenant_id, source, company, city)
      values (${APEX}, 'angi', ${"long ".repeat(2000)}, 'waco')`;
    expect(await runs(writer)).toBe(7);
    await writer`update ridgeline.workflows set conditions = ${
      writer.json([{ field: "contact.source", operator: "equals", value: "web" }])
    } where id = ${ids[0]!}`;
    await author!`select ridgeline.publish_workflow(${ids[0]!})`;
    await leads(writer, 1);
    expect(await runs(writer)).toBe(8);
  });

  it("is what the doorbell rings for, until it is to ring otherwise", async () => {
    const [writer, author] = await office(2);
    await turn(author!, await draft(author!), true);
    const rings: string[] = [];
    await author!.listen("ridgeline_doorbell", (lane) => rings.push(lane));
    const rung = async () => {
      let end = () => {};
      const ended = new Promise<void>((resolve) => end = resolve);
      const { unlisten } = await author!.listen("the_end", () => end());
      await writer`select pg_notify('the_end', '')`;
      await ended;
      await unlisten();
      return rings.splice(0).length;
    };
    const setBell = (sql: Sql, value: string) =>
      sql`update automation.settings set value = ${value} where name = 'doorbell'`;
    await leads(writer, 200);
    expect(await kept(writer)).toContain('",any,none,none,sole,');
    expect(await rung()).toBe(0);
    await setBell(author!, "notify");
    await leads(writer, 1);
    expect(await rung()).toBe(1);
    await leads(writer, 200);
    expect(await kept(writer)).toContain('",any,none,notify,sole,');
    expect(await rung()).toBe(1);
    await author!.begin(async (sql) => {
      await setBell(sql as unknown as Sql, "none");
      await leads(writer, 1);
    });
    expect(await rung()).toBe(1);
    await leads(writer, 1);
    expect(await rung()).toBe(0);
  });

  it("starts nothing that the tables do not say, whoever wrote it there", async () => {
    const [writer] = await office(1);
    const angi = await draft(writer, {}, [
      { field: "contact.source", operator: "equals", value: "angi" },
    ]);
    await turn(writer, angi, true);
    const paused = await draft(writer);
    await turn(writer, paused, true);
    await turn(writer, paused, false);
    await leads(writer, 200);
    const [number] = (await kept(writer))!.split(",");
    for (
      const forged of [
        "any,none,none,plain,NULL",
        "of,none,none,plain,NULL,web",
        `any,none,none,sole,NULL,${paused} 1 database step_1`,
        `any,none,none,sole,NULL,${angi} 1 database step_1`,
        "any,none,none,sole,NULL,x y z",
        "any,none,none,sole",
        "any,none,x,y,broken (",
        "x",
      ]
    ) {
      await writer`select set_config('automation.heard_contact_insert_a', ${`${number},${forged}}`}, false)`;
      await leads(writer, 1);
      expect(await runs(writer), forged).toBe(0);
    }
    await writer`select set_config('automation.heard_contact_insert_a', ${`${number},`}, false)`;
    await leads(writer, 2, "angi");
    expect(await runs(writer)).toBe(2);
    expect((await writer`select from public.contacts`).length).toBe(210);
  });

  it("begins a run of the only listener as it says, and of none that has changed", async () => {
    const [writer, author] = await office(2);
    const id = await draft(author!, { source: "angi" });
    await turn(author!, id, true);
    await leads(writer, 200);
    expect(await kept(writer)).toMatch(
      /",of,none,none,sole,NULL,"[^"]* 1 database step_1",angi\}$/,
    );
    await leads(writer, 2, "angi");
    const modes = async () =>
      (await author!<[{ modes: string }]>`
        select string_agg(distinct e.mode || ' ' || e.status || ' ' || s.lane, ', ') as modes
        from ridgeline.workflow_executions as e
        left join ridgeline.scheduled_steps as s on s.tenant_id = e.tenant_id and s.execution_id = e.id`)[
        0
      ]
        .modes;
    expect(await runs(writer)).toBe(2);
    expect(await modes()).toBe("live pending database");
    await author!`update ridgeline.workflow_steps set delay_minutes = 5 where workflow_id = ${id}`;
    await author!`select ridgeline.publish_workflow(${id})`;
    await author!`delete from ridgeline.workflow_executions`;
    await leads(writer, 1, "angi");
    await leads(writer, 200);
    expect(await kept(writer)).toContain('",of,none,none,plain,');
    await leads(writer, 1, "angi");
    expect(await modes()).toBe("live waiting database");
    expect(await runs(writer)).toBe(2);
  });

  it("is of one tenant only", async () => {
    const [writer] = await office(1);
    const other = APEX.replace("00000000-", "00000001-");
    await writer`insert into public.tenants (id, name) values (${other}, 'Summit Gutters')`;
    await turn(writer, await draft(writer), true);
    await writer.unsafe(`do $$ begin for n in 1..200 loop
      insert into public.contacts (tenant_id) values ('${other}');
      insert into public.contacts (tenant_id) values ('${APEX}'); end loop; end $$`);
    expect(await runs(writer)).toBe(200);
  });
});
