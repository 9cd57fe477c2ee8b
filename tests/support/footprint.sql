-- Everything that a database is, besides its rows and Ridgeline's two schemas: one row a thing.
with
  ours as (
    select n.oid from pg_namespace as n where n.nspname in ('automation', 'ridgeline', 'supabase_migrations')
  ),
  namespaces as (
    select n.oid, n.nspname from pg_namespace as n
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.oid not in (select oid from ours)
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
select 'schema' as kind, n.nspname as name, concat_ws(' ', pg_get_userbyid(s.nspowner), s.nspacl) as what
from namespaces as n join pg_namespace as s on s.oid = n.oid
union all
select 'relation ' || c.relkind::text, c.full_name, concat_ws(' ', pg_get_userbyid(c.relowner), c.relacl, c.relrowsecurity,
  c.relforcerowsecurity, c.relreplident, c.relpersistence, c.reloptions, c.relispartition, c.reloftype::regtype,
  (select a.amname from pg_am as a where a.oid = c.relam), c.reltablespace, pg_get_partkeydef(c.oid),
  pg_get_expr(c.relpartbound, c.oid), (select t.reloptions from pg_class as t where t.oid = c.reltoastrelid),
  case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end)
from relations as c
union all
-- Which Postgres remembers of a table whose triggers are gone, until it is vacuumed.
select 'has had triggers', c.full_name, 'yes' from relations as c where c.relhastriggers
union all
select 'index', i.indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisclustered, i.indisreplident,
  i.indisvalid, i.indisready, i.indimmediate)
from pg_index as i join relations as c on c.oid = i.indrelid
union all
select 'inheritance', c.full_name, concat_ws(' ', i.inhparent::regclass, i.inhseqno)
from pg_inherits as i join relations as c on c.oid = i.inhrelid
union all
select 'column', c.full_name || '.' || a.attname, concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod),
  a.attnotnull, a.attidentity, a.attgenerated, a.attacl, a.attoptions, a.attstattarget, a.attcollation, a.attstorage,
  a.attcompression, a.attislocal, a.attinhcount, a.attfdwoptions, pg_get_expr(d.adbin, d.adrelid))
from relations as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
union all
select 'constraint', concat_ws('.', coalesce(c.full_name, k.contypid::regtype::text), k.conname),
  concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable, k.condeferred)
from pg_constraint as k join namespaces as n on n.oid = k.connamespace
left join relations as c on c.oid = k.conrelid
union all
select 'trigger', c.full_name || '.' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
from pg_trigger as t join relations as c on c.oid = t.tgrelid
where not t.tgisinternal
union all
-- Those of foreign keys have names of their own in each database.
select 'triggers of foreign keys', c.full_name, string_agg(t.tgenabled::text || ' ' || t.tgfoid::regproc, ', ' order by t.tgenabled, t.tgfoid)
from pg_trigger as t join relations as c on c.oid = t.tgrelid
where t.tgisinternal group by c.full_name
union all
select 'policy', c.full_name || '.' || p.polname, concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[],
  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy as p join relations as c on c.oid = p.polrelid
union all
select 'rule', c.full_name || '.' || r.rulename, concat_ws(' ', pg_get_ruledef(r.oid), r.ev_enabled)
from pg_rewrite as r join relations as c on c.oid = r.ev_class
union all
select 'statistics', n.nspname || '.' || s.stxname,
  concat_ws(' ', pg_get_userbyid(s.stxowner), pg_get_statisticsobjdef(s.oid), to_jsonb(s) ->> 'stxstattarget')
from pg_statistic_ext as s join namespaces as n on n.oid = s.stxnamespace
union all
select 'function', f.full_name, concat_ws(' ', pg_get_userbyid(f.proowner), f.proacl, f.prosecdef, f.provolatile, f.proparallel,
  f.proleakproof, f.procost, f.prorows, f.proconfig, f.prosrc, case when f.prokind <> 'a' then pg_get_functiondef(f.oid) end)
from functions as f
union all
select 'aggregate', f.full_name, (to_jsonb(a) - 'aggfnoid')::text from functions as f join pg_aggregate as a on a.aggfnoid = f.oid
union all
select 'type', n.nspname || '.' || t.typname, concat_ws(' ', t.typtype, pg_get_userbyid(t.typowner), t.typacl,
  t.typbasetype::regtype, t.typnotnull, t.typdefault,
  (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum as e where e.enumtypid = t.oid))
from pg_type as t join namespaces as n on n.oid = t.typnamespace
union all
select 'sequence', c.full_name, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin,
  s.seqcache, s.seqcycle, (
    select string_agg(pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) || ' ' || d.deptype::text, ', ')
    from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')))
from pg_sequence as s join relations as c on c.oid = s.seqrelid
union all
-- What the host's own writes move on.
select 'value of a sequence', c.full_name, pg_sequence_last_value(c.oid)::text
from relations as c where c.relkind = 'S'
union all
select 'default privileges', concat_ws(' ', pg_get_userbyid(d.defaclrole), n.nspname, d.defaclobjtype),
  d.defaclacl::text
from pg_default_acl as d left join pg_namespace as n on n.oid = d.defaclnamespace
where not exists (select from ours as o where o.oid = d.defaclnamespace)
union all
select 'extension', e.extname, concat_ws(' ', e.extversion, pg_get_userbyid(e.extowner), e.extnamespace::regnamespace, e.extrelocatable,
  e.extconfig, e.extcondition)
from pg_extension as e
union all
select 'event trigger', e.evtname, concat_ws(' ', e.evtevent, e.evtenabled, e.evttags, pg_get_userbyid(e.evtowner), e.evtfoid::regprocedure)
from pg_event_trigger as e
union all
select 'publication', p.pubname, concat_ws(' ', pg_get_userbyid(p.pubowner), to_jsonb(p) - '{oid,pubowner}'::text[], (
    select string_agg(concat_ws(' ', r.prrelid::regclass, pg_get_expr(r.prqual, r.prrelid), r.prattrs), ', ' order by r.prrelid)
    from pg_publication_rel as r where r.prpubid = p.oid), (
    select string_agg(s.pnnspid::regnamespace::text, ', ' order by s.pnnspid) from pg_publication_namespace as s where s.pnpubid = p.oid))
from pg_publication as p
union all
select 'subscription', s.subname, concat_ws(' ', pg_get_userbyid(s.subowner), s.subenabled, s.subpublications)
from pg_subscription as s where s.subdbid = (select d.oid from pg_database as d where d.datname = current_database())
union all
select 'cast', concat_ws(' ', c.castsource::regtype, c.casttarget::regtype), concat_ws(' ', c.castcontext, c.castfunc::regprocedure)
from pg_cast as c where c.oid > 16383
union all
select 'operator', o.oid::regoperator::text, concat_ws(' ', o.oprcode, pg_get_userbyid(o.oprowner)) from pg_operator as o
join namespaces as n on n.oid = o.oprnamespace
union all
select 'language', l.lanname, concat_ws(' ', pg_get_userbyid(l.lanowner), l.lanpltrusted, l.lanacl) from pg_language as l
union all
select 'server', s.srvname, concat_ws(' ', pg_get_userbyid(s.srvowner), s.srvoptions, s.srvacl) from pg_foreign_server as s
union all
-- Of what else there may be, that it is there and whose.
select 'other', i.type || ' ' || i.identity, pg_get_userbyid(o.owner)
from (
  select 'pg_opclass'::regclass as class, c.oid, c.opcnamespace as namespace, c.opcowner as owner from pg_opclass as c
  union all select 'pg_opfamily'::regclass, f.oid, f.opfnamespace, f.opfowner from pg_opfamily as f
  union all select 'pg_collation'::regclass, c.oid, c.collnamespace, c.collowner from pg_collation as c
  union all select 'pg_conversion'::regclass, c.oid, c.connamespace, c.conowner from pg_conversion as c
  union all select 'pg_ts_config'::regclass, c.oid, c.cfgnamespace, c.cfgowner from pg_ts_config as c
  union all select 'pg_ts_dict'::regclass, d.oid, d.dictnamespace, d.dictowner from pg_ts_dict as d
  union all select 'pg_foreign_data_wrapper'::regclass, w.oid, null, w.fdwowner from pg_foreign_data_wrapper as w
) as o
cross join lateral pg_identify_object(o.class, o.oid, 0) as i
where o.oid > 16383 and not exists (select from ours where ours.oid = o.namespace)
union all
select 'comment', i.type || ' ' || i.identity, d.description
from pg_description as d cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
where d.objoid > 16383 and i.schema is distinct from 'automation' and i.schema is distinct from 'ridgeline'
  and not (d.classoid = 'pg_namespace'::regclass and d.objoid in (select oid from ours))
  and i.identity !~ ' on (automation|ridgeline)\.'
union all
select 'comment', i.type || ' ' || i.identity, d.description
from pg_shdescription as d cross join lateral pg_identify_object(d.classoid, d.objoid, 0) as i
where d.objoid = (select oid from pg_database where datname = current_database())
  or d.classoid = 'pg_authid'::regclass and i.identity in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'security label', s.objtype || ' ' || s.objname, s.provider || ' ' || s.label from pg_seclabels as s
union all
select 'setting of the database', concat_ws(' ', case s.setdatabase when 0 then 'every' end, coalesce(r.rolname, '-')), s.setconfig::text
from pg_db_role_setting as s left join pg_roles as r on r.oid = s.setrole
where s.setdatabase = (select d.oid from pg_database as d where d.datname = current_database())
  or s.setdatabase = 0 and r.rolname in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'parameter', p.parname, concat_ws(' ', a.grantor::regrole, a.grantee::regrole, a.privilege_type, a.is_grantable)
from pg_parameter_acl as p cross join lateral aclexplode(p.paracl) as a
where a.grantee = 0 or a.grantee::regrole::text in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'database', 'this', concat_ws(' ', pg_get_userbyid(d.datdba), d.datacl, d.datallowconn, d.datconnlimit)
from pg_database as d where d.datname = current_database()
union all
select 'role', r.rolname, concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, r.rolconfig)
from pg_roles as r where r.rolname in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'membership', concat_ws(' ', m.member::regrole, 'in', m.roleid::regrole), concat_ws(' ', 'by', m.grantor::regrole, m.admin_option,
  to_jsonb(m) ->> 'inherit_option', to_jsonb(m) ->> 'set_option')
from pg_auth_members as m
where m.member::regrole::text in ('postgres', 'host_owner', 'anon', 'authenticated', 'service_role')
union all
select 'large object', l.oid::text, concat_ws(' ', pg_get_userbyid(l.lomowner), l.lomacl) from pg_largeobject_metadata as l
order by 1, 2, 3
