// What the CRM knows of consent, in columns of its own, counts like what the engine knows: read live, when a message is
// about to go, and in the dry run.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createHost, MARIA, OTTO, publish, speakAs, SUMMIT, work } from "../support/host.ts";

let host: Awaited<ReturnType<typeof createHost>>;
beforeAll(async () => {
  host = await createHost();
  await speakAs(host.sql, SUMMIT, "+15125550100");
  await host.sql`
    insert into ridgeline.tenant_settings (tenant_id, address) values (${SUMMIT}, '1 Main St, Austin TX')
    on conflict (tenant_id) do update set address = excluded.address`;
  await host.sql`
    select automation.attach('public.contacts', 'contact',
      '{"phone": ["mobile_phone", "phone"], "deleted": "is_deleted", "sms_consent": "text_consent"}',
      '[{"type": "stage_changed", "column": "stage"}]', authors => 'members')`;
});
afterAll(() => host.drop());
beforeEach(async () => {
  await host.sql`
    update public.contacts set sms_opt_out = false, email_opt_out = false, text_consent = true,
      email_opt_out_date = null`;
});

/** One message to a contact: what the dry run says, what the ledger says, and whom it reached. */
async function message(type: string, config: object, contact = MARIA) {
  const { sql } = host;
  const id = await publish(sql, SUMMIT, "manual", [[type, config]]);
  const data = sql.json({ contact_id: contact });
  const [{ said }] = await sql<[{ said: string | null }]>`
    select ridgeline.test_workflow(${id}, ${data}, tenant_id => ${SUMMIT}) #>> '{path,0,reason,code}' as said`;
  await sql`select ridgeline.execute_workflow(${id}, ${data}, tenant_id => ${SUMMIT})`;
  const sent = await work(sql);
  const [step] = await sql<[{ status: string; code: string | null; warnings: unknown }]>`
    select s.status, s.error ->> 'code' as code, s.warnings from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where e.workflow_id = ${id}`;
  return { said, step, to: sent.map(({ payload }) => payload.to) };
}

const text = (purpose: string) => ({ body: "Spring is here", purpose });
const mail = (purpose: string, to?: string) => ({
  subject: "Spring",
  text: "Spring is here",
  purpose,
  ...(to ? { to } : {}),
});

test("a contact whose columns say nothing against it gets the message", async () => {
  const { said, step, to } = await message("send_sms", text("marketing"));
  expect({ said, status: step.status }).toEqual({ said: null, status: "completed" });
  expect(to).toEqual(["+15125550142"]);
});

test.each(["marketing", "transactional"])("who opted out gets no %s text", async (purpose) => {
  await host.sql`update public.contacts set sms_opt_out = true where id = ${MARIA}`;
  const { said, step, to } = await message("send_sms", text(purpose));
  expect({ said, status: step.status, code: step.code, to }).toEqual({
    said: "suppressed",
    status: "skipped",
    code: "suppressed",
    to: [],
  });
  expect((await message("send_email", mail(purpose))).step.status).toBe("completed");
});

test("a consent that says no stops marketing, and not what they asked for", async () => {
  await host.sql`update public.contacts set text_consent = false where id = ${MARIA}`;
  expect(await message("send_sms", text("marketing"))).toMatchObject({
    said: "no_consent",
    step: { status: "skipped", code: "no_consent" },
    to: [],
  });
  expect(await message("send_sms", text("transactional"))).toMatchObject({
    said: null,
    to: ["+15125550142"],
  });
});

test("another row with the same number that opted out counts too", async () => {
  const { sql } = host;
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone, sms_opt_out)
    values (${SUMMIT}, 'Maria', 'Twice', '(512) 555-0142', true)`;
  expect((await message("send_sms", text("marketing"))).step.code).toBe("suppressed");
  await sql`delete from public.contacts where last_name = 'Twice'`;
});

test("of several recipients those who opted out are left out", async () => {
  await host.sql`update public.contacts set email_opt_out = true where id = ${OTTO}`;
  const to = "otto@example.com, maria@example.com";
  const sent = await message("send_email", mail("marketing", to));
  expect(sent.to).toEqual([["maria@example.com"]]);
  expect(JSON.stringify(sent.step.warnings)).toContain("otto@example.com");
});

test("what is ticked while a message waits counts when it goes", async () => {
  const { sql } = host;
  const id = await publish(sql, SUMMIT, "manual", [["send_sms", text("marketing"), 60]]);
  await sql`
    select ridgeline.execute_workflow(${id}, ${
    sql.json({ contact_id: MARIA })
  }, tenant_id => ${SUMMIT})`;
  await sql`update public.contacts set sms_opt_out = true where id = ${MARIA}`;
  await sql`
    update ridgeline.scheduled_steps set run_at = automation.now()
    where execution_id in (select id from ridgeline.workflow_executions where workflow_id = ${id})`;
  expect(await work(sql)).toEqual([]);
});

test.each([
  ["true", "true"],
  ['"2026-03-01T10:00:00Z"', "true"],
  ['"Opted-out"', "false"],
  ['"no"', "false"],
  ['"opted in"', "true"],
  ["null", null],
  ['" "', null],
  ['"ask again in May"', null],
])("%s is read as %s", async (value, meaning) => {
  const [{ said }] = await host.sql<[{ said: boolean | null }]>`
    select automation.word_of_consent(${value}::text::jsonb) as said`;
  expect(said === null ? null : String(said)).toBe(meaning);
});
