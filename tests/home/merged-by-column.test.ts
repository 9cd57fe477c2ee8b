// Somebody else's CRM merges duplicates in its own way: the row of the one that goes says into which it went, and is then
// marked as deleted, or deleted for good. Mapped in attach(), that moves what the engine keeps; unmapped it moves nothing.
import type { Sql } from "postgres";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createHost,
  type Host,
  LAKESIDE,
  MARIA,
  OTTO,
  publish,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Host & { sql: Sql };
let sql: Sql;
let chase: string;
beforeEach(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
  await clock("2026-06-01 10:00");
  await sql`alter table public.contacts add column duplicate_of uuid, add column merged_into uuid`;
  chase = await publish(sql, SUMMIT, "stage_changed", [
    ["wait", { days: 2 }],
    ["send_sms", { body: "Still interested?", purpose: "transactional" }],
  ], { trigger_config: { to: "quoted" } });
});
afterEach(() => host.drop());

const attach = (more: object) =>
  sql`select automation.attach('public.contacts', 'contact',
    ${sql.json({ phone: ["mobile_phone", "phone"], deleted: "is_deleted", ...more })},
    '[{"type": "stage_changed", "column": "stage"}]', authors => 'members')`;

/** The time in Austin, and to whom what went by then. */
async function clock(wall: string) {
  await sql`select automation.set_clock(${wall}::timestamp at time zone 'America/Chicago')`;
  return (await work(sql)).map(({ payload }) => payload.to);
}

async function contact(mobile: string, tenant = SUMMIT): Promise<string> {
  const [row] = await sql<[{ id: string }]>`
    insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
    values (${tenant}, 'Maria', 'Lopez-Diaz', ${mobile}) returning id`;
  return row.id;
}
const quote = (id: string) => sql`update public.contacts set stage = 'quoted' where id = ${id}`;
const fates = async () =>
  (await sql<{ fate: string }[]>`
    select concat_ws(' ', status, error ->> 'code') as fate from ridgeline.workflow_executions
    where workflow_id = ${chase} order by seq`).map(({ fate }) => fate);
const due = async () => (await sql`select id from automation.merges_due`).length;

describe("a CRM that maps its column", () => {
  beforeEach(() => attach({ merged_into: "duplicate_of" }));

  it("takes runs along in the statement that marks the one that goes as merged and deleted", async () => {
    const other = await contact("512 555 0188");
    await quote(other);
    await clock("2026-06-01 11:00");
    await sql`update public.contacts set duplicate_of = ${MARIA}, is_deleted = true where id = ${other}`;
    expect(await clock("2026-06-01 11:01")).toEqual([]);
    expect(await fates()).toEqual(["waiting"]);
    expect(await clock("2026-06-03 11:30")).toEqual(["+15125550142"]);
    expect(await due()).toBe(0);
  });

  it("does so when it is deleted first, or afterwards, or for good, in one transaction", async () => {
    const [first, second, third] = [
      await contact("512 555 0181"),
      await contact("512 555 0182"),
      await contact("512 555 0183"),
    ];
    const winners = [
      await contact("512 555 0171"),
      await contact("512 555 0172"),
      await contact("512 555 0173"),
    ];
    for (const id of [first, second, third]) await quote(id!);
    await clock("2026-06-01 11:00");
    await sql.begin(async (tx) => {
      await tx`update public.contacts set is_deleted = true where id = ${first!}`;
      await tx`update public.contacts set duplicate_of = ${winners[0]!} where id = ${first!}`;
      await tx`update public.contacts set duplicate_of = ${winners[1]!} where id = ${second!}`;
      await tx`update public.contacts set is_deleted = true where id = ${second!}`;
      await tx`update public.contacts set duplicate_of = ${winners[2]!} where id = ${third!}`;
      await tx`delete from public.contacts where id = ${third!}`;
    });
    expect((await clock("2026-06-03 11:30")).sort()).toEqual(
      ["+15125550171", "+15125550172", "+15125550173"],
    );
    expect(await fates()).toEqual(["completed", "completed", "completed"]);
  });

  it("says a thing once to who was in the workflow under both names", async () => {
    const other = await contact("512 555 0188");
    await quote(other);
    await clock("2026-06-01 11:00");
    await quote(MARIA);
    await sql`update public.contacts set duplicate_of = ${MARIA} where id = ${other}`;
    expect(await clock("2026-06-03 12:00")).toEqual(["+15125550142"]);
    expect(await fates()).toEqual(["completed", "cancelled merged"]);
  });

  it("claims nothing of either until it is done: what she took back under the one name counts", async () => {
    const other = await contact("512 555 0188");
    await sql`select ridgeline.record_revocation('sms', '+15125550188', 'on the phone', tenant_id => ${SUMMIT})`;
    await quote(MARIA);
    await clock("2026-06-01 10:30");
    await sql`select automation.set_clock('2026-06-03 12:00'::timestamp at time zone 'America/Chicago')`;
    // The wait is over and the text is due; before anybody looks at merges, dispatchers ask for texts.
    await sql`update ridgeline.scheduled_steps set step_key = 'step_2', lane = 'sms', run_at = automation.now()`;
    await sql`update public.contacts set duplicate_of = ${MARIA} where id = ${other}`;
    expect(await sql`select step_id from automation.claim_steps('w', 10)`).toHaveLength(0);
    expect(await due()).toBe(1);
    expect(await clock("2026-06-03 12:01")).toEqual([]);
    expect(await due()).toBe(0);
    expect(await fates()).toEqual(["completed"]);
    const [step] = await sql`
      select status, error ->> 'code' as code from ridgeline.workflow_step_executions where step_type = 'send_sms'`;
    expect(step).toEqual({ status: "skipped", code: "suppressed" });
  });

  it("is not led in circles, over the fence, or to nobody", async () => {
    const [one, two, gone, lake] = [
      await contact("512 555 0181"),
      await contact("512 555 0182"),
      await contact("512 555 0183"),
      await contact("312 555 0188", LAKESIDE),
    ];
    const three = await contact("512 555 0184");
    const four = await contact("512 555 0185");
    const five = await contact("512 555 0186");
    for (const id of [one, two, three, four, five]) await quote(id!);
    await clock("2026-06-01 11:00");
    await sql`update public.contacts set is_deleted = true where id = ${gone!}`;
    await sql.begin(async (tx) => {
      await tx`update public.contacts set duplicate_of = ${two!} where id = ${one!}`;
      await tx`update public.contacts set duplicate_of = ${one!} where id = ${two!}`;
      await tx`update public.contacts set duplicate_of = id where id = ${three}`;
      await tx`update public.contacts set duplicate_of = ${lake!} where id = ${four}`;
      await tx`update public.contacts set duplicate_of = ${gone!} where id = ${five}`;
    });
    expect((await clock("2026-06-03 11:30")).sort()).toEqual(
      ["+15125550182", "+15125550184", "+15125550185", "+15125550186"],
    );
    expect(await fates()).toEqual([
      "completed",
      "cancelled merged",
      "completed",
      "completed",
      "completed",
    ]);
    expect(await due()).toBe(0);
    const [elsewhere] =
      await sql`select count(*)::int from ridgeline.workflow_executions where tenant_id = ${LAKESIDE}`;
    expect(elsewhere).toEqual({ count: 0 });
  });

  it("follows a chain to its end, and what is taken back before it was acted on", async () => {
    const [one, two] = [await contact("512 555 0181"), await contact("512 555 0182")];
    await quote(one!);
    await clock("2026-06-01 11:00");
    await sql`update public.contacts set duplicate_of = ${two!}, is_deleted = true where id = ${one!}`;
    await sql`update public.contacts set duplicate_of = ${MARIA}, is_deleted = true where id = ${two!}`;
    expect(await clock("2026-06-03 11:30")).toEqual(["+15125550142"]);
    // Taken back: what moved stays, and what comes from now on is his own.
    await sql`update public.contacts set duplicate_of = ${MARIA} where id = ${OTTO}`;
    await clock("2026-06-03 12:00");
    await sql`update public.contacts set duplicate_of = null, mobile_phone = '512 555 0143' where id = ${OTTO}`;
    await quote(OTTO);
    await clock("2026-06-03 12:30");
    expect(await clock("2026-06-05 13:00")).toEqual(["+15125550143"]);
    const [left] = await sql`
      select count(*)::int from automation.merged_contacts where contact_id = ${OTTO}`;
    expect(left).toEqual({ count: 0 });
  });

  it("writes on though the column is dropped, and hears no more of it", async () => {
    await sql`alter table public.contacts drop column duplicate_of`;
    await sql`update public.contacts set last_name = 'Lopez' where id = ${MARIA}`;
    expect(await due()).toBe(0);
  });

  it("waits for who holds a run of hers, and for nobody for long", async () => {
    const other = await contact("512 555 0188");
    await quote(other);
    await clock("2026-06-01 11:00");
    const holder = await sql.reserve();
    await holder`begin`;
    await holder`select from ridgeline.workflow_executions where workflow_id = ${chase} for update`;
    await sql`update public.contacts set duplicate_of = ${MARIA} where id = ${other}`;
    const began = Date.now();
    await sql`select automation.run_merges()`;
    expect(Date.now() - began).toBeLessThan(5_000);
    expect(await due()).toBe(1);
    await holder`rollback`;
    holder.release();
    // Deleted meanwhile, with the merge still to come: nothing ends.
    await sql`update automation.merges_due set next_try_at = clock_timestamp() + interval '1 hour'`;
    await sql`update public.contacts set is_deleted = true where id = ${other}`;
    await sql`select automation.run_signals()`;
    expect(await fates()).toEqual(["waiting"]);
    await sql`update automation.merges_due set next_try_at = clock_timestamp()`;
    await sql`select automation.run_merges()`;
    expect(await due()).toBe(0);
  });

  it("lets go of it again", async () => {
    await attach({});
    const other = await contact("512 555 0188");
    await sql`update public.contacts set duplicate_of = ${MARIA} where id = ${other}`;
    expect(await due()).toBe(0);
    const triggers = await sql`
      select tgname from pg_trigger where tgrelid = 'public.contacts'::regclass and tgname like '%merge%'`;
    expect(triggers).toHaveLength(0);
    await attach({ merged_into: "duplicate_of" });
    await sql`select automation.detach('contact')`;
    expect(await sql`select proname from pg_proc where proname = 'capture_contact_merge'`)
      .toHaveLength(0);
  });
});

it("a column of that very name that nobody mapped moves nobody", async () => {
  await attach({});
  const other = await contact("512 555 0188");
  await quote(other);
  await clock("2026-06-01 11:00");
  await sql`update public.contacts set merged_into = ${MARIA} where id = ${other}`;
  expect(await due()).toBe(0);
  expect(await clock("2026-06-03 11:30")).toEqual(["+15125550188"]);
});

it("what cannot hold a contact is refused where it is mapped", async () => {
  await expect(attach({ merged_into: "lead_score" })).rejects.toThrow(
    /merged_into "lead_score" is integer/,
  );
  await expect(attach({ merged_into: "nowhere" })).rejects.toThrow(/no column "nowhere"/);
  await expect(sql`
    select automation.attach('public.jobs', 'job', '{"project": "project_id", "merged_into": "id"}')`)
    .rejects
    .toThrow(/merged_into is of the contact/);
});
