import fs from "node:fs";
import type { Sql } from "postgres";
import { describe, expect, inject, it } from "vitest";
import { migrationFile, migrations, runScript, schemaScript } from "../../scripts/lib/schema.ts";
import { createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";
import { useDatabase } from "../support/database.ts";

/** Everything the catalogs say about our schemas, one line an object, as pg_dump would see it. */
async function fingerprint(sql: Sql): Promise<string[]> {
  const rows = await sql<{ line: string }[]>`
    with ours as (select oid, nspname from pg_namespace where nspname in ('automation', 'ridgeline', 'public', 'ridgeline_crm'))
    select concat_ws(' ', 'schema', n.nspname, s.nspacl::text, obj_description(n.oid)) as line
      from ours n join pg_namespace s using (oid)
    union all
    select concat_ws(' ', 'relation', n.nspname, c.relname, c.relkind, c.relrowsecurity,
        c.relforcerowsecurity, c.reloptions, c.relpersistence, (
          select array_agg(a order by a::text) from unnest(c.relacl) a
        )::text, case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
        obj_description(c.oid, 'pg_class'))
      from pg_class c join ours n on n.oid = c.relnamespace
    union all
    select concat_ws(' ', 'column', c.oid::regclass, a.attnum, a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
        a.attstorage, a.attcollation::regcollation, a.attacl::text, a.attstattarget,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
      from pg_attribute a
      join pg_class c on c.oid = a.attrelid
      join ours n on n.oid = c.relnamespace
      left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where a.attnum > 0 and not a.attisdropped
    union all
    select concat_ws(' ', 'constraint', k.conrelid::regclass, k.contypid::regtype, k.conname,
        pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
      from pg_constraint k join ours n on n.oid = k.connamespace
    union all
    select concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid), i.indisclustered,
        i.indisreplident)
      from pg_index i join pg_class c on c.oid = i.indexrelid join ours n on n.oid = c.relnamespace
    union all
    select concat_ws(' ', 'routine', pg_get_functiondef(p.oid), (
          select array_agg(a order by a::text) from unnest(p.proacl) a
        )::text, obj_description(p.oid, 'pg_proc'))
      from pg_proc p join ours n on n.oid = p.pronamespace where p.prokind in ('f', 'p')
    union all
    select concat_ws(' ', 'aggregate', p.oid::regprocedure, g.aggtransfn, g.aggfinalfn)
      from pg_aggregate g join pg_proc p on p.oid = g.aggfnoid
      join ours n on n.oid = p.pronamespace
    union all
    select concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid join ours n on n.oid = c.relnamespace
      where not t.tgisinternal
    union all
    select concat_ws(' ', 'policy', p.polrelid::regclass, p.polname, p.polcmd, p.polpermissive,
        (select array_agg(r::regrole::text order by 1) from unnest(p.polroles) r),
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
      from pg_policy p
    union all
    select concat_ws(' ', 'type', n.nspname, t.typname, t.typtype, t.typbasetype::regtype,
        t.typnotnull, (
          select array_agg(e.enumlabel order by e.enumsortorder) from pg_enum e
          where e.enumtypid = t.oid
        ), obj_description(t.oid, 'pg_type'))
      from pg_type t join ours n on n.oid = t.typnamespace
    union all
    select concat_ws(' ', 'default privileges', d.defaclrole::regrole, n.nspname, d.defaclobjtype,
        d.defaclacl::text)
      from pg_default_acl d left join ours n on n.oid = d.defaclnamespace
    union all
    select concat_ws(' ', 'sequence', s.seqrelid::regclass, s.seqtypid::regtype, s.seqstart,
        s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
      from pg_sequence s
    union all
    select concat_ws(' ', 'event trigger', e.evtname, e.evtevent, e.evtfoid::regproc)
      from pg_event_trigger e
    order by line`;
  return rows.map(({ line }) => line);
}

/** The rows that sql/ itself puts into tables, such as the registry of trigger types. */
async function contents(sql: Sql): Promise<Record<string, unknown>> {
  const tables = await sql<{ name: string }[]>`
    select oid::regclass::text as name from pg_class
    where relkind = 'r' and relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace, 'public'::regnamespace)`;
  const filled: Record<string, unknown> = {};
  for (const { name } of tables) {
    const rows = await sql.unsafe(`select to_jsonb(t) as row from ${name} as t order by t::text`);
    if (rows.length) filled[name] = rows.map(({ row }) => row);
  }
  return filled;
}

async function built(name: string, script: string) {
  const adminUrl = inject("adminUrl");
  const url = await createDatabase(adminUrl, name);
  try {
    return await using(url, async (sql) => {
      await runScript(sql, script);
      return { fingerprint: await fingerprint(sql), contents: await contents(sql) };
    });
  } finally {
    await dropDatabase(adminUrl, name);
  }
}

const source = migrations.map(({ part }) => schemaScript(part)).join("\n");

describe("the migrations", () => {
  it("build the database that sql/ describes", async () => {
    const fromSource = await built("from_source", source);
    const fromMigrations = await built(
      "from_migrations",
      migrations.map((one) => fs.readFileSync(migrationFile(one), "utf8")).join("\n"),
    );
    expect(fromSource.fingerprint.length).toBeGreaterThan(500);
    expect(fromMigrations.fingerprint).toEqual(fromSource.fingerprint);
    expect(fromMigrations.contents).toEqual(fromSource.contents);
  });

  it("would be told apart by a single grant or comment", async () => {
    const fromSource = await built("from_source_2", source);
    const { fingerprint: other } = await built(
      "other",
      `${source}\ngrant select on public.contacts to anon;`,
    );
    expect(other).not.toEqual(fromSource.fingerprint);
  });
});

describe("the schema", () => {
  const database = useDatabase();

  it("has row-level security on every table of public", async () => {
    const open = await database().sql`
      select oid::regclass::text as name from pg_class
      where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
        and not relrowsecurity`;
    expect(open.map(({ name }) => name)).toEqual([]);
  });

  it("gives anon no privilege on any table", async () => {
    const granted = await database().sql`
      select oid::regclass::text as name from pg_class
      where relkind in ('r', 'p', 'v', 'm')
        and relnamespace in ('public'::regnamespace, 'automation'::regnamespace)
        and has_table_privilege('anon', oid, 'select, insert, update, delete, truncate')`;
    expect(granted.map(({ name }) => name)).toEqual([]);
  });

  it("has an index that serves each foreign key", async () => {
    const without = await database().sql`
      select k.conname from pg_constraint k
      where k.contype = 'f'
        and k.connamespace in ('public'::regnamespace, 'automation'::regnamespace)
        and not exists (
          select from pg_index i
          where i.indrelid = k.conrelid and i.indpred is null
            and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        )`;
    expect(without.map(({ conname }) => conname)).toEqual([]);
  });
});
