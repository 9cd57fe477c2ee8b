// What an upgrade reads otherwise than whoever attached it knows, it says, and engine_status() goes on saying.
import { expect, it } from "vitest";
import { runScript } from "../../scripts/lib/schema.ts";
import { connect } from "../../scripts/lib/scratch.ts";
import { previousEngine, scratchDatabase, shippedEngine } from "./releases.ts";

it(
  "a number that says who is gone, and columns that say who has left",
  { timeout: 240_000 },
  async () => {
    const { url, drop } = await scratchDatabase(previousEngine);
    const warnings: string[] = [];
    const sql = connect(url, { max: 1, onnotice: ({ message }) => warnings.push(message!) });
    const misread = async () =>
      (await sql`select s -> 'misread' as said from ridgeline.engine_status() as s`)[0]!.said;
    const told = () =>
      warnings.splice(0).filter((said) => /deleted is mapped|members/.test(said)).sort();
    try {
      await sql.unsafe(`
      create table public.offices (id uuid primary key, name text, gone integer not null default 0);
      create table public.staff (
        tenant_id uuid not null, user_id uuid not null, role text, deleted_at timestamptz, disabled boolean, suspended_at date);
      insert into public.offices (id, name) values (gen_random_uuid(), 'Apex Roofing');
      insert into public.staff
      select o.id, gen_random_uuid(), 'owner', s.deleted_at, s.disabled, s.suspended_at
      from public.offices as o, (values (null::timestamptz, false, null::date), (null, true, null), (null, null, '2026-01-01'),
        (now(), true, null)) as s (deleted_at, disabled, suspended_at);
      select automation.attach_tenants('public.offices', '{"deleted": "gone"}');
      select automation.attach_members('public.staff', '{"deleted": "deleted_at"}')`);
      warnings.length = 0;
      for (const script of shippedEngine) await runScript(sql, script);
      const gone =
        'deleted is mapped to "gone", which is integer: each row that has a value there counts as gone';
      const left = "disabled, suspended_at";
      expect(told()).toEqual([
        `automation: 2 of those who were members by public.staff are none any more, by ${left}`,
        `automation: public.offices: ${gone}`,
      ]);
      expect(await misread()).toEqual([
        { relation: "public.offices", why: gone },
        {
          relation: "public.staff",
          why: `who has left by ${left} is no member, which was not so when it was attached`,
        },
      ]);
      // Attached again, whoever does it is told by then.
      const [{ again }] = await sql<[{ again: string }]>`
      select automation.attach_members_again(m, m.columns ->> 'status') as again from automation.membership as m`;
      await sql.unsafe(`
      alter table public.offices add column is_gone boolean generated always as (gone > 0) stored;
      select automation.attach_tenants('public.offices', '{"deleted": "is_gone"}');
      ${again}`);
      await sql`select automation.regenerate_captures()`;
      expect(told()).toEqual([]);
      expect(await misread()).toEqual([]);
      expect(await sql`select count(*)::int as members from automation.read_members(null, null)`)
        .toEqual([{ members: 1 }]);
    } finally {
      await sql.end({ timeout: 1 });
      await drop();
    }
  },
);
