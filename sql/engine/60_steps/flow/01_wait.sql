-- Waiting: for a length of time, until a date, until a time of day, for an event.

create or replace function automation.fold_wait(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  return case
    when config ? 'duration_minutes' then jsonb_build_object('minutes', config -> 'duration_minutes')
    when config ? 'delay_minutes' then jsonb_build_object('minutes', config -> 'delay_minutes')
    when config ? 'duration_hours' then jsonb_build_object('hours', config -> 'duration_hours')
    when config ? 'delay_hours' then jsonb_build_object('hours', config -> 'delay_hours')
    when config ? 'duration_days' then jsonb_build_object('days', config -> 'duration_days')
    when config ? 'duration' and config ->> 'unit' in ('minutes', 'hours', 'days', 'weeks') then
      jsonb_build_object(config ->> 'unit', config -> 'duration')
    when jsonb_typeof(config -> 'duration') = 'number' then
      jsonb_build_object('minutes', config -> 'duration')
    else config
  end;
end;
$$;

create or replace function automation.branches_wait(config jsonb)
  returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when config ? 'event' then '{event,timeout}'::text[] else '{}' end;
end;
$$;

-- The field of a record that a wait follows: until is that field and nothing else, of a record as it is now.
create or replace function automation.followed_field(until text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('entity', e.name, 'field', automation.own_name(e, u.part[2]))
    from (
      select regexp_match(until, '^\s*\{\{\s*([a-z][a-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)(?:\.[A-Za-z0-9_]+)*'
        '\s*(?:\|[^{}]*)?\}\}\s*$') as part) as u
    join automation.entities as e on e.name = u.part[1]
  $$;

-- follow: which changes wake it (13_publish); skip: it may leave out the step that comes next (05_compile_workflow).
create or replace function automation.compile_wait(config jsonb, path text, shared jsonb)
  returns automation.compiled_config
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  followed constant jsonb := automation.followed_field(config ->> 'until');
  follows constant boolean := coalesce(config -> 'follow' = 'true', false);
  problems jsonb := '[]'::jsonb;
begin
  if follows and config ? 'until' and followed is null then
    problems := problems || automation.problem(path || '.follow', 'nothing_to_follow',
      'until is no field of a record whose changes could be followed',
      'Write the field alone, such as "{{appointment.starts_at}}"; what {{trigger.*}} says never changes.');
  end if;
  if config ->> 'if_missing' = 'wait' and not follows then
    problems := problems || automation.problem(path || '.if_missing', 'not_allowed',
      'nothing would wake a wait for a date that comes later', 'Set follow, or say what happens without a date.');
  end if;
  return row(config, config, jsonb_strip_nulls(jsonb_build_object(
      'follows', case when follows then followed end,
      'leaves_out', case 'skip'
        when config ->> 'if_past' then 'if_past' when config ->> 'if_missing' then 'if_missing' end)),
    '{}', problems)::automation.compiled_config;
end;
$$;

create or replace function automation.hears_wait(step jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return step #> '{config,base,event}';
end;
$$;

-- A date that comes from a record may not be there.
create or replace function automation.date_policy_problem(step jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.until', 'no_date_policy',
      'the date may be missing when the step runs, and the step then fails',
      'Say what happens then with if_missing, or give the date a default: '
      '"{{job.scheduled_at | default: today}}".', 'warning')
    from (select step -> 'config' -> 'base' as config) as c
    where not c.config ? 'if_missing'
      and (jsonb_typeof(c.config -> 'until') = 'object'
        or c.config ->> 'until' like '%{{%' and not exists (
          select from jsonb_array_elements(step -> 'config' -> 'slots') as slot
          where (slot ->> 'at')::text[] = '{until}'
            and jsonb_path_exists(slot, 'strict $.**.f[*] ? (@.n == "default")', '{}', true)))
  $$;

create or replace function automation.needs_wait(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(automation.as_list(automation.date_policy_problem(step)), '[]');
end;
$$;

-- events: {<step key>: "event" or what comes}; a step that waits for an event that is not in it times out.
create or replace function automation.imagine_wait(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  brought constant jsonb := events -> (step ->> 'key');
begin
  return row(execution.trigger_data, case
    when not input ? 'event' then automation.wait_for_time(execution, input, at) - 'waiting'
    when brought is not null then jsonb_build_object(
      'branch', 'event', 'result', 'event', 'event', jsonb_build_object(
        'type', coalesce(input #> '{event,type}', input -> 'event'), 'at', at,
        'record', case jsonb_typeof(brought) when 'object' then brought else '{}' end))
    else jsonb_build_object(
      'branch', 'timeout', 'result', 'timeout', 'wait_until', automation.add_length(
        at, automation.duration_in(input -> 'timeout'), automation.wait_zone(execution, input)))
    end)::automation.imagined;
end;
$$;

create or replace function automation.perform_wait(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.wait(execution, step ->> 'key', input);
end;
$$;

select automation.register_step('wait', 'database', '{event,timeout}',
  'Waits: for a length of time, until a date, until a time of day, or for an event.', $schema${
  "anyOf": [{"required": ["minutes"]}, {"required": ["hours"]}, {"required": ["days"]},
    {"required": ["weeks"]}, {"required": ["duration"]}, {"required": ["until"]}, {"required": ["at"]},
    {"required": ["window"]}, {"required": ["event"]}],
  "errorMessage": "wait needs minutes, hours, days or until, or one of weeks, duration, at, window and event",
  "dependentRequired": {"offset": ["until"], "if_missing": ["until"], "if_past": ["until"], "follow": ["until"],
    "event": ["timeout"], "timeout": ["event"]},
  "dependentSchemas": {
    "until": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
      "duration": false}},
    "event": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
      "duration": false, "until": false, "offset": false, "if_missing": false, "if_past": false, "follow": false,
      "at": false, "window": false, "zone": false}}
  },
  "properties": {
    "minutes": {"type": ["number", "string"], "format": "amount", "description": "How long."},
    "hours": {"type": ["number", "string"], "format": "amount", "description": "How long."},
    "days": {"type": ["number", "string"], "format": "amount", "description": "How long."},
    "weeks": {"type": ["number", "string"], "format": "amount", "description": "How long."},
    "duration": {"type": ["string", "object"], "format": "length-of-time", "description": "How long."},
    "until": {"type": "string", "format": "moment",
      "description": "Until then; a date without a time is midnight."},
    "offset": {"type": ["string", "object"], "format": "signed-length-of-time",
      "description": "So long after until, or with a minus sign before it."},
    "follow": {"type": "boolean",
      "description": "When the field in until changes while it waits, it waits for the new date. Default: false."},
    "if_missing": {"enum": ["fail", "continue", "stop", "skip", "wait"],
      "description": "When until has no value; skip: leaves the next step out; wait: until it has one. Default: fail."},
    "if_past": {"enum": ["continue", "stop", "fail", "skip"],
      "description": "What happens when the time is over already; skip: the next step is left out. Default: continue."},
    "at": {"type": "string", "format": "time-of-day",
      "description": "With days or a date, at this time of that day; otherwise the next time it is this late."},
    "window": {"type": "object", "title": "window", "minProperties": 1,
      "description": "And then until it is between these times, on one of these days.",
      "properties": {
        "from": {"type": "string", "format": "time-of-day", "description": "The earliest. Default: midnight."},
        "to": {"type": "string", "format": "time-of-day", "description": "The latest. Default: midnight."},
        "days": {"type": "array", "minItems": 1, "maxItems": 7,
          "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
          "description": "Default: any day."}
      }},
    "zone": {"type": "string", "format": "zone",
      "description": "Whose clock at and window go by. Default: tenant."},
    "event": {"type": ["string", "object"], "title": "event", "required": ["type"],
      "description": "Until this happens to the contact or record; then the branch event is taken.",
      "properties": {
        "type": {"type": "string", "description": "A trigger type that a write fires."},
        "config": {"type": "object", "additionalProperties": true,
          "description": "As in trigger_config."}
      }},
    "timeout": {"type": ["string", "object"], "format": "length-of-time",
      "description": "How long to wait for the event; then the branch timeout is taken."}
  },
  "examples": [
    {"days": 3},
    {"until": "{{job.scheduled_at}}", "offset": "-24 hours", "if_missing": "stop", "if_past": "stop"},
    {"until": "{{job.scheduled_at}}", "offset": "-1 day", "follow": true, "if_missing": "wait", "if_past": "stop"},
    {"days": 1, "at": "10:00", "zone": "contact"},
    {"window": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}},
    {"event": "sms_received", "timeout": "2 hours"},
    {"event": {"type": "stage_changed", "config": {"to": "won"}}, "timeout": {"days": 14}}
  ]
}$schema$, has_effect => false);
