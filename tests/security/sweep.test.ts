// Everything that the API has, as the catalog lists it, against whoever is of another office or of none: so what is
// added is tried by itself. Rival's rows all hold one word, which nobody else may be shown.
import { randomUUID } from "node:crypto";
import type { Sql } from "postgres";
import { beforeAll, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();
const SECRET = "TOPSECRET";
const apex = randomUUID();
const rival = randomUUID();
const ann = randomUUID();

const strangers = [
  { who: "anon", role: "anon", sub: null },
  { who: "a user of no office", role: "authenticated", sub: randomUUID() },
  { who: "the owner of another office", role: "authenticated", sub: ann },
];

let sql: Sql;
let ids: string[];

// Within the transaction that is undone, who of Rival's rows was written.
const watch = `
create function public.note_touched() returns trigger language plpgsql as $$
begin
  perform set_config('sweep.touched', tg_relid::regclass::text, true);
  return null;
end $$;
do $$
declare
  relation regclass;
begin
  for relation in
    select c.oid::regclass from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = 'tenant_id'
    where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('ridgeline', 'automation', 'public')
  loop
    execute format('create trigger zz_inserted after insert on %s for each row when (new.tenant_id = %L)
      execute function public.note_touched()', relation, '${rival}');
    execute format('create trigger zz_changed after update or delete on %s for each row when (old.tenant_id = %L)
      execute function public.note_touched()', relation, '${rival}');
  end loop;
end $$`;

beforeAll(async () => {
  sql = database().connect({ max: 1 });
  await sql`insert into tenants (id, name) values (${apex}, 'Apex'), (${rival}, ${SECRET})`;
  const rivals = randomUUID();
  await sql`
    insert into tenant_members (tenant_id, user_id, role, full_name)
    values (${apex}, ${ann}, 'owner', 'Ann'), (${rival}, ${rivals}, 'owner', ${SECRET})`;
  for (const tenant of [apex, rival]) {
    const word = tenant === rival ? SECRET : "Apex";
    await sql`
      insert into ridgeline.senders (tenant_id, channel, address, is_default)
      values (${tenant}, 'sms', ${tenant === rival ? "+15125550222" : "+15125550111"}, true)`;
    const [workflow] = await sql`
      insert into ridgeline.workflows (tenant_id, name, trigger_type) values (${tenant}, ${word}, 'contact_created')
      returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values
        (${tenant}, ${workflow!.id}, 1, 'create_task', ${sql.json({ title: word })}),
        (${tenant}, ${workflow!.id}, 2, 'send_sms', ${
      sql.json({ body: word, purpose: "transactional" })
    })`;
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow!.id}`;
    await sql`
      insert into contacts (tenant_id, first_name, phone)
      select ${tenant}, ${word}, '+1512555' || (${
      tenant === rival ? 2000 : 1000
    }::int + n) from generate_series(1, 3) as n`;
    await sql`select automation.run_database_steps()`;
    await sql`select automation.claim_steps('w', 1)`;
  }
  // One of each table: a workflow, a run, a step, a contact, a task ...
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname in ('ridgeline', 'public') and 2 = (
      select count(*) from pg_attribute as a where a.attrelid = c.oid and a.attname in ('tenant_id', 'id'))`;
  ids = [rival];
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select id::text from ${name} where tenant_id = '${rival}' limit 1`,
    );
    if (row) ids.push(row.id as string);
  }
  await sql.unsafe(watch).simple();
});

/** What a stranger was shown or has touched, and with how many calls. */
async function tryAll(statements: { text: string; values: (string | null)[] }[]) {
  const found = new Set<string>();
  for (const { who, role, sub } of strangers) {
    const claims = JSON.stringify(sub ? { role, sub } : { role });
    for (const { text, values } of statements) {
      let told = "";
      await sql.begin(async (transaction) => {
        await transaction`
          select set_config('request.jwt.claims', ${claims}, true), set_config('role', ${role}, true)`;
        told = await transaction.savepoint((inner) => inner.unsafe(text, values)).then(
          (rows) => JSON.stringify(rows),
          ({ message, detail, hint }) => [message, detail, hint].join(" "),
        );
        const [touched] = await transaction`select current_setting('sweep.touched', true) as it`;
        if (touched?.it) found.add(`${who} wrote ${touched.it}: ${text}`);
        throw new Error("undone");
      }).catch((error: Error) => {
        if (error.message !== "undone") throw error;
      });
      if (told.includes(SECRET) && !values.join().includes(SECRET)) {
        found.add(`${who} was shown what is Rival's: ${text}`);
      }
    }
  }
  return [...found];
}

/** Every function with every id of Rival's in every place where one fits, as Rival's and as nobody's in particular. */
async function calls() {
  const functions = await sql<{ name: string; args: string[]; types: string[]; given: number }[]>`
    select p.oid::regproc::text as name, coalesce(p.proargnames[1:p.pronargs], '{}') as args,
      array(
        select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality as u (t, place) order by place
      ) as types, p.pronargs - p.pronargdefaults as given
    from pg_proc as p where p.pronamespace = 'ridgeline'::regnamespace and p.prokind = 'f' order by 1`;
  const plain = (type: string) => {
    if (type === "jsonb") return "{}";
    if (type.endsWith("[]")) return "{}";
    if (type.startsWith("timestamp") || type === "date") return "2026-01-01";
    return { uuid: rival, text: "x", integer: "1", boolean: "true" }[type] ?? null;
  };
  const fitting = (type: string): string[] => {
    if (type === "uuid" || type === "text") return ids;
    if (type === "uuid[]" || type === "text[]") return [`{${ids.join(",")}}`];
    if (type !== "jsonb") return [];
    return ids.map((id) =>
      JSON.stringify({ id, contact_id: id, workflow_id: id, execution_id: id, tenant_id: rival })
    );
  };
  return functions.flatMap(({ name, args, types, given }) => {
    const least = types.map((type, place) => place < given ? plain(type) : undefined);
    const variants: (string | null | undefined)[][] = [least];
    const tenant = args.indexOf("tenant_id");
    types.forEach((type, place) => {
      for (const id of fitting(type)) {
        const one = least.with(place, id);
        variants.push(one);
        if (tenant >= 0 && tenant !== place) variants.push(one.with(tenant, rival));
      }
    });
    return variants.map((values) => {
      const places = values.flatMap((value, place) => value === undefined ? [] : [place]);
      const list = places.map((place, n) => `"${args[place]}" => $${n + 1}::text::${types[place]}`);
      return {
        text: `select t from ${name}(${list.join(", ")}) as t`,
        values: places.map((place) => values[place] ?? null),
      };
    });
  });
}

/** Every table and view, read and written. */
async function accesses() {
  const relations = await sql<{ name: string; tenanted: boolean }[]>`
    select format('%I.%I', n.nspname, c.relname) as name, exists (
      select from pg_attribute as a where a.attrelid = c.oid and a.attname = 'tenant_id') as tenanted
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'm', 'p') and n.nspname in ('ridgeline', 'automation', 'public') order by 1`;
  return relations.flatMap(({ name, tenanted }) => [
    { text: `select t.* from ${name} as t`, values: [] },
    ...(tenanted
      ? [
        `insert into ${name} (tenant_id) values ('${rival}') returning *`,
        `insert into ${name} select (jsonb_populate_record(t, '{"tenant_id": "${rival}", "id": "${randomUUID()}"}')).*
          from ${name} as t limit 1 returning *`,
        `update ${name} set tenant_id = '${rival}' returning *`,
        `update ${name} set tenant_id = tenant_id where tenant_id = '${rival}' returning *`,
        `delete from ${name} where tenant_id = '${rival}' returning *`,
      ].map((text) => ({ text, values: [] }))
      : []),
  ]);
}

describe("whoever is not of an office", { timeout: 300_000 }, () => {
  it("learns nothing of it from any function, and changes nothing of it", async () => {
    const all = await calls();
    expect(all.length).toBeGreaterThan(1_000);
    expect(await tryAll(all)).toEqual([]);
  });

  it("reads and writes none of its rows, in any table or view", async () => {
    const all = await accesses();
    expect(all.length).toBeGreaterThan(100);
    expect(await tryAll(all)).toEqual([]);
  });

  it("would be seen to", async () => {
    await sql.unsafe(`
      create function ridgeline.careless(workflow_id uuid) returns text language sql security definer as
        $$ select w.name from ridgeline.workflows as w where w.id = workflow_id $$;
      create function ridgeline.hasty(workflow_id uuid) returns void language sql security definer as
        $$ update ridgeline.workflows as w set description = 'mine' where w.id = workflow_id $$;
      grant execute on function ridgeline.careless, ridgeline.hasty to anon;
      create policy everybodys on ridgeline.workflow_steps for select to authenticated using (true)`)
      .simple();
    const careless = (await calls()).filter(({ text }) => /careless|hasty/.test(text));
    expect((await tryAll(careless)).sort()).toEqual([
      'a user of no office was shown what is Rival\'s: select t from ridgeline.careless("workflow_id" => $1::text::uuid) as t',
      'a user of no office wrote ridgeline.workflows: select t from ridgeline.hasty("workflow_id" => $1::text::uuid) as t',
      'anon was shown what is Rival\'s: select t from ridgeline.careless("workflow_id" => $1::text::uuid) as t',
      'anon wrote ridgeline.workflows: select t from ridgeline.hasty("workflow_id" => $1::text::uuid) as t',
      'the owner of another office was shown what is Rival\'s: select t from ridgeline.careless("workflow_id" => $1::text::uuid) as t',
      'the owner of another office wrote ridgeline.workflows: select t from ridgeline.hasty("workflow_id" => $1::text::uuid) as t',
    ]);
    const steps = (await accesses()).filter(({ text }) =>
      /^select .*workflow_steps as t$/.test(text)
    );
    expect(await tryAll(steps)).toHaveLength(2);
  });
});
