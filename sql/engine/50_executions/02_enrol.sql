-- An enrolment becomes an execution and its first scheduled step: two plain inserts, in the transaction of
-- whoever enrolled it. They cannot raise: every value was computed before, and the rows they refer to are
-- never deleted while somebody listens for them.

-- What it computes cannot fail; what it writes has no constraint that it could break.
create or replace function automation.raise_signal(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment, seq bigint,
  by_contact boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.signals (
    tenant_id, role, workflow_id, version, listener, event, entity, record_id, contact_id, address,
    by_contact, record, seq)
  values (
    tenant_id, enrolment.role, enrolment.workflow_id, enrolment.version, enrolment.listener,
    enrolment.trigger_type, entity, record_id, automation.as_key(data ->> 'contact_id'),
    enrolment.address, by_contact, data -> entity, seq);
  perform automation.ring_once('database');
end;
$$;

comment on function automation.raise_signal(uuid, text, text, jsonb, automation.enrolment, bigint, boolean) is
  'Notes an event for the runs of a version. A record that was just created is nobody''s own yet, so '
  'that it concerns the runs of its contact.';

-- One that counts an insert because its config says so is still a change of that very record.
create or replace function automation.is_change(event text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (
    select from automation.trigger_types as t
    where t.name = event and t.kind in ('changed', 'becomes') and not t.on_insert);
end;
$$;

-- A workflow whose rule is restart begins anew: the runs before it that are about the same end, once that is committed.
-- Which those are is asked where the signal is read (automation.begins_anew): here only whether there may be any.
create or replace function automation.raise_restart(
  tenant_id uuid, entity text, record_id text, contact_id text, enrolment automation.enrolment, execution_id uuid,
  seq bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.signals (
    tenant_id, role, workflow_id, version, listener, event, entity, record_id, contact_id, seq)
  select raise_restart.tenant_id, 'restart', enrolment.workflow_id, enrolment.version, raise_restart.execution_id,
    enrolment.trigger_type, coalesce(raise_restart.entity, ''), raise_restart.record_id, raise_restart.contact_id,
    raise_restart.seq
  where exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = raise_restart.tenant_id and e.record_id = raise_restart.record_id
        and e.workflow_id = enrolment.workflow_id and e.finished_at is null and e.seq < raise_restart.seq)
    or enrolment.listener = 'restart by key' and exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = raise_restart.tenant_id and e.contact_id = raise_restart.contact_id
        and e.entity <> 'contact' and e.workflow_id = enrolment.workflow_id and e.finished_at is null
        and e.seq < raise_restart.seq);
  if found then
    perform automation.ring_once('database');
  end if;
end;
$$;

create or replace function automation.enrol_write(
  tenant_id uuid, entity text, record_id text, contact_id text, data jsonb, enrolments automation.enrolment[],
  is_log boolean, bell text default 'ask')
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- Capture, which calls it, has set enable_seqscan and jit off.
  as $$
declare
  enrolment automation.enrolment;
  execution_id uuid;
  -- One number for all that a write leads to: it does not end the run that it starts.
  seq constant bigint := nextval('automation.write_order');
  at constant timestamptz := automation.now();
  depth integer;
  root uuid;
  fused boolean;
begin
  -- Here and not in the insert: that is started anew for each row of a large write, with all that it may ask.
  if is_log or automation.has_cause() then
    depth := automation.causation_depth();
    root := automation.causation_root();
    -- What comes in, and not what becomes of what we sent: opens of a campaign are no flood.
    fused := is_log and not data ? 'old' and data -> entity ->> 'direction' is distinct from 'outbound'
      or current_setting('automation.fused', true) is not distinct from 'true';
  end if;
  foreach enrolment in array enrolments loop
    -- A shadow has no effect that could come round, or that a machine could answer.
    if enrolment.role = 'enrol' and enrolment.failure is null then
      execution_id := automation.new_id();
      insert into ridgeline.workflow_executions (
        tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
        contact_id, depth, root_id, fused, current_step, seq, mode, created_at, changed_at)
      values (
        tenant_id, execution_id, enrolment.workflow_id, enrolment.version,
        -- Each a value of the type: a cast around the choice would read a word for each row.
        case when enrolment.first_delay > interval '0' then 'waiting'::ridgeline.automation_status
          else 'pending'::ridgeline.automation_status end,
        enrolment.trigger_type, data, entity, record_id, contact_id, coalesce(depth, 0), root,
        enrolment.mode is distinct from 'shadow' and (enrolment.fused is true or fused is true),
        enrolment.first_step, seq,
        -- What nobody has given a mode must not act.
        coalesce(enrolment.mode, 'shadow'), at, at);
      -- The first step has the id of its run: an id of its own costs as much as an entry of an index.
      insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at)
      values (tenant_id, execution_id, execution_id, enrolment.first_step, enrolment.first_lane,
        at + enrolment.first_delay);
      -- Mostly neither, which is asked at once.
      if bell is distinct from 'none' or enrolment.listener like 'restart%' then
        if enrolment.listener like 'restart%' then
          perform automation.raise_restart(tenant_id, entity, record_id, contact_id, enrolment, execution_id, seq);
        end if;
        if enrolment.first_delay <= interval '0'
          and coalesce(current_setting('automation.rung', true), '') not in ('yes', enrolment.first_lane::text) then
          bell := automation.ring_once(enrolment.first_lane::text, bell);
        end if;
      end if;
    elsif enrolment.role = 'enrol' then
      enrolment.fused := enrolment.mode is distinct from 'shadow' and (enrolment.fused is true or fused is true);
      enrolment.mode := coalesce(enrolment.mode, 'shadow');
      execution_id := automation.new_id();
      perform automation.enter(array[row(tenant_id, execution_id, entity, record_id, data, enrolment, seq,
        coalesce(depth, 0), root, null)::automation.entry]);
    else
      perform automation.raise_signal(tenant_id, entity, record_id, data, enrolment, seq,
        is_log or not data ? 'old' and not automation.is_change(enrolment.trigger_type));
    end if;
  end loop;
  return execution_id;
end;
$$;

comment on function automation.enrol_write(uuid, text, text, text, jsonb, automation.enrolment[], boolean, text) is
  'Writes down what was admitted: executions, failed ones that explain why they could not start, and signals. '
  'Returns the last execution. is_log: what strangers write counts against the fuse. bell: what the setting doorbell '
  'says, where that is known.';

-- What time, a list or a person enrols, many at once.

create type automation.entry as (
  tenant_id uuid,
  id uuid,
  entity text,
  record_id text,
  data jsonb,
  enrolment automation.enrolment,
  seq bigint,
  depth integer,
  root_id uuid,
  expires_at timestamptz
);

comment on type automation.entry is
  'An execution that is about to be written; expires_at: what it was planned before, so that it says nothing after it.';

-- Null: it may not enter (a loop that is on record already, or the engine is off for the tenant).
create or replace function automation.entry_of(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment,
  expires_at timestamptz default null)
  returns automation.entry
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  admitted automation.enrolment[];
begin
  if enrolment.mode is null then
    return null;
  elsif data ? 'old' or automation.has_cause() then
    admitted := automation.admit_all(tenant_id, record_id, array[enrolment]);
    if coalesce(cardinality(admitted), 0) = 0 then
      return null;
    end if;
    enrolment := admitted[1];
  end if;
  enrolment.fused := enrolment.mode <> 'shadow' and (
    enrolment.fused is true or current_setting('automation.fused', true) is not distinct from 'true');
  return row(tenant_id, automation.new_id(), entity, record_id, data, enrolment, nextval('automation.write_order'),
    automation.causation_depth(), automation.causation_root(), expires_at)::automation.entry;
end;
$$;

create or replace function automation.enter(entries automation.entry[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
begin
  insert into ridgeline.workflow_executions (
    tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
    contact_id, depth, root_id, fused, current_step, error, finished_at, expires_at, seq, mode,
    created_at, changed_at)
  select e.tenant_id, e.id, (e.enrolment).workflow_id, (e.enrolment).version,
    case
      when (e.enrolment).failure is not null then 'failed'
      when (e.enrolment).first_delay > interval '0' then 'waiting'
      else 'pending'
    end::ridgeline.automation_status,
    (e.enrolment).trigger_type, e.data, e.entity, e.record_id, automation.as_key(e.data ->> 'contact_id'), e.depth,
    e.root_id, (e.enrolment).fused, (e.enrolment).first_step, (e.enrolment).failure,
    case when (e.enrolment).failure is not null then at end, e.expires_at, e.seq, (e.enrolment).mode, at, at
  from unnest(entries) as e
  where e.id is not null;
  insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at, expires_at)
  select e.tenant_id, e.id, e.id, (e.enrolment).first_step, (e.enrolment).first_lane, at + (e.enrolment).first_delay,
    case when at + (e.enrolment).first_delay < e.expires_at then e.expires_at end
  from unnest(entries) as e
  where e.id is not null and (e.enrolment).failure is null;
  if found and current_setting('automation.rung', true) is distinct from 'yes' then
    perform automation.ring_once(l.lane::text)
    from (
      select distinct (e.enrolment).first_lane as lane from unnest(entries) as e
      where e.id is not null and (e.enrolment).failure is null and (e.enrolment).first_delay <= interval '0'
    ) as l;
  end if;
  perform automation.raise_restart(
    e.tenant_id, e.entity, e.record_id, automation.as_key(e.data ->> 'contact_id'), e.enrolment, e.id, e.seq)
  from unnest(entries) as e
  where e.id is not null and (e.enrolment).listener like 'restart%' and (e.enrolment).failure is null;
end;
$$;

comment on function automation.enter(automation.entry[]) is
  'Writes down executions and their first steps, failed ones that explain why they could not start among them.';

create or replace function automation.enrol(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entry constant automation.entry := automation.entry_of(tenant_id, entity, record_id, data, enrolment);
begin
  if entry.id is not null then
    perform automation.enter(array[entry]);
  end if;
  return entry.id;
end;
$$;

comment on function automation.enrol(uuid, text, text, jsonb, automation.enrolment) is
  'Starts an execution, or records the failed one that explains why it could not start; null when '
  'a loop was refused and that is on record already, or the engine is off for the tenant.';

create or replace function automation.enrol_listener(lifecycle jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when lifecycle #>> '{reentry,policy}' is distinct from 'restart' then ''
      when lifecycle ? 'key' then 'restart by key'
      else 'restart' end
  $$;

create or replace function automation.enrolment_of(
  version ridgeline.workflow_versions, trigger_type text)
  returns automation.enrolment
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select row(
      version.workflow_id, version.version, trigger_type, first.step ->> 'key',
      (first.step ->> 'lane')::ridgeline.automation_lane,
      make_interval(secs => (first.step ->> 'delay_seconds')::double precision),
      null, 'enrol', automation.enrol_listener(first.lifecycle), null, false,
      automation.mode_of(version.tenant_id, version.workflow_id))::automation.enrolment
    from (
      select p.plan -> 'steps' -> (p.plan ->> 'first') as step, p.plan -> 'lifecycle' as lifecycle
      from automation.readable_plan(version.plan) as p (plan)
    ) as first);
end;
$$;
