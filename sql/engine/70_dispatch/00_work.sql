-- 70 DISPATCH
--
-- Claim, run, finish, reap. All of them work on a set of due steps at a time, and a set of one is no exception:
-- the rows are locked, plans and records read, conditions asked and texts rendered for all of them, and what
-- came of it is written in one statement a table. What a set cannot do as a whole is halved until whatever
-- breaks it stands alone.
--
-- Plans. Rows are found by their whole primary key, from arrays of any length. A session keeps the plan that it made
-- when a table was empty, and to one that believes so all ways of reading look alike: it would take another index that
-- has the tenant in it, or read the table for each element. So the array leads (lateral), the id is a range of one in
-- an order that only the primary key has, rows are changed where they were found (ctid: they are locked), and what
-- is left of the other ways is ruled out.

create type automation.batch_report as (
  ran integer,
  cut_off boolean,
  alone uuid[]
);

comment on type automation.batch_report is
  'How many steps ran; cut_off: the statement was cancelled meanwhile, and whoever asked for it stops working; alone: '
  'steps that were left for transactions of their own.';

-- The runs of due steps, locked. Those that somebody holds right now are left out.
create or replace function automation.lock_runs(dues ridgeline.scheduled_steps[]) returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return array(
    select row(d, e.execution,
      dense_rank() over (
        order by (e.execution).tenant_id, (e.execution).workflow_id, (e.execution).version),
      null, null, null, d.id, null, null, null, null, null, null, 0, null, null)::automation.work
    from unnest(dues) as d
    cross join lateral (
      select x as execution from ridgeline.workflow_executions as x
      where x.tenant_id = d.tenant_id and x.id between d.execution_id and d.execution_id
      order by x.id
      limit 1
      for no key update skip locked
    ) as e);
end;
$$;

-- The versions that runs of a batch are pinned to, and their tenants, each read once, in the order that lock_runs()
-- numbers them in; steps: null where a version is gone. at: when texts are rendered; null: none are, and nothing is
-- read of the tenants.
create or replace function automation.read_plans(works automation.work[], at timestamptz)
  returns automation.running_plan[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  tenants automation.tenant[];
  tenant_ids uuid[] := '{}'::uuid[];
  workflow_ids uuid[] := '{}'::uuid[];
  versions integer[] := '{}'::integer[];
  ids uuid[];
begin
  select array_agg(k.tenant_id), array_agg(k.workflow_id), array_agg(k.version)
    into tenant_ids, workflow_ids, versions
  from (
    select distinct ((works[i]).execution).tenant_id, ((works[i]).execution).workflow_id,
      ((works[i]).execution).version
    from generate_subscripts(works, 1) as i
    order by 1, 2, 3
  ) as k;
  if at is not null then
    select array_agg(t), array_agg(t.id) into tenants, ids
    from automation.read_offices(array(select distinct k from unnest(tenant_ids) as k)) as t;
  end if;
  -- offset 0: what is used more than once is worked out once.
  return array(
    select row(k.tenant_id, k.workflow_id, k.version,
      case when p.plan is not null then coalesce(p.plan -> 'steps', '{}') end, p.plan -> 'lifecycle',
      case when (t.tenant).id is not null then automation.render_options(t.tenant, at) end, t.tenant
      )::automation.running_plan
    from unnest(tenant_ids, workflow_ids, versions) with ordinality as k (tenant_id, workflow_id, version, place)
    left join lateral (
      select automation.readable_plan(v.plan) as plan from ridgeline.workflow_versions as v
      where v.tenant_id = k.tenant_id and v.workflow_id = k.workflow_id and v.version = k.version
      offset 0
    ) as p on true
    cross join lateral (select tenants[array_position(ids, k.tenant_id)] as tenant offset 0) as t
    order by k.place);
end;
$$;

create or replace function automation.unschedule(dues ridgeline.scheduled_steps[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  delete from ridgeline.scheduled_steps as s
  using (
    select q.ctid as place
    from unnest(dues) as d
    cross join lateral (
      select x.ctid from ridgeline.scheduled_steps as x
      where x.tenant_id = d.tenant_id and x.id between d.id and d.id order by x.id limit 1) as q
  ) as k
  where s.ctid = k.place;
end;
$$;

create or replace function automation.yield_steps(
  dues ridgeline.scheduled_steps[], pause interval default '1 second', why text default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  update ridgeline.scheduled_steps as s
  set run_at = automation.now() + pause,
    held = case when why is null then s.held else automation.failing(s.held, pause, why) end
  from (
    select q.ctid as place
    from unnest(dues) as d
    cross join lateral (
      select x.ctid from ridgeline.scheduled_steps as x
      where x.tenant_id = d.tenant_id and x.id between d.id and d.id order by x.id limit 1) as q
  ) as k
  where s.ctid = k.place;
  -- A suspect stays one: it has not been tried. Others are, meanwhile. Whoever holds its note is not waited for.
  if exists (select from automation.suspects) then
    update automation.suspects as s set next_try_at = clock_timestamp() + greatest(pause, interval '5 seconds')
    from (
      select q.tenant_id, q.kind, q.key
      from unnest(dues) as d
      join automation.suspects as q on q.tenant_id = d.tenant_id and q.kind = d.lane::text and q.key = d.id::text
      for no key update of q skip locked
    ) as free
    where s.tenant_id = free.tenant_id and s.kind = free.kind and s.key = free.key;
  end if;
end;
$$;

comment on function automation.yield_steps(ridgeline.scheduled_steps[], interval, text) is
  'Tries steps again in a second, or after a pause: somebody holds what they need. why: work on them met that.';

-- Those of workflows, or of tenants, that are paused or held. A batch is of one lane.
create or replace function automation.paused_plans(works automation.work[]) returns integer[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  plans integer[] := '{}'::integer[];
  tenants uuid[] := '{}'::uuid[];
  workflows uuid[] := '{}'::uuid[];
  pauses jsonb[];
  paused integer[] := '{}'::integer[];
begin
  for i in 1 .. cardinality(works) loop
    if (works[i]).plan <> all (plans) then
      plans := plans || (works[i]).plan;
      tenants := tenants || ((works[i]).execution).tenant_id;
      workflows := workflows || ((works[i]).execution).workflow_id;
    end if;
  end loop;
  if plans = '{}' then
    return paused;
  end if;
  pauses := automation.pauses_of(tenants, workflows, ((works[1]).due).lane <> 'database');
  for i in 1 .. cardinality(plans) loop
    if pauses[i] is not null then
      paused := paused || plans[i];
    end if;
  end loop;
  return paused;
end;
$$;

-- Without the runs of contacts that are about to become one: they come again in a second, like those that are locked.
create or replace function automation.without_merging(works automation.work[]) returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  merging boolean[];
begin
  if not exists (select from automation.merges_due) then
    return works;
  end if;
  merging := automation.merging(
    array(select (w.execution).tenant_id from unnest(works) as w),
    array(select coalesce((w.execution).contact_id, case when (w.execution).entity = 'contact'
      then (w.execution).record_id end) from unnest(works) as w));
  return array(select works[i] from generate_subscripts(works, 1) as i where not merging[i]);
end;
$$;

create or replace function automation.without_run(dues ridgeline.scheduled_steps[])
  returns ridgeline.scheduled_steps[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return array(
    select d from unnest(dues) as d
    where not exists (
      select from ridgeline.workflow_executions as e where e.tenant_id = d.tenant_id and e.id = d.execution_id));
end;
$$;

-- What is left of a workflow that was deleted while a write began a run of it, and steps without a run. A dump that is
-- being restored has the queue before the runs, and those before their versions: so they are looked at again, in a
-- minute first, in an hour at last, and go, as if they had been deleted too, when it has been so for a day.
create or replace function automation.set_strays_aside(dues ridgeline.scheduled_steps[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
  over constant ridgeline.scheduled_steps[] := array(
    select d from unnest(dues) as d
    where d.held ->> 'code' = 'stray' and (d.held ->> 'since')::timestamptz <= at - interval '1 day');
begin
  update ridgeline.scheduled_steps as s
  set run_at = at + greatest(interval '1 minute', least(interval '1 hour',
      case when s.held ->> 'code' = 'stray' then at - (s.held ->> 'since')::timestamptz else interval '0' end)),
    held = case when s.held ->> 'code' = 'stray' then s.held else jsonb_build_object('code', 'stray', 'since', at,
      'why', 'Its run, or the version of that, is not there. It is looked for again, for a day.') end
  from unnest(dues) as d
  where s.tenant_id = d.tenant_id and s.id = d.id;
  delete from ridgeline.workflow_executions as e
  using unnest(over) as d
  where e.tenant_id = d.tenant_id and e.id = d.execution_id;
  perform automation.unschedule(over);
end;
$$;

-- Locks the runs of due steps and reads their plans. Steps of runs that have ended leave the queue, those of a
-- workflow that is held wait there, as do those whose run or version is gone, and those whose run somebody holds come
-- again in a second.
create or replace function automation.take_work(
  dues ridgeline.scheduled_steps[], out works automation.work[], out plans automation.running_plan[])
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- A work names its plan by its place among those of all that were locked.
  everything constant automation.work[] := automation.lock_runs(dues);
  locked constant automation.work[] := automation.without_merging(everything);
  paused constant integer[] := automation.paused_plans(locked);
  work automation.work;
  ended ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  held ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  strays ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  missed ridgeline.scheduled_steps[];
begin
  works := '{}'::automation.work[];
  plans := automation.read_plans(everything, automation.now());
  foreach work in array locked loop
    if (work.execution).finished_at is not null then
      ended := ended || work.due;
    elsif (plans[work.plan]).steps is null then
      strays := strays || work.due;
    elsif work.plan = any (paused)
        and ((work.execution).mode <> 'shadow'
          or automation.is_switched_off((work.execution).tenant_id, (work.execution).workflow_id))
      or (work.execution).fused and (work.execution).started_at is null
        and automation.is_held(work.execution, (work.due).lane <> 'database') then
      held := held || work.due;
    else
      work.step := coalesce((plans[work.plan]).steps -> (work.due).step_key,
        jsonb_build_object('key', (work.due).step_key, 'type', 'unknown'));
      works := works || work;
    end if;
  end loop;
  if cardinality(ended) > 0 then
    perform automation.unschedule(ended);
  end if;
  if cardinality(held) > 0 then
    perform automation.hold_steps(held);
  end if;
  if cardinality(locked) < cardinality(dues) then
    missed := array(
      select d from unnest(dues) as d
      where not exists (select from unnest(locked) as l where (l.due).id = d.id and (l.due).tenant_id = d.tenant_id));
    strays := strays || automation.without_run(missed);
    perform automation.yield_steps(missed);
  end if;
  if cardinality(strays) > 0 then
    perform automation.set_strays_aside(strays);
  end if;
end;
$$;

-- The ledger of steps that ended without being leased. A failed one is overwritten when the step is run again; one
-- that completed never is.
create or replace function automation.record_ends(works automation.work[], duration_ms integer default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
begin
  insert into ridgeline.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, result_data, error,
    warnings, recipient, started_at, finished_at, duration_ms, seq)
  select (w.due).tenant_id, w.step_id, (w.due).execution_id, w.step ->> 'key', w.step ->> 'type', w.status,
    (w.prepared).input, w.result, w.error, (w.prepared).warnings, (w.prepared).recipient, at, at,
    record_ends.duration_ms, w.seq
  from unnest(works) as w
  on conflict on constraint workflow_step_executions_once do update
    set changed_at = automation.now(),
      status = excluded.status, input = excluded.input, result_data = excluded.result_data,
      error = excluded.error, warnings = excluded.warnings, recipient = excluded.recipient,
      finished_at = excluded.finished_at, duration_ms = excluded.duration_ms
    where s.status not in ('completed', 'skipped', 'cancelled');
end;
$$;

comment on function automation.record_ends(automation.work[], integer) is
  'Writes the ledger rows of steps that ended. duration_ms: real milliseconds that each of them took.';

-- Ends steps that could not be worked on, for a reason.
create or replace function automation.fail_works(works automation.work[], plans automation.running_plan[], why jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    work.status := 'failed';
    work.error := why;
    work.prepared := null;
    work.seq := nextval('automation.write_order');
    work.next_step := (plans[work.plan]).steps -> (work.step ->> 'next');
    works[i] := work;
  end loop;
  perform automation.unschedule(array(select (w.due) from unnest(works) as w));
  perform automation.record_ends(works);
  perform automation.advance(works);
end;
$$;

create or replace function automation.fail_step(due ridgeline.scheduled_steps, error jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  works automation.work[];
  plans automation.running_plan[];
begin
  -- Whoever holds the run is waited for: this is the end of a step, and must not be missed.
  perform automation.lock_execution(due.tenant_id, due.execution_id);
  select t.works, t.plans into works, plans from automation.take_work(array[due]) as t;
  perform automation.fail_works(works, plans, error);
end;
$$;

comment on function automation.fail_step(ridgeline.scheduled_steps, jsonb) is
  'Ends a step that could not be worked on, for a reason.';
