// What the engine does for one tenant keeps nobody else waiting.
import type { Sql } from "postgres";
import { beforeEach, expect, it } from "vitest";
import { useSessions } from "../database/executions/support.ts";
import { waitFor } from "../support/standins.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const MANY = 250;
const EDIT = { type: "update_contact", config: { city: "Austin" } };

const triggerThat = (deed: string) =>
  sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin ${deed} return new; end $$;
    create trigger office_rule before update on public.contacts
      for each row when (new.city = 'Austin') execute function public.office_rule()`);

it("a step that is slow holds its own record only", { timeout: 60_000 }, async () => {
  const mine = await sessions.office([EDIT]);
  const other = await sessions.office([EDIT]);
  // As slow as we like: until we let go of what it wants.
  await triggerThat("if new.first_name = 'Slow' then perform pg_advisory_xact_lock(42); end if;");
  const us = await sessions.begin();
  await us`select pg_advisory_xact_lock(42)`;
  const contacts = [];
  for (let n = 0; n < 5; n++) {
    contacts.push(await sessions.lead(mine.tenantId), await sessions.lead(other.tenantId));
  }
  await sql`insert into contacts (tenant_id, first_name) values (${other.tenantId}, 'Slow')`;
  for (let n = 0; n < 5; n++) contacts.push(await sessions.lead(mine.tenantId));
  const ticking = sessions.connect().unsafe("call automation.tick_for('1 second')").execute();
  const isSlow = async () =>
    (await sql`select from pg_stat_activity where wait_event = 'advisory' and query like '%tick_for%'`)
      .length > 0;
  await waitFor("the slow step", isSlow);
  for (const id of contacts) await sql`update contacts set company = 'Lee' where id = ${id}`;
  expect(await isSlow(), "still at it").toBe(true);
  await us`commit`;
  await ticking;
});

it(
  "records with a trigger that is slow are done a few at a time, under a timeout that all together exceed",
  {
    timeout: 120_000,
  },
  async () => {
    const { tenantId } = await sessions.office([EDIT]);
    await triggerThat("perform pg_sleep(0.02);");
    await sql`insert into contacts (tenant_id, first_name) select ${tenantId}, 'Maria' from generate_series(1, ${MANY}::int)`;
    const connection = sessions.connect();
    await connection`set statement_timeout = '3s'`;
    const done = async () => (await sql`select from contacts where city = 'Austin'`).length;
    // A second's worth in each at the least.
    for (let ticks = 0; ticks < 40 && await done() < MANY; ticks++) {
      await connection.unsafe("call automation.tick_for('1 second')");
    }
    expect(await done()).toBe(MANY);
  },
);

it("a tenant's dear calls leave connections for the others", async () => {
  const mine = await sessions.office([EDIT]);
  const other = await sessions.office([EDIT]);
  const validate = (on: Sql, id: string) => on`select ridgeline.validate_workflow(${id})`;
  const busy = [await sessions.begin(), await sessions.begin()];
  for (const session of busy) {
    await session`select ridgeline.validate_workflow(${other.workflowId})`;
  }
  await expect(validate(sql, other.workflowId)).rejects.toMatchObject({ code: "PT429" });
  await validate(sql, mine.workflowId);
  await busy[0]?.unsafe("rollback");
  await validate(sql, other.workflowId);
});
