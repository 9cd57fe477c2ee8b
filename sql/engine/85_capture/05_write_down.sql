-- What the generated triggers hand over, and what becomes of it.
--
-- captured_write is filled inside a trigger's guard: everything is read, matched and rendered by then.
-- write_down() follows outside of it, and there is nothing in what it writes that a record could violate:
-- no cast, no key of the record's, no CHECK on what it holds.

create type automation.captured_write as (
  tenant_id uuid,
  record_id text,
  record jsonb,
  old jsonb,
  events text[],
  data jsonb,
  enrolments automation.enrolment[],
  timed boolean,
  gone_tenant uuid,
  gone_id text,
  gone_contact text,
  moved_to text,
  left_tenant uuid,
  left_id text
);

comment on type automation.captured_write is
  'A write to an attached table, worked out. timed: timers may follow it; gone_: a record that has runs is no '
  'more; moved_to: it has runs and belongs to another contact now; left_: whose timers are dropped.';

create or replace function automation.write_down(
  entity text, write automation.captured_write, is_log boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if write.gone_id is not null then
    insert into automation.signals (tenant_id, role, entity, record_id, contact_id)
    values (write.gone_tenant, 'deleted', entity, write.gone_id, write.gone_contact);
  elsif write.moved_to is not null then
    insert into automation.signals (tenant_id, role, entity, record_id, contact_id)
    values (write.tenant_id, 'moved', entity, write.record_id, write.moved_to);
  end if;
  if cardinality(write.enrolments) > 0 then
    perform automation.enrol_write(write.tenant_id, entity, write.record_id,
      case entity when 'contact' then write.record_id else automation.as_key(write.data ->> 'contact_id') end,
      write.data, write.enrolments, is_log);
  end if;
  if write.left_id is not null then
    perform automation.drop_timers(entity, write.left_tenant, write.left_id);
  end if;
  if write.timed then
    perform automation.follow_timers(entity, write.tenant_id, write.record_id, write.old,
      coalesce(write.record, write.data -> entity));
  end if;
end;
$$;

-- An update that may concern runs in flight: another key, deleted softly, another contact. Null: it does not.
create or replace function automation.capture_change(
  entity text, old_tenant uuid, old_id text, new_tenant uuid, new_id text, is_deleted boolean,
  own_contact text, moved_to text, is_log boolean)
  returns automation.captured_write
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  write automation.captured_write;
  is_another constant boolean := (old_tenant, old_id) is distinct from (new_tenant, new_id);
begin
  if (is_another or is_deleted) and not is_log then
    if automation.has_open_runs(old_tenant, old_id, own_contact) then
      write.gone_tenant := old_tenant;
      write.gone_id := old_id;
      write.gone_contact := own_contact;
    end if;
  elsif moved_to is not null and automation.has_open_runs(new_tenant, new_id, null) then
    write.tenant_id := new_tenant;
    write.record_id := new_id;
    write.moved_to := moved_to;
  end if;
  if is_another and exists (
    select from automation.timer_listeners as l
    where l.entity = capture_change.entity and l.tenant_id = old_tenant
  ) then
    write.left_tenant := old_tenant;
    write.left_id := old_id;
  end if;
  return write;
end;
$$;

-- WITHOUT THE GENERATED CODE
--
-- The same from the row as JSON and the registry, some ten times slower: for a table that was altered since
-- it was attached, and a row that came from another partition.

create or replace function automation.watched_columns(attached automation.entities) returns text[]
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select c.name from unnest(attached.columns) with ordinality as c (name, place)
      where not c.name = any (attached.ignored_columns)
      order by c.place)
  $$;

create or replace function automation.changed_fields(old jsonb, new jsonb, columns text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select c.name from unnest(columns) with ordinality as c (name, place)
      where old -> c.name is distinct from new -> c.name
      order by c.place)
  $$;

create or replace function automation.events_of(entity text, record jsonb, old jsonb, changed text[])
  returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when old is null then array[entity || '_created']
        else array[entity || '_updated', 'field_changed'] end
      || array(
        select t.name from automation.trigger_types as t
        where t.entity = events_of.entity
          and (t.unless_column is null or record ->> t.unless_column is distinct from 'true')
          and case
            when old is not null then t.column_name = any (changed)
              and (t.becomes is null or lower(record ->> t.column_name) = lower(t.becomes)
                and lower(old ->> t.column_name) is distinct from lower(t.becomes))
            when not t.on_insert then false
            when t.column_name is null then true
            when t.becomes is null then record ->> t.column_name is not null
            else lower(record ->> t.column_name) = lower(t.becomes)
          end
        order by t.name)
  $$;

comment on function automation.events_of(text, jsonb, jsonb, text[]) is
  'What a write is called: the events of an insert (old is null) or an update of a record.';

create or replace function automation.tenant_of(attached automation.entities, record jsonb) returns uuid
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(attached.sole, case when attached.tenant_type is null
      then automation.as_uuid(record ->> attached.tenant_column)
      else automation.row_uuid(record ->> attached.tenant_column) end)
  $$;

create or replace function automation.snapshot_of(attached automation.entities, tenant_id uuid, record jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.add_related(
      jsonb_build_object('entity', attached.name, attached.name, record,
        attached.name || '_id', record -> attached.id_column, 'user_id', automation.current_user_id()),
      snapshot_of.tenant_id, record, attached.related, attached.contact_way, attached.contact_ways)
  $$;

create or replace function automation.capture_record(
  attached automation.entities, tenant_id uuid, record_id text, record jsonb, old jsonb, changed text[])
  returns automation.captured_write
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  write automation.captured_write;
begin
  if old is not null then
    write := automation.capture_change(attached.name,
      automation.tenant_of(attached, old), automation.as_key(old ->> attached.id_column), tenant_id, record_id,
      automation.is_marked_deleted(attached, record) and not automation.is_marked_deleted(attached, old),
      case when attached.name = 'contact' then automation.as_key(old ->> attached.id_column) end,
      case when record ->> (attached.related ->> 'contact') is distinct from old ->> (attached.related ->> 'contact')
        then record ->> (attached.related ->> 'contact') end,
      attached.is_log);
  end if;
  write.tenant_id := tenant_id;
  write.record_id := record_id;
  write.record := record;
  write.old := old;
  write.timed := exists (
    select from automation.timer_listeners as l
    where l.entity = attached.name and l.tenant_id = capture_record.tenant_id);
  if old is not null and cardinality(changed) = 0 then
    return write;
  end if;
  write.events := automation.events_of(attached.name, record, old, changed);
  if not exists (
    select from automation.active_triggers as t
    where t.tenant_id = capture_record.tenant_id and t.entity = attached.name and t.event = any (write.events)
  ) then
    return write;
  end if;
  begin
    write.data := automation.snapshot_of(attached, tenant_id, record) || case when old is not null
      then jsonb_build_object('old', old, 'changed', changed) else '{}' end;
    write.enrolments := automation.match_write(
      attached.name, tenant_id, write.events, changed, write.data);
  exception when others then
    write := automation.capture_lost(attached.name, null, write, sqlstate, sqlerrm);
  end;
  return write;
end;
$$;

-- Where the generated code broke: on a table that was altered, or with a listener that cannot be matched. Raises
-- what cannot be read at all; never told twice in a transaction.
create or replace function automation.capture_anew(
  entity text, write automation.captured_write, old jsonb, new jsonb, state text, message text)
  returns automation.captured_write
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  written constant jsonb := coalesce(new, old);
  tenant uuid;
begin
  select e.* into attached from automation.entities as e where e.name = capture_anew.entity;
  if not found or not written ?& array[coalesce(attached.tenant_column, attached.id_column), attached.id_column] then
    perform automation.warn_altered(entity, message);
    return null;
  end if;
  -- Undefined columns and functions, other types.
  if state in ('42703', '42883', '42804', '42P01') then
    perform automation.warn_slower(entity, message);
  end if;
  tenant := automation.tenant_of(attached, written);
  old := automation.visible_record(attached, old);
  new := automation.visible_record(attached, new);
  if new is not null then
    return automation.capture_record(attached, tenant, automation.as_key(new ->> attached.id_column), new, old,
      automation.changed_fields(old, new, automation.watched_columns(attached)));
  end if;
  write := automation.capture_change(attached.name, tenant, automation.as_key(old ->> attached.id_column), null,
    null, true,
    case when attached.name = 'contact' then automation.as_key(old ->> attached.id_column) end, null, attached.is_log);
  return write;
end;
$$;

-- What enrols when even that broke: whoever listens gets a failed execution that says why.
create or replace function automation.capture_lost(
  entity text, op text, write automation.captured_write, state text, message text)
  returns automation.captured_write
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if write.tenant_id is null or write.record_id is null then
    perform automation.warn_altered(entity, message);
    return null;
  end if;
  write.timed := false;
  write.data := jsonb_build_object('entity', entity, entity || '_id', write.record_id);
  write.enrolments := automation.match_failed(entity, write.tenant_id, coalesce(write.events,
    array[entity || case op when 'insert' then '_created' else '_updated' end]), state, message);
  return write;
exception when others then
  perform automation.warn_altered(entity, sqlerrm);
  return null;
end;
$$;

-- The write goes through all the same, and the server's log says what to do: once a transaction, not for each row.
create or replace function automation.warn_altered(entity text, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.unheard', true) is distinct from entity then
    perform set_config('automation.unheard', entity, true);
    raise warning 'automation: a write to % fires nothing: %', entity, message
      using hint = 'The table was altered after it was attached: call automation.attach() again.';
  end if;
end;
$$;

create or replace function automation.warn_slower(entity text, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.altered', true) is distinct from entity then
    perform set_config('automation.altered', entity, true);
    raise warning 'automation: % was altered after it was attached (%); its writes are captured, but slowly',
      entity, regexp_replace(message,
        '^type of parameter \d+ \((.+)\) does not match that when preparing the plan \((.+)\)$',
        'a column that was \2 is \1')
      using hint = 'Call automation.attach() again.';
  end if;
end;
$$;

-- PARTITIONS
--
-- A row that an update moves to another partition is deleted from the one and inserted into the other, in this
-- order and in one statement. The delete, which still finds the record, leaves it to the insert.

create or replace function automation.note_moving(entity text, tenant_id uuid, record_id text, record jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select set_config('automation.moving', jsonb_build_object(
      'entity', entity, 'tenant_id', tenant_id, 'record_id', record_id, 'record', record)::text, true)
  $$;

-- Null: what is inserted is not what was moved.
create or replace function automation.capture_moved(
  entity text, tenant_id uuid, record_id text, record jsonb)
  returns automation.captured_write
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  moving constant jsonb := current_setting('automation.moving', true)::jsonb;
  attached automation.entities;
begin
  if (moving ->> 'entity', moving ->> 'tenant_id', moving ->> 'record_id')
    is distinct from (entity, tenant_id::text, record_id) then
    return null;
  end if;
  perform set_config('automation.moving', '', true);
  select e.* into attached from automation.entities as e where e.name = capture_moved.entity;
  return automation.capture_record(attached, tenant_id, record_id, record, moving -> 'record',
    automation.changed_fields(moving -> 'record', record, automation.watched_columns(attached)));
end;
$$;

-- TRUNCATE
--
-- Every record is gone, and nobody says which there were: the runs that have a step ahead of them do.
create or replace function automation.note_truncated(entity text, is_log boolean) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from ridgeline.workflow_timers as t
  using automation.timer_listeners as l
  where l.entity = note_truncated.entity and t.tenant_id = l.tenant_id and t.workflow_id = l.workflow_id;
  if is_log then
    return;
  end if;
  insert into automation.signals (tenant_id, role, entity, record_id, contact_id)
  select distinct e.tenant_id, 'deleted', note_truncated.entity,
    case when note_truncated.entity = 'contact' then coalesce(e.contact_id, e.record_id) else e.record_id end,
    case when note_truncated.entity = 'contact' then coalesce(e.contact_id, e.record_id) end
  from ridgeline.scheduled_steps as s
  join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where e.entity = note_truncated.entity or note_truncated.entity = 'contact' and e.contact_id is not null;
exception when others then
  perform automation.warn_altered(entity, sqlerrm);
end;
$$;

-- MERGES
--
-- A CRM that merges duplicates by a column of the one that goes (merged_into of attach(), where it is named): the write
-- is noted here and acted on by automation.run_merges(). Its own trigger, so that whoever maps nothing pays nothing.

create or replace function automation.note_merge(tenant_id uuid, contact_id text, into_contact_id text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.merges_due (tenant_id, contact_id, into_contact_id)
  values (note_merge.tenant_id, note_merge.contact_id, note_merge.into_contact_id);
  perform automation.ring_once('database');
end;
$$;

-- As in the other generated triggers no column is named outside the block.
create or replace function automation.merge_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_merge() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $capture$
declare
  tenant uuid;
  from_id text;
  into_id text;
  has_changed boolean;
begin
  begin
    has_changed := new.%2$I is distinct from old.%2$I;
    if has_changed then
      tenant := %4$s;
      from_id := automation.as_key(new.%3$I::text);
      into_id := nullif(automation.as_key(new.%2$I::text), '');
    end if;
  exception when others then
    has_changed := false;
    perform automation.warn_altered(%1$L, sqlerrm);
  end;
  if has_changed and tenant is not null and from_id is not null and into_id is distinct from from_id then
    perform automation.note_merge(tenant, from_id, into_id);
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, attached.mapped ->> 'merged_into', attached.id_column,
      automation.tenant_expression(attached, 'new'))
  $$;

create or replace function automation.watch_merges(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  old record;
begin
  if attached.mapped ? 'merged_into' then
    execute automation.merge_function(attached);
    if not exists (
      select from automation.capture_triggers(attached.name) as t
      where t.relation = attached.relation::regclass and t.name = 'automation_capture_merge'
    ) then
      perform automation.take_table(attached.relation::regclass);
      execute format('create trigger automation_capture_merge after update on %s '
        'for each row execute function automation.capture_%s_merge()', attached.relation, attached.name);
    end if;
    return;
  end if;
  for old in
    select t.name, t.relation from automation.capture_triggers(attached.name) as t
    where t.name = 'automation_capture_merge'
  loop
    perform automation.take_table(old.relation, 'access exclusive');
    execute format('drop trigger %I on %s', old.name, old.relation);
  end loop;
  if to_regproc(format('automation.capture_%s_merge', attached.name)) is not null then
    execute format('drop function automation.capture_%s_merge()', attached.name);
  end if;
end;
$$;
