// Two dispatchers at one gate; and what a text counts as, held to what the providers' stand-in counts.
import fc from "fast-check";
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { segmentsOf } from "../../../scripts/standins/segments.ts";
import { type Step, useSessions } from "../executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const offer: Step = { type: "send_sms", config: { body: "Spring is here", purpose: "marketing" } };

describe("two dispatchers", () => {
  it("do not both pass a cap, and neither waits for the other", async () => {
    const { tenantId } = await sessions.office([offer]);
    await sql`update tenants set settings = '{"marketing_cap": {"per_day": 1}}' where id = ${tenantId}`;
    const contact = await sessions.lead(tenantId, "+15125550171");
    const [workflow] = await sql<{ id: string }[]>`
      select id from ridgeline.workflows where tenant_id = ${tenantId}`;
    const first = await sessions.begin();
    expect(await first`select step_id from automation.claim_steps('a', 10)`).toHaveLength(1);
    await sql`
      insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, trigger_type, entity,
        record_id, contact_id, trigger_data)
      select tenant_id, workflow_id, version, trigger_type, entity, record_id, contact_id, trigger_data
      from ridgeline.workflow_executions where tenant_id = ${tenantId} limit 1`;
    await sql`
      insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
      select e.tenant_id, e.id, 'step_1', 'sms', automation.now() from ridgeline.workflow_executions as e
      where e.tenant_id = ${tenantId} and not exists (
        select from ridgeline.scheduled_steps as s where s.execution_id = e.id)`;
    // The first has not committed: the second finds the person taken, and comes back in a moment. Had it waited, it
    // would have waited for the commit below.
    expect(await sql`select step_id from automation.claim_steps('b', 10)`).toHaveLength(0);
    await first`commit`;
    const [held] = await sql`
      select held ->> 'code' as code from ridgeline.scheduled_steps where tenant_id = ${tenantId} and held is not null`;
    expect(held).toEqual({ code: "cap" });
    await sql`select automation.advance_clock('5 seconds')`;
    expect(await sql`select step_id from automation.claim_steps('b', 10)`).toHaveLength(0);
    const [sent] = await sql`
      select count(distinct step_id)::int as count from automation.marketing_sent where tenant_id = ${tenantId}`;
    expect(sent).toEqual({ count: 1 });
    expect([contact, workflow]).not.toContain(undefined);
  });

  it("do not both call a receiver who takes one call a second, and neither waits for the other", async () => {
    const { tenantId } = await sessions.office([
      { type: "webhook", config: { url: "https://n8n.apex.example/hook" } },
    ]);
    await sql`
      insert into ridgeline.tenant_settings (tenant_id, settings)
      values (${tenantId}, '{"webhooks": {"per_second": 0.1}}')
      on conflict on constraint tenant_settings_pkey do update set settings = excluded.settings`;
    await sessions.lead(tenantId, "+15125550181");
    const first = await sessions.begin();
    expect(await first`select step_id from automation.claim_steps('a', 10)`).toHaveLength(1);
    await sessions.lead(tenantId, "+15125550182");
    const began = Date.now();
    expect(await sql`select step_id from automation.claim_steps('b', 10)`).toHaveLength(0);
    expect(Date.now() - began).toBeLessThan(5_000);
    const held = async () =>
      (await sql`select held ->> 'code' as code from ridgeline.scheduled_steps
        where tenant_id = ${tenantId} and held is not null`).map(({ code }) => code);
    expect(await held()).toEqual(["busy"]);
    await first`commit`;
    await sql`select automation.advance_clock('2 seconds')`;
    expect(await sql`select step_id from automation.claim_steps('b', 10)`).toHaveLength(0);
    expect(await held()).toEqual(["rate"]);
    await sql`select automation.advance_clock('10 seconds')`;
    expect(await sql`select step_id from automation.claim_steps('b', 10)`).toHaveLength(1);
  });
});

it("a text is as many segments as the carriers make of it", async () => {
  const character = fc.oneof(
    fc.constantFrom(..."abc XYZ019@£éΔ_[]{}^~|\\€-.,\n"),
    fc.constantFrom("’", "“", "ñ", "🏠", "漢", "ç"),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(character, { minLength: 1, maxLength: 400 }),
      fc.boolean(),
      async (characters, plain) => {
        const body = (plain ? characters.filter((one) => !/[’“🏠漢ç]/u.test(one)) : characters)
          .join("") || "a";
        const [counted] = await sql`select automation.sms_segments(${body}) as segments`;
        expect(counted?.segments, body).toBe(segmentsOf(body).segments);
      },
    ),
    { numRuns: 300 },
  );
});
