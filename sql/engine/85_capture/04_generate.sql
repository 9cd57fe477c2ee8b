-- The code that attach() generates for a table. It names every column, so that Postgres resolves
-- types once and a row that nobody listens for costs next to nothing.
--
--   capture_<entity>_insert   for each statement: all its rows in one pass
--   capture_<entity>_update   for each row that changed
--   capture_<entity>_delete   for each statement: which of its rows have runs that end now
--   capture_<entity>_row      one row, with its own guard: updates, and inserts that cannot be
--                             taken in one pass
--   read_<entity>             the live record
--   has_<entity>              is it there still?
--
-- Inserts are captured a statement at a time because a row at a time was measured against it: for
-- 100,000 matching rows 150 us a row against 63, for rows that match nothing 23 against 14.7, over
-- an insert that takes 14 without any trigger. Either fires for every client and every kind of
-- write.
--
-- The plans are held to index probes: a session keeps the plan it made while there were no
-- workflows, and that one reads all of them. What is switched off counts as dear, so the plans
-- would be compiled at every call (measured on 15: sixty times slower): hence jit = off.

-- 'stage' -> new.stage is distinct from old.stage, for every column that counts as a change.
create or replace function automation.changed_expression(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select 'array_remove(array['
      || string_agg(
        format(
          case when c.is_comparable
            then E'\n    case when new.%1$I is distinct from old.%1$I then %2$L end'
            else E'\n    case when new.%1$I::text is distinct from old.%1$I::text then %2$L end' end,
          c.name, c.name),
        ',')
      || ']::text[], null)'
    from automation.relation_columns(attached.relation::regclass) as c
    where c.name = any (attached.columns) and not c.name = any (attached.ignored_columns)
  $$;

create or replace function automation.unless_expression(
  attached automation.entities, type automation.trigger_types, written text)
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when type.unless_column = any (attached.columns)
      then format(' and %s.%I is not true', written, type.unless_column) else '' end
  $$;

-- The names of the events that an update stands for.
create or replace function automation.update_events(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('array[%L, %L]', attached.name || '_updated', 'field_changed')
      || coalesce(string_agg(
        format(
          E'\n    || case when %1$L = any (changed)%2$s then array[%3$L] else array[]::text[] end',
          t.column_name,
          case when t.becomes is not null
            then format(
              ' and lower(new.%1$I::text) = %2$L and lower(old.%1$I::text) is distinct from %2$L',
              t.column_name, lower(t.becomes))
            else '' end || automation.unless_expression(attached, t, 'new'),
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.column_name = any (attached.columns)
  $$;

-- The same for an insert. A record that is inserted with a value has not become it: a migration of
-- old won projects congratulates nobody. Only events that say on_insert fire (a missed call is
-- written once, as missed).
create or replace function automation.insert_events(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('array[%L]', attached.name || '_created')
      || coalesce(string_agg(
        format(
          E'\n        || case when %1$s then array[%2$L] else array[]::text[] end',
          case when t.column_name is null then 'true'
            when t.becomes is null then format('n.%I is not null', t.column_name)
            else format('lower(n.%I::text) = %L', t.column_name, lower(t.becomes)) end
            || automation.unless_expression(attached, t, 'n'),
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.on_insert
      and coalesce(t.column_name = any (attached.columns), true)
  $$;

-- Could this listener match this row? Asked before the row is turned into JSON.
create or replace function automation.listens_expression(
  attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      E't.tenant_id = %2$s and t.entity = %3$L\n'
      '        and (t.match_column is null or t.match_value = case t.match_column%4$s end)',
      written, automation.tenant_expression(written, attached.tenant_column, attached.sole), attached.name,
      string_agg(format(E'\n          when %1$L then %2$s.%1$I::text', c.name, written), ''))
    from unnest(attached.match_columns) as c (name)
  $$;

-- trigger_data of one row.
create or replace function automation.snapshot_expression(
  attached automation.entities, tenant text, record text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      case when attached.related = '{}' then '%1$s' else 'automation.add_related(%1$s, %2$s, %3$s, %4$L)' end,
      format(
        'jsonb_build_object(''entity'', %1$L, %1$L, %2$s, %3$L, %2$s -> %4$L, ''user_id'', '
        'automation.current_user_id())',
        attached.name, record, attached.name || '_id', attached.id_column),
      tenant, record, attached.related)
  $$;

comment on function automation.snapshot_expression(automation.entities, text, text) is
  'trigger_data: {entity, <entity>: record, <entity>_id, user_id, <related>: record, <related>_id}.';

-- The generated code names columns. When one of them is gone the write goes through all the same, and
-- the server's log says what to do.
create or replace function automation.warn_altered(entity text, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise warning 'automation: a write to % fires nothing: %', entity, message
    using hint = 'The table was altered after it was attached: call automation.attach() again.';
end;
$$;

create or replace function automation.insert_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_insert() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $capture$
declare
  written %2$s;
  listened boolean;
  in_one_pass boolean;
begin
  begin
    listened := exists (
      select from new_rows as n
      join automation.active_triggers as t
        on %3$s
        and t.event = any (%4$s));
    -- Events that runs end at or wait for are taken row by row, in the order of the rows.
    in_one_pass := listened and not automation.has_cause() and not exists (
      select from new_rows as n
      join automation.active_triggers as t
        on %3$s
        and t.event = any (%4$s) and t.role <> 'enrol');
  exception when others then
    perform automation.warn_altered(%1$L, sqlerrm);
  end;
  if listened is not true then
    return null;
  end if;
  if in_one_pass then
    begin
      with candidates as materialized (
        select t.*, n.%5$I::text as record_id, %7$s as record
        from new_rows as n
        join automation.active_triggers as t
          on %3$s
          and t.event = any (%4$s) and t.role = 'enrol'
      ), matched as materialized (
        select c.*, %6$s as data
        from candidates as c
        where automation.matches(c.record, c.match, c.match_any)
          and (c.to_values is null or c.to_values @> (c.record -> c.field))
          and c.from_values is null
      ), enrolled as (
        insert into ridgeline.workflow_executions (
          tenant_id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
          contact_id, current_step, error, created_at, finished_at, fused)
        select m.tenant_id, m.workflow_id, m.version, v.status, m.event, m.data, %1$L, m.record_id,
          automation.as_key(m.data ->> 'contact_id'), m.first_step, v.error, automation.now(),
          case when v.status = 'failed' then automation.now() end,
          %8$L::boolean and m.record ->> 'direction' is distinct from 'outbound'
        from matched as m
        cross join lateral automation.verdict(m.conditions, m.tenant_id, m.data, m.first_delay) as v
        where v.status is not null
        returning tenant_id, id, workflow_id, trigger_type, status
      )
      insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
      select e.tenant_id, e.id, t.first_step, t.first_lane, automation.now() + t.first_delay
      from enrolled as e
      join automation.active_triggers as t
        on t.tenant_id = e.tenant_id and t.entity = %1$L and t.event = e.trigger_type
        and t.workflow_id = e.workflow_id and t.role = 'enrol'
      where e.status <> 'failed';
      if found then
        perform automation.ring_once();
      end if;
      return null;
    exception when others then
      null;
    end;
  end if;
  -- Within an automation every row is admitted by itself; and when one row broke the pass, the
  -- others are captured all the same.
  for written in select n.* from new_rows as n loop
    perform automation.capture_%1$s_row(
      written, null, (select %4$s from (select written.*) as n), array[]::text[]);
  end loop;
  return null;
end;
$capture$
$template$,
      attached.name, attached.relation, automation.listens_expression(attached, 'n'),
      automation.insert_events(attached), attached.id_column,
      automation.snapshot_expression(attached, 'c.tenant_id', 'c.record'),
      automation.record_expression(attached, 'n'), attached.is_log)
  $$;

create or replace function automation.update_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_update() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $capture$
declare
  changed text[];
  events text[];
  listened boolean;
  gone boolean;
  contact text;
begin
  begin
    gone := (%12$s, old.%6$I) is distinct from (%5$s, new.%6$I) or (%7$s) and not (%8$s);
    contact := %9$s;
    changed := %2$s;
    if cardinality(changed) = 0 and not gone then
      return null;
    end if;
    events := %3$s;
    listened := cardinality(changed) > 0 and exists (
      select from automation.active_triggers as t
      where %4$s
        and t.event = any (events)
        and (t.field is null or t.field = any (changed)));
  exception when others then
    perform automation.warn_altered(%1$L, sqlerrm);
  end;
  if gone and not %10$L::boolean then
    perform automation.note_change('deleted', %1$L, %12$s, old.%6$I::text, %11$s);
  elsif contact is not null then
    perform automation.note_change('moved', %1$L, %5$s, new.%6$I::text, contact);
  end if;
  if listened then
    perform automation.capture_%1$s_row(new, old, events, changed);
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, automation.changed_expression(attached), automation.update_events(attached),
      automation.listens_expression(attached, 'new'),
      automation.tenant_expression('new', attached.tenant_column, attached.sole), attached.id_column,
      automation.deleted_expression(attached, 'new'), automation.deleted_expression(attached, 'old'),
      case when attached.related ? 'contact' then format(
        'case when new.%1$I is distinct from old.%1$I then new.%1$I::text end',
        attached.related ->> 'contact') else 'null' end, attached.is_log,
      automation.own_contact_expression(attached, 'old'),
      automation.tenant_expression('old', attached.tenant_column, attached.sole))
  $$;

create or replace function automation.row_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_row(
  written %2$s, previous %2$s, events text[], changed text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $capture$
declare
  record jsonb;
  data jsonb;
  enrolments automation.enrolment[];
begin
  begin
    record := %7$s;
    data := %3$s;
    if previous is distinct from null then
      data := data || jsonb_build_object('old', %8$s, 'changed', changed);
    end if;
    enrolments := automation.match_write(%1$L, %4$s, events, changed, data);
  exception when others then
    data := jsonb_build_object('entity', %1$L, %5$L, written.%6$I);
    enrolments := automation.match_failed(%1$L, %4$s, events, sqlstate, sqlerrm);
  end;
  if enrolments is not null then
    perform automation.enrol_write(
      %4$s, %1$L, written.%6$I::text, data, enrolments, %9$L::boolean);
  end if;
end;
$capture$
$template$,
      attached.name, attached.relation,
      automation.snapshot_expression(attached,
        automation.tenant_expression('written', attached.tenant_column, attached.sole), 'record'),
      automation.tenant_expression('written', attached.tenant_column, attached.sole),
      attached.name || '_id', attached.id_column,
      automation.record_expression(attached, 'written'),
      automation.record_expression(attached, 'previous'), attached.is_log)
  $$;

-- The contact that a row is, and not merely belongs to.
create or replace function automation.own_contact_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case attached.name
      when 'contact' then format('%s.%I::text', written, attached.id_column)
      else 'null::text' end
  $$;

-- Without the record there is nobody to write to: its runs end. Here that is only noted.
create or replace function automation.delete_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_delete() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $capture$
begin
  insert into automation.signals (tenant_id, role, entity, record_id, contact_id)
  select %2$s, 'deleted', %1$L, o.%3$I::text, %4$s
  from old_rows as o
  where automation.has_open_runs(%2$s, o.%3$I::text, %4$s);
  return null;
exception when others then
  perform automation.warn_altered(%1$L, sqlerrm);
  return null;
end;
$capture$
$template$,
      attached.name, automation.tenant_expression('o', attached.tenant_column, attached.sole),
      attached.id_column, automation.own_contact_expression(attached, 'o'))
  $$;
