-- What ends a run early, and what wakes one that waits for an event.
--
-- Lock order: run_signals() reads the queue's and executions' rows from the other end (it starts from
-- an event, not from a queue row). It therefore waits for neither: what somebody else holds is tried again
-- a second later, and until then the unread signal itself keeps the run from going on.

create table automation.run_events (
  tenant_id uuid not null,
  execution_id uuid not null,
  step_key text not null,
  event text not null,
  record jsonb,
  at timestamptz not null,
  seq bigint not null,
  written_by xid8 not null,
  constraint run_events_pkey primary key (tenant_id, execution_id, step_key),
  constraint run_events_execution_fk foreign key (tenant_id, execution_id)
    references ridgeline.workflow_executions (tenant_id, id) on delete cascade
);

comment on table automation.run_events is
  'The last event that a run received for a step that waits for one, come or still to come.';

-- Does a run write to this number or address: has it, or would it, because its contact has it? A couple
-- shares a number, and a contact may be there twice.
create or replace function automation.speaks_with(
  execution ridgeline.workflow_executions, address text)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact jsonb;
begin
  if exists (
    select from ridgeline.workflow_step_executions as s
    where s.execution_id = execution.id and s.tenant_id = execution.tenant_id
      and s.recipient = speaks_with.address) then
    return true;
  end if;
  contact := automation.read_root(execution, 'contact');
  return exists (
    select from automation.entities as e
    cross join lateral (
      select m.column_name from automation.mapped_columns(e, 'phone') as m union select 'phone') as c
    where e.name = 'contact'
      and automation.normal_number(contact ->> c.column_name, automation.country_of(execution.tenant_id)) = address
    union all
    select from automation.entities as e
    cross join lateral (
      select m.column_name from automation.mapped_columns(e, 'email') as m union select 'email') as c
    where e.name = 'contact' and automation.bare_address(contact ->> c.column_name) = address);
end;
$$;

-- Does a run that has begun take the place of this one? The order of writing decides, so that of any two one stays.
create or replace function automation.begins_anew(
  signal automation.signals, execution ridgeline.workflow_executions)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  newer ridgeline.workflow_executions;
  lifecycle jsonb;
begin
  if signal.workflow_id <> execution.workflow_id or signal.seq <= execution.seq then
    return false;
  elsif signal.record ? 'run' then
    return signal.record ->> 'run' = execution.id::text;
  end if;
  select e.* into newer from ridgeline.workflow_executions as e
  where e.tenant_id = signal.tenant_id and e.id = automation.as_uuid(signal.listener);
  if not found or newer.mode <> execution.mode then
    return false;
  end if;
  lifecycle := automation.plan_of(newer) -> 'lifecycle';
  if not lifecycle ? 'key' then
    return (newer.entity, newer.record_id) = (execution.entity, execution.record_id);
  end if;
  return automation.entry_key(newer, lifecycle) = automation.entry_key(execution, lifecycle);
-- A key that cannot be rendered is told where its run begins.
exception when others then
  return false;
end;
$$;

-- What columns alone say of that, before a run is locked or its plan is asked: when ten thousand appointments of one
-- customer are moved, the runs of all of them are their contact's, and each event is one run's. A run knows the record
-- that it is about.
create or replace function automation.may_concern(
  signal automation.signals, workflow_id uuid, version integer, entity text, record_id text)
  returns boolean
  language sql immutable
  -- No search_path: this is inlined.
  as $$
    select case
      when signal.role operator(pg_catalog.=) 'moved'
        then entity operator(pg_catalog.=) signal.entity
          and record_id operator(pg_catalog.=) signal.record_id
      when signal.role operator(pg_catalog.=) any ('{exit,wait}')
        then workflow_id operator(pg_catalog.=) signal.workflow_id
          and version operator(pg_catalog.=) signal.version
          and (signal.by_contact
            or (entity operator(pg_catalog.=) signal.entity
              and record_id operator(pg_catalog.<>) signal.record_id) is not true)
      else true
    end
  $$;

-- Does an event concern a run? One about a record that the run knows as its own must be that one: when
-- the customer's other project is won, this one's follow-up goes on.
create or replace function automation.concerns(
  signal automation.signals, execution ridgeline.workflow_executions)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when signal.role = 'restart' then coalesce(automation.begins_anew(signal, execution), false)
      when not automation.came_after(
        signal.seq, signal.written_by, execution.seq, execution.written_by, execution.seen) then false
      when signal.role = 'moved' then execution.entity = signal.entity and execution.record_id = signal.record_id
      when signal.role = 'deleted' then
        execution.entity = signal.entity and execution.record_id = signal.record_id
        or execution.contact_id = signal.contact_id
      when signal.workflow_id <> execution.workflow_id or signal.version <> execution.version then false
      when not signal.by_contact
        and execution.trigger_data ->> (signal.entity || '_id') is not null
        then execution.trigger_data ->> (signal.entity || '_id') = signal.record_id
      else coalesce(execution.contact_id = signal.contact_id, false)
        or signal.address is not null and automation.speaks_with(execution, signal.address)
    end
  $$;

-- Those of each run, by its place. For each a few index probes into a table that is next to empty.
create or replace function automation.unread_signals(executions ridgeline.workflow_executions[])
  returns table (place integer, signal automation.signals)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return query
  select e.place, u.signal
  from (
    select i as place, (executions[i]).tenant_id, (executions[i]).workflow_id, (executions[i]).version,
      (executions[i]).entity, (executions[i]).record_id, (executions[i]).contact_id
    from generate_subscripts(executions, 1) as i
    offset 0
  ) as e
  cross join lateral (
    select s as signal from automation.signals as s
    where s.contact_id = e.contact_id and s.tenant_id = e.tenant_id
      and automation.may_concern(s, e.workflow_id, e.version, e.entity, e.record_id)
    union all
    select s from automation.signals as s
    where s.record_id = e.record_id and s.tenant_id = e.tenant_id
      and s.contact_id is distinct from e.contact_id
    union all
    select s from automation.signals as s
    where s.tenant_id = e.tenant_id and s.address is not null
      and s.contact_id is distinct from e.contact_id and s.record_id is distinct from e.record_id
      and automation.may_concern(s, e.workflow_id, e.version, e.entity, e.record_id)
    union all
    -- One about nobody is told by its own name alone.
    select s from automation.signals as s
    where e.record_id is null and e.contact_id is null and s.tenant_id = e.tenant_id and s.role = 'restart'
  ) as u
  where automation.concerns(u.signal, executions[e.place]);
end;
$$;

create or replace function automation.unread_signals(execution ridgeline.workflow_executions)
  returns setof automation.signals
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return query select (u.signal).* from automation.unread_signals(array[execution]) as u;
end;
$$;

create or replace function automation.deleted_reason(entity text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('code', 'record_deleted', 'message', format('the %s was deleted', entity))
  $$;

create or replace function automation.ending_reason(signal automation.signals) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case signal.role
      when 'deleted' then automation.deleted_reason(signal.entity)
      when 'restart' then automation.restarted_reason(signal.event, automation.as_uuid(signal.listener))
      else jsonb_build_object(
        'code', 'exit_event', 'message', format('the workflow ends a run at %s', signal.event),
        'event', signal.event, 'entity', signal.entity, 'record_id', signal.record_id)
    end
  $$;

-- A run whose record belongs to another contact now is about that one. Where its snapshot knows of none, it goes on
-- following a record that names its contact itself; for one that has the contact of its parent, which came later, that
-- is as if it had been given when the run began.
create or replace function automation.follow_contact(
  execution ridgeline.workflow_executions, contact text)
  returns ridgeline.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if contact is null then
    return execution;
  elsif not execution.trigger_data ?| '{contact_id,contact}' then
    if not exists (
      select from automation.entities as e where e.name = execution.entity and e.related ? 'contact') then
      return automation.adopt_contact(execution, contact);
    end if;
    execution.trigger_data := execution.trigger_data || '{"contact_id": null}';
    update ridgeline.workflow_executions as e set changed_at = automation.now(), trigger_data = execution.trigger_data
    where e.tenant_id = execution.tenant_id and e.id = execution.id;
  end if;
  if contact is distinct from execution.contact_id then
    update ridgeline.workflow_executions as e set changed_at = automation.now(), contact_id = follow_contact.contact
    where e.tenant_id = execution.tenant_id and e.id = execution.id;
    execution.contact_id := contact;
  end if;
  return execution;
end;
$$;

-- A run that had no contact is about the one that a step of it found or made: as if it had been given when the run
-- began. imagined: the record that a shadow would have made.
create or replace function automation.adopt_contact(
  execution ridgeline.workflow_executions, contact text, imagined jsonb default null)
  returns ridgeline.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if imagined is not null then
    execution.trigger_data := execution.trigger_data - 'contact_id' || jsonb_build_object('contact', imagined);
  else
    execution.trigger_data := execution.trigger_data || jsonb_build_object('contact_id', contact);
    execution.contact_id := contact;
    -- One that was about no record at all is found by its contact's events from now on.
    if execution.entity is null then
      execution.entity := 'contact';
      execution.record_id := contact;
    end if;
  end if;
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), trigger_data = execution.trigger_data, contact_id = execution.contact_id,
    entity = execution.entity, record_id = execution.record_id
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return execution;
end;
$$;

comment on function automation.adopt_contact(ridgeline.workflow_executions, text, jsonb) is
  'Makes a contact that of a run that had none, for its later steps, its exits and the cap.';

-- A run whose contact is gone because it became another one, which whoever merged them could not see yet, is about that
-- one.
create or replace function automation.follow_merge(execution ridgeline.workflow_executions)
  returns ridgeline.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_contact constant boolean := execution.entity = 'contact';
  now_is constant text := automation.merged_into(
    execution.tenant_id, case when is_contact then execution.record_id else execution.contact_id end);
begin
  if now_is is null then
    return execution;
  end if;
  execution.contact_id := now_is;
  execution.record_id := case when is_contact then now_is else execution.record_id end;
  execution.trigger_data := execution.trigger_data || jsonb_build_object('contact_id', now_is);
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), contact_id = execution.contact_id, record_id = execution.record_id,
    trigger_data = execution.trigger_data
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return execution;
end;
$$;

-- Do a step, or the rules of its workflow, speak of the tenant or of a user?
create or replace function automation.asks_for(step jsonb, lifecycle jsonb, root text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set, and it is inlined.
  return coalesce(step -> 'roots' ? root, false)
    or coalesce(lifecycle #> '{exit,roots}' ? root, false) or coalesce(lifecycle #> '{key,roots}' ? root, false);

-- The tenants and users that a batch speaks of, each read once. Asked when the first of it does.
create or replace function automation.read_others(works automation.work[], plans automation.running_plan[])
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  execution ridgeline.workflow_executions;
  known automation.known_records;
  lifecycle jsonb;
  of_tenant integer[] := '{}'::integer[];
  of_user integer[] := '{}'::integer[];
  tenant_ids uuid[] := '{}'::uuid[];
  offices uuid[] := '{}'::uuid[];
  responsible text[] := '{}'::text[];
  writers text[] := '{}'::text[];
  read jsonb[];
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    execution := work.execution;
    known := work.known;
    lifecycle := (plans[work.plan]).lifecycle;
    if automation.asks_for(work.step, lifecycle, 'tenant') then
      of_tenant := of_tenant || i;
      tenant_ids := tenant_ids || execution.tenant_id;
    end if;
    if automation.asks_for(work.step, lifecycle, 'user') then
      of_user := of_user || i;
      offices := offices || execution.tenant_id;
      responsible := responsible || automation.responsible_for(execution, known);
      writers := writers || (execution.trigger_data ->> 'user_id');
    end if;
    known.others := '{}';
    work.known := known;
    works[i] := work;
  end loop;
  if cardinality(of_tenant) > 0 then
    read := array(
      select t.record
      from unnest(tenant_ids) with ordinality as k (id, place)
      left join automation.read_tenants(array(select distinct k from unnest(tenant_ids) as k)) as t on t.id = k.id
      order by k.place);
    works := automation.with_others(works, of_tenant, 'tenant', read);
  end if;
  if cardinality(of_user) > 0 then
    read := automation.read_users(offices, responsible, writers);
    works := automation.with_others(works, of_user, 'user', read);
  end if;
  return works;
end;
$$;

create or replace function automation.with_others(
  works automation.work[], places integer[], root text, read jsonb[])
  returns automation.work[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  known automation.known_records;
begin
  for i in 1 .. cardinality(places) loop
    work := works[places[i]];
    known := work.known;
    known.others := known.others || jsonb_build_object(root, read[i]);
    work.known := known;
    works[places[i]] := work;
  end loop;
  return works;
end;
$$;

-- Reads what runs are about, all of them at once: their records, which contact each has now, and that one's record. A
-- run is copied where something of it changes, and not to look at it.
create or replace function automation.read_known(works automation.work[]) returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind text;
  kinds text[] := '{}'::text[];
  entities text[] := '{}'::text[];
  ids text[] := '{}'::text[];
  tenants uuid[] := '{}'::uuid[];
  contacts text[] := array_fill(null::text, array[cardinality(works)]);
  records jsonb[];
  work automation.work;
  known automation.known_records;
  execution ridgeline.workflow_executions;
begin
  for i in 1 .. cardinality(works) loop
    kind := ((works[i]).execution).entity;
    tenants := tenants || ((works[i]).execution).tenant_id;
    entities := entities || kind;
    ids := ids || ((works[i]).execution).record_id;
    if ids[i] is not null and array_position(kinds, kind) is null then
      kinds := kinds || kind;
    end if;
  end loop;
  foreach kind in array kinds loop
    records := automation.read_records(kind, tenants, case cardinality(kinds) when 1 then ids else array(
      select case when e.entity = kind then e.id end
      from unnest(entities, ids) with ordinality as e (entity, id, place) order by e.place) end);
    for i in 1 .. cardinality(works) loop
      continue when entities[i] is distinct from kind;
      work := works[i];
      if kind = 'contact' then
        if records[i] is null then
          execution := automation.follow_merge(work.execution);
          work.execution := execution;
          records[i] := automation.read_record('contact', execution.tenant_id, execution.record_id);
        end if;
        known := case when (work.execution).record_id = (work.execution).trigger_data ->> 'contact_id'
          then row(records[i], (work.execution).record_id, records[i], null)
          else row(records[i], null, null, null) end;
      else
        known := row(records[i], null, null, null);
        known.contact_id := automation.contact_key(work.execution, known);
        contacts[i] := known.contact_id;
        if known.contact_id is distinct from (work.execution).contact_id then
          execution := automation.follow_contact(work.execution, known.contact_id);
          work.execution := execution;
        end if;
      end if;
      work.known := known;
      works[i] := work;
    end loop;
  end loop;
  if array_remove(contacts, null) <> '{}' then
    records := automation.read_records('contact', tenants, contacts);
    for i in 1 .. cardinality(works) loop
      continue when contacts[i] is null;
      work := works[i];
      known := work.known;
      known.contact := records[i];
      if records[i] is null then
        execution := automation.follow_merge(work.execution);
        work.execution := execution;
        if execution.contact_id <> contacts[i] then
          known.contact_id := execution.contact_id;
          known.contact := automation.read_record('contact', execution.tenant_id, execution.contact_id);
        end if;
      end if;
      work.known := known;
      works[i] := work;
    end loop;
  end if;
  return works;
end;
$$;

-- The events that end runs of a batch and have not been acted on: one for each run that there is one for, by its place.
-- Mostly none of their tenants has any.
create or replace function automation.unread_endings(works automation.work[], tenants uuid[])
  returns automation.signals[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  unread record;
  endings automation.signals[];
begin
  if not exists (select from automation.signals as s where s.tenant_id = any (tenants)) then
    return null;
  end if;
  for unread in
    select u.place, u.signal from automation.unread_signals(array(select w.execution from unnest(works) as w)) as u
    where (u.signal).role in ('exit', 'deleted', 'restart')
  loop
    -- Of several the first counts.
    continue when (endings[unread.place]).seq <= (unread.signal).seq;
    endings[unread.place] := unread.signal;
  end loop;
  return endings;
end;
$$;

-- Records leave without a DELETE too (TRUNCATE, another id, a partition that is detached, a table that is
-- written as a replica, a column that says so): who is gone is asked of the tables themselves.
create or replace function automation.gone_entity(work automation.work) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution constant ridgeline.workflow_executions := work.execution;
  known constant automation.known_records := work.known;
begin
  if execution.record_id is not null and known.record is null
    and not automation.has_record(execution.entity, execution.tenant_id, execution.record_id) then
    return execution.entity;
  elsif execution.contact_id is not null and (known.contact is null or known.contact_id <> execution.contact_id)
    and not automation.has_record('contact', execution.tenant_id, execution.contact_id) then
    return 'contact';
  end if;
  return null;
end;
$$;

create or replace function automation.find_obstacle(
  work automation.work, plan automation.running_plan, ending automation.signals, tenant_state text)
  returns automation.obstacle
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution constant ridgeline.workflow_executions := work.execution;
  lifecycle constant jsonb := plan.lifecycle;
  known constant automation.known_records := work.known;
  zone constant text := plan.options ->> 'zone';
  gone text;
begin
  if lifecycle ? 'unreadable' then
    return row('failed', automation.engine_error(
      'plan_too_new', null, lifecycle ->> 'unreadable'))::automation.obstacle;
  elsif tenant_state in ('deleted', 'gone') then
    return row('cancelled', jsonb_build_object(
      'code', 'tenant_deleted', 'message', 'the tenant was deleted in the CRM, or is forgotten'))::automation.obstacle;
  elsif ending.id is not null then
    return row('cancelled', automation.ending_reason(ending))::automation.obstacle;
  end if;
  -- Mostly both were read a moment ago, and nobody has to be asked.
  if known.record is null or known.contact is null or known.contact_id <> execution.contact_id then
    gone := automation.gone_entity(work);
  end if;
  if gone is not null then
    return row('cancelled', automation.deleted_reason(gone))::automation.obstacle;
  elsif lifecycle is null then
    return null;
  elsif lifecycle ? 'exit' and automation.evaluate_conditions(
    lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}', known), zone) then
    return row('cancelled', jsonb_build_object(
      'code', 'exit_conditions', 'message', 'the exit conditions of the workflow were met',
      'conditions', automation.explain_conditions(
        lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}', known),
        zone)))::automation.obstacle;
  end if;
  return null;
end;
$$;

-- Asked with the runs locked, before each of their steps: volatile, so that it sees what has committed up to now. Most
-- plans ask nothing, and most records are there. until: who would have to be asked after that is left (untried);
-- null: nobody.
create or replace function automation.find_obstacles(
  works automation.work[], plans automation.running_plan[], until timestamptz)
  returns automation.work[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  endings automation.signals[];
  plan automation.running_plan;
  states text[] := '{}'::text[];
  is_plain boolean[] := '{}'::boolean[];
  tenants constant uuid[] := array(select p.tenant_id from unnest(plans) as p);
  forgotten constant uuid[] := automation.forgotten_among(tenants);
  entering integer[] := '{}'::integer[];
  refusals jsonb[];
  asks boolean := false;
begin
  works := automation.read_known(works);
  endings := automation.unread_endings(works, tenants);
  for i in 1 .. cardinality(plans) loop
    plan := plans[i];
    states[i] := case
      when plan.tenant_id = any (forgotten) then 'gone'
      -- Read together with the plan, a moment ago.
      when (works[1]).ran = 0 and (plan.tenant).id is not null then 'here'
      when i > 1 and (plans[i - 1]).tenant_id = plan.tenant_id then states[i - 1]
      else automation.tenant_state(plan.tenant_id) end;
    is_plain[i] := states[i] = 'here' and not coalesce(plan.lifecycle ?| '{unreadable,exit,reentry}', false);
    asks := asks or automation.asks_for(null, plan.lifecycle, 'tenant')
      or automation.asks_for(null, plan.lifecycle, 'user');
  end loop;
  if asks then
    works := automation.read_others(works, plans);
  end if;
  for i in 1 .. cardinality(works) loop
    if is_plain[(works[i]).plan] is not true or (endings[i]).id is not null
      or (((works[i]).execution).record_id is not null and ((works[i]).known).record is null)
      or (((works[i]).execution).contact_id is not null and (((works[i]).known).contact is null
        or ((works[i]).known).contact_id is distinct from ((works[i]).execution).contact_id))
    then
      work := works[i];
      if i > 1 and clock_timestamp() >= until then
        work.outcome := 'untried';
      else
        work.obstacle := automation.find_obstacle(work, plans[work.plan], endings[i], states[work.plan]);
        if (work.obstacle).status is null and (work.execution).started_at is null
          and (plans[work.plan]).lifecycle ? 'reentry' then
          entering := entering || i;
        end if;
      end if;
      works[i] := work;
    end if;
  end loop;
  if cardinality(entering) > 0 then
    refusals := automation.refuse_entries(works, plans, entering);
    for i in 1 .. cardinality(entering) loop
      continue when refusals[i] is null;
      work := works[entering[i]];
      work.obstacle := row('skipped', refusals[i]);
      works[entering[i]] := work;
    end loop;
  end if;
  return works;
end;
$$;

-- Ends runs that are not being worked on, each in its place. A queue row that somebody holds is left to them: they wait
-- for the execution, and will find it ended.
create or replace function automation.stop_executions(
  executions ridgeline.workflow_executions[], statuses ridgeline.automation_status[], reasons jsonb[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
begin
  delete from ridgeline.scheduled_steps as s
  where s.ctid = any (array(
    select q.ctid
    from unnest(executions) as e
    cross join lateral (
      select x.ctid from ridgeline.scheduled_steps as x
      where x.execution_id = e.id and x.tenant_id is not distinct from e.tenant_id and x.lease_expires_at is null
      for update skip locked) as q));
  update ridgeline.workflow_step_executions as s
  set changed_at = at, status = 'cancelled', finished_at = at
  where s.ctid = any (array(
    select q.ctid
    from unnest(executions) as e
    cross join lateral (
      select x.ctid from ridgeline.workflow_step_executions as x
      where x.tenant_id = e.tenant_id and x.execution_id = e.id and x.status in ('pending', 'waiting')
      offset 0) as q));
  update ridgeline.workflow_executions as e
  set changed_at = at, status = r.status, error = r.reason, current_step = null,
    started_at = coalesce(e.started_at, at), finished_at = at
  from (
    select q.ctid as place, statuses[i] as status, reasons[i] as reason
    from generate_subscripts(executions, 1) as i
    cross join lateral (
      select x.ctid from ridgeline.workflow_executions as x
      where x.tenant_id = (executions[i]).tenant_id and x.id between (executions[i]).id and (executions[i]).id
      order by x.id limit 1) as q
  ) as r
  where e.ctid = r.place;
end;
$$;

create or replace function automation.stop_execution(
  execution ridgeline.workflow_executions, status ridgeline.automation_status, reason jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.stop_executions(array[execution], array[status], array[reason]);
end;
$$;

-- Those that have written to a number or an address lately, and those whose contact has it.
create or replace function automation.runs_speaking_with(signal automation.signals) returns setof uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
    select e.id
    from (
      select distinct l.execution_id
      from (
        select s.execution_id from ridgeline.workflow_step_executions as s
        where s.recipient = signal.address and s.tenant_id = signal.tenant_id
        order by s.started_at desc
        limit 1000
      ) as l
    ) as w
    join ridgeline.workflow_executions as e on e.tenant_id = signal.tenant_id and e.id = w.execution_id
    where e.workflow_id = signal.workflow_id and e.version = signal.version and e.finished_at is null
    union
    select e.id
    from automation.contacts_at(signal.tenant_id, signal.address) as c (id)
    join ridgeline.workflow_executions as e on e.tenant_id = signal.tenant_id and e.finished_at is null
      and e.contact_id = c.id and e.entity <> 'contact'
    union
    select e.id
    from automation.contacts_at(signal.tenant_id, signal.address) as c (id)
    join ridgeline.workflow_executions as e on e.tenant_id = signal.tenant_id and e.finished_at is null
      and e.record_id = c.id::text and e.entity = 'contact';
end;
$$;

create or replace function automation.open_runs(signal automation.signals) returns setof uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.record_id = signal.contact_id::text
      and e.entity = 'contact' and e.finished_at is null
      and automation.may_concern(signal, e.workflow_id, e.version, e.entity, e.record_id)
    union
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.contact_id = signal.contact_id
      and e.entity <> 'contact' and e.finished_at is null
      and automation.may_concern(signal, e.workflow_id, e.version, e.entity, e.record_id)
    union
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.record_id = signal.record_id
      and e.entity = signal.entity and e.finished_at is null
    union
    -- Those that are about to follow their record to this contact.
    select e.id from automation.signals as m
    join ridgeline.workflow_executions as e
      on e.record_id = m.record_id and e.tenant_id = m.tenant_id and e.entity = m.entity
      and e.finished_at is null
    where m.contact_id = signal.contact_id and m.tenant_id = signal.tenant_id and m.role = 'moved'
    union
    select r.id from automation.runs_speaking_with(signal) as r (id) where signal.address is not null
    union
    -- One that takes another's place by a dedupe_key may be about somebody else, or about nobody.
    select e.id from ridgeline.workflow_executions as e
    where signal.role = 'restart' and e.tenant_id = signal.tenant_id
      and e.id = automation.as_uuid(signal.record ->> 'run') and e.finished_at is null
  $$;

create or replace function automation.note_event(
  signal automation.signals, execution ridgeline.workflow_executions)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    insert into automation.run_events as r (
      tenant_id, execution_id, step_key, event, record, at, seq, written_by)
    values (execution.tenant_id, execution.id, signal.listener, signal.event, signal.record, signal.at,
      signal.seq, signal.written_by)
    on conflict on constraint run_events_pkey do update
      set event = excluded.event, record = excluded.record, at = excluded.at, seq = excluded.seq,
        written_by = excluded.written_by
      where r.seq < excluded.seq;
    update ridgeline.scheduled_steps as s
    set run_at = least(s.run_at, automation.now())
    where s.tenant_id = execution.tenant_id
      and s.id = any (array(
        select q.id from ridgeline.scheduled_steps as q
        where q.execution_id = execution.id and q.tenant_id is not distinct from execution.tenant_id
          and q.step_key = signal.listener
        for update skip locked));
  $$;

-- A date that a wait follows has changed: it looks again. A run that is elsewhere reads it when it gets there.
create or replace function automation.wake_follower(
  execution ridgeline.workflow_executions, signal automation.signals)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.scheduled_steps as s
    set run_at = least(s.run_at, automation.now())
    where s.tenant_id = execution.tenant_id
      and s.id = any (array(
        select q.id from ridgeline.scheduled_steps as q
        where q.execution_id = execution.id and q.tenant_id is not distinct from execution.tenant_id
          and q.lane = 'database'
          and automation.plan_step(execution, q.step_key) ? 'follows'
        for update skip locked))
  $$;

-- A wait that names the step whose text it means (config.step_key) means that of its own run, though it was sent again.
create or replace function automation.is_of_another_run(
  execution ridgeline.workflow_executions, signal automation.signals)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return signal.event = 'sms_clicked' and signal.record ->> 'execution_id' is distinct from execution.id::text
    and coalesce(automation.plan_step(execution, signal.listener) #> '{config,base,event,config}' ? 'step_key', false)
    and not exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = execution.tenant_id and e.id = automation.as_uuid(signal.record ->> 'execution_id')
        and e.trigger_data ->> 'sent_again_for' = execution.id::text);
end;
$$;

create or replace function automation.act_on(signal automation.signals) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  open_run uuid;
  execution ridgeline.workflow_executions;
begin
  for open_run in select r from automation.open_runs(signal) as r loop
    select e.* into strict execution from ridgeline.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.id = open_run
    for no key update nowait;
    if execution.entity <> 'contact' then
      execution := automation.follow_contact(execution, automation.contact_key(execution));
    end if;
    if automation.is_finished(execution) or not automation.concerns(signal, execution) then
      continue;
    elsif signal.role = 'moved' then
      continue;
    elsif signal.role = 'wait' and signal.listener like 'follows %' then
      perform automation.wake_follower(execution, signal);
    elsif signal.role = 'wait' then
      continue when automation.is_of_another_run(execution, signal);
      perform automation.note_event(signal, execution);
    else
      perform automation.stop_execution(execution, 'cancelled', automation.ending_reason(signal));
    end if;
  end loop;
end;
$$;

-- Acts on an event and lets it go, or keeps it where a transaction that is still open may have enrolled a run
-- without knowing of it. Who is open is asked first: what they have written by then is seen afterwards.
create or replace function automation.read_signal(signal automation.signals) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  present constant pg_snapshot := pg_current_snapshot();
  others_write constant boolean := exists (
    select from pg_snapshot_xip(present) as x (id) where x.id < coalesce(signal.kept_for, pg_snapshot_xmax(present)));
begin
  perform automation.act_on(signal);
  if others_write then
    update automation.signals as s set kept_for = coalesce(s.kept_for, pg_snapshot_xmax(present))
    where s.tenant_id = signal.tenant_id and s.id = signal.id;
  else
    delete from automation.signals as s where s.tenant_id = signal.tenant_id and s.id = signal.id;
  end if;
end;
$$;

-- Its runs stand still meanwhile. An event is never given up: what it would end must not go on.
create or replace function automation.put_off_signal(signal automation.signals, pause interval) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.signals as s set next_try_at = clock_timestamp() + pause, kept_for = null
    where s.tenant_id = signal.tenant_id and s.id = signal.id
  $$;

create or replace function automation.cut_off_signal(signal automation.signals, began timestamptz) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.put_off_signal(signal, interval '10 seconds' * power(4, least(
      automation.suspect(signal.tenant_id, 'signal', signal.id::text, began), 6)))
  $$;

create or replace function automation.fail_signal(signal automation.signals, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise warning 'signal % of tenant %: %', signal.id, signal.tenant_id, message;
  perform automation.put_off_signal(signal, interval '1 minute');
end;
$$;

create or replace function automation.signal_tenants(at_most integer) returns setof uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    with recursive hop (tenant_id) as (
      (select s.tenant_id from automation.signals as s order by s.tenant_id limit 1)
      union all
      select (select s.tenant_id from automation.signals as s
        where s.tenant_id > h.tenant_id order by s.tenant_id limit 1)
      from hop as h where h.tenant_id is not null
    )
    select h.tenant_id from hop as h where h.tenant_id is not null limit at_most
  $$;

-- Half in the order of their coming; and where those are too many, some of each tenant, so that one tenant's
-- flood does not keep the others waiting.
create or replace function automation.due_signals(at_most integer, aside text[])
  returns table (tenant_id uuid, key text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  half constant integer := greatest(1, at_most / 2);
  found_so_far integer;
begin
  return query
    select s.tenant_id, s.id::text from automation.signals as s
    where s.kept_for is null and s.next_try_at <= clock_timestamp()
      and concat_ws('/', s.tenant_id, s.id) <> all (aside)
    order by s.next_try_at
    limit half;
  get diagnostics found_so_far = row_count;
  if found_so_far = half then
    return query
      select d.tenant_id, d.id::text
      from automation.signal_tenants(half) as t (id)
      cross join lateral (
        select s.tenant_id, s.id from automation.signals as s
        where s.tenant_id = t.id and s.kept_for is null and s.next_try_at <= clock_timestamp()
          and concat_ws('/', s.tenant_id, s.id) <> all (aside)
        order by s.id
        limit 5
      ) as d
      limit half;
  end if;
  return query
    select s.tenant_id, s.id::text from automation.signals as s
    where s.kept_for <= pg_snapshot_xmin(pg_current_snapshot())
      and concat_ws('/', s.tenant_id, s.id) <> all (aside)
    order by s.kept_for
    limit half;
end;
$$;

-- By their whole primary key, one after the other: see 70_dispatch/00_work.
create or replace function automation.lock_signals(tenant_ids uuid[], keys text[])
  returns setof automation.signals
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return query
    select s.*
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select q.* from automation.signals as q
      where q.tenant_id = k.tenant_id and q.id between k.key::uuid and k.key::uuid
        and q.next_try_at <= clock_timestamp()
        and (q.kept_for is null or q.kept_for <= pg_snapshot_xmin(pg_current_snapshot()))
        -- One that is about to be merged is not gone: its runs move first.
        and not (q.role = 'deleted' and exists (
          select from automation.merges_due as m where m.tenant_id = q.tenant_id and m.contact_id = q.record_id))
      order by q.id
      limit 1
      for update skip locked
    ) as s;
end;
$$;

-- How many it acted on; one that is kept (read_signal) was counted when it came.
create or replace function automation.run_these_signals(tenant_ids uuid[], keys text[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  signal automation.signals;
  did integer := 0;
begin
  for signal in select * from automation.lock_signals(tenant_ids, keys) loop
    perform automation.read_signal(signal);
    did := did + (signal.kept_for is null)::integer;
  end loop;
  return did;
end;
$$;
