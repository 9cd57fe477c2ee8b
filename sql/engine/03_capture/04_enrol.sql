-- Matching a write against the listeners, and enrolling it.

create type automation.enrolment as (
  workflow_id uuid,
  version integer,
  trigger_type text,
  first_step text,
  first_lane ridgeline.automation_lane,
  first_delay interval,
  failure jsonb,
  role text,
  listener text,
  address text,
  fused boolean
);

comment on type automation.enrolment is
  'A match between a write and a listener, worked out and ready to be written down: an execution that '
  'starts, or (role exit or wait) a signal to those that run.';

-- The next functions run for every row that matches. They carry no search_path setting, because
-- it would keep them from being inlined (measured: 8 to 12 us a call instead of 1); their names and
-- operators are qualified instead.

create or replace function automation.as_uuid(value text) returns uuid
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when value operator(pg_catalog.~*)
        '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
      then value::pg_catalog.uuid
    end
  $$;

-- Keys of indexes are not made of whatever a caller sends.
create or replace function automation.as_key(value text) returns text
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$ select pg_catalog.left(coalesce(automation.as_uuid(value)::pg_catalog.text, value), 200) $$;

comment on function automation.as_key(text) is
  'An id of the CRM as the engine keeps it: a UUID in its usual notation, any other as it is.';

comment on function automation.as_uuid(text) is 'The text as a UUID; null when it is none.';

-- Parsed, not searched: a user may write any "sub" into their own metadata, which the claims carry.
create or replace function automation.claimed_user_id() returns uuid
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    automation.as_uuid(current_setting('request.jwt.claim.sub', true)),
    automation.as_uuid(current_setting('request.jwt.claims', true)::jsonb ->> 'sub'));
exception when data_exception then
  return null;
end;
$$;

create or replace function automation.current_user_id() returns uuid
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('request.jwt.claims', true) operator(pg_catalog.<>) ''
        or pg_catalog.current_setting('request.jwt.claim.sub', true) operator(pg_catalog.<>) ''
      then automation.claimed_user_id()
    end
  $$;

comment on function automation.current_user_id() is
  'The signed-in user on whose behalf a write is made; null for any other, and for claims that '
  'cannot be read.';

-- The records that the written one belongs to, as they are now. A job knows its customer through its
-- project.
create or replace function automation.add_related(
  data jsonb, tenant_id uuid, record jsonb, related jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity text;
  id text;
begin
  for entity, id in select r.key, record ->> r.value from jsonb_each_text(related) as r loop
    data := data || jsonb_build_object(
      entity || '_id', id, entity, automation.read_record(entity, tenant_id, id));
  end loop;
  id := data #>> '{project,contact_id}';
  if data ->> 'contact_id' is null and id is not null then
    data := data || jsonb_build_object(
      'contact_id', id, 'contact', automation.read_record('contact', tenant_id, id));
  end if;
  return data;
end;
$$;

-- Whose number or address a message or a call is with, as everything compares them. A form is no message:
-- anybody can write anybody's number into it.
create or replace function automation.counterparty(entity text, tenant_id uuid, record jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if entity = 'form_submission' or not exists (
    select from automation.entities as e where e.name = counterparty.entity and e.is_log) then
    return null;
  elsif record ->> 'direction' = 'outbound' then
    return coalesce(
      automation.normal_number(coalesce(record ->> 'to_number', record ->> 'phone'), automation.country_of(tenant_id)),
      automation.bare_address(coalesce(record ->> 'to_address', record ->> 'email')));
  end if;
  return coalesce(
    automation.normal_number(coalesce(record ->> 'from_number', record ->> 'phone'), automation.country_of(tenant_id)),
    automation.bare_address(coalesce(record ->> 'from_address', record ->> 'email')));
end;
$$;

create or replace function automation.match_write(
  entity text, tenant_id uuid, events text[], changed text[], data jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  record constant jsonb := data -> entity;
  matched automation.enrolment[];
begin
  select array_agg(row(
      m.workflow_id, m.version, m.event, m.first_step, m.first_lane, m.first_delay,
      case when m.verdict <> 'true' then m.verdict end, m.role, m.listener,
      case when m.role <> 'enrol' then automation.counterparty(
        match_write.entity, match_write.tenant_id, record) end, false
      )::automation.enrolment)
    into matched
  from (
    select t.*, case
        when t.conditions is null then 'true'
        else automation.try_conditions(t.conditions, match_write.tenant_id, data)
      end as verdict
    from automation.active_triggers as t
    where t.tenant_id = match_write.tenant_id
      and t.entity = match_write.entity
      and t.event = any (events)
      and automation.matches(record, t.match, t.match_any)
      -- What is inserted has changed from nothing.
      and (t.field is null or t.field = any (changed) or not data ? 'old')
      and (t.from_values is null or t.from_values @> (data -> 'old' -> t.field))
      and (t.to_values is null or t.to_values @> (record -> t.field))
      and (t.reentry is null or automation.may_enter_again(t, data ->> (match_write.entity || '_id')))
  ) as m
  where m.verdict <> 'false';
  -- A record is created once: only repeatable events and chains can loop.
  if matched is not null and (data ? 'old' or automation.has_cause()) then
    return automation.admit_all(tenant_id, data ->> (entity || '_id'), matched);
  end if;
  return matched;
end;
$$;

comment on function automation.match_write(text, uuid, text[], text[], jsonb) is
  'The listeners that a write matches; null when there is none. Writes nothing.';

-- An error in one workflow's conditions is that workflow's own failed execution and leaves the
-- others alone.
-- What one statement has cost so far in conditions, which is what its writer waits for: so many documents
-- for so many records, so many milliseconds. Beyond match_ms, ten milliseconds for each record and half a one
-- for each document, what is left fails and says so.
create or replace function automation.matching_so_far(
  record text, out documents integer, out records integer, out ms numeric, out allowed numeric)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.documents, c.records, c.ms,
      automation.at_most('match_ms') + 10 * c.records + 0.5 * c.documents
    from (
      select
        case when m.is_ours then m.part[2]::integer else 0 end as documents,
        case when m.is_ours then m.part[3]::integer else 0 end
          + (not m.is_ours or m.part[5] <> md5(coalesce(record, '')))::integer as records,
        case when m.is_ours then m.part[4]::numeric else 0 end as ms
      from (
        select p.part, coalesce(p.part[1] = extract(epoch from statement_timestamp())::text, false) as is_ours
        from string_to_array(current_setting('automation.matching', true), ' ') as p (part)
      ) as m
    ) as c
  $$;

create or replace function automation.note_matching(
  record text, documents integer, records integer, ms numeric)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select set_config('automation.matching',
      concat_ws(' ', extract(epoch from statement_timestamp()), documents, records, round(ms, 2),
        md5(coalesce(record, ''))), true)
  $$;

create or replace function automation.try_conditions(conditions jsonb, tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  record constant text := data ->> ((data ->> 'entity') || '_id');
  spent record := automation.matching_so_far(record);
  verdict jsonb;
begin
  if spent.ms > spent.allowed then
    perform automation.note_matching(record, spent.documents, spent.records, spent.ms);
    return automation.engine_error('too_expensive', '54000', format(
      'matching this write had taken %s milliseconds before it came to these conditions', spent.ms));
  end if;
  if jsonb_typeof(conditions -> 'code') is distinct from 'array' then
    raise exception 'these are not compiled conditions';
  end if;
  verdict := to_jsonb(automation.evaluate_conditions(
    conditions, automation.trigger_context(tenant_id, data, conditions -> 'roots'),
    automation.tenant_zone(tenant_id)));
  perform automation.note_matching(record, spent.documents + 1, spent.records, spent.ms
    + extract(epoch from clock_timestamp() - began) * 1000);
  return verdict;
exception when others then
  perform automation.note_matching(record, spent.documents + 1, spent.records, spent.ms
    + extract(epoch from clock_timestamp() - began) * 1000);
  return automation.engine_error('conditions_failed', sqlstate, sqlerrm);
end;
$$;

comment on function automation.try_conditions(jsonb, uuid, jsonb) is
  'true or false, or the error object of conditions that could not be evaluated.';

create or replace function automation.match_failed(
  entity text, tenant_id uuid, events text[], state text, message text)
  returns automation.enrolment[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(row(
      t.workflow_id, t.version, t.event, t.first_step, t.first_lane, t.first_delay,
      automation.engine_error('capture_failed', state, message), t.role, t.listener, null, false)::automation.enrolment)
    from automation.active_triggers as t
    where t.tenant_id = match_failed.tenant_id
      and t.entity = match_failed.entity
      and t.event = any (events)
      and t.role = 'enrol'
  $$;

comment on function automation.match_failed(text, uuid, text[], text, text) is
  'What enrols when matching itself broke: every listener gets a failed execution that says why.';

create or replace function automation.engine_error(code text, state text, message text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('code', code, 'message', left(message, 2000), 'sqlstate', state)
  $$;

-- Outside every guard: what could fail has been done.
create or replace function automation.enrol_write(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolments automation.enrolment[],
  is_log boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  enrolment automation.enrolment;
  -- What comes in, and not what becomes of what we sent: opens of a campaign are no flood.
  from_outside constant boolean := is_log and not data ? 'old'
    and data -> entity ->> 'direction' is distinct from 'outbound';
  -- One number for all that a write leads to: it does not end the run that it starts.
  seq constant bigint := nextval('automation.write_order');
begin
  foreach enrolment in array enrolments loop
    if enrolment.role = 'enrol' then
      enrolment.fused := enrolment.fused or from_outside;
      perform automation.start_execution(tenant_id, entity, record_id, data, enrolment, seq);
    else
      perform automation.raise_signal(
        tenant_id, entity, record_id, data, enrolment, seq, is_log or not data ? 'old');
    end if;
  end loop;
end;
$$;
