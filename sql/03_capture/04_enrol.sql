-- Matching a write against the listeners, and enrolling it.

create type automation.enrolment as (
  workflow_id uuid,
  version integer,
  trigger_type text,
  trigger_data jsonb,
  contact_id uuid,
  first_step text,
  first_lane text,
  first_delay interval,
  failure jsonb
);

comment on type automation.enrolment is
  'A match between a write and a listener, worked out and ready to be written down.';

-- The record and everything it belongs to, as they were when it was written.
create or replace function automation.snapshot(
  entity text, tenant_id uuid, changed text[], record jsonb, old_record jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = ''
  as $$
declare
  attached automation.entities;
  related record;
  data jsonb := jsonb_build_object(
    'entity', entity, entity, record, entity || '_id', record -> 'id',
    'user_id', automation.current_user_id());
begin
  if old_record is not null then
    data := data || jsonb_build_object('old', old_record, 'changed', to_jsonb(changed));
  end if;
  select e.* into attached from automation.entities as e where e.name = snapshot.entity;
  for related in select r.key, record ->> r.value as id from jsonb_each_text(attached.related) as r
  loop
    data := data || jsonb_build_object(
      related.key || '_id', related.id,
      related.key, automation.read_record(related.key, tenant_id, related.id));
  end loop;
  -- A job knows its customer through its project.
  if data ->> 'contact_id' is null and data #>> '{project,contact_id}' is not null then
    data := data || jsonb_build_object(
      'contact_id', data #> '{project,contact_id}',
      'contact', automation.read_record('contact', tenant_id, data #>> '{project,contact_id}'));
  end if;
  return data;
end;
$$;

comment on function automation.snapshot(text, uuid, text[], jsonb, jsonb) is
  'trigger_data: {entity, <entity>: record, <related>: record, old?, changed?}. A snapshot: later '
  'edits of the records do not change it.';

create or replace function automation.match_write(
  entity text, tenant_id uuid, events text[], changed text[], record jsonb, old_record jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = ''
  as $$
declare
  listener automation.active_triggers;
  data jsonb;
  enrolments automation.enrolment[] := '{}';
begin
  for listener in
    select t.* from automation.active_triggers as t
    where t.tenant_id = match_write.tenant_id
      and t.entity = match_write.entity
      and t.event = any (events)
      and record @> t.match
      and (t.match_any is null or automation.matches_any(record, t.match_any))
      and (t.field is null or t.field = any (changed))
      and (t.from_values is null or t.from_values @> (old_record -> t.field))
      and (t.to_values is null or t.to_values @> (record -> t.field))
  loop
    data := coalesce(data, automation.snapshot(entity, tenant_id, changed, record, old_record));
    enrolments := enrolments || automation.match_listener(listener, data);
  end loop;
  return enrolments;
end;
$$;

-- One listener's conditions; an error in them is that listener's own failed execution and leaves
-- the others alone.
create or replace function automation.match_listener(
  listener automation.active_triggers, data jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = ''
  as $$
declare
  enrolment automation.enrolment;
begin
  enrolment := row(
    listener.workflow_id, listener.version, listener.event, data,
    automation.as_uuid(data ->> 'contact_id'), listener.first_step, listener.first_lane,
    listener.first_delay, null)::automation.enrolment;
  if listener.conditions is not null then
    begin
      if not automation.evaluate_conditions(
        listener.conditions, automation.trigger_context(listener.tenant_id, data),
        automation.tenant_zone(listener.tenant_id)) then
        return '{}';
      end if;
    exception when others then
      enrolment.failure := automation.engine_error('conditions_failed', sqlstate, sqlerrm);
    end;
  end if;
  return array[enrolment];
end;
$$;

create or replace function automation.match_failed(
  entity text, tenant_id uuid, events text[], state text, message text)
  returns automation.enrolment[]
  language sql stable
  set search_path = ''
  as $$
    select array_agg(row(
      t.workflow_id, t.version, t.event, jsonb_build_object('entity', match_failed.entity), null,
      t.first_step, t.first_lane, t.first_delay,
      automation.engine_error('capture_failed', state, message))::automation.enrolment)
    from automation.active_triggers as t
    where t.tenant_id = match_failed.tenant_id
      and t.entity = match_failed.entity
      and t.event = any (events)
  $$;

comment on function automation.match_failed(text, uuid, text[], text, text) is
  'What enrols when matching itself broke: every listener gets a failed execution that says why.';

create or replace function automation.engine_error(code text, state text, message text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select jsonb_build_object('code', code, 'message', left(message, 2000), 'sqlstate', state)
  $$;

create or replace function automation.as_uuid(value text) returns uuid
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select case
      when value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
      then value::uuid
    end
  $$;

-- The signed-in user on whose behalf the write is made; null for everything else. Read without
-- parsing, so that odd claims cannot raise.
create or replace function automation.current_user_id() returns uuid
  language sql stable parallel safe
  set search_path = ''
  as $$
    select coalesce(
      automation.as_uuid(current_setting('request.jwt.claim.sub', true)),
      automation.as_uuid(
        substring(current_setting('request.jwt.claims', true) from '"sub"\s*:\s*"([0-9a-fA-F-]{36})"')))
  $$;

create or replace function automation.enrol_write(
  entity text, tenant_id uuid, record_id text, enrolments automation.enrolment[])
  returns void
  language plpgsql
  set search_path = ''
  as $$
declare
  enrolment automation.enrolment;
begin
  foreach enrolment in array coalesce(enrolments, '{}') loop
    perform automation.enrol(tenant_id, entity, record_id, enrolment);
  end loop;
end;
$$;
