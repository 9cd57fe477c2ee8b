-- History of the old engines, read-only under a version of its own. Both passes walk a table of theirs along its
-- primary key, a page at a time, so that a million rows take no more memory than a page; what is there already stays.

create or replace function automation.legacy_status(status text) returns ridgeline.automation_status
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case status
    when 'completed' then 'completed' when 'failed' then 'failed' when 'skipped' then 'skipped'
    else 'cancelled' end::ridgeline.automation_status;

create or replace function automation.legacy_error(status text, message text) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when status = 'completed' or status = 'skipped' and message is null then null
    else jsonb_build_object(
        'code', 'legacy', 'message', coalesce(left(message, 4000), 'The old engine has no reason.'))
      || case when status in ('failed', 'skipped', 'cancelled') then '{}'
        else jsonb_build_object('status', status) end
  end;

-- Which record a run was about, from what its route had sent; entity: of its trigger, if that has one.
create or replace function automation.legacy_entity(trigger_type text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select nullif(t.entity, '') from automation.trigger_types as t where t.name = trigger_type $$;

create or replace function automation.subject_of(entity text, data jsonb)
  returns table (entity_is text, record_id text, contact_id text)
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case when r.id is not null then e.name end, r.id, coalesce(
      data operator(pg_catalog.->>) 'contact_id', data operator(pg_catalog.#>>) '{contact,id}',
      data operator(pg_catalog.#>>) '{project,contact_id}')
    from (
      select coalesce(entity, case
        when data operator(pg_catalog.?) 'job_id' then 'job'
        when data operator(pg_catalog.?) 'project_id' then 'project'
        else 'contact' end) as name
    ) as e
    cross join lateral (
      select coalesce(data operator(pg_catalog.->>) pg_catalog.concat(e.name, '_id'),
        data operator(pg_catalog.#>>) array[e.name, 'id']) as id
    ) as r
  $$;

create or replace function automation.legacy_subject(trigger_type text, data jsonb)
  returns table (entity text, record_id text, contact_id text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.entity_is, s.record_id, s.contact_id
    from automation.subject_of(automation.legacy_entity(trigger_type), data) as s
  $$;

-- A page of a table of theirs as JSON, so that a column that a version of it lacks is merely missing.
create or replace function automation.legacy_page(relation regclass, after text, most integer) returns setof jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  -- Along the key: ids are in no order of the table, and reading and sorting all of it looks cheaper, once a page.
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
begin
  return query execute format(
    'select to_jsonb(t) from (select * from %1$s as r where $1 is null or r.id > $1::%2$s order by r.id limit $2) as t',
    relation, automation.legacy_type(relation, 'id')) using after, most;
end;
$$;

-- Runs of the server's engine and enrolments in campaigns, under one set of names.
create or replace function automation.legacy_runs(source text, after text, most integer, is_sure boolean)
  returns table (
    legacy_id text, definition text, tenant_id uuid, data jsonb, status text, message text, created_at timestamptz,
    started_at timestamptz, finished_at timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select r ->> 'id', coalesce(r ->> 'workflow_id', r ->> 'campaign_id'), automation.as_uuid(r ->> 'tenant_id'),
      case when jsonb_typeof(r -> 'trigger_data') = 'object' then r -> 'trigger_data'
        else jsonb_strip_nulls(jsonb_build_object('entity', 'contact', 'contact_id', r -> 'contact_id')) end,
      case r ->> 'status' when 'exited' then 'cancelled' else r ->> 'status' end,
      coalesce(r ->> 'error_message', r ->> 'exit_reason'),
      c.at, coalesce(automation.legacy_moment(r ->> 'started_at', is_sure), c.at),
      greatest(c.at, automation.legacy_moment(coalesce(r ->> 'completed_at', r ->> 'exited_at',
        r ->> 'last_step_executed_at', r ->> 'updated_at'), is_sure))
    from automation.legacy_page(automation.legacy_table(
      case source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end), after, most) as r
    cross join lateral (
      select coalesce(automation.legacy_moment(
        coalesce(r ->> 'created_at', r ->> 'enrolled_at', r ->> 'started_at'), is_sure), automation.now()) as at
    ) as c
  $$;

create or replace function automation.is_open_there(status text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return coalesce(status, 'pending') in ('pending', 'running', 'active', 'paused');

-- {last, seen, imported, entered, foreign}: last is where the next page begins; null: there is none. entered: how many
-- do not enter again.
create or replace function automation.import_runs(
  source text, after text default null, most integer default 5000, tenants uuid[] default null)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  -- Planned for the page at hand: one plan for any page reads whole tables.
  set plan_cache_mode = force_custom_plan
  as $$
declare
  answer jsonb;
  relation constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end);
begin
  if relation is null then
    return '{"last": null, "seen": 0, "imported": 0, "entered": 0, "foreign": 0}'::jsonb;
  end if;
  with page as materialized (
    select r.* from automation.legacy_runs(source, after, most, automation.holds_moments(relation)) as r
  ), fresh as materialized (
    select p.* from page as p
    where not automation.is_open_there(p.status) and (tenants is null or p.tenant_id = any (tenants))
      -- By its key: as a join, all links would be read for each page.
      and (
        select l.kind from automation.legacy_links as l
        where l.tenant_id = p.tenant_id and l.source = import_runs.source and l.legacy_id = p.legacy_id) is null
  ), ended as materialized (
    select f.*, i.workflow_id, i.history_version, w.trigger_type, s.entity_is as entity, s.record_id, s.contact_id,
      automation.legacy_run_id(f.created_at, import_runs.source, f.legacy_id) as execution_id
    from fresh as f
    -- One after the other, each by its whole key.
    cross join lateral (
      select m.workflow_id, m.history_version from automation.legacy_imports as m
      where m.tenant_id = f.tenant_id and m.source = import_runs.source and m.legacy_id = f.definition and m.part = 0
      offset 0
    ) as i
    cross join lateral (
      select w.trigger_type, (select nullif(t.entity, '') from automation.trigger_types as t
        where t.name = w.trigger_type) as entity
      from ridgeline.workflows as w
      where w.tenant_id = f.tenant_id and w.id = i.workflow_id
      offset 0
    ) as w
    cross join lateral automation.subject_of(w.entity, f.data) as s
  ), linked as (
    insert into automation.legacy_links (tenant_id, source, legacy_id, workflow_id, execution_id, kind)
    select e.tenant_id, import_runs.source, e.legacy_id, e.workflow_id, e.execution_id, 'history' from ended as e
    on conflict on constraint legacy_links_pkey do nothing
    returning tenant_id, execution_id
  ), written as (
    insert into ridgeline.workflow_executions (
      tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id, contact_id, error,
      created_at, started_at, finished_at, mode)
    select e.tenant_id, e.execution_id, e.workflow_id, e.history_version, automation.legacy_status(e.status),
      e.trigger_type, e.data, e.entity, e.record_id, e.contact_id, automation.legacy_error(e.status, e.message),
      e.created_at, e.started_at, e.finished_at, 'imported'
    from ended as e join linked as l on l.tenant_id = e.tenant_id and l.execution_id = e.execution_id
    on conflict on constraint workflow_executions_pkey do nothing
    returning 1
  ), entered as (
    -- Whoever was in a campaign enters none of the workflows that it has become.
    insert into automation.entries (tenant_id, workflow_id, key, execution_id, entered_at)
    select distinct on (e.tenant_id, i.workflow_id, e.contact_id)
      e.tenant_id, i.workflow_id, 'key ' || lower(e.contact_id), e.execution_id, e.created_at
    from ended as e
    join automation.legacy_imports as i
      on i.tenant_id = e.tenant_id and i.source = import_runs.source and i.legacy_id = e.definition
    where import_runs.source = 'campaigns' and e.contact_id is not null
    order by e.tenant_id, i.workflow_id, e.contact_id, e.created_at desc
    on conflict on constraint entries_pkey do nothing
    returning 1
  )
  select jsonb_build_object(
    'seen', (select count(*) from page), 'imported', (select count(*) from written),
    'entered', (select count(*) from entered),
    'last', case when (select count(*) from page) = most then (select p.legacy_id from page as p offset most - 1) end,
    'foreign', (
      select count(*) from page as p join automation.legacy_imports as i
        on i.source = import_runs.source and i.legacy_id = p.definition and i.part = 0
      where p.tenant_id is distinct from i.tenant_id))
    into answer;
  return answer;
end;
$$;

comment on function automation.import_runs(text, text, integer, uuid[]) is
  'A page of the ended runs of an old engine (source: server or campaigns), as history. Those of definitions that were '
  'not imported stay; so do those whose tenant is not that of their definition (foreign).';

-- A step of theirs as one of ours; its key is the one that the definition has, where that still has it.
create or replace function automation.legacy_steps(source text, after text, most integer, is_sure boolean)
  returns table (
    legacy_id text, run text, step text, status text, result jsonb, message text, started_at timestamptz,
    finished_at timestamptz, opened_at timestamptz, clicked_at timestamptz, replied_at timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select r ->> 'id', coalesce(r ->> 'execution_id', r ->> 'enrollment_id'), r ->> 'step_id', r ->> 'status',
      case jsonb_typeof(r -> 'result_data') when 'object' then r -> 'result_data' when 'null' then null
        else jsonb_build_object('value', r -> 'result_data') end,
      r ->> 'error_message', c.at, greatest(c.at, automation.legacy_moment(r ->> 'completed_at', is_sure)),
      automation.legacy_moment(r ->> 'opened_at', is_sure), automation.legacy_moment(r ->> 'clicked_at', is_sure),
      automation.legacy_moment(r ->> 'replied_at', is_sure)
    from automation.legacy_page(automation.legacy_table(
      case source when 'campaigns' then 'campaign_step_executions' else 'workflow_step_executions' end), after, most)
      as r
    cross join lateral (
      select coalesce(automation.legacy_moment(
        coalesce(r ->> 'started_at', r ->> 'created_at', r ->> 'scheduled_at'), is_sure), automation.now()) as at
    ) as c
  $$;

create type automation.imported_step as (
  tenant_id uuid,
  id uuid,
  execution_id uuid,
  step_key text,
  step_type text,
  status ridgeline.automation_status,
  result jsonb,
  error jsonb,
  started_at timestamptz,
  finished_at timestamptz,
  provider_id text,
  opened_at timestamptz,
  clicked_at timestamptz,
  replied_at timestamptz
);

-- again: a step that ran twice there, or a provider's id that somebody has already.
create or replace function automation.write_steps(steps automation.imported_step[], again boolean) returns bigint
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    with written as (
      insert into ridgeline.workflow_step_executions (
        tenant_id, id, execution_id, step_key, step_type, status, result_data, error, started_at, finished_at,
        provider_id, recipient, opened_at, clicked_at, replied_at)
      select s.tenant_id, s.id, s.execution_id,
        s.step_key || case when again then '_' || right(s.id::text, 6) else '' end, s.step_type, s.status, s.result,
        s.error, s.started_at, s.finished_at, case when not again then s.provider_id end,
        left(s.result ->> 'to', 320), s.opened_at, s.clicked_at, s.replied_at
      from unnest(steps) as s
      where not again or not exists (
        select from ridgeline.workflow_step_executions as x where x.tenant_id = s.tenant_id and x.id = s.id)
      on conflict do nothing
      returning 1
    )
    select count(*) from written
  $$;

create or replace function automation.import_steps(
  source text, after text default null, most integer default 5000, tenants uuid[] default null)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  -- Planned for the page at hand: one plan for any page reads whole tables.
  set plan_cache_mode = force_custom_plan
  as $$
declare
  steps automation.imported_step[];
  seen bigint;
  last text;
  relation constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_step_executions' else 'workflow_step_executions' end);
begin
  if relation is null then
    return '{"last": null, "seen": 0, "imported": 0}'::jsonb;
  end if;
  with page as materialized (
    select p.* from automation.legacy_steps(source, after, most, automation.holds_moments(relation)) as p
  )
  select (select count(*) from page), (select p.legacy_id from page as p offset most - 1),
    array_agg(row(
      l.tenant_id, automation.legacy_run_id(p.started_at, import_steps.source || ' step', p.legacy_id), l.execution_id,
      coalesce(i.step_key, 'gone_' || left(md5(p.step), 8)), coalesce(s.step_type, 'wait'),
      automation.legacy_status(p.status), p.result, automation.legacy_error(p.status, p.message), p.started_at,
      p.finished_at, coalesce(p.result ->> 'sms_sid', p.result ->> 'email_id', p.result ->> 'message_sid'),
      p.opened_at, p.clicked_at, p.replied_at)::automation.imported_step)
    into seen, last, steps
  from page as p
  -- By their keys, each: as joins, all links, runs and definitions would be read for each page.
  cross join lateral (
    select k.* from automation.legacy_links as k
    where k.source = import_steps.source and k.legacy_id = p.run and (tenants is null or k.tenant_id = any (tenants))
    offset 0
  ) as l
  cross join lateral (
    select (
      select m.step_keys ->> p.step from automation.legacy_imports as m
      where m.workflow_id = l.workflow_id and m.tenant_id = l.tenant_id and m.source = l.source limit 1) as step_key
    offset 0
  ) as i
  cross join lateral (
    select (
      select x.step_type from ridgeline.workflow_steps as x
      where x.tenant_id = l.tenant_id and x.workflow_id = l.workflow_id and x.step_key = i.step_key) as step_type
    offset 0
  ) as s
  where not automation.is_open_there(p.status) and p.legacy_id is distinct from l.handed ->> 'step_row'
    and (select e.id from ridgeline.workflow_executions as e
      where e.tenant_id = l.tenant_id and e.id = l.execution_id) is not null
    and (select x.id from ridgeline.workflow_step_executions as x
      where x.tenant_id = l.tenant_id
        and x.id = automation.legacy_run_id(p.started_at, import_steps.source || ' step', p.legacy_id)) is null;
  return jsonb_build_object('last', last, 'seen', seen, 'imported',
    automation.write_steps(steps, false) + automation.write_steps(steps, true));
end;
$$;

comment on function automation.import_steps(text, text, integer, uuid[]) is
  'A page of the ended steps of runs that were imported or taken over.';
