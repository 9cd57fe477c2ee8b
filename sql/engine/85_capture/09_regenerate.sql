-- What reads and writes the tables of a CRM is generated when it is attached, so a release that changes a
-- generator generates again what is attached: its migration ends with this call. Workflows stay switched on, and
-- runs go on.

-- What is generated to write tables of the CRM, each with the path that it is entered under written down in it.
create or replace function automation.host_writers() returns setof regprocedure
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select p.oid::regprocedure
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'automation'::regnamespace
      and (p.proname = 'in_host_path'
        or p.proname in ('link_tag', 'unlink_tag') and exists (
          select from automation.entities as e where e.name = 'contact' and e.tags ? 'links')
        or p.proname in (
          select 'write_' || t.name || e.ending from automation.targets as t, unnest('{"",s}'::text[]) as e (ending)))
  $$;

-- All of them at once, and what cannot be generated any more too: nothing goes on under a path that is open. Returns
-- whether any was entered under another one.
create or replace function automation.enter_host_path() returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  path constant text := automation.host_path();
  writer regprocedure;
  changed boolean := false;
begin
  for writer in
    select w from automation.host_writers() as w
    join pg_catalog.pg_proc as p on p.oid = w
    where not coalesce('search_path=' || path = any (p.proconfig), false)
    order by w::text
  loop
    execute format('alter function %s set search_path = %s', writer, path);
    changed := true;
  end loop;
  return changed;
end;
$$;

-- What cannot be generated (its table was altered) stays as it was, and keeps nothing else from being.
create or replace function automation.regenerate_writers() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  target automation.targets;
  contacts automation.entities;
begin
  execute automation.host_path_function();
  perform automation.enter_host_path();
  for target in
    select t.* from automation.targets as t where to_regclass(t.relation) is not null order by t.name
  loop
    begin
      execute automation.target_function(target);
    exception when others then
      raise warning 'automation: what writes % as % could not be generated again: %', target.relation, target.name,
        sqlerrm
        using hint = 'The table was altered after it was attached: call automation.attach_target() again.';
    end;
  end loop;
  select e.* into contacts from automation.entities as e where e.name = 'contact' and e.tags is not null;
  begin
    if to_regclass(contacts.tags ->> 'links') is not null and to_regclass(contacts.tags ->> 'tags') is not null then
      execute automation.linked_tags_functions(contacts);
    end if;
  exception when others then
    raise warning 'automation: what writes the tags of contacts could not be generated again: %', sqlerrm
      using hint = 'A table of tags was altered after it was attached: call automation.attach() again.';
  end;
  perform automation.close_functions();
end;
$$;

-- A grant or an owner may change after a schema was found to be nobody else's. Then what writes is entered without it,
-- and with it once that is taken back: each tick asks, and each attaching.
create or replace function automation.guard_host_path() returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.enter_host_path() then
    return false;
  end if;
  perform automation.tell_of_open_schemas(automation.open_schemas(automation.path_schemas(
    automation.setting('host_search_path'))));
  return true;
end;
$$;

comment on function automation.guard_host_path() is
  'Leaves out of the path under which steps write the CRM''s tables what has become open to others, or takes it back '
  'in. Returns whether anything changed.';

-- Only who owns these functions can: for others the change of the setting fails.
create or replace function automation.host_path_changed() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.regenerate_writers();
  return null;
end;
$$;

create trigger settings_host_path
  after update of value on automation.settings
  for each row when (new.name = 'host_search_path' and new.value is distinct from old.value)
  execute function automation.host_path_changed();

create or replace function automation.regenerate_readers() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants automation.tenancy;
begin
  select t.* into tenants from automation.tenancy as t;
  if tenants.relation is null then
    execute automation.settled_function();
    execute automation.untold_state_function();
    execute automation.tenant_key_function();
  elsif to_regclass(tenants.relation) is not null then
    execute automation.tenants_function();
    execute automation.tenant_state_function();
    execute automation.tenant_key_function();
    if tenants.sole is null then
      perform automation.watch_tenants(tenants.relation, tenants.columns ->> 'id');
    end if;
  end if;
  execute case when exists (
      select from automation.membership as m where to_regclass(m.relation) is not null)
    then automation.members_function() else automation.no_members_function() end;
  perform automation.warn_of_status();
  perform automation.warn_of_left();
  perform automation.warn_of_deleted();
  perform automation.follow_membership();
  if exists (select from automation.targets)
    or exists (select from automation.entities as e where e.relation !~ '^(automation|ridgeline)\.') then
    perform automation.remember_host_path();
  end if;
  perform automation.regenerate_writers();
  if exists (select from automation.targets as t where t.name = 'timeline' and to_regclass(t.relation) is not null) then
    perform automation.watch_timeline();
  end if;
  perform automation.generate_steps();
  perform automation.close_functions();
end;
$$;

-- What an older release generated under names that are gone. To drop a trigger would keep everybody from reading its
-- table: it is left there, and does nothing even where somebody enables it again. detach() takes it away.
create or replace function automation.still_relics() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  relic record;
begin
  for relic in
    select p.oid::regprocedure as name, p.prorettype = 'trigger'::regtype as is_trigger
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'automation'::regnamespace and p.proname ~ '^capture_.*_(row|timers)$'
  loop
    if relic.is_trigger then
      execute format('create or replace function %s returns trigger language plpgsql '
        'set search_path = pg_catalog, pg_temp as %L', relic.name, 'begin return null; end');
    else
      execute format('drop function %s', relic.name);
    end if;
  end loop;
  for relic in
    select t.tgname as name, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_proc as p on p.oid = t.tgfoid
    where p.pronamespace = 'automation'::regnamespace and p.proname ~ '^capture_.*_timers$'
      and t.tgparentid = 0 and t.tgenabled <> 'D'
  loop
    execute format('alter table %s disable trigger %I', relic.relation, relic.name);
  end loop;
end;
$$;

create or replace function automation.regenerate_captures() returns text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  done text[] := array[]::text[];
begin
  perform automation.still_relics();
  perform automation.regenerate_readers();
  perform automation.attach_conversations();
  perform automation.settle_ways();
  for attached in select e.* from automation.entities as e order by e.name loop
    if to_regclass(attached.relation) is null then
      raise warning '% is attached as % and does not exist: attach it under its present name',
        attached.relation, attached.name;
    else
      -- Those of a conversation have just been attached.
      if attached.name not in ('message', 'call', 'email', 'form_submission') then
        perform automation.generate_capture(attached);
      end if;
      done := done || attached.name;
    end if;
  end loop;
  perform automation.close_functions();
  return done;
end;
$$;

comment on function automation.regenerate_captures() is
  'Generates anew what attach() and its siblings generated for the tables of the CRM, with the mapping they were '
  'given, and returns the names of the entities. A migration that changes a generator ends with it. A table that '
  'is gone is named in a warning.';

-- WHO IS DEAF
--
-- Whoever drops a table and makes it anew, or switches its triggers off and forgets it, is not warned by a write: none
-- is captured.
create or replace function automation.deaf_tables() returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('entity', d.name, 'relation', d.relation, 'why', d.why)
      order by d.name), '[]')
    from (
      select e.name, e.relation, case
          when t.relation is null and to_regclass(e.relation) is null then 'it is not there any more'
          when t.relation is null then 'it has none of the triggers that attach() gave it'
          when to_regclass(e.relation) <> t.relation then format('those triggers are on %s', t.relation)
          when t.missing > 0 then 'it lacks some of the triggers that attach() gave it'
          when t.is_disabled then 'its triggers are disabled' end as why
      from automation.entities as e
      cross join lateral (
        select min(c.relation::oid)::regclass as relation,
          4 - count(*) filter (where c.name not like '%\_merge') as missing,
          bool_or(c.enabled in ('disable', 'enable replica')) as is_disabled
        from automation.capture_triggers(e.name) as c) as t
    ) as d
    where d.why is not null);
end;
$$;

comment on function automation.deaf_tables() is
  'Attached tables whose writes are not captured, or not all: [{entity, relation, why}]. To attach one again mends it.';

-- WHAT IS READ OTHERWISE THAN WHOEVER ATTACHED IT KNOWS
--
-- A table that attaching would refuse today, as it was altered, or attached to a release that did not look.
create or replace function automation.wrongly_deleted()
  returns table (relation text, why text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select d.relation, format('deleted is mapped to "%s", which is %s: %s', d.name, t.type, case
      when automation.says_present(d.name) then 'it says so of no row'
      else 'each row that has a value there counts as gone' end)
    from (
      select e.relation, e.mapped ->> 'deleted' as name from automation.entities as e
      union
      select y.relation, y.columns ->> 'deleted' from automation.tenancy as y
      union
      select y.relation, y.columns ->> 'deleted' from automation.membership as y
    ) as d
    cross join lateral automation.column_type(to_regclass(d.relation), d.name) as t (type)
    where t.type !~ '^(boolean|date|timestamp)'
  $$;

create or replace function automation.warn_of_deleted() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong record;
begin
  for wrong in select w.relation, w.why from automation.wrongly_deleted() as w order by w.relation loop
    raise warning 'automation: %: %', wrong.relation, wrong.why
      using hint = 'Attach it again with a boolean, a date or a timestamp, or with {"deleted": null}: none says it.';
  end loop;
end;
$$;

create or replace function automation.misread_tables() returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(jsonb_build_object('relation', m.relation, 'why', m.why) order by m.relation), '[]')
    from (
      select w.relation, string_agg(w.why, '; ' order by w.why) as why
      from (
        select d.relation, d.why from automation.wrongly_deleted() as d
        union all
        select y.relation, format('who has left by %s is no member, which was not so when it was attached',
          array_to_string(n.names, ', '))
        from automation.membership as y, automation.new_left_columns() as n (names)
        where n.names is not null
      ) as w
      group by w.relation
    ) as m
  $$;

comment on function automation.misread_tables() is
  'Attached tables of which something is read otherwise than whoever attached them was told: [{relation, why}]. To '
  'attach one again mends it.';
