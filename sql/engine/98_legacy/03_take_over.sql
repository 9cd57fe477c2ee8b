-- Runs in flight: from the step that they stood at, once. A run is taken in one transaction: its old rows say that
-- it goes on here, and only where the pending step was still pending; the link keeps it from being taken twice. Lock
-- order: the old rows, then ours.

create type automation.legacy_open_run as (run jsonb, step jsonb, steps jsonb);

-- The open runs of a tenant, with all that their steps came to, and the one that each stands at: a pending one, or
-- else the newest. A page of runs is one look at their steps, which may have no index by run.
create or replace function automation.legacy_open_runs(source text, tenant_id uuid, after text, most integer)
  returns setof automation.legacy_open_run
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  runs constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end);
  steps constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_step_executions' else 'workflow_step_executions' end);
  run_id constant text := case source when 'campaigns' then 'enrollment_id' else 'execution_id' end;
begin
  if runs is null or steps is null then
    return;
  end if;
  return query execute format($query$
    with page as materialized (
      select e.* from %1$s as e
      where e.tenant_id = $1::%5$s and automation.is_open_there(e.status::text)
        and ($2 is null or e.id::text > $2)
        and not exists (
          select from automation.legacy_links as l
          where l.tenant_id = $1 and l.source = $3 and l.legacy_id = e.id::text)
      order by e.id::text limit $4
    ), step as (
      select x.%3$I as run, jsonb_agg(to_jsonb(x)
        order by x.status = 'pending' desc, x.created_at desc, x.id desc) as steps
      from %2$s as x
      where x.%3$I in (select p.id::%4$s from page as p)
      group by 1
    )
    select to_jsonb(r), s.steps -> 0, coalesce(s.steps, '[]')
    from page as r
    left join step as s on s.run = r.id::%4$s
    order by r.id::text $query$,
    runs, steps, run_id, automation.legacy_type(steps, run_id), automation.legacy_type(runs, 'tenant_id'))
    using tenant_id, after, source, most;
end;
$$;

-- The data of a run as our steps read it: what was sent, the records that it is about as they are now, and, after a
-- change of stage, what it was before. A record that is gone is merely missing.
create or replace function automation.taken_data(tenant_id uuid, trigger_type text, data jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  complete jsonb := data;
  fired constant text := (automation.subject_of(automation.legacy_entity(trigger_type), data)).entity_is;
  entity text;
  id text;
  live jsonb;
begin
  foreach entity in array '{job,project,contact}'::text[] loop
    id := coalesce(complete ->> (entity || '_id'), complete #>> array[entity, 'id'],
      automation.id_in_others(complete, entity, null),
      complete #>> array['job', entity || '_id'], complete #>> array['project', entity || '_id']);
    live := case when id is not null then automation.read_record(entity, tenant_id, id) end;
    if live is not null then
      complete := complete || jsonb_build_object(entity || '_id', id, entity, live || case
        when jsonb_typeof(data -> entity) = 'object' then data -> entity else '{}' end);
    end if;
  end loop;
  return jsonb_build_object('entity', coalesce(fired, 'contact'),
      'user_id', coalesce(data -> 'user_id', data -> 'changed_by', data -> 'completed_by'))
    || case when data ? 'previous_stage' then jsonb_build_object('old', jsonb_build_object(
        coalesce((select e.mapped ->> 'stage' from automation.entities as e where e.name = fired), 'stage'),
        data -> 'previous_stage')) else '{}' end
    || complete;
end;
$$;

-- Why a run cannot be taken over; null: it can. A step that is running is let finish there, for an hour.
create or replace function automation.why_left(
  import automation.legacy_imports, run jsonb, step jsonb, plan jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when import.workflow_id is null then 'its definition was not imported'
      when run ->> 'status' = 'paused' then 'it is paused: resume or end it there'
      when step ->> 'status' = 'running'
        and automation.legacy_moment(step ->> 'started_at') > automation.now() - interval '1 hour'
        then 'one of its steps is running there'
      when step ->> 'status' <> 'pending' or step is null then null
      when plan is null then 'its workflow is a draft: publish it'
      when not plan -> 'steps' ? coalesce(import.step_keys ->> (step ->> 'step_id'), '')
        then 'the step that it stands at is not in the published version'
      when exists (
        select from ridgeline.workflows as w
        where w.tenant_id = import.tenant_id and w.id = import.workflow_id and not w.is_active)
        then 'its workflow is switched off here, where its runs would wait'
    end
  $$;

-- The old rows say that the run goes on here. Null: somebody was quicker.
create or replace function automation.hand_over(source text, run jsonb, step jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  steps constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_step_executions' else 'workflow_step_executions' end);
  runs constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end);
  handed text;
begin
  handed := automation.in_host_path(format(
      'update %s as s set status = ''skipped'', error_message = ''Goes on in Ridgeline'' '
      'where s.id operator(pg_catalog.=) $2::%s and s.status operator(pg_catalog.=) ''pending'' '
      'returning pg_catalog.to_jsonb(s.id::text)',
      steps, automation.legacy_type(steps, 'id')),
    null, step ->> 'id', null) #>> '{}';
  if handed is not null then
    perform automation.in_host_path(format(
        'update %s as e set %s where e.id operator(pg_catalog.=) $2::%s returning null::jsonb', runs, case source
          when 'campaigns' then 'status = ''exited'', exit_reason = ''error'''
          else 'status = ''cancelled'', completed_at = pg_catalog.now(), error_message = ''Goes on in Ridgeline''' end,
        automation.legacy_type(runs, 'id')),
      null, run ->> 'id', null);
  end if;
  return handed;
end;
$$;

-- What the run has done so far: its steps find it under {{steps.*}}, and nobody does it again.
create or replace function automation.bring_steps(
  source text, link automation.legacy_links, import automation.legacy_imports, rows jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  steps automation.imported_step[];
begin
  select array_agg(row(
      link.tenant_id, automation.legacy_run_id(c.at, source || ' step', x.step ->> 'id'), link.execution_id,
      coalesce(import.step_keys ->> (x.step ->> 'step_id'), 'gone_' || left(md5(x.step ->> 'step_id'), 8)),
      coalesce(s.step_type, 'wait'), automation.legacy_status(x.step ->> 'status'),
      case jsonb_typeof(x.step -> 'result_data') when 'object' then x.step -> 'result_data' end,
      automation.legacy_error(x.step ->> 'status', x.step ->> 'error_message'), c.at,
      greatest(c.at, coalesce(automation.legacy_moment(x.step ->> 'completed_at'), c.at)),
      coalesce(x.step #>> '{result_data,sms_sid}', x.step #>> '{result_data,email_id}'), null, null, null
      )::automation.imported_step) into steps
  from jsonb_array_elements(rows) as x (step)
  cross join lateral (select coalesce(automation.legacy_moment(x.step ->> 'started_at'),
    automation.legacy_moment(x.step ->> 'created_at'), automation.now()) as at) as c
  left join ridgeline.workflow_steps as s on s.tenant_id = link.tenant_id and s.workflow_id = link.workflow_id
    and s.step_key = import.step_keys ->> (x.step ->> 'step_id')
  where not automation.is_open_there(x.step ->> 'status')
    and x.step ->> 'id' is distinct from link.handed ->> 'step_row';
  perform automation.write_steps(steps, false) + automation.write_steps(steps, true);
end;
$$;

-- Who is in a campaign enters none of the workflows that it has become, while he is paused there neither.
create or replace function automation.keep_out(
  import automation.legacy_imports, run jsonb, execution_id uuid, at timestamptz)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.entries (tenant_id, workflow_id, key, execution_id, entered_at)
    select i.tenant_id, i.workflow_id, 'key ' || lower(run ->> 'contact_id'), keep_out.execution_id, at
    from automation.legacy_imports as i
    where import.source = 'campaigns' and run ->> 'contact_id' is not null
      and (i.tenant_id, i.source, i.legacy_id) = (import.tenant_id, import.source, import.legacy_id)
    on conflict on constraint entries_pkey do nothing
  $$;

-- One run: taken, ended (nothing would ever have picked it up), or left, and why.
create or replace function automation.take_over_run(
  source text, import automation.legacy_imports, open automation.legacy_open_run, plan jsonb, version integer)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  run constant jsonb := open.run;
  step constant jsonb := open.step;
  reason constant text := automation.why_left(import, run, step, plan);
  created constant timestamptz := coalesce(automation.legacy_moment(run ->> 'created_at'),
    automation.legacy_moment(run ->> 'enrolled_at'), automation.now());
  started constant timestamptz := coalesce(automation.legacy_moment(run ->> 'started_at'), created);
  data jsonb := case when jsonb_typeof(run -> 'trigger_data') = 'object' then run -> 'trigger_data'
    else jsonb_build_object('entity', 'contact', 'contact_id', run -> 'contact_id') end;
  is_due constant boolean := coalesce(step ->> 'status' = 'pending', false);
  next jsonb;
  link automation.legacy_links;
  subject record;
  workflow ridgeline.workflows;
begin
  if reason is not null then
    if run ->> 'status' = 'paused' then
      perform automation.keep_out(
        import, run, automation.legacy_run_id(created, source, run ->> 'id'), created);
    end if;
    return reason;
  end if;
  select w.* into workflow from ridgeline.workflows as w
  where w.tenant_id = import.tenant_id and w.id = import.workflow_id;
  next := plan -> 'steps' -> (import.step_keys ->> (step ->> 'step_id'));
  insert into automation.legacy_links (tenant_id, source, legacy_id, workflow_id, execution_id, kind, handed)
  values (import.tenant_id, take_over_run.source, run ->> 'id', import.workflow_id,
    automation.legacy_run_id(created, take_over_run.source, run ->> 'id'),
    case when is_due then 'in_flight' else 'history' end,
    case when is_due then jsonb_build_object(
      'status', run -> 'status', 'step_row', step -> 'id', 'step', step -> 'step_id') end)
  on conflict on constraint legacy_links_pkey do nothing
  returning * into link;
  if link.execution_id is null then
    return 'taken already';
  elsif is_due and automation.hand_over(source, run, step) is null then
    -- Its step has begun there meanwhile.
    delete from automation.legacy_links as l
    where l.tenant_id = link.tenant_id and l.source = link.source and l.legacy_id = link.legacy_id;
    return 'one of its steps is running there';
  end if;
  if is_due then
    data := automation.taken_data(link.tenant_id, workflow.trigger_type, data);
  end if;
  select s.* into subject
  from automation.subject_of(automation.legacy_entity(workflow.trigger_type), data) as s;
  insert into ridgeline.workflow_executions (
    tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id, contact_id,
    current_step, error, created_at, started_at, finished_at, mode)
  values (
    link.tenant_id, link.execution_id, link.workflow_id, case when is_due then version else import.history_version end,
    case when is_due then 'waiting' when step ->> 'status' = 'running' then 'failed' else 'cancelled'
      end::ridgeline.automation_status,
    workflow.trigger_type, data, subject.entity_is, subject.record_id, subject.contact_id, next ->> 'key',
    case
      when is_due then null
      when step ->> 'status' = 'running' then jsonb_build_object('code', 'legacy_unclear', 'may_have_been_sent', true,
        'message', 'The old engine stopped in the middle of a step: look whether it was carried out.')
      else jsonb_build_object('code', 'legacy_stranded',
        'message', 'Nothing was scheduled for it in the old engine, and nothing would have been.') end,
    created, started, case when not is_due then automation.now() end,
    case when is_due then 'live' else 'imported' end::ridgeline.execution_mode)
  on conflict on constraint workflow_executions_pkey do nothing;
  perform automation.bring_steps(source, link, import, open.steps);
  if not is_due then
    return 'ended';
  end if;
  insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
  values (link.tenant_id, link.execution_id, next ->> 'key', (next ->> 'lane')::ridgeline.automation_lane,
    coalesce(automation.legacy_moment(step ->> 'scheduled_at'), automation.now()));
  perform automation.keep_out(import, run, link.execution_id, created);
  return 'taken';
end;
$$;

create or replace function automation.take_over_runs(
  tenant_id uuid, source text default 'server', after text default null, most integer default 200)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  open automation.legacy_open_run;
  import automation.legacy_imports;
  published ridgeline.workflow_versions;
  outcomes jsonb := '{}'::jsonb;
  outcome text;
  last text;
  seen integer := 0;
begin
  perform automation.check_not_forgotten(tenant_id);
  if (select s.unified_engine from ridgeline.tenant_settings as s where s.tenant_id = take_over_runs.tenant_id) <> 'on'
  then
    raise exception 'tenant_id: the old engine is still at work for this tenant'
      using errcode = 'PT409', hint = 'ridgeline.set_engine() switches this one on.';
  end if;
  for open in
    select r.* from automation.legacy_open_runs(source, take_over_runs.tenant_id, after, most) as r
  loop
    select i.* into import from automation.legacy_imports as i
    where i.tenant_id = take_over_runs.tenant_id and i.source = take_over_runs.source and i.part = 0
      and i.legacy_id = coalesce(open.run ->> 'workflow_id', open.run ->> 'campaign_id');
    select v.* into published from ridgeline.workflows as w
    join ridgeline.workflow_versions as v
      on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
    where w.tenant_id = import.tenant_id and w.id = import.workflow_id;
    outcome := automation.take_over_run(
      source, import, open, automation.readable_plan(published.plan), published.version);
    outcomes := outcomes || jsonb_build_object(outcome, coalesce((outcomes ->> outcome)::integer, 0) + 1);
    last := open.run ->> 'id';
    seen := seen + 1;
  end loop;
  if outcomes ? 'taken' then
    perform automation.ring_once();
  end if;
  return jsonb_build_object('last', case when seen = most then last end, 'outcomes', outcomes);
end;
$$;

comment on function automation.take_over_runs(uuid, text, text, integer) is
  'Lets the open runs of an old engine (server or campaigns) go on here, from the step that they stood at, each once: '
  'a page of them. {last: where the next page begins, outcomes: {taken, ended, <reason why it was left>: how many}}. '
  'Their old rows then say so: the step is skipped, the run cancelled.';

-- Back to where it came from, if it has not gone on here: the same step is still waiting, unclaimed.
create or replace function automation.give_back_run(link automation.legacy_links) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  steps constant regclass := automation.legacy_table(
    case link.source when 'campaigns' then 'campaign_step_executions' else 'workflow_step_executions' end);
  runs constant regclass := automation.legacy_table(
    case link.source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end);
  waiting ridgeline.scheduled_steps;
begin
  delete from ridgeline.scheduled_steps as s
  using ridgeline.workflow_executions as e, automation.legacy_imports as i
  where s.tenant_id = link.tenant_id and s.execution_id = link.execution_id and s.lease_expires_at is null
    and s.attempt = 0 and e.tenant_id = s.tenant_id and e.id = s.execution_id and e.finished_at is null
    and i.tenant_id = link.tenant_id and i.workflow_id = link.workflow_id
    and s.step_key = i.step_keys ->> (link.handed ->> 'step')
  returning s.* into waiting;
  if waiting.id is null then
    return false;
  end if;
  perform automation.in_host_path(format(
      'update %s as s set status = ''pending'', error_message = null where s.id operator(pg_catalog.=) $2::%s '
      'and s.status operator(pg_catalog.=) ''skipped'' returning null::jsonb',
      steps, automation.legacy_type(steps, 'id')),
    null, link.handed ->> 'step_row', null);
  perform automation.in_host_path(format(
      'update %s as e set status = $3 operator(pg_catalog.->>) ''status'', %s '
      'where e.id operator(pg_catalog.=) $2::%s returning null::jsonb', runs,
      case link.source when 'campaigns' then 'exit_reason = null' else 'error_message = null, completed_at = null' end,
      automation.legacy_type(runs, 'id')),
    null, link.legacy_id, link.handed);
  delete from ridgeline.workflow_executions as e where e.tenant_id = link.tenant_id and e.id = link.execution_id;
  delete from automation.legacy_links as l
  where l.tenant_id = link.tenant_id and l.source = link.source and l.legacy_id = link.legacy_id;
  return true;
end;
$$;
