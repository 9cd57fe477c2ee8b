// The operator's page, statement by statement as it is printed, on an office that has a bad night.
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { withDatabase } from "../support/database.ts";

const page = fs.readFileSync(path.resolve(import.meta.dirname, "../../docs/operations.md"), "utf8");

/** The statements under a heading. */
function blocks(heading: string): string[] {
  const [, section] = page.split(`## ${heading}\n`);
  if (section === undefined) throw new Error(`there is no section ${heading}`);
  return [...section.split("\n## ")[0]!.matchAll(/^```sql\n([^]*?)^```$/gm)].map(([, sql]) => sql!);
}

const OFFICE = "00000000-0000-4000-8000-000000000001";

async function workflow(sql: Sql, name: string, type: string, config: object): Promise<void> {
  const [made] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
    values (${OFFICE}, ${name}, 'contact_created', '{"type": "lead"}') returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
    values (${OFFICE}, ${made!.id}, ${type}, ${sql.json(config as never)})`;
  await sql`update ridgeline.workflows set is_active = true where name = ${name}`;
}

async function contact(sql: Sql, name: string, phone: string, type = "lead"): Promise<void> {
  await sql`
    insert into public.contacts (tenant_id, type, first_name, phone) values (${OFFICE}, ${type}, ${name}, ${phone})`;
}

/** What a dispatcher would send now, sent. */
async function send(sql: Sql): Promise<string[]> {
  const claimed = await sql`
    select tenant_id, step_id, attempt_token, payload from automation.claim_steps('night', 50)`;
  await sql`select automation.finish_steps(${
    sql.json(claimed.map(({ tenant_id, step_id, attempt_token }) => ({
      tenant_id,
      step_id,
      attempt_token,
      outcome: "succeeded",
      result: { provider_id: `SM${step_id}`, provider: "twilio" },
    })))
  })`;
  return claimed.map(({ payload }) => payload.body);
}

test("each question has its answer", async () => {
  await withDatabase(async ({ sql }) => {
    const ask = (statement: string) => sql.unsafe(statement);
    await sql`insert into public.tenants (id, name) values (${OFFICE}, 'Apex Roofing')`;
    await sql`
      insert into ridgeline.senders (tenant_id, channel, address, limits, is_default)
      values (${OFFICE}, 'sms', '+15125550900', '{"per_second": 0}', true)`;
    await workflow(sql, "Greet a new lead", "send_sms", {
      body: "Hi {{contact.first_name}}!",
      purpose: "transactional",
    });
    await workflow(sql, "Call them", "create_task", { title: "Call {{contact.first_name}}" });
    await contact(sql, "Maria", "+14155550142");
    await contact(sql, "Sam", "+14155550143", "customer");
    await sql`select ridgeline.record_revocation('sms', '+14155550144', 'on the telephone', tenant_id => ${OFFICE})`;
    await contact(sql, "Stan", "+14155550144");
    expect(await send(sql)).toEqual(["Hi Maria!"]);

    // Nobody ticks yet; then somebody does.
    const [alive] = blocks("Is it alive?");
    const status = async () =>
      Object.fromEntries((await ask(alive!)).map(({ key, value }) => [key, value]));
    expect(await status()).toMatchObject({ is_alive: false, last_tick: null });
    await sql`select automation.tick()`;
    expect(await status()).toMatchObject({ is_alive: true, last_tick: expect.any(String) });

    const [happened] = blocks("What happened with this customer?");
    expect((await ask(happened!)).map(({ what, says }) => `${what}: ${says}`)).toEqual(
      expect.arrayContaining([
        "create_task completed: Call Maria",
        "run completed: null",
        "send_sms completed: Hi Maria!",
        "run started: contact_created",
      ]),
    );

    const [got] = blocks("Why did somebody get this text?");
    expect(await ask(got!)).toMatchObject([{
      body: "Hi Maria!",
      workflow_name: "Greet a new lead",
      version: 1,
      trigger_type: "contact_created",
      was: { first_name: "Maria" },
    }]);

    const [none, unwanted, skipped] = blocks("Why did somebody get none?");
    expect((await ask(none!)).filter(({ step_status }) => step_status === "skipped"))
      .toMatchObject([{ why: "the recipient has opted out of this channel" }]);
    const [explained] = await ask(unwanted!);
    expect(JSON.parse(explained!.jsonb_pretty).trigger).toMatchObject([
      { field: "type", expected: "lead", actual: "customer", passed: false },
    ]);
    expect(await ask(skipped!)).toMatchObject([{ recipient: "+14155550144", code: "suppressed" }]);

    // All three brakes, one after the other: each by itself keeps Ida's and Pia's texts.
    const [brakes] = blocks("Stop it");
    const [pause, off, cancel] = brakes!.split(/(?=^--)/m);
    await contact(sql, "Pia", "+14155550145");
    await contact(sql, "Ida", "+14155550146");
    await ask(pause!);
    await sql`call automation.work_database_steps(0)`;
    expect(await send(sql)).toEqual([]);
    const [waiting] = blocks("What is waiting, and for what?");
    expect(await ask(waiting!)).toMatchObject([
      { state: "held", held_by: "sending_paused", held_why: "the texts look wrong", steps: "2" },
    ]);
    await ask(off!);
    await sql`select ridgeline.resume_sending(${OFFICE})`;
    await sql`update ridgeline.scheduled_steps set run_at = now() where run_at < 'infinity'`;
    expect(await send(sql)).toEqual([]);
    await ask(cancel!);
    const [goOn] = blocks("Stop it").slice(1);
    await sql.unsafe(goOn!).simple();
    await sql`update ridgeline.scheduled_steps set run_at = now() where run_at < 'infinity'`;
    expect(await send(sql)).toEqual(["Hi Pia!"]);

    // Somebody closes the table of tasks, and opens it again.
    await sql`alter table public.tasks add constraint closed check (title <> 'Call Leo')`;
    await contact(sql, "Leo", "+14155550147");
    await sql`call automation.work_database_steps(0)`;
    const [failed, again] = blocks("What failed, and again");
    expect(await ask(failed!)).toMatchObject([
      { code: "step_failed", workflow_name: "Call them", count: "1" },
    ]);
    await sql`alter table public.tasks drop constraint closed`;
    expect(await ask(again!)).toMatchObject([{ retry_executions: { retried: 1, refused: [] } }]);
    await sql`call automation.work_database_steps(0)`;
    expect(await sql`select from public.tasks where title = 'Call Leo'`).toHaveLength(1);
    expect(await ask(failed!)).toEqual([]);

    const [changed] = blocks("Who changed it?");
    expect((await ask(changed!)).find(({ after }) => after?.is_active === true)).toMatchObject({
      relation: "ridgeline.workflows",
      operation: "update",
      user_id: null,
    });

    const [restored] = blocks("After a restart or a restore");
    await contact(sql, "Ada", "+14155550148");
    await ask(restored!);
    expect(await send(sql)).toEqual([]);
  });
});
