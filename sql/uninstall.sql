-- Takes Ridgeline out of a database: its jobs, its triggers, its two schemas with all they hold. What the CRM's own
-- tables hold (tasks, tags, fields that steps have set) stays. One statement: as a whole or not at all.
--
--   psql "$DATABASE_URL" -f sql/uninstall.sql          or paste it into an SQL editor; scripts/uninstall runs it
--
-- Refused while runs are in flight, and while something outside depends on the two schemas. Before it, in the same
-- session, `set ridgeline.uninstall = 'force'` ends what is in flight, 'cascade' drops what depends; 'force,cascade'
-- does both. Secrets in Vault, and the functions that were deployed, are yours to remove.

do $uninstall$
declare
  allowed constant text[] := string_to_array(
    replace(coalesce(current_setting('ridgeline.uninstall', true), ''), ' ', ''), ',');
  in_flight bigint;
  depends text;
  installed record;
begin
  if to_regnamespace('automation') is null and to_regnamespace('ridgeline') is null then
    raise notice 'Ridgeline is not in this database';
    return;
  end if;
  if not 'force' = any (allowed) and to_regclass('ridgeline.workflow_executions') is not null then
    execute 'select count(*) from ridgeline.workflow_executions as e where e.finished_at is null' into in_flight;
    if in_flight > 0 then
      raise exception '% in flight: nothing was removed',
        case in_flight when 1 then '1 run is' else format('%s runs are', in_flight) end
        using errcode = 'object_in_use',
          hint = 'Let them finish (ridgeline.automation_queue), cancel them, or begin with: '
            'set ridgeline.uninstall = ''force''';
    end if;
  end if;
  -- Whoever writes now waits, and then finds no trigger. Behind somebody's transaction that does not end, nobody does.
  perform set_config('lock_timeout', '3s', true);
  for installed in
    select t.tgname, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_proc as p on p.oid = t.tgfoid
    join pg_catalog.pg_class as c on c.oid = t.tgrelid
    where p.pronamespace = to_regnamespace('automation') and t.tgparentid = 0 and not t.tgisinternal
      and t.tgname like 'automation\_%'
      and c.relnamespace not in (to_regnamespace('automation'), to_regnamespace('ridgeline'))
    order by t.tgrelid
  loop
    begin
      execute format('drop trigger %I on %s', installed.tgname, installed.relation);
    exception
      when insufficient_privilege then
        -- Only the table's owner may; with the schema, below, it goes all the same.
        null;
      when lock_not_available then
        raise exception '% is in use by a transaction that does not end: nothing was removed', installed.relation
          using errcode = 'lock_not_available',
            hint = 'Try again when it is over; pg_stat_activity says since when it lasts (xact_start).';
    end;
  end loop;
  -- An index by which callers are found (docs/attach.md) is there for the engine alone.
  for installed in
    select distinct i.indexrelid::regclass as name
    from pg_catalog.pg_depend as d
    join pg_catalog.pg_proc as p
      on d.refclassid = 'pg_catalog.pg_proc'::regclass and p.oid = d.refobjid
      and p.pronamespace = to_regnamespace('automation')
    join pg_catalog.pg_index as i on d.classid = 'pg_catalog.pg_class'::regclass and i.indexrelid = d.objid
    join pg_catalog.pg_class as c on c.oid = i.indrelid
    where c.relnamespace not in (to_regnamespace('automation'), to_regnamespace('ridgeline'))
  loop
    execute format('drop index %s', installed.name);
  end loop;
  if not 'cascade' = any (allowed) then
    with ours as (
      select 'pg_catalog.pg_proc'::regclass as class, p.oid from pg_catalog.pg_proc as p
      where p.pronamespace in (to_regnamespace('automation'), to_regnamespace('ridgeline'))
      union all
      select 'pg_catalog.pg_class'::regclass, c.oid from pg_catalog.pg_class as c
      where c.relnamespace in (to_regnamespace('automation'), to_regnamespace('ridgeline'))
      union all
      select 'pg_catalog.pg_type'::regclass, t.oid from pg_catalog.pg_type as t
      where t.typnamespace in (to_regnamespace('automation'), to_regnamespace('ridgeline'))
    ), theirs as (
      select distinct case i.type when 'rule' then replace(i.identity, '"_RETURN" on ', 'view ')
          else i.type || ' ' || i.identity end as name
      from pg_catalog.pg_depend as d
      join ours as o on o.class = d.refclassid and o.oid = d.refobjid
      cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) as i
      where d.deptype = 'n'
        and not exists (select from ours as also where also.class = d.classid and also.oid = d.objid)
        and not exists (
          select from pg_catalog.pg_trigger as t
          where d.classid = 'pg_catalog.pg_trigger'::regclass and t.oid = d.objid and t.tgname like 'automation\_%')
        and i.schema is distinct from 'automation' and i.schema is distinct from 'ridgeline'
        and i.identity !~ '(^|\mon |\mfor )(automation|ridgeline)\.'
    )
    select string_agg(t.name, ', ' order by t.name) into depends from (select * from theirs limit 20) as t;
    if depends is not null then
      raise exception 'something depends on Ridgeline, so nothing was removed: %', depends
        using errcode = 'dependent_objects_still_exist',
          hint = 'Drop or change it first, or begin with: set ridgeline.uninstall = ''cascade''';
    end if;
  end if;
  if to_regprocedure('automation.remove_schedule()') is not null then
    execute 'select automation.remove_schedule()';
  end if;
  drop schema if exists ridgeline, automation cascade;
  -- So that `supabase db push` installs it again when it is asked to.
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'delete from supabase_migrations.schema_migrations as m where m.name ~ ''^ridgeline(_|$)''';
  end if;
end;
$uninstall$;
