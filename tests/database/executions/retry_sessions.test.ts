// Two who run failed runs again at once: the runs come one behind the other, as if one had asked after the other.
import { expect, it } from "vitest";
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
