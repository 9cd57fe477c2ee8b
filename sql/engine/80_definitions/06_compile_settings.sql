-- workflows.settings -> plan.lifecycle: who may enter again, and what ends a run early.

create type automation.compiled_event as (
  type text,
  compiled automation.compiled_trigger,
  problems jsonb
);

-- An event that a run waits for or ends at: a trigger type, alone or with its trigger_config. What is
-- not of that shape is for the schema to say.
create or replace function automation.compile_event(event jsonb, path text)
  returns automation.compiled_event
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read automation.compiled_event;
  alone constant boolean := jsonb_typeof(event) = 'string';
  config constant jsonb := coalesce(event -> 'config', '{}');
begin
  read.type := case when alone then event #>> '{}' else event ->> 'type' end;
  read.problems := '[]';
  if read.type is null or not alone and jsonb_typeof(event -> 'type') <> 'string'
    or jsonb_typeof(config) <> 'object' then
    return read;
  elsif not exists (
    select from automation.trigger_types as t
    where t.name = read.type and t.kind not in ('time', 'manual')) then
    read.problems := jsonb_build_array(automation.problem(
      path || case when alone then '' else '.type' end, 'unknown_event',
      format('there is no event "%s" to wait for', left(read.type, 60)),
      'Known: ' || (select string_agg(t.name, ', ' order by t.name) from automation.trigger_types as t
                    where t.kind not in ('time', 'manual'))));
    return read;
  end if;
  read.compiled := automation.compile_trigger(read.type, config, path || '.config');
  read.problems := (read.compiled).problems;
  return read;
end;
$$;

-- "always" -> nothing to ask; {"once_in": "30 days"} -> {policy, within}.
create or replace function automation.compile_reentry(settings jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when r.value is null and not settings ? 'dedupe_key' or r.value = '"always"' then null
      when jsonb_typeof(r.value) = 'object' then jsonb_build_object(
        'policy', 'once_in', 'within', automation.duration_in(r.value -> 'once_in'))
      else jsonb_build_object('policy', coalesce(r.value #>> '{}', 'never'))
    end
    from (select settings -> 'reentry' as value) as r
  $$;

comment on function automation.compile_reentry(jsonb) is
  'What is asked before a run starts; null: nothing. A dedupe_key alone means never again.';

create or replace function automation.compile_lifecycle(
  settings jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  exit_conditions record;
  key record;
begin
  select c.* into exit_conditions
  from automation.compile_conditions(settings -> 'exit_conditions', path || '.exit_conditions') as c;
  select t.* into key
  from automation.compile_template(settings -> 'dedupe_key', path || '.dedupe_key') as t;
  problems := automation.check_settings(settings, path);
  select coalesce(jsonb_object_agg(l.key, l.value), '{}') into compiled
  from (values
    ('reentry', automation.compile_reentry(settings)),
    ('key', case when settings ? 'dedupe_key' then key.compiled end),
    ('exit', exit_conditions.compiled),
    ('exit_events', nullif(settings -> 'exit_events', '[]'))) as l (key, value)
  where l.value is not null;
  compiled := case compiled when '{}' then compiled else jsonb_build_object('lifecycle', compiled) end;
end;
$$;

comment on function automation.compile_lifecycle(jsonb, text) is
  'Compiles the settings of a workflow; problems says what is wrong with them.';

create or replace function automation.check_settings(settings jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.check_schema(s.config_schema, settings, path)
      || (select t.problems
          from automation.compile_template(settings -> 'dedupe_key', path || '.dedupe_key') as t)
      || coalesce((
        select jsonb_agg(p.problem order by e.place)
        from jsonb_array_elements(
            case jsonb_typeof(settings -> 'exit_events') when 'array' then settings -> 'exit_events'
              else '[]' end) with ordinality as e (value, place)
          cross join lateral jsonb_array_elements(automation.check_event(
            e.value, format('%s.exit_events[%s]', path, e.place - 1))) as p (problem)), '[]')
    from automation.setting_schemas as s
    where s.name = 'settings'
  $$;

comment on function automation.check_settings(jsonb, text) is
  'What is wrong with workflows.settings, the conditions, template and events in it included.';

create or replace function automation.check_retry(retry jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.check_schema(s.config_schema, retry, path)
    from automation.setting_schemas as s
    where s.name = 'retry'
  $$;

comment on function automation.check_retry(jsonb, text) is
  'What is wrong with workflow_steps.retry.';
