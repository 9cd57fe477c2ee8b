// Two who run failed runs again at once: the runs come one behind the other, as if one had asked after the other.
import type { JSONValue } from "postgres";
import { expect, it } from "vitest";
import { waitFor } from "../../support/standins.ts";
import { useSessions } from "./support.ts";

const sessions = useSessions();

it("those of two calls at once are spread over the minutes of both", async () => {
  const { sql } = sessions;
  const { tenantId } = await sessions.office([
    { type: "update_field", config: { field: "contact.assigned_to", value: "nobody" } },
  ]);
  for (let n = 0; n < 4; n++) await sessions.lead(tenantId);
  await sql`call automation.work_database_steps(0)`;
  const [one, other] = [await sessions.begin(), await sessions.begin()];
  const again = (session: typeof one) =>
    session`select ridgeline.retry_executions('{"limit": 2}', 60, ${tenantId}) ->> 'retried' as retried`;
  expect(await again(one)).toEqual([{ retried: "2" }]);
  const second = again(other).execute();
  await sessions.somebodyWaits();
  // What a lead writes meanwhile waits for neither.
  await sessions.lead(tenantId);
  await one`commit`;
  expect(await second).toEqual([{ retried: "2" }]);
  await other`commit`;
  const apart = await sql`
    select extract(epoch from s.run_at - lag(s.run_at) over (order by s.run_at))::float8 as seconds
    from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id
    where s.tenant_id = ${tenantId} and e.changed_at > e.created_at order by s.run_at offset 1`;
  expect(apart.every(({ seconds }) => seconds >= 1)).toBe(true);
  expect(apart).toHaveLength(3);
});

it("one that waited long for another looks at those behind its own place", async () => {
  const { sql } = sessions;
  const { tenantId } = await sessions.office([
    { type: "update_field", config: { field: "contact.assigned_to", value: "nobody" } },
  ]);
  for (let n = 0; n < 3; n++) await sessions.lead(tenantId);
  await sql`call automation.work_database_steps(0)`;
  const again = (session: typeof sql, filter: Record<string, JSONValue>) =>
    session`select ridgeline.retry_executions(${session.json(filter)}, 60, ${tenantId}) as told`;
  const [first] = await again(sql, { limit: 1 });
  expect(first?.told).toMatchObject({ retried: 1, after: expect.any(String) });
  const [one, other] = [await sessions.begin(), await sessions.begin()];
  await again(one, { limit: 1 });
  const second = again(other, { after: first?.told.after }).execute();
  await waitFor("longer than a call takes", async () => {
    const [waiting] = await sql`
      select pid from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'
        and clock_timestamp() - query_start > interval '4.2 seconds'`;
    return waiting;
  });
  await one`commit`;
  expect(await second).toEqual([{ told: { retried: 1, refused: [] } }]);
  await other`commit`;
});

it("a run that somebody holds keeps the others from nothing, and is told", async () => {
  const { sql } = sessions;
  const { tenantId } = await sessions.office([
    { type: "update_field", config: { field: "contact.assigned_to", value: "nobody" } },
  ]);
  for (let n = 0; n < 3; n++) await sessions.lead(tenantId);
  await sql`call automation.work_database_steps(0)`;
  const holder = await sessions.begin();
  const [held] = await holder`
    select id from ridgeline.workflow_executions where tenant_id = ${tenantId}
    order by created_at, id limit 1 for update`;
  const [{ told } = { told: null }] = await sql`
    select ridgeline.retry_executions('{}', 60, ${tenantId}) as told`;
  expect(told).toMatchObject({ retried: 2, refused: [{ execution_id: held?.id }] });
  await holder`commit`;
});
