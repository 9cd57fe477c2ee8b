// Maria asks to be forgotten. Afterwards neither her number, her address, her name nor a word she wrote or was
// written is anywhere in the engine: every column of every table is asked, and one that is added later has to be
// in this story, or in the list of those that hold nobody's words.
import { createHash, createHmac } from "node:crypto";
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { asRole } from "../../support/database.ts";
import { waitFor } from "../../support/standins.ts";
import { useSessions } from "../executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const maria = {
  first_name: "Mariquita",
  last_name: "Quintanilla",
  phone: "(512) 555-0199",
  email: "Mariquita.Q@example.com",
};
/** As they might stand anywhere, in any notation; and words of hers and to her. */
const traces = String
  .raw`mariquita|quintanilla|5\D{0,3}1\D{0,3}2\D{0,3}5\D{0,3}5\D{0,3}5\D{0,3}0\D{0,3}1\D{0,3}9\D{0,3}9|` +
  "purple shingles";

interface Place {
  relation: string;
  column: string;
}

/** Every column of the engine in which something of hers is found. */
async function found(pattern = traces): Promise<string[]> {
  const columns = await sql<Place[]>`
    select c.oid::regclass::text as relation, a.attname as column
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace in ('ridgeline'::regnamespace, 'automation'::regnamespace) and c.relkind in ('r', 'p')
    order by 1, 2`;
  const places: string[] = [];
  for (const { relation, column } of columns) {
    const [hit] = await sql`
      select from ${sql.unsafe(relation)} as r where r.${sql(column)}::text ~* ${pattern} limit 1`;
    if (hit) places.push(`${relation}.${column}`);
  }
  return places;
}

/** Columns in which words can stand at all, of tables that hold what tenants have. */
async function wordy(): Promise<string[]> {
  const columns = await sql<Place[]>`
    select c.oid::regclass::text as relation, a.attname as column
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace in ('ridgeline'::regnamespace, 'automation'::regnamespace) and c.relkind in ('r', 'p')
      and format_type(a.atttypid, null) in ('text', 'jsonb', 'text[]', 'bytea', 'character varying')
    order by 1, 2`;
  return columns.map(({ relation, column }) => `${relation}.${column}`);
}

interface Office {
  tenant: string;
  number: string;
  contact: string;
  neighbour: string;
}

async function workflow(
  tenant: string,
  trigger: string,
  steps: object[],
  settings = {},
  config = {},
) {
  const [made] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, settings)
    values (${tenant}, ${trigger}, ${trigger}, ${sql.json(config)}, ${
    sql.json(settings)
  }) returning id`;
  for (const [n, step] of (steps as { type: string; config: object; key?: string }[]).entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, step_key)
      values (${tenant}, ${made!.id}, ${n}, ${step.type}, ${sql.json(step.config as never)}, ${
      step.key ?? null
    })`;
  }
  await sql`update ridgeline.workflows set is_active = true where id = ${made!.id}`;
  return made!.id;
}

let sent = 0;
async function send(outcome = "succeeded"): Promise<void> {
  const claimed =
    await sql`select tenant_id, step_id, attempt_token from automation.claim_steps('w', 100)`;
  await sql`select * from automation.finish_steps(${
    sql.json(claimed.map((step) => ({
      ...step,
      outcome,
      error: { code: "refused", message: `${maria.email} was refused` },
      result: { provider_id: `P${++sent}`, to: maria.phone },
    })))
  })`;
}

async function work(): Promise<void> {
  for (let n = 0; n < 4; n++) {
    await sql`select automation.tick()`;
    await send();
  }
}

/** A life with an office: every channel, every kind of step, things that are over and things under way. */
async function story(): Promise<Office> {
  const [{ id: tenant } = { id: "" }] = await sql<{ id: string }[]>`
    insert into public.tenants (name) values ('Apex') returning id`;
  const number = "+15125550001";
  await sql`
    insert into ridgeline.senders (tenant_id, channel, kind, provider, address, is_default, limits)
    values (${tenant}, 'sms', 'number', 'twilio', ${number}, true, '{"per_second": 0}')`;
  await sql`insert into ridgeline.email_addresses (tenant_id, address) values (${tenant}, 'office@apex.example')`;
  const [form] = await sql`
    insert into ridgeline.forms (tenant_id, name, allowed_origins, required_fields, max_fired_per_hour)
    values (${tenant}, 'Estimate', '{*}', '{email}', 1) returning public_key, honeypot`;
  const [neighbour] = await sql<{ id: string }[]>`
    insert into public.contacts (tenant_id, first_name, phone, email)
    values (${tenant}, 'Ned', '+15125550142', 'ned@example.com') returning id`;

  const hi = "Hi {{contact.first_name}}, about your roof";
  const greet = [
    { type: "send_sms", config: { body: hi } },
    { type: "send_email", config: { subject: hi, text: hi, html: "<p>{{contact.email}}</p>" } },
    {
      type: "create_task",
      config: { title: "Call {{contact.first_name}} {{contact.last_name}} on {{contact.phone}}" },
    },
  ];
  await workflow(tenant, "contact_created", [
    ...greet,
    {
      type: "split",
      key: "ab",
      config: { branches: [{ name: "a", weight: 1 }, { name: "b", weight: 1 }] },
    },
    {
      type: "create_project",
      config: { name: "Roof of {{contact.first_name}} {{contact.last_name}}" },
    },
    { type: "wait", config: { event: "sms_received", timeout: "9 days" } },
    { type: "send_sms", config: { body: "Thanks, {{contact.first_name}}" } },
  ], { reentry: "never", dedupe_key: "{{contact.phone}}" });
  await workflow(tenant, "sms_received", [
    { type: "wait", config: { days: 30 } },
    { type: "create_task", config: { title: "{{trigger.message.body}}" } },
  ], { reentry: "never" });
  await workflow(tenant, "form_submitted", [{
    type: "create_task",
    config: { title: "{{trigger.form_submission.data.message}}" },
  }]);
  await workflow(tenant, "time_elapsed", [{ type: "create_task", config: { title: "Call" } }], {}, {
    entity: "contact",
    field: "created_at",
    offset: "40 days",
  });
  const manual = await workflow(tenant, "manual", [
    { type: "send_email", config: { to: "{{trigger.copy_to}}", subject: "A friend", text: hi } },
    {
      type: "webhook",
      config: { url: "https://hooks.example", body: { about: "{{trigger.copy_to}}" } },
    },
    { type: "wait", config: { days: 90 } },
    { type: "create_task", config: { title: "Later" } },
  ]);

  const post = (fields: object) =>
    sql`
    select automation.submit_form(${form!.public_key as string}, 'https://a.example', '10.0.0.1', ${
      sql.json(fields as never)
    })`;
  await post({ ...maria, message: "I want purple shingles" });
  await post({ ...maria, message: "Purple shingles, again" });
  await post({ ...maria, [form!.honeypot as string]: "x", message: "Still purple shingles" });
  await sql`
    select automation.keep_unreadable(${form!
    .public_key as string}, 'https://a.example', '10.0.0.1', 'purple shingles',
      '{}', ${`tel=${maria.phone}`})`;
  const [contact] = await sql<{ id: string }[]>`
    select id from public.contacts where tenant_id = ${tenant} and id <> ${neighbour!.id}`;
  await work();
  await sql`
    select automation.receive_sms(jsonb_build_object('message_sid', ${`SM${++sent}`}::text, 'from', '+15125550199',
      'to', ${number}::text, 'body', 'Mariquita here: purple shingles!'))`;
  await sql`
    select automation.record_call(jsonb_build_object('call_sid', ${`CA${++sent}`}::text, 'from', '+15125550199',
      'to', ${number}::text, 'direction', 'inbound', 'status', 'no-answer'))`;
  await sql`
    select automation.record_email_event(${`EV${++sent}`}, jsonb_build_object('email_id', ${`EM${sent}`}::text,
      'type', 'received', 'from', 'Mariquita <mariquita.q@example.com>', 'to', jsonb_build_array('office@apex.example'),
      'subject', 'Purple shingles', 'text', 'purple shingles', 'html', '<b>purple shingles</b>', 'occurred_at', now()))`;
  const [mail] =
    await sql`select provider_id from ridgeline.emails where direction = 'outbound' limit 1`;
  await sql`
    select automation.record_email_event(${`EV${++sent}`}, jsonb_build_object('email_id', ${mail
    ?.provider_id as string}::text,
      'type', 'clicked', 'link', 'https://a.example/?for=Mariquita.Q@example.com', 'user_agent', 'Purple Shingles',
      'detail', jsonb_build_object('to', 'mariquita.q@example.com'), 'occurred_at', now() + interval '1 hour'))`;
  await sql`
    select automation.record_email_event(${`EV${++sent}`}, jsonb_build_object('email_id', 'not-yet', 'type', 'delivered',
      'to', jsonb_build_array('mariquita.q@example.com'), 'occurred_at', now()))`;
  await work();
  // A run of the neighbour's that names her, under way; what was answered about it; an enrolment of a list.
  await sql`
    select ridgeline.execute_workflow(${manual}, jsonb_build_object('contact_id', ${
    neighbour!.id
  }::text,
      'copy_to', 'mariquita.q@example.com'))`;
  await work();
  await sql`
    select automation.keep_answer('service:any', 'mariquita.q@example.com', '{}', 200,
      (select jsonb_agg(to_jsonb(e)) from ridgeline.workflow_executions as e))`;
  await sql`
    select ridgeline.enroll_records(${manual}, ${[
    contact!.id,
    neighbour!.id,
  ]}, tenant_id => ${tenant})`;
  await sql`
    insert into ridgeline.bulk_enrollments (tenant_id, workflow_id, kind, status, entity, data, error, finished_at)
    values (${tenant}, ${manual}, 'manual', 'failed', 'contact', '{"to": "Mariquita.Q@example.com"}',
      '{"message": "512.555.0199"}', now())`;
  await sql`select automation.suppress(${tenant}, 'sms', '+15125550199', 'opt_out', '{"said": "+15125550199"}')`;
  // A text of hers in the CRM's own inbox that could not be taken yet.
  await sql`
    insert into automation.inbox_waiting (tenant_id, event, error)
    values (${tenant}, '{"from": "+15125550199", "body": "It is Mariquita.Q@example.com"}', 'from: +15125550199')`;
  // What the engine before this one wrote to her otherwise than a shadow would have.
  const [pair] = await sql`
    insert into automation.legacy_pairs (tenant_id, source, workflow_id, legacy_id, began_at, verdict)
    values (${tenant}, 'server', ${manual}, 'x', now(), 'differs') returning id`;
  await sql`
    insert into ridgeline.legacy_discrepancies (tenant_id, pair_id, kind, workflow_id, contact_id, old, shadow, at)
    values (${tenant}, ${pair!.id as string}, 'text', ${manual}, ${
    contact!.id
  }, '{"texts": {"body": "Hi Mariquita"}}',
      '{"recipients": ["mariquita.q@example.com"]}', now())`;
  await sql`
    select automation.record_consent(${tenant}, 'sms', ${maria.phone}, 'revoked', 'all', 'message',
      '{"said": "Mariquita here, no more purple shingles", "wording": "Yes, text me"}', (
        select c.id::text from public.contacts as c where c.email = ${maria.email} limit 1))`;
  // A link of a text to her, and one to the same number that is a neighbour's, of whom the number is blanked.
  await sql`
    insert into automation.links (tenant_id, code, step_id, contact_id, recipient, url) values
      (${tenant}, 'aB3dE6gH9jK', gen_random_uuid(), ${contact!.id}, '+15125550199',
        'https://pay.example/?email=mariquita.q@example.com'),
      (${tenant}, 'bB3dE6gH9jK', gen_random_uuid(), ${
    neighbour!.id
  }, '+15125550199', 'https://pay.example/')`;
  await sql`
    insert into automation.doubtful_stops (tenant_id, address, message_id, asked_at)
    values (${tenant}, '+15125550199', gen_random_uuid(), automation.now())`;
  await sql`
    insert into automation.marketing_sent (tenant_id, person, step_id, at)
    values (${tenant}, '+15125550199', gen_random_uuid(), automation.now())`;
  await sql`
    insert into automation.notices (tenant_id, kind, subject, at)
    values (${tenant}, 'conversation_brake', '+15125550199', now())`;
  await sql`
    insert into automation.signals (tenant_id, role, entity, record_id, contact_id, address, record, next_try_at)
    values (${tenant}, 'moved', 'project', 'x', ${
    contact!.id
  }, '+15125550199', '{"name": "Mariquita"}', 'infinity')`;
  await sql`
    insert into automation.sender_blocks (tenant_id, sender_id, number, until)
    select tenant_id, id, '+15125550199', 'infinity' from ridgeline.senders where tenant_id = ${tenant}`;
  return { tenant, number, contact: contact!.id, neighbour: neighbour!.id };
}

/** Walks on until it is over; one portion a call, and so small that each table takes several. */
async function erased(tenant: string): Promise<Record<string, number>> {
  await waitFor("the end of the erasure", async () => {
    await sql`update automation.erasures_under_way set next_at = '-infinity', portion = 14`;
    await sql`call automation.erase_people('1 millisecond')`;
    const [running] = await sql`select from automation.erasures_under_way`;
    return !running;
  });
  const [entry] = await sql`
    select status, erased from ridgeline.erasures where tenant_id = ${tenant} order by id desc limit 1`;
  expect(entry?.status).toBe("completed");
  return entry?.erased as Record<string, number>;
}

/** The engine's own and the office's own words: not walked. */
const notWalked =
  /^(automation\.(activations|active_triggers|area_codes|comparison_turns|daily_caps|engine_switches|entities|gone_tenants|heartbeats|inboxes|legacy_imports|legacy_links|legacy_pairs|membership|open_hours|phone_plans|prices|pruned|recipes|regions|retention_places|rotations|setting_schemas|settings|skip_codes|statistics|statistic_changes|step_types|suspects|targets|tenancy|tick_parts|tick_portions|troubles|time_zones|timer_listeners|trigger_types)|ridgeline\.(changes|email_addresses|forms|senders|sending_pauses|tenant_erasures|tenant_settings|workflow_holds|workflow_schedules|workflow_steps|workflow_versions|workflows))\./;

/** Of the tables that hold people: words of the engine, ids, and digests that nobody can guess. */
const nobodys = `
  automation.created_projects.contact_id automation.created_projects.key
  automation.merged_contacts.contact_id automation.merged_contacts.into_contact_id
  automation.created_projects.project_id automation.links.code automation.links.contact_id
  automation.links.machine_reason automation.early_events.provider automation.early_events.provider_id
  automation.erased_addresses.channel automation.erased_addresses.digest automation.erased_addresses.reason
  automation.erasures_under_way.after automation.erasures_under_way.contact_ids
  automation.erasures_under_way.emails automation.erasures_under_way.phone_pattern
  automation.erasures_under_way.phones automation.erasures_under_way.relation
  automation.erasures_under_way.word_pattern automation.form_posts.digest automation.form_rates.source
  automation.form_reach.scope automation.idempotency_keys.caller automation.idempotency_keys.fingerprint
  automation.inbox_waiting.kind
  automation.merges_due.contact_id automation.merges_due.into_contact_id ridgeline.messages.step_key
  automation.notices.kind automation.provider_events.event_id automation.provider_events.provider
  automation.receiver_rests.receiver
  automation.run_events.event automation.run_events.step_key automation.signals.contact_id
  automation.signals.entity automation.signals.event automation.signals.listener automation.signals.record_id
  automation.signals.role automation.split_assignments.branch automation.split_assignments.step_key
  automation.split_assignments.subject ridgeline.stage_changes.entity ridgeline.stage_changes.record_id
  ridgeline.stage_changes.stage ridgeline.stage_changes.was ridgeline.bulk_enrollments.conditions ridgeline.bulk_enrollments.entity
  ridgeline.bulk_enrollments.kind ridgeline.bulk_enrollments.last_record_id
  ridgeline.bulk_enrollments.record_ids ridgeline.bulk_enrollments.status ridgeline.calls.contact_id
  ridgeline.calls.direction ridgeline.calls.provider ridgeline.calls.provider_id ridgeline.calls.status
  ridgeline.calls.to_number ridgeline.email_events.contact_id ridgeline.email_events.machine_reason
  ridgeline.email_events.type ridgeline.emails.contact_id ridgeline.emails.direction
  ridgeline.emails.error_code ridgeline.emails.provider ridgeline.emails.provider_id ridgeline.emails.status
  ridgeline.erasures.digest ridgeline.erasures.erased ridgeline.erasures.status
  ridgeline.form_submissions.contact_id ridgeline.form_submissions.form ridgeline.held_submissions.form
  ridgeline.held_submissions.reason ridgeline.messages.channel ridgeline.messages.contact_id
  ridgeline.messages.direction ridgeline.messages.error_code ridgeline.messages.media_urls
  ridgeline.messages.opt_out_type ridgeline.messages.provider ridgeline.messages.provider_id
  ridgeline.legacy_discrepancies.contact_id ridgeline.legacy_discrepancies.kind
  ridgeline.legacy_discrepancies.legacy_id ridgeline.legacy_discrepancies.record_id
  ridgeline.legacy_discrepancies.step_key ridgeline.legacy_discrepancies.step_type
  ridgeline.messages.status ridgeline.scheduled_steps.leased_by ridgeline.scheduled_steps.step_key
  automation.revoked_people.channel automation.revoked_people.contact_id
  automation.unsubscribe_secret.secret automation.unsubscribe_tokens.digest
  ridgeline.consents.channel ridgeline.consents.contact_id
  ridgeline.consents.method ridgeline.consents.purpose ridgeline.consents.status
  ridgeline.scheduled_steps.held ridgeline.suppressions.purpose
  ridgeline.suppressions.channel ridgeline.suppressions.reason ridgeline.workflow_executions.contact_id
  ridgeline.workflow_executions.current_step ridgeline.workflow_executions.entity
  ridgeline.workflow_executions.error ridgeline.workflow_executions.record_id
  ridgeline.workflow_executions.trigger_type ridgeline.workflow_step_executions.country
  ridgeline.workflow_step_executions.provider_id
  ridgeline.workflow_step_executions.step_key ridgeline.workflow_step_executions.step_type
  ridgeline.workflow_step_executions.warnings ridgeline.workflow_timers.record_id
`.trim().split(/\s+/);

describe("a person who asks to be forgotten", () => {
  it("is nowhere any more, and is left alone for good", async () => {
    const { tenant, number, contact, neighbour } = await story();
    const before = await found();
    // A column that is not in this story, and is not known to hold nobody's words: tell of it above.
    const untold = (await wordy()).filter((column) =>
      !before.includes(column) && !notWalked.test(column) && !nobodys.includes(column)
    );
    expect(untold).toEqual([]);
    const counts = () =>
      sql`
      select step_key, sum(entered)::int as entered, sum(sent)::int as sent from ridgeline.workflow_statistics
      where tenant_id = ${tenant} group by 1 order by 1`;
    const counted = await counts();
    const neighbours = async () => [
      ...await sql`
        select e.id, e.finished_at from ridgeline.workflow_executions as e where e.contact_id = ${neighbour}
        order by e.id`,
    ];
    const theirs = await neighbours();
    expect(theirs).not.toEqual([]);

    await sql`delete from public.contacts where id = ${contact}`;
    const ask = [contact, maria.phone, maria.email, tenant];
    const [entry] = await sql`
      select e.* from ridgeline.erase_person(${ask[0]!}, ${ask[1]!}, ${ask[2]!}, ${ask[3]!}) as e`;
    expect(entry).toMatchObject({ status: "running", tenant_id: tenant });
    const [left] = await sql`
      select count(*)::int as runs from ridgeline.workflow_executions
      where contact_id = ${contact} and finished_at is null`;
    expect(left).toEqual({ runs: 0 });
    expect(Object.keys(await erased(tenant))).toEqual(expect.arrayContaining([
      "ridgeline.messages",
      "ridgeline.workflow_executions",
      "ridgeline.workflow_step_executions",
    ]));

    expect(await found()).toEqual([]);
    expect(await found(contact)).toEqual([]);
    const digests = ["+15125550199", "5125550199", "mariquita.q@example.com"].flatMap((address) =>
      ["sha256", "md5", "sha1"].map((how) => createHash(how).update(address).digest("hex"))
    );
    expect(await found(digests.join("|"))).toEqual([]);
    const told = await sql`
      select e.id, e.status from ridgeline.erasures_of(${ask[0]!}, ${ask[1]!}, ${ask[2]!}, ${ask[
      3
    ]!}) as e`;
    expect([...told]).toEqual([{ id: entry?.id, status: "completed" }]);

    // What is the neighbour's is still there, and what was counted is counted.
    expect(await neighbours()).toEqual(theirs);
    expect((await counts()).map(({ sent }) => sent)).toEqual(counted.map(({ sent }) => sent));

    // She has opted out, though nobody knows who she is.
    const again = await sql<{ id: string }[]>`
      insert into public.contacts (tenant_id, first_name, phone, email)
      values (${tenant}, 'M', '512 555 0199', 'mariquita.q@EXAMPLE.com') returning id`;
    await work();
    const steps = await sql`
      select s.status::text, s.error ->> 'code' as code from ridgeline.workflow_step_executions as s
      join ridgeline.workflow_executions as e on e.id = s.execution_id
      where e.contact_id = ${
      again[0]!.id
    } and s.step_type in ('send_sms', 'send_email') order by s.seq`;
    expect([...steps]).toEqual(
      Array.from({ length: 2 }, () => ({ status: "skipped", code: "suppressed" })),
    );
    // Until she says otherwise, from that number.
    const suppressed = async () =>
      (await sql`
      select automation.is_suppressed(${tenant}, 'sms', '+15125550199') as is`)[0]?.is as boolean;
    expect(await suppressed()).toBe(true);
    await sql`
      select automation.receive_sms(jsonb_build_object('message_sid', 'SMstart', 'from', '+15125550199',
        'to', ${number}::text, 'body', 'START'))`;
    expect(await suppressed()).toBe(false);
  });

  it("gets nothing more from the moment that they are asked for, and what a dispatcher had is erased too", async () => {
    const { tenantId } = await sessions.office([
      { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } },
      { type: "send_sms", config: { body: "And again" } },
    ]);
    const contact = await sessions.lead(tenantId, "+15125550199");
    await sessions.lead(tenantId, "+15125550142");
    const claimed =
      await sql`select tenant_id, step_id, attempt_token from automation.claim_steps('w', 10)`;
    expect(claimed).toHaveLength(2);
    await sql`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`;
    for (let n = 0; n < 3; n++) {
      await sql`update automation.erasures_under_way set next_at = '-infinity'`;
      await sql`call automation.erase_people('100 milliseconds')`;
    }
    expect((await sql`select status from ridgeline.erasures`)[0]?.status).toBe("running");
    await sql`select * from automation.finish_steps(${
      sql.json(
        claimed.map((step, n) => ({
          ...step,
          outcome: "succeeded",
          result: { provider_id: `S${n}` },
        })),
      )
    })`;
    await sql`delete from public.contacts where id = ${contact}`;
    await erased(tenantId);
    expect(await found("5125550199")).toEqual([]);
    const next = await sql`select payload ->> 'to' as to from automation.claim_steps('w', 10)`;
    expect([...next]).toEqual([{ to: "+15125550142" }]);
  });

  it("is erased by owners and admins alone, who cannot read whom", async () => {
    const { tenantId } = await sessions.office([{ type: "send_sms", config: { body: "Hi" } }]);
    const { tenantId: other } = await sessions.office([{
      type: "send_sms",
      config: { body: "Hi" },
    }]);
    const contact = await sessions.lead(tenantId, "+15125550199");
    const member = async (tenant: string, role: string) =>
      (await sql<{ user_id: string }[]>`
      insert into public.tenant_members (tenant_id, user_id, role)
      values (${tenant}, gen_random_uuid(), ${role}) returning user_id`)[0]!.user_id;
    const [editor, admin, stranger] = [
      await member(tenantId, "member"),
      await member(tenantId, "admin"),
      await member(other, "owner"),
    ];
    const ask = (user: string) =>
      asRole(
        sql,
        { user },
        (as) => as`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`,
      );
    await expect(ask(editor)).rejects.toThrow(/only owners and admins/);
    await expect(ask(stranger)).rejects.toThrow(/tenant_id/);
    await ask(admin);
    const read = (user: string, what: string) =>
      asRole(sql, { user }, (as) => as.unsafe(`select * from ${what}`));
    expect(await read(editor, "ridgeline.erasures")).toEqual([]);
    expect(await read(stranger, "ridgeline.erasures")).toEqual([]);
    expect(await read(admin, "ridgeline.erasures")).toMatchObject([{
      requested_by: admin,
      status: "running",
    }]);
    for (const secret of ["automation.erasures_under_way", "automation.erased_addresses"]) {
      await expect(read(admin, secret)).rejects.toThrow(/permission denied/);
      await expect(asRole(sql, "service_role", (as) => as.unsafe(`select * from ${secret}`)))
        .rejects.toThrow(/permission denied/);
    }
    const wrong = (args: string) =>
      sql.unsafe(`select ridgeline.erase_person(${args}, tenant_id => '${tenantId}')`);
    await expect(wrong("phone => '12'")).rejects.toThrow(/^phone: "12" is not a phone number/);
    await expect(wrong("email => 'ann'")).rejects.toThrow(/^email: "ann" is not an email address/);
    await expect(wrong("phone => ' '")).rejects.toThrow(
      /^contact_id: a contact, a phone number or an email/,
    );
  });

  it("leaves to others the number that they share", async () => {
    const { tenantId } = await sessions.office([{
      type: "send_sms",
      config: { body: "Hi {{contact.first_name}}" },
    }]);
    const contact = await sessions.lead(tenantId, "+15125550199");
    const spouse = await sessions.lead(tenantId, "+15125550199");
    await send();
    await sql`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`;
    await erased(tenantId);
    const texts = await sql`select contact_id, to_number from ridgeline.messages`;
    expect([...texts]).toEqual([{ contact_id: spouse, to_number: "+15125550199" }]);
    expect(
      (await sql`select automation.is_suppressed(${tenantId}, 'sms', '+15125550199') as is`)[0]?.is,
    ).toBe(false);
  });

  it("finds a customer among many, however small its portions are", async () => {
    const { tenantId } = await sessions.office([{
      type: "send_sms",
      config: { body: "Hi {{contact.first_name}}" },
    }]);
    for (let n = 0; n < 20; n++) await sessions.lead(tenantId, `+151255501${20 + n}`);
    const contact = await sessions.lead(tenantId, "+15125550199");
    await send();
    await sql`
      insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body, provider)
      select ${tenantId}, ${contact}, 'inbound', n, '+15125550100', 'Hello', 'twilio'
      from generate_series(1, 300) as i, lateral (select '+15125550199' as n) as x`;
    await sql`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`;
    expect(await erased(tenantId)).toMatchObject({ "ridgeline.messages": 301 });
    expect(await found("5125550199")).toEqual([]);
    expect((await sql`select from ridgeline.messages`).count).toBe(20);
    expect((await sql`select from ridgeline.workflow_executions`).count).toBe(20);
  });

  it("ends so many runs at once as a statement has time for, and the others when their turn comes", async () => {
    const { tenantId, workflowId } = await sessions.office([{ type: "wait", config: { days: 3 } }]);
    const contact = await sessions.lead(tenantId, "+15125550199");
    await sql`select ridgeline.execute_workflow(${workflowId}, ${
      sql.json({ contact_id: contact })
    })`;
    // The others are copies: to begin each of them would take this test's time on a slow machine.
    await sql`
      with one as (
        select e, s from ridgeline.workflow_executions as e
        join ridgeline.scheduled_steps as s on s.tenant_id = e.tenant_id and s.execution_id = e.id limit 1
      ), runs as (
        insert into ridgeline.workflow_executions
        select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid()))).*
        from one, generate_series(1, 1098)
        returning id
      )
      insert into ridgeline.scheduled_steps
      select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(), 'execution_id', runs.id))).*
      from one, runs`;
    await sql`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`;
    const open = async () =>
      (await sql`select from ridgeline.workflow_executions where finished_at is null`).count;
    expect(await open()).toBe(100);
    while (await open() > 0) await sql`call automation.erase_people('100 milliseconds')`;
    await sql`delete from automation.erasures_under_way`;
  });

  it("stays half erased when the server dies in between, and is erased when it is back", async () => {
    const { tenantId } = await sessions.office([{
      type: "send_sms",
      config: { body: "Hi {{contact.first_name}}" },
    }]);
    const contact = await sessions.lead(tenantId, "+15125550199");
    await send();
    await sql`select ridgeline.erase_person(${contact}, tenant_id => ${tenantId})`;
    const dying = await sessions.begin();
    await dying`
      select automation.run_erasure(u) from automation.erasures_under_way as u`;
    const [{ pid } = { pid: 0 }] = await dying<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await sql`select pg_terminate_backend(${pid})`;
    expect(await found("5125550199")).toContain("ridgeline.workflow_executions.trigger_data");
    await erased(tenantId);
    expect(await found("5125550199")).toEqual([]);
  });

  it("is not written to when the key of what is suppressed is lost", async () => {
    const { tenantId } = await sessions.office([{ type: "send_sms", config: { body: "Hi" } }]);
    await sql`select ridgeline.erase_person(phone => '+15125550199', tenant_id => ${tenantId})`;
    await sql`delete from vault.secrets where name = 'ridgeline/erasure'`;
    await sessions.lead(tenantId, "+15125550142");
    expect([...await sql`select * from automation.claim_steps('w', 10)`]).toEqual([]);
    await expect(
      sql`select ridgeline.erase_person(phone => '+15125550142', tenant_id => ${tenantId})`,
    )
      .rejects.toThrow(/key of erased addresses is gone/);
  });
});

describe("the digest of an address", () => {
  it("is the HMAC of RFC 4231", async () => {
    const cases = [["Jefe", "what do ya want for nothing?"], ["k".repeat(131), "long key"], [
      "",
      "",
    ]];
    for (const [key, said] of cases) {
      const [row] = await sql`
        select encode(automation.hmac_sha256(convert_to(${key!}, 'UTF8'), convert_to(${said!}, 'UTF8')), 'hex') as mac`;
      expect(row?.mac).toBe(createHmac("sha256", key!).update(said!).digest("hex"));
    }
  });
});
