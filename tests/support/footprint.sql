-- Everything that a database is, besides its rows and Ridgeline's two schemas: one row a thing.
with
  namespaces as (
    select n.oid, n.nspname from pg_namespace as n
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'automation', 'ridgeline',
      'supabase_migrations')
      and n.nspname !~ '^pg_(temp|toast_temp)_'
  ),
  relations as (
    select c.*, n.nspname || '.' || c.relname as full_name
    from pg_class as c join namespaces as n on n.oid = c.relnamespace
  ),
  functions as (
    select p.*, n.nspname, p.oid::regprocedure::text as full_name
    from pg_proc as p join namespaces as n on n.oid = p.pronamespace
  )
select 'schema' as kind, n.nspname as name,
  concat_ws(' ', pg_get_userbyid(s.nspowner), s.nspacl, obj_description(s.oid, 'pg_namespace')) as what
from namespaces as n join pg_namespace as s on s.oid = n.oid
union all
select 'relation ' || c.relkind::text, c.full_name, concat_ws(' ', pg_get_userbyid(c.relowner), c.relacl, c.relrowsecurity,
  c.relforcerowsecurity, c.relreplident, c.relpersistence, c.reloptions, c.relispartition, c.relhastriggers,
  pg_get_partkeydef(c.oid), obj_description(c.oid, 'pg_class'),
  case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
  case when c.relkind in ('i', 'I') then pg_get_indexdef(c.oid) end)
from relations as c
union all
select 'column', c.full_name || '.' || a.attname, concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod),
  a.attnotnull, a.attidentity, a.attgenerated, a.attacl, a.attoptions, a.attstattarget, a.attcollation,
  pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
from relations as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
union all
select 'constraint', coalesce(c.full_name, '') || '.' || k.conname, concat_ws(' ', pg_get_constraintdef(k.oid),
  k.convalidated, k.condeferrable, obj_description(k.oid, 'pg_constraint'))
from pg_constraint as k join namespaces as n on n.oid = k.connamespace
left join relations as c on c.oid = k.conrelid
union all
select 'trigger', c.full_name || '.' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
from pg_trigger as t join relations as c on c.oid = t.tgrelid
where not t.tgisinternal
union all
select 'policy', c.full_name || '.' || p.polname, concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[],
  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy as p join relations as c on c.oid = p.polrelid
union all
select 'rule', c.full_name || '.' || r.rulename, pg_get_ruledef(r.oid)
from pg_rewrite as r join relations as c on c.oid = r.ev_class
union all
select 'function', f.full_name, concat_ws(' ', pg_get_userbyid(f.proowner), f.proacl, f.prosecdef, f.provolatile,
  f.proconfig, obj_description(f.oid, 'pg_proc'), f.prosrc, case when f.prokind <> 'a' then pg_get_functiondef(f.oid) end)
from functions as f
union all
select 'type', n.nspname || '.' || t.typname, concat_ws(' ', t.typtype, pg_get_userbyid(t.typowner), t.typacl,
  (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum as e where e.enumtypid = t.oid))
from pg_type as t join namespaces as n on n.oid = t.typnamespace
union all
select 'sequence', c.full_name, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin,
  s.seqcache, s.seqcycle)
from pg_sequence as s join relations as c on c.oid = s.seqrelid
union all
select 'default privileges', concat_ws(' ', pg_get_userbyid(d.defaclrole), n.nspname, d.defaclobjtype),
  d.defaclacl::text
from pg_default_acl as d left join pg_namespace as n on n.oid = d.defaclnamespace
where n.nspname is distinct from 'automation' and n.nspname is distinct from 'ridgeline'
union all
select 'extension', e.extname, concat_ws(' ', e.extversion, e.extnamespace::regnamespace) from pg_extension as e
union all
select 'event trigger', e.evtname, concat_ws(' ', e.evtevent, e.evtenabled) from pg_event_trigger as e
union all
select 'publication', p.pubname, concat_ws(' ', p.puballtables, p.pubinsert) from pg_publication as p
union all
select 'cast', concat_ws(' ', c.castsource::regtype, c.casttarget::regtype), c.castcontext::text
from pg_cast as c where c.oid > 16383
union all
select 'operator', o.oid::regoperator::text, o.oprcode::text from pg_operator as o
join namespaces as n on n.oid = o.oprnamespace
union all
select 'setting of the database', coalesce(r.rolname, '-'), s.setconfig::text
from pg_db_role_setting as s left join pg_roles as r on r.oid = s.setrole
where s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))
union all
select 'database', 'this', concat_ws(' ', pg_get_userbyid(d.datdba), d.datacl, d.datallowconn)
from pg_database as d where d.datname = current_database()
union all
select 'role', r.rolname, concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolbypassrls, r.rolconfig, (
    select string_agg(m.roleid::regrole || ':' || m.admin_option, ',' order by m.roleid::regrole::text)
    from pg_auth_members as m where m.member = r.oid))
from pg_roles as r where r.rolname in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'large object', l.oid::text, l.lomacl::text from pg_largeobject_metadata as l
order by 1, 2, 3
