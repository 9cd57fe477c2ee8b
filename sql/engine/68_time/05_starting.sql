-- trigger_config of the two triggers that time fires: what it may say, and what it means.

create or replace function automation.config_problems(
  config jsonb, known_keys text[], missed text[], path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem), '[]')
    from (
      select automation.problem(path || '.' || k.key, 'unknown_key',
        format('there is no setting "%s" here', k.key),
        'Known: ' || array_to_string(known_keys, ', ')) as problem
      from jsonb_object_keys(config) as k (key)
      where not k.key = any (known_keys)
      union all
      select automation.problem(path || '.zone', 'unknown_zone',
        format('%s is not a time zone', config -> 'zone'), 'Use an IANA name such as America/Chicago.')
      where config ? 'zone' and automation.known_zone(config ->> 'zone') is null
      union all
      select automation.problem(path || '.missed', 'invalid_value',
        format('missed cannot be %s', config -> 'missed'),
        'One of ' || array_to_string(missed, ', ') || '.')
      where config ? 'missed' and not coalesce(config ->> 'missed' = any (missed), false)
    ) as p
  $$;

create or replace function automation.check_entity(entity text, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when exists (select from automation.entities as e where e.name = check_entity.entity) then '[]'
      else jsonb_build_array(automation.problem(
        path, 'unknown_entity', format('there is no entity "%s"', entity),
        'Known: ' || (select string_agg(e.name, ', ' order by e.name) from automation.entities as e)))
    end
  $$;

-- scheduled: {cron | every, zone?, missed?, for_each?: {entity, conditions?}}
create or replace function automation.compile_schedule(
  config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  expression constant text := config ->> 'cron';
  every constant interval := automation.duration_in(config -> 'every');
  each constant jsonb := config -> 'for_each';
  read automation.cron;
  filter record;
begin
  problems := automation.config_problems(
    config, '{cron,every,zone,missed,for_each}', '{once,skip,catch_up}', path);
  compiled := jsonb_build_object(
    'zone', automation.known_zone(config ->> 'zone'), 'missed', coalesce(config ->> 'missed', 'once'));
  if config ? 'cron' = config ? 'every' then
    problems := problems || automation.problem(
      path || '.cron', 'missing', 'a scheduled workflow needs either cron or every',
      'For example {"cron": "0 9 * * MON"} or {"every": "2 hours"}.');
  elsif config ? 'every' then
    compiled := compiled || jsonb_build_object('every', every);
    if every is null or every < interval '1 minute' then
      problems := problems || automation.problem(
        path || '.every', 'invalid_duration', format('%s is no length of time', config -> 'every'),
        'At least a minute: "15 minutes", "2 hours", "1 day".');
    end if;
  else
    compiled := compiled || jsonb_build_object('cron', expression);
    read := automation.compile_cron(coalesce(expression, ''), path || '.cron');
    problems := problems || read.problems;
    if read.problems = '[]'
      and automation.next_cron(read, 'UTC', automation.now()) is null then
      problems := problems || automation.problem(
        path || '.cron', 'never_fires', format('"%s" names a day that never comes', expression));
    end if;
  end if;
  if config ? 'for_each' then
    problems := problems || automation.check_entity(each ->> 'entity', path || '.for_each.entity');
    select c.* into filter
    from automation.compile_conditions(each -> 'conditions', path || '.for_each.conditions') as c;
    problems := problems || filter.problems;
    compiled := compiled || jsonb_build_object(
      'entity', each -> 'entity', 'conditions', filter.compiled);
  end if;
end;
$$;

-- "10 business days", "-2 business days", {"business_days": 10} -> 10, -2, 10; null when it is anything
-- else. A year at most, and not none: which day would that be on a Sunday?
create or replace function automation.business_days_in(value jsonb) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(n.days, 0)
    from (
      select case jsonb_typeof(value)
        when 'string' then replace(substring(
          lower(value #>> '{}') from '^ *([+-]? *[0-9]{1,3}) *business[ _-]?days? *$'), ' ', '')::integer
        when 'object' then case
          when value - 'business_days' = '{}' and value ->> 'business_days' ~ '^[+-]?[0-9]{1,3}$'
          then (value ->> 'business_days')::integer end
      end as days
    ) as n
    where n.days between -366 and 366
  $$;

-- zone: contact is known to timers alone, and only where there is a contact.
create or replace function automation.check_contact_zone(entity text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
      path || '.zone', 'no_contact', format('%s belongs to no contact whose zone it could be', entity),
      'Name a zone, or leave it out for the tenant''s.')), '[]')
    from automation.entities as e
    where config ->> 'zone' = 'contact' and e.name = check_contact_zone.entity and e.name <> 'contact'
      and not automation.leads_to_contact(e)
  $$;

-- What becomes of the records that are there: true, false, or {overdue, per_minute, at_most} for those whose time has
-- come already. Without a word those of a date get their timers, and those of a change do not.
create or replace function automation.compile_existing(
  config jsonb, path text, out existing boolean, out backfill jsonb, out problems jsonb)
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant jsonb := config -> 'existing';
  amount record;
begin
  problems := '[]';
  existing := case jsonb_typeof(given) when 'boolean' then given = 'true' when 'object' then true
    else not config ? 'changed' end;
  if given is null or jsonb_typeof(given) = 'boolean' then
    return;
  elsif jsonb_typeof(given) <> 'object' then
    problems := jsonb_build_array(automation.problem(path, 'invalid_value', format('existing cannot be %s', given),
      'true, false, or {"overdue": true, "per_minute": 20, "at_most": 500}.'));
    return;
  end if;
  select coalesce(jsonb_agg(automation.problem(path || '.' || k.key, 'unknown_key',
      format('there is no setting "%s" here', k.key), 'Known: overdue, per_minute, at_most')), '[]') into problems
  from jsonb_object_keys(given) as k (key)
  where k.key not in ('overdue', 'per_minute', 'at_most');
  if given ? 'overdue' and jsonb_typeof(given -> 'overdue') <> 'boolean' then
    problems := problems || automation.problem(path || '.overdue', 'invalid_value',
      format('overdue cannot be %s', given -> 'overdue'), 'true: records whose time has come already start a run.');
  elsif given -> 'overdue' = 'true' and config ->> 'missed' = 'skip' then
    problems := problems || automation.problem(path || '.overdue', 'not_allowed',
      'missed says that what is late is left out', 'Leave out missed, or overdue.');
  end if;
  backfill := jsonb_build_object('overdue', given -> 'overdue' = 'true');
  for amount in
    select * from (values ('per_minute', 20, 1000), ('at_most', 500, 100000)) as a (key, otherwise, most)
  loop
    if given ? amount.key and not coalesce(jsonb_typeof(given -> amount.key) = 'number'
      and given ->> amount.key ~ '^[0-9]{1,6}$'
      and (given ->> amount.key)::integer between 1 and amount.most, false) then
      problems := problems || automation.problem(path || '.' || amount.key, 'out_of_range',
        format('%s cannot be %s', amount.key, given -> amount.key), format('From 1 to %s.', amount.most));
    end if;
    backfill := backfill || jsonb_build_object(amount.key, coalesce(given -> amount.key, to_jsonb(amount.otherwise)));
  end loop;
end;
$$;

-- What no value of could be a date: a timer of it would never be due.
create or replace function automation.check_date_field(entity text, field text, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant text := (
    select automation.value_kind(a.atttypid)
    from automation.entities as e
    join pg_catalog.pg_attribute as a on a.attrelid = to_regclass(e.relation) and a.attname = field
    where e.name = entity and not a.attisdropped);
begin
  return case when kind in ('number', 'boolean', 'uuid', 'list', 'enum') then jsonb_build_array(automation.problem(
    path, 'invalid_value', format('%s.%s is %s, and no date', entity, field, automation.kind_name(kind)),
    case kind when 'number' then format('Where it counts seconds since 1970, attach a column that is a time: '
      'timestamptz generated always as (to_timestamp(%I)) stored.', field)
      else 'Name a column that holds a date or a time.' end))
    else '[]' end;
end;
$$;

-- time_elapsed: {entity?, field | changed, by?, offset, at?, zone?, missed?, existing?}
create or replace function automation.compile_timer(
  config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  lengths constant text[] := array['minutes', 'hours', 'days', 'business_days', 'weeks', 'months', 'years'];
  written constant jsonb := coalesce(config -> 'offset', nullif(
    (select jsonb_object_agg(l, config -> l) from unnest(lengths) as l where config ? l), '{}'));
  business_days constant integer := automation.business_days_in(written);
  length constant interval := case
    when business_days is null then automation.signed_duration(written) else interval '0' end;
  zone constant text := config ->> 'zone';
  existing constant record := automation.compile_existing(config, path || '.existing');
  entity constant text := coalesce(config ->> 'entity', 'contact');
  field text := coalesce(config ->> 'changed', config ->> 'field', 'created_at');
begin
  field := coalesce((
    select automation.own_name(e, field) from automation.entities as e where e.name = entity), field);
  problems := automation.config_problems(
    case zone when 'contact' then config - 'zone' else config end,
    array['entity', 'field', 'changed', 'by', 'offset', 'at', 'zone', 'missed', 'existing'] || lengths,
    '{once,skip}', path) || automation.check_entity(entity, path || '.entity')
    || automation.check_contact_zone(entity, config, path) || existing.problems;
  if config ? 'by' and coalesce(config ->> 'by', '') not in ('people', 'anybody') then
    problems := problems || automation.problem(
      path || '.by', 'invalid_value', format('by cannot be %s', config -> 'by'),
      'people: what an automation writes is no change; anybody, or left out: whoever writes.');
  elsif config ->> 'by' = 'people' and not config ? 'changed' then
    problems := problems || automation.problem(
      path || '.by', 'not_allowed', 'by says whose changes count, and this timer goes by a date',
      'Name the field in changed instead of field, or leave out by.');
  end if;
  if length is null then
    problems := problems || automation.problem(
      path || '.offset', 'invalid_duration',
      case when written is null then 'a timer needs an offset'
        else format('%s is no length of time', written) end,
      'For example "3 days" or "10 business days" (after the date), or "-24 hours" (before it).');
  elsif config ? 'changed' and (length < interval '0' or business_days < 0) then
    problems := problems || automation.problem(
      path || '.offset', 'invalid_duration', 'nothing can be known before a field changes',
      'Leave out the minus sign, or name a date in field.');
  end if;
  if config ? 'at' and coalesce(config ->> 'at', '') !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' then
    problems := problems || automation.problem(
      path || '.at', 'invalid_value', format('%s is no time of day', config -> 'at'),
      'From "00:00" to "23:59".');
  end if;
  problems := problems || coalesce((
    select automation.problem(
      path || case when config ? 'changed' then '.changed' else '.field' end, 'unknown_field',
      format('%s has no column "%s"', entity, field),
      'Its columns: ' || array_to_string(e.columns, ', '))
    from automation.entities as e
    where e.name = entity and not split_part(field, '.', 1) = any (e.columns)), '[]')
    || case when config ? 'changed' then '[]' else automation.check_date_field(entity, field, path || '.field') end;
  compiled := jsonb_build_object(
    'entity', entity, 'field', field, 'follows', case when config ? 'changed' then 'change' else 'value' end,
    'offset', length, 'business_days', business_days, 'at', config -> 'at',
    'zone', case zone when 'contact' then zone else automation.known_zone(zone) end,
    'missed', coalesce(config ->> 'missed', 'once'),
    'by_people', coalesce(config ->> 'by' = 'people', false),
    'existing', existing.existing, 'backfill', existing.backfill);
end;
$$;

-- Capture never asks about these triggers, so their listener has no entity and matches anything.
create or replace function automation.compile_time_trigger(
  trigger_type text, config jsonb, path text)
  returns automation.compiled_trigger
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  compiled automation.compiled_trigger;
begin
  compiled.entity := '';
  compiled.match := '{}';
  compiled.problems := case trigger_type
    when 'scheduled' then (select c.problems from automation.compile_schedule(config, path) as c)
    else (select c.problems from automation.compile_timer(config, path) as c)
  end;
  return compiled;
end;
$$;

-- What a published workflow waits for in time, from now on. Publishing it again with the same
-- trigger_config changes no date that is waited for.
create or replace function automation.start_waiting(version ridgeline.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if version.trigger_type is distinct from 'scheduled' then
    delete from ridgeline.workflow_schedules as s
    where s.tenant_id = version.tenant_id and s.workflow_id = version.workflow_id;
  else
    perform automation.start_schedule(version);
  end if;
  if version.trigger_type is distinct from 'time_elapsed' then
    delete from automation.timer_listeners as t
    where t.tenant_id = version.tenant_id and t.workflow_id = version.workflow_id;
  else
    perform automation.start_timers(version);
  end if;
end;
$$;

create or replace function automation.stop_waiting(tenant_id uuid, workflow_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from ridgeline.workflow_schedules as s
  where s.tenant_id = stop_waiting.tenant_id and s.workflow_id = stop_waiting.workflow_id;
  delete from automation.timer_listeners as t
  where t.tenant_id = stop_waiting.tenant_id and t.workflow_id = stop_waiting.workflow_id;
end;
$$;

comment on function automation.stop_waiting(uuid, uuid) is
  'For a workflow that is switched off. Its timers are not deleted here, there may be a million: '
  'each is dropped when it is due.';

-- trigger_data of a record that no write brought up: what capture makes, with what fired it.
create or replace function automation.snapshot(
  entity text, tenant_id uuid, record jsonb, more jsonb default '{}')
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case
      when e.related = '{}' then d.data
      else automation.add_related(d.data, snapshot.tenant_id, record, e.related, e.contact_way, e.contact_ways)
    end
    from automation.entities as e
    cross join lateral (
      select more || jsonb_build_object(
        'entity', e.name, e.name, record, e.name || '_id', record -> e.id_column,
        'user_id', automation.current_user_id()) as data
    ) as d
    where e.name = snapshot.entity);
end;
$$;

-- Null: its conditions were not met, or it may not enter. One whose conditions cannot be told is a failed one.
create or replace function automation.entry_if_met(
  version ridgeline.workflow_versions, enrolment automation.enrolment, data jsonb,
  expires_at timestamptz default null)
  returns automation.entry
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  verdict constant jsonb := case
    when version.conditions is null then 'true'
    else automation.try_conditions(version.conditions, version.tenant_id, data)
  end;
begin
  if verdict = 'false' then
    return null;
  elsif verdict <> 'true' then
    enrolment.failure := verdict;
  end if;
  return automation.entry_of(version.tenant_id, data ->> 'entity', data ->> ((data ->> 'entity') || '_id'), data,
    enrolment, expires_at);
end;
$$;

create or replace function automation.enrol_if_met(
  version ridgeline.workflow_versions, trigger_type text, data jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.enter(array[
    automation.entry_if_met(version, automation.enrolment_of(version, trigger_type), data)]);
end;
$$;

comment on function automation.enrol_if_met(ridgeline.workflow_versions, text, jsonb) is
  'Starts an execution of a version for one occurrence, if its conditions are met.';
