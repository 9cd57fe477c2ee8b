-- workflows.settings -> plan.lifecycle: who may enter again, and what ends a run early.

create type automation.compiled_event as (
  type text,
  compiled automation.compiled_trigger,
  problems jsonb
);

-- An event that a run waits for or ends at: a trigger type, alone or with its trigger_config.
create or replace function automation.compile_event(event jsonb, path text)
  returns automation.compiled_event
  language plpgsql stable
  set search_path = ''
  as $$
declare
  read automation.compiled_event;
  config constant jsonb := coalesce(case jsonb_typeof(event) when 'object' then event -> 'config' end, '{}');
  kind text;
begin
  read.type := case jsonb_typeof(event) when 'object' then event ->> 'type' else event #>> '{}' end;
  select t.kind into kind from automation.trigger_types as t where t.name = read.type;
  read.problems := case
    when coalesce(kind, 'time') in ('time', 'manual') then automation.as_list(automation.problem(
      path, 'unknown_event', format('there is no event "%s" to wait for', left(read.type, 60)),
      'One of: ' || (select string_agg(t.name, ', ' order by t.name) from automation.trigger_types as t
        where t.kind not in ('time', 'manual')) || '.'))
    when jsonb_typeof(config) <> 'object' then automation.as_list(automation.problem(
      path || '.config', 'not_an_object', 'config must be an object, as in trigger_config'))
    else '[]'
  end;
  if read.problems = '[]' then
    read.compiled := automation.compile_trigger(read.type, config, path || '.config');
    read.problems := (read.compiled).problems;
  end if;
  return read;
end;
$$;

-- "always" -> nothing to ask; {"once_in": "30 days"} -> {policy, within}.
create or replace function automation.compile_reentry(settings jsonb) returns jsonb
  language sql immutable
  set search_path = ''
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
  set search_path = ''
  as $$
declare
  exit_conditions record;
  key record;
begin
  select c.* into exit_conditions
  from automation.compile_conditions(settings -> 'exit_conditions', path || '.exit_conditions') as c;
  select t.* into key
  from automation.compile_template(settings -> 'dedupe_key', path || '.dedupe_key') as t;
  problems := exit_conditions.problems || key.problems || automation.check_settings(settings, path);
  select coalesce(jsonb_object_agg(l.key, l.value), '{}') into compiled
  from (values
    ('reentry', automation.compile_reentry(settings)),
    ('key', case when settings ? 'dedupe_key' then key.compiled end),
    ('exit', exit_conditions.compiled)) as l (key, value)
  where l.value is not null;
  compiled := case compiled when '{}' then compiled else jsonb_build_object('lifecycle', compiled) end;
end;
$$;

comment on function automation.compile_lifecycle(jsonb, text) is
  'Compiles the settings of a workflow; problems says what is wrong with them.';

create or replace function automation.check_settings(settings jsonb, path text) returns jsonb
  language sql stable
  set search_path = ''
  as $$
    select coalesce(jsonb_agg(p), '[]')
    from jsonb_array_elements(settings -> 'exit_events') with ordinality as e (value, place)
    cross join lateral automation.compile_event(e.value, format('%s.exit_events[%s]', path, e.place - 1)) as c
    cross join lateral jsonb_array_elements(c.problems) as p
  $$;
