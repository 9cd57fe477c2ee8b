// Two owners of one tenant, in two sessions.
import type { ReservedSql } from "postgres";
import { expect, it } from "vitest";
import { useSessions } from "../executions/support.ts";

const sessions = useSessions();

const signIn = (session: ReservedSql, user: string) =>
  session`
    select set_config('role', 'authenticated', true), set_config('request.jwt.claims', ${
    JSON.stringify({ aud: "authenticated", role: "authenticated", sub: user })
  }, true)`;

it.each([
  ["remove", "remove"],
  ["demote", "remove"],
  ["demote", "demote"],
])("one who would %s the other while that one would %s him: one owner is left", async (...ways) => {
  const { sql } = sessions;
  const { tenantId } = await sessions.office([{ type: "create_task", config: { title: "Call" } }]);
  const members = await sql<{ user_id: string }[]>`
    insert into tenant_members (tenant_id, user_id, role)
    select ${tenantId}, gen_random_uuid(), 'owner' from generate_series(1, 2) returning user_id`;
  const [ann, bob] = members.map(({ user_id }) => user_id) as [string, string];
  const [hers, his] = [await sessions.begin(), await sessions.begin()];
  await signIn(hers, ann);
  await signIn(his, bob);
  const act = (session: ReservedSql, way: string | undefined, whom: string) =>
    way === "remove"
      ? session`delete from tenant_members where user_id = ${whom}`
      : session`update tenant_members set role = 'member' where user_id = ${whom}`;
  expect((await act(hers, ways[0], bob)).count).toBe(1);
  const waiting = act(his, ways[1], ann).then(() => "done", (error) => error.code);
  await sessions.somebodyWaits();
  await hers`commit`;
  expect(await waiting).toBe("42501");
  await his`rollback`;
  expect(await sql`select user_id from tenant_members where role = 'owner'`)
    .toEqual([{ user_id: ann }]);
});
