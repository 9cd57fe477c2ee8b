// What a database holds of ours, to be compared: two ways to build it must end in the same.
import type { Sql } from "postgres";

export const ourSchemas = ["automation", "ridgeline", "public", "ridgeline_crm"] as const;

/** Everything the catalogs say about our schemas, one line an object, as pg_dump would see it. */
export async function fingerprint(sql: Sql): Promise<string[]> {
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
    select concat_ws(' ', 'column', c.oid::regclass,
        row_number() over (partition by c.oid order by a.attnum), a.attname,
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
    select concat_ws(' ', 'sequence', c.relpersistence, s.seqrelid::regclass, s.seqtypid::regtype, s.seqstart,
        s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
      from pg_sequence s join pg_class c on c.oid = s.seqrelid
    union all
    select concat_ws(' ', 'event trigger', e.evtname, e.evtevent, e.evtfoid::regproc)
      from pg_event_trigger e
    order by line`;
  return rows.map(({ line }) => line);
}

/** The rows that sql/ itself puts into tables, such as the registry of trigger types; not when it did. */
export async function contents(sql: Sql): Promise<Record<string, unknown>> {
  const tables = await sql<{ name: string; times: string[] }[]>`
    select c.oid::regclass::text as name, coalesce(
      array_agg(a.attname::text) filter (where a.atttypid = 'timestamptz'::regtype
        or pg_get_expr(d.adbin, d.adrelid) like '%random%'), '{}') as times
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
    left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    -- What was changed while it was built is history, and each installation has a secret of its own.
    where c.relkind = 'r' and c.oid <> coalesce(to_regclass('ridgeline.changes'), 0)
      and c.oid <> coalesce(to_regclass('automation.unsubscribe_secret'), 0)
      and c.relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace, 'public'::regnamespace)
    group by c.oid`;
  const filled: Record<string, unknown> = {};
  for (const { name, times } of tables) {
    const rows = await sql.unsafe(
      `select to_jsonb(t) - $1::text[] as row from ${name} as t order by (to_jsonb(t) - $1::text[])::text`,
      [times],
    );
    if (rows.length) filled[name] = rows.map(({ row }) => row);
  }
  return filled;
}
