// Ten thousand texts to a town after hail, and one lead who has just asked: a thousand here, all of them with --soak.
import { expect, it } from "vitest";
import { useSessions } from "../executions/support.ts";

const sessions = useSessions();
const texts = process.env.RIDGELINE_SOAK === "1" ? 10_000 : 1_000;

it("a storm goes at the carrier's rate, each text in its place, and a lead is answered at once", {
  timeout: 600_000,
}, async () => {
  const { sql } = sessions;
  const { tenantId } = await sessions.office([
    {
      type: "send_sms",
      config: { body: "We are in your street", purpose: "marketing", expires_after: "7 days" },
    },
  ]);
  await sql`update ridgeline.workflows set trigger_config = '{"type": "lead"}'`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, address, is_default)
    values (${tenantId}, 'sms', '+15125550900', true)`;
  const [answer] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type) values (${tenantId}, 'Answer', 'manual') returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
    values (${tenantId}, ${
    answer!.id
  }, 'send_sms', '{"body": "We call you back", "purpose": "transactional"}')`;
  await sql`update ridgeline.workflows set is_active = true`;
  await sql`select automation.set_clock('2026-06-03 17:00+00')`;
  const [{ now }] = await sql<[{ now: Date }]>`select automation.now()`;
  await sql`
    insert into contacts (tenant_id, first_name, phone)
    select ${tenantId}, 'Neighbour ' || n, '+1512' || lpad((2000000 + n)::text, 7, '0')
    from generate_series(1, ${texts}::int) as n`;
  const claim = async () =>
    (await sql<{ step_id: string }[]>`select step_id from automation.claim_steps('w', 1000)`)
      .length;

  // The clock goes on meanwhile: as many as may have gone by now.
  const upTo = async () => {
    const [{ at }] = await sql<[{ at: Date }]>`select automation.now() as at`;
    return Math.min(texts, 0.8 * (at.getTime() - now.getTime()) / 1000);
  };

  // What is due now goes, the rest is given places: once.
  let sent = 0;
  for (let before = -1; before < sent;) {
    before = sent;
    sent += await claim();
  }
  expect(sent).toBeLessThanOrEqual(Math.ceil(await upTo()) + 3);
  const [places] = await sql<[{ count: number; different: number; last: Date; touched: string }]>`
    select count(*)::int, count(distinct run_at)::int as different, max(run_at) as last, max(xmin::text::bigint)::text as touched
    from ridgeline.scheduled_steps where held ->> 'code' = 'rate'`;
  expect(places.count).toBe(texts - sent);
  expect(places.different).toBe(places.count);
  // One segment a second, of which marketing has four fifths.
  const seconds = (places.last.getTime() - now.getTime()) / 1000;
  expect(seconds).toBeGreaterThan((texts - 3) / 0.8);
  expect(seconds).toBeLessThan((texts + 3) / 0.8 + 120);
  // What was placed a moment later than it might have been.
  const slack = Math.ceil(0.8 * seconds - texts) + 4;

  // A lead asks in the middle of it.
  const lead = await sessions.lead(tenantId, "+15125550199");
  await sql`delete from ridgeline.scheduled_steps where execution_id in (
    select id from ridgeline.workflow_executions where contact_id = ${lead})`;
  await sql`select ridgeline.execute_workflow(${answer!.id}, ${sql.json({ contact_id: lead })})`;
  const answered = await sql<{ body: string }[]>`
    select payload ->> 'body' as body from automation.claim_steps('w', 1000)`;
  expect(answered.filter(({ body }) => body === "We call you back")).toHaveLength(1);
  // On a slow machine the time of others has come too.
  sent += answered.length - 1;

  // Nobody looks at the others again until their time has come.
  const [untouched] = await sql<[{ touched: string }]>`
    select max(xmin::text::bigint)::text as touched from ridgeline.scheduled_steps where held ->> 'code' = 'rate'`;
  expect(untouched.touched).toBe(places.touched);

  // A quarter of the time, a quarter of the texts: none early, and in the end none left.
  for (let quarter = 1; quarter <= 3; quarter++) {
    await sql`select automation.advance_clock(${`${texts / 0.8 / 4} seconds`}::interval)`;
    const least = await upTo();
    for (let claimed = await claim(); claimed > 0; claimed = await claim()) sent += claimed;
    expect(sent).toBeGreaterThanOrEqual(Math.floor(least) - slack);
    expect(sent).toBeLessThanOrEqual(Math.ceil(await upTo()) + 3);
  }
  await sql`select automation.advance_clock(${`${texts / 0.8 / 2} seconds`}::interval)`;
  for (let claimed = await claim(); claimed > 0; claimed = await claim()) sent += claimed;
  expect(sent).toBe(texts);
});
