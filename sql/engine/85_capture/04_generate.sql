-- The code that attach() generates for a table.
--
--   capture_<entity>_insert, _update, _delete   for each row that is written
--   capture_<entity>_truncate                   for a table that is emptied
--   read_<entity>                               the live record
--   has_<entity>                                is it there still?
--
-- A row at a time: nothing else fires for a row that moves between partitions or is written into one
-- directly, for the subscriber of a publication and on the shards of a distributed table. And a transition
-- table costs a statement more than all that a single row needs.
--
-- Each is one block that catches errors and writes nothing, so that it takes no transaction id of its own
-- (65 single inserts in a transaction would overflow the cache of subtransactions), and then
-- automation.write_down(), which cannot raise. In the block, cheapest first: does this session know that nobody
-- listens? Or does anybody, by an index? To a row like this? Only then the row is turned into JSON.
--
-- The code names columns, so that Postgres resolves types once; but no type of the table, and no column
-- outside the block. What a change to the table breaks inside it is left to automation.capture_anew(), which
-- asks the row itself what it has.
--
-- The plans are held to index probes: a session keeps the plan it made while there were no workflows, and
-- that one reads all of them. What is switched off counts as dear, so the plans would be compiled at every
-- call (measured on 15: sixty times slower): hence jit = off.

-- 'stage' -> new.stage is distinct from old.stage, for every column that counts as a change.
create or replace function automation.changed_expression(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select 'array_remove(array['
      || string_agg(
        format(
          case when c.is_comparable
            then E'\n        case when new.%1$I is distinct from old.%1$I then %2$L end'
            else E'\n        case when new.%1$I::text is distinct from old.%1$I::text collate "C" then %2$L end' end,
          c.name, c.name),
        ',')
      || ']::text[], null)'
    from automation.relation_columns(attached.relation::regclass) as c
    where c.name = any (attached.columns) and not c.name = any (attached.ignored_columns)
  $$;

create or replace function automation.unless_expression(type automation.trigger_types) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when type.unless_column is null then ''
      else format(' and write.record ->> %L is distinct from ''true''', type.unless_column) end
  $$;

-- The names of the events that an update stands for. automation.events_of() asks the same of the registry.
create or replace function automation.update_events(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('array[%L, %L]', attached.name || '_updated', 'field_changed')
      || coalesce(string_agg(
        format(
          E'\n        || case when %1$L = any (changed)%2$s then array[%3$L] else array[]::text[] end',
          t.column_name,
          case when t.becomes is not null
            then format(
              ' and lower(write.record ->> %1$L) = %2$L and lower(write.old ->> %1$L) is distinct from %2$L',
              t.column_name, lower(t.becomes))
            else '' end || automation.unless_expression(t),
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
            when t.becomes is null then format('write.record ->> %L is not null', t.column_name)
            else format('lower(write.record ->> %L) = %L', t.column_name, lower(t.becomes)) end
            || automation.unless_expression(t),
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.on_insert
      and coalesce(t.column_name = any (attached.columns), true)
  $$;

-- All that a write may stand for, whatever is in the row.
create or replace function automation.possible_events(attached automation.entities, op text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case op when 'insert' then array[attached.name || '_created']
        else array[attached.name || '_updated', 'field_changed'] end
      || array(
        select t.name from automation.trigger_types as t
        where t.entity = attached.name
          and case op when 'insert' then t.on_insert else t.column_name is not null end
        order by t.name)
  $$;

-- Could a listener want this row? The row is turned into JSON for it only if some listener asks.
create or replace function automation.fits_expression() returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select '(t.match_column is null or t.match_value = (select to_jsonb(new.*)) ->> t.match_column)'
  $$;

-- The columns that are computed where they are read, by name and expression, and those among them that
-- workflows see. A trigger is not told their values.
create or replace function automation.virtual_columns(attached automation.entities)
  returns table (name text, computed text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select a.attname::text, pg_get_expr(d.adbin, d.adrelid)
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = attached.relation::regclass and a.attgenerated = 'v' and not a.attisdropped
      and a.attname::text = any (attached.columns)
    order by a.attnum
  $$;

-- The row that a trigger was given, as record_expression() has it from the table.
create or replace function automation.written_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when count(*) = 0 then automation.record_expression(attached, written)
      else format('%s || (select jsonb_build_object(%s) from (select %s.*) as r)',
        automation.record_expression(attached, written),
        string_agg(format('%L, %s', n.name, v.computed), ', '), written) end
    from automation.virtual_columns(attached) as v
    cross join lateral (
      select v.name
      union all
      select a.key from jsonb_each_text(automation.aliases(attached)) as a where a.value = v.name
    ) as n
  $$;

-- The id as the engine keeps it. A uuid is written in its usual notation: where the column has become something else
-- since, either that one is written the same or the cast fails, and automation.capture_anew() asks the row.
create or replace function automation.key_expression(attached automation.entities, written text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      case when automation.column_type(attached.relation::regclass, attached.id_column) = 'uuid'
        then '%s.%I::uuid::text' else 'automation.as_key(%s.%I::text)' end,
      written, attached.id_column)
  $$;

-- trigger_data of one row.
create or replace function automation.snapshot_expression(
  attached automation.entities, tenant text, record text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      case when attached.related = '{}' then '%1$s'
        else 'automation.add_related(%1$s, %2$s, %3$s, %4$L, %5$L, %6$L)' end,
      format(
        'jsonb_build_object(''entity'', %1$L, %1$L, %2$s, %3$L, %2$s -> %4$L, ''user_id'', '
        'automation.current_user_id())',
        attached.name, record, attached.name || '_id', attached.id_column),
      tenant, record, attached.related, attached.contact_way, attached.contact_ways)
  $$;

-- Record and trigger_data of a row that is inserted. Where the record is the row as it is, it becomes JSON as part of
-- the whole, and not twice; and is looked for there where nothing asks which events it stands for.
create or replace function automation.snapshot_block(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when attached.related = '{}' and w.record = 'to_jsonb(new.*)'
      then format($block$
    write.data := jsonb_build_object(
      'entity', %1$L, %1$L, new.*, %2$L, new.%3$I, 'user_id', automation.current_user_id());%4$s$block$,
        attached.name, attached.name || '_id', attached.id_column,
        case when automation.is_one_event(attached, 'insert') then ''
          else format(E'\n    write.record := write.data -> %L;', attached.name) end)
      else format($block$
    write.record := %s;
    write.data := %s;$block$, w.record, automation.snapshot_expression(
        attached, automation.tenant_expression(attached, 'new'), 'write.record')) end
    from (select automation.written_expression(attached, 'new') as record) as w
  $$;

comment on function automation.snapshot_expression(automation.entities, text, text) is
  'trigger_data: {entity, <entity>: record, <entity>_id, user_id, <related>: record, <related>_id}.';

-- The contact that a row is, and not merely belongs to.
create or replace function automation.own_contact_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case attached.name
      when 'contact' then format('automation.as_key(%s.%I::text)', written, attached.id_column)
      else 'null::text' end
  $$;

-- To learn who listens costs more than to ask: where a session writes for many tenants, one write in eight does.
create or replace function automation.is_drawn() returns boolean
  language sql
  -- No search_path: this is inlined.
  as $$
    select pg_catalog.date_part('microseconds', pg_catalog.clock_timestamp())::pg_catalog.int4
      operator(pg_catalog.%) 8 operator(pg_catalog.=) 0
  $$;

-- The columns of text that a listener may compare: the text of another type is not always that of its JSON.
create or replace function automation.text_columns(attached automation.entities) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(c.name order by c.place), '{}')
    from unnest(attached.match_columns) with ordinality as c (name, place)
    where automation.column_type(attached.relation::regclass, c.name) ~ '^(text|character varying)'
      and c.name not in (select v.name from automation.virtual_columns(attached) as v)
  $$;

-- Who listens, as far as the session knows it (01_enrol), and whether the row can be one of those they want: a row
-- that is inserted and cannot be ends here, of an update unfit is set. What it knows is kept by the last digit of the
-- tenant: sixteen at most for each kind of write.
--
-- Every expression of plpgsql is prepared anew in each transaction and costs some 7,000 instructions, a comparison as
-- much as a call: so what follows asks in as few as it can.
create or replace function automation.listening_block(attached automation.entities, op text, nobody text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($block$
    key := pg_sequence_last_value('automation.listening') || ' ' || %2$s;
    known := current_setting(%3$s, true);
    if known = key then%4$s
    else
      how := case when strpos(known, key) = 3 then known::text[] end;
      if how[2] = 'of' then
        if not (array[%7$s]::text[] collate "C" && how[7:]) then%9$s
        end if;
      elsif how[2] is distinct from 'any' then
        if how is not null then
          null;
        elsif automation.is_drawn() and key is not null then
          -- What it has learnt is for the next row.
          if automation.learn_listeners(%1$L, %2$s, %5$L, %6$L, key, %3$s) = key then%4$s
          end if;
        elsif not exists (
          select from automation.active_triggers as t
          where t.tenant_id = %2$s and t.entity = %1$L and t.event = any (%5$L::text[])
        ) then%4$s
        end if;
        how := coalesce(how, case when exists (
            select from automation.timer_listeners as l where l.entity = %1$L and l.tenant_id = %2$s)
          then '{NULL,ask,timed,ask}' else '{NULL,ask,none,ask}' end::text[]);%8$s
      end if;
    end if;$block$,
      attached.name, t.tenant,
      -- right() counts all letters twice: 2,500 instructions a row more.
      format('%L || left(reverse(key), 1)', format('automation.heard_%s_%s_', attached.name, op)),
      nobody, automation.possible_events(attached, op) || 'time_elapsed'::text, automation.text_columns(attached),
      (select string_agg(format('new.%I', c), ', ') from unnest(automation.text_columns(attached)) as c),
      -- An update asks the listeners together with what has changed.
      case when op = 'insert' then format($ask$
        if not exists (
          select from automation.active_triggers as t
          where t.tenant_id = %s and t.entity = %L and t.event = any (%L::text[]) and %s)
        then
          return null;
        end if;$ask$,
        t.tenant, attached.name, automation.possible_events(attached, op) || 'time_elapsed'::text,
        automation.fits_expression()) else '' end,
      case op when 'insert' then E'\n          return null;' else E'\n          unfit := true;' end)
    from (
      select '(' || automation.tenant_expression(attached, 'new') || ')' as tenant
    ) as t
  $$;

-- An insert that stands for one event, whatever is in the row.
create or replace function automation.is_one_event(attached automation.entities, op text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select op = 'insert' and cardinality(automation.possible_events(attached, op)) = 1 $$;

-- Who of those that listen is it for? Where what the session knows answers that, nobody is asked; and where it may be
-- for one only, who asks nothing but to contain something, that is asked where the run is written. Without timers there
-- is nothing else to do for an insert that is for nobody.
create or replace function automation.matching_block(attached automation.entities, op text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      case
        when op = 'update' then $update$
        if (pg_column_size(write.data) <= 8000 and %3$s is false) is not true then
          write.enrolments := automation.match_write(%1$L, write.tenant_id, write.events, changed, write.data);
        end if;$update$
        else $insert$
    if %4$s then%8$s
        write.tenant_id := %5$s;
        write.record_id := %6$s;
        write.enrolments := automation.match_plainly(%1$L, write.tenant_id, %2$L, write.data);%9$s
    elsif how[3] <> 'timed' and pg_column_size(write.data) <= 8000 and %3$s is false then
      return null;
    else
      write.tenant_id := %5$s;
      write.record_id := %6$s;
      write.enrolments := automation.match_write(%1$L, write.tenant_id, %7$s, null, write.data);
    end if;$insert$ end,
      attached.name, attached.name || '_created',
      '((case how[5] when ''folded'' then automation.folded(write.data) else write.data end) @@ how[6]::jsonpath)',
      case when automation.is_one_event(attached, op)
        then 'how[5] = any (''{sole,plain}''::text[]) and not automation.has_cause()' else 'false' end,
      automation.tenant_expression(attached, 'new'),
      automation.key_expression(attached, 'new'),
      case when automation.is_one_event(attached, op) then automation.insert_events(attached) else 'write.events' end,
      case when automation.may_be_sole(attached, op) then format($sole$
      if how[5] = 'sole' then
        tenant := %s;
        write.record_id := %s;
      else$sole$, automation.tenant_expression(attached, 'new'), automation.key_expression(attached, 'new'))
        else '' end,
      case when automation.may_be_sole(attached, op) then E'\n      end if;' else '' end)
  $$;

-- Could the run of an insert be begun by the statement that finds who it is for?
create or replace function automation.may_be_sole(attached automation.entities, op text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.is_one_event(attached, op) and not attached.is_log
      and automation.column_type(attached.relation::regclass, attached.id_column)
        in ('uuid', 'smallint', 'integer', 'bigint', 'text')
  $$;

-- The same as automation.enrol_write() of an insert that nothing has caused, for the one listener that there is as far
-- as the session knows: one that asks nothing but to contain something, and begins at once. It is found by the
-- statement that begins its run. What the session knows of it is asked of it as well: nothing begins in another way
-- than the tables say. The number of the write is the column's default: asked for here, it would keep the select from
-- being made part of the insert. And it stands here, not in a function of its own: a call costs as much as four
-- expressions.
create or replace function automation.sole_block(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($block$if tenant is not null then
    written := automation.new_id();
    at := automation.now();
    insert into ridgeline.workflow_executions (
      tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
      contact_id, depth, root_id, fused, current_step, mode, created_at, changed_at)
    select t.tenant_id, written, t.workflow_id, t.version, 'pending', t.event, write.data, t.entity,
      write.record_id, %3$s, 0, null, false, t.first_step, t.mode, at, at
    from automation.active_triggers as t
    where t.tenant_id = tenant and t.entity = %1$L and t.event = %2$L and t.plainly = 'at once'
      and concat_ws(' ', t.workflow_id, t.version, t.first_lane, t.first_step) = how[7]
      and write.data -> %1$L @> t.match;
    if found then
      insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at)
      values (tenant, written, written, split_part(how[7], ' ', 4),
        split_part(how[7], ' ', 3)::ridgeline.automation_lane, at);
      if how[4] <> 'none' then
        how[4] := automation.ring_once(split_part(how[7], ' ', 3), how[4]);
      end if;
    end if;
  els$block$,
      attached.name, attached.name || '_created', case attached.name when 'contact' then 'write.record_id'
        else 'automation.as_key(write.data ->> ''contact_id'')' end)
  $$;

create or replace function automation.is_partitioned(attached automation.entities) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.relkind = 'p' from pg_catalog.pg_class as c where c.oid = to_regclass(attached.relation)
  $$;

-- What every one of these functions is, but for its block.
create or replace function automation.capture_function(
  attached automation.entities, op text, block text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_%2$s() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $capture$
#variable_conflict use_column
declare%6$s
  write automation.captured_write;
begin
  begin%3$s
  exception when others then
    begin
      write := automation.capture_anew(%1$L, write, %4$s, sqlstate, sqlerrm);
    exception when others then%10$s
      write := automation.capture_lost(%1$L, %2$L, write, sqlstate, sqlerrm);
    end;%13$s
  end;
  %12$sif cardinality(write.enrolments) > 0 and (%8$s) is not true then
    -- An assignment is no statement of its own, which perform would be.
    written := automation.enrol_write(
      write.tenant_id, %1$L, write.record_id, %9$s, write.data, write.enrolments, %5$L, how[4]);
  elsif %8$s then%11$s
    perform automation.write_down(%1$L, write, %5$L);
  end if;%7$s
  return null;
end;
$capture$
$template$,
      attached.name, op, block,
      case op when 'insert' then 'null, to_jsonb(new.*)' when 'update' then 'to_jsonb(old.*), to_jsonb(new.*)'
        else 'to_jsonb(old.*), null' end,
      attached.is_log, E'\n  how text[];\n  written uuid;'
        || case when op <> 'insert' then E'\n  heard boolean;\n  timed boolean;' else '' end
        || case when op <> 'delete' then E'\n  key text;\n  known text;' else '' end
        || case when automation.may_be_sole(attached, op) then E'\n  tenant uuid;\n  at timestamptz;' else '' end
        || case when op = 'update' then E'\n  unfit boolean;\n  changed text[];\n  moved automation.staged_write;'
          else '' end,
      case op when 'update' then format($moved$
  if moved.record_id is not null and moved.tenant_id is not null then
    perform automation.note_stage(%L, moved);
  end if;$moved$, attached.name) else '' end,
      -- What is inserted has no runs yet, unless it comes from another partition.
      case op when 'insert' then 'coalesce(write.timed, how[3] = ''timed'')' else 'write.timed' end
        || case when op = 'insert' and not automation.is_partitioned(attached) then ''
        else ' or write.gone_id is not null or write.left_id is not null or write.moved_to is not null' end,
      case attached.name when 'contact' then 'write.record_id'
        else 'automation.as_key(write.data ->> ''contact_id'')' end,
      -- Of an insert they are asked for where somebody wants it.
      case op when 'insert' then format($ids$
      begin
        write.tenant_id := %s;
        write.record_id := %s;
      exception when others then
        null;
      end;$ids$, automation.tenant_expression(attached, 'new'),
        automation.key_expression(attached, 'new')) else '' end,
      case op when 'insert' then E'\n    write.timed := coalesce(write.timed, how[3] = ''timed'');' else '' end,
      case when automation.may_be_sole(attached, op) then automation.sole_block(attached) else '' end,
      case when automation.may_be_sole(attached, op) then E'\n    tenant := null;' else '' end)
  $$;

create or replace function automation.insert_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.capture_function(attached, 'insert', format($block$%7$s%8$s
%4$s%5$s%6$s$block$,
      attached.name, automation.tenant_expression(attached, 'new'),
      automation.key_expression(attached, 'new'), automation.snapshot_block(attached),
      case when automation.is_one_event(attached, 'insert') then ''
        else format(E'\n    write.events := %s;', automation.insert_events(attached)) end,
      automation.matching_block(attached, 'insert'),
      -- What comes from another partition was there before.
      case when automation.is_partitioned(attached) then format($moved$
    if current_setting('automation.moving', true) <> '' then
      write := automation.capture_moved(%1$L, %2$s, automation.as_key(new.%3$I::text), %4$s);
    end if;
    if write.record is null then$moved$,
        attached.name, automation.tenant_expression(attached, 'new'),
      attached.id_column,
        automation.written_expression(attached, 'new')) else '' end,
      automation.listening_block(attached, 'insert', E'\n      return null;'))
      || case when automation.is_partitioned(attached) then E'\n    end if;' else '' end)
  $$;

-- Whoever moves a record to another stage is put on record: see automation.note_stage().
create or replace function automation.staged_block(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((
      select format($block$
    if new.%1$I%3$s is distinct from old.%1$I%3$s%5$s then
      moved := row(%4$s, automation.as_key(new.%2$I::text), new.%1$I::text, old.%1$I::text,
        automation.current_user_id(), automation.causation_root());
    end if;$block$,
        c.name, attached.id_column, case when c.is_comparable then '' else '::text' end,
        automation.tenant_expression(attached, 'new'), case when c.is_comparable then '' else ' collate "C"' end)
      from automation.relation_columns(attached.relation::regclass) as c
      where c.name = coalesce(attached.mapped ->> 'stage', attached.mapped ->> 'status')
        and not attached.is_log and not c.is_generated), '')
  $$;

create or replace function automation.update_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.capture_function(attached, 'update', automation.staged_block(attached) || format($block$%10$s
    if (%16$s, old.%3$I) is distinct from (%2$s, new.%3$I) or (%4$s) and not (%5$s)%6$s then
      write := automation.capture_change(
        %1$L, %16$s, automation.as_key(old.%3$I::text), %2$s, automation.as_key(new.%3$I::text),
         (%4$s) and not (%5$s), %7$s, %8$s, %9$L);
    end if;
    if heard is not false then%13$s
      timed := how[3] = 'timed';
      changed := %18$s;
      heard := unfit is not true and cardinality(changed) > 0 and exists (
        select from automation.active_triggers as t
        where t.tenant_id = %2$s and t.entity = %1$L and t.event = any (%17$L::text[])
          and (t.field is null or t.field = any (changed)) and %19$s);
      if heard or timed then
        write.tenant_id := %2$s;
        write.record_id := %21$s;
        write.record := %11$s;
        write.old := %12$s;
        write.timed := timed;
      end if;
      if heard then
        write.events := %14$s;
        write.data := %15$s || jsonb_build_object('old', write.old, 'changed', changed);%20$s
      end if;
    end if;$block$,
      attached.name, automation.tenant_expression(attached, 'new'), attached.id_column,
      automation.deleted_expression(attached, 'new'), automation.deleted_expression(attached, 'old'),
      case when attached.related ? 'contact' then format(
        ' or new.%1$I is distinct from old.%1$I', attached.related ->> 'contact') else '' end,
      automation.own_contact_expression(attached, 'old'),
      case when attached.related ? 'contact' then format(
        'case when new.%1$I is distinct from old.%1$I then new.%1$I::text end',
        attached.related ->> 'contact') else 'null' end,
      attached.is_log, automation.listening_block(attached, 'update', E'\n      heard := false;'),
      case when computed.some then 'write.record' else automation.written_expression(attached, 'new') end,
      case when computed.some then 'write.old' else automation.written_expression(attached, 'old') end,
      case when computed.some then format(E'\n      write.record := %s;\n      write.old := %s;',
        automation.written_expression(attached, 'new'), automation.written_expression(attached, 'old'))
        else '' end,
      automation.update_events(attached),
      automation.snapshot_expression(attached, 'write.tenant_id', 'write.record'),
      automation.tenant_expression(attached, 'old'),
      automation.possible_events(attached, 'update'),
      case when computed.some then format(
        'automation.changed_fields(write.old, write.record, %L)', automation.watched_columns(attached))
        else automation.changed_expression(attached) end,
      automation.fits_expression(), automation.matching_block(attached, 'update'),
      automation.key_expression(attached, 'new')))
    from (select exists (select from automation.virtual_columns(attached)) as some) as computed
  $$;

-- Without the record there is nobody to write to: its runs end. Here that is only noted.
create or replace function automation.delete_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.capture_function(attached, 'delete', format($block$
    select not %5$L and (exists (
          select from ridgeline.workflow_executions as e
          where e.tenant_id = %2$s and e.record_id = automation.as_key(old.%3$I::text) and e.finished_at is null)
        or exists (
          select from ridgeline.workflow_executions as e
          where e.tenant_id = %2$s and e.contact_id = %4$s and e.entity <> 'contact'
            and e.finished_at is null)),
      exists (
        select from automation.timer_listeners as l where l.entity = %1$L and l.tenant_id = %2$s)
      into heard, timed;%6$s
    if heard then
      write.gone_tenant := %2$s;
      write.gone_id := automation.as_key(old.%3$I::text);
      write.gone_contact := %4$s;
    end if;
    if timed then
      write.left_tenant := %2$s;
      write.left_id := automation.as_key(old.%3$I::text);
    end if;$block$,
      attached.name, automation.tenant_expression(attached, 'old'), attached.id_column,
      automation.own_contact_expression(attached, 'old'), attached.is_log,
      -- It may only have moved to another partition: then its insert comes next.
      case when automation.is_partitioned(attached) then format($moved$
    if exists (select from %1$s as r where %6$s = %2$s and r.%3$I = old.%3$I) then
      perform automation.note_moving(%4$L, %2$s, automation.as_key(old.%3$I::text), %5$s);
      return null;
    end if;$moved$,
        attached.relation, automation.tenant_expression(attached, 'old'),
        attached.id_column, attached.name, automation.written_expression(attached, 'old'),
        automation.tenant_expression(attached, 'r')) else '' end))
  $$;

create or replace function automation.truncate_function(attached automation.entities) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_truncate() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $capture$
begin
  perform automation.note_truncated(%1$L, %2$L);
  return null;
end;
$capture$
$template$,
      attached.name, attached.is_log)
  $$;
