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

const EDIT = { type: "update_contact", config: { city: "Austin" } };

const triggerThat = (deed: string) =>
  sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin ${deed} return new; end $$;
    create trigger office_rule before update on public.contacts
      for each row when (new.city = 'Austin') execute function public.office_rule()`);

async function milliseconds(work: () => PromiseLike<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

it("a step that is slow holds its own record only", { timeout: 30_000 }, async () => {
  const mine = await sessions.office([EDIT]);
  const other = await sessions.office([EDIT]);
  await triggerThat("if new.first_name = 'Slow' then perform pg_sleep(4); end if;");
  const contacts = [];
  for (let n = 0; n < 5; n++) {
    contacts.push(await sessions.lead(mine.tenantId), await sessions.lead(other.tenantId));
  }
  await sql`insert into contacts (tenant_id, first_name) values (${other.tenantId}, 'Slow')`;
  for (let n = 0; n < 5; n++) contacts.push(await sessions.lead(mine.tenantId));
  const ticking = sessions.connect().unsafe("call automation.tick_for('1 second')").execute();
  await waitFor("the slow step", async () => {
    const [asleep] = await sql`select from pg_stat_activity where wait_event = 'PgSleep'
      and query like '%tick_for%'`;
    return asleep;
  });
  for (const id of contacts) {
    expect(await milliseconds(() => sql`update contacts set company = 'Lee' where id = ${id}`))
      .toBeLessThan(1_000);
  }
  await ticking;
});

it("a hundred records with a trigger of 8 ms each are done under a timeout of 3 s", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([EDIT]);
  await triggerThat("perform pg_sleep(0.008);");
  await sql`insert into contacts (tenant_id, first_name) select ${tenantId}, 'Maria' from generate_series(1, 120)`;
  const connection = sessions.connect();
  await connection`set statement_timeout = '3s'`;
  for (let ticks = 0; ticks < 15; ticks++) {
    await connection.unsafe("call automation.tick_for('2 seconds')");
  }
  const [row] = await sql`select count(*)::int as done from contacts where city = 'Austin'`;
  expect(row).toEqual({ done: 120 });
});

it("a tenant's dear calls leave connections for the others", async () => {
  const mine = await sessions.office([EDIT]);
  const other = await sessions.office([EDIT]);
  const validate = (on: Sql, id: string) => on`select validate_workflow(${id})`;
  const busy = [await sessions.begin(), await sessions.begin()];
  for (const session of busy) await session`select validate_workflow(${other.workflowId})`;
  await expect(validate(sql, other.workflowId)).rejects.toMatchObject({ code: "PT429" });
  await validate(sql, mine.workflowId);
  await busy[0]?.unsafe("rollback");
  await validate(sql, other.workflowId);
});
