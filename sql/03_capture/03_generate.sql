-- The code that attach() generates. It names every column, so that Postgres resolves types once
-- and a row that nobody listens for costs one index probe.

-- 'stage' -> new.stage is distinct from old.stage, for every column that counts as a change.
create or replace function automation.changed_expression(attached automation.entities) returns text
  language sql stable
  set search_path = ''
  as $$
    select 'array_remove(array['
      || string_agg(
        format(
          case when c.is_comparable
            then 'case when new.%1$I is distinct from old.%1$I then %2$L end'
            else 'case when new.%1$I::text is distinct from old.%1$I::text then %2$L end' end,
          c.name, c.name),
        E',\n      ')
      || ']::text[], null)'
    from automation.relation_columns(attached.relation::regclass) as c
    where not c.name = any (attached.ignored_columns)
  $$;

-- The names of the events that an update stands for.
create or replace function automation.events_expression(attached automation.entities) returns text
  language sql stable
  set search_path = ''
  as $$
    select format('array[%L, %L]', attached.name || '_updated', 'field_changed')
      || coalesce(string_agg(
        format(
          E'\n      || case when %1$L = any (changed)%2$s then array[%3$L] else ''{}'' end',
          t.column_name,
          case when t.becomes is not null
            then format(
              ' and lower(new.%1$I::text) = %2$L and lower(old.%1$I::text) is distinct from %2$L',
              t.column_name, lower(t.becomes))
            else '' end,
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.column_name is not null
  $$;

create or replace function automation.match_expression(attached automation.entities) returns text
  language sql stable
  set search_path = ''
  as $$
    select 'case t.match_column'
      || string_agg(format(E'\n          when %1$L then new.%1$I::text', c.name), '')
      || E'\n        end'
    from unnest(attached.match_columns) as c (name)
  $$;

create or replace function automation.capture_function(attached automation.entities) returns text
  language sql stable
  set search_path = ''
  as $$
    select format($template$
create or replace function automation.capture_%1$s() returns trigger
  language plpgsql
  security definer
  set search_path = ''
  as $capture$
declare
  events text[] := array['%1$s_created'];
  changed text[] := array[]::text[];
  data jsonb;
  enrolments automation.enrolment[];
begin
  if tg_op = 'UPDATE' then
    changed := %2$s;
    if cardinality(changed) = 0 then
      return null;
    end if;
    events := %3$s;
  end if;
  if exists (
    select from automation.active_triggers as t
    where t.tenant_id = new.%4$I and t.entity = %1$L and t.event = any (events)
      and (t.field is null or t.field = any (changed))
      and (t.match_column is null or t.match_value = %5$s)
  ) then
    begin
      data := jsonb_build_object('entity', %1$L, %1$L, to_jsonb(new), '%1$s_id', new.%6$I,
        'user_id', automation.current_user_id());
      if tg_op = 'UPDATE' then
        data := data || jsonb_build_object('old', to_jsonb(old), 'changed', changed);
      end if;%7$s
      enrolments := automation.match_write(%1$L, new.%4$I, events, changed, data);
    exception when others then
      data := jsonb_build_object('entity', %1$L, '%1$s_id', new.%6$I);
      enrolments := automation.match_failed(%1$L, new.%4$I, events, sqlstate, sqlerrm);
    end;
    if enrolments is not null then
      perform automation.enrol_write(new.%4$I, %1$L, new.%6$I::text, data, enrolments);
    end if;
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, automation.changed_expression(attached),
      automation.events_expression(attached), attached.tenant_column,
      automation.match_expression(attached), attached.id_column,
      case when attached.related <> '{}' then format(
        E'\n      data := automation.add_related(data, new.%I, to_jsonb(new), %L);',
        attached.tenant_column, attached.related)
      else '' end)
  $$;

comment on function automation.capture_function(automation.entities) is
  'The source of the trigger function of one attached table.';

-- How the engine reads one live record, and any live record.
create or replace function automation.reader_function(attached automation.entities) returns text
  language sql stable
  set search_path = ''
  as $$
    select format($template$
create or replace function automation.read_%1$s(tenant_id uuid, id text) returns jsonb
  language sql stable
  set search_path = ''
  as $reader$
    select to_jsonb(r) from %2$s as r
    where r.%3$I = read_%1$s.tenant_id and r.%4$I = read_%1$s.id::%5$s
  $reader$
$template$,
      attached.name, attached.relation, attached.tenant_column, attached.id_column,
      (select pg_catalog.format_type(a.atttypid, a.atttypmod)
       from pg_catalog.pg_attribute as a
       where a.attrelid = attached.relation::regclass and a.attname = attached.id_column))
  $$;

create or replace function automation.read_record_function() returns text
  language sql stable
  set search_path = ''
  as $$
    select format($template$
create or replace function automation.read_record(entity text, tenant_id uuid, id text)
  returns jsonb
  language plpgsql stable
  set search_path = ''
  as $reader$
begin
  case entity%s
    else return null;
  end case;
end;
$reader$
$template$,
      string_agg(format(
        E'\n    when %1$L then return automation.read_%1$s(tenant_id, id);', e.name), ''
        order by e.name))
    from automation.entities as e
  $$;
