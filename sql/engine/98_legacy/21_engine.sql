-- SWITCHING
--
-- Which engine is at work for a tenant: unified_engine in ridgeline.tenant_settings, off, shadow or on. The two never
-- do the same thing: what begins while it is off or shadow is the old engine's, what begins while it is on is ours, and
-- the runs in flight go over, or back, from the step that they stand at.

create table automation.engine_switches (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  engine text not null,
  was text not null,
  at timestamptz not null default automation.now(),
  written_at timestamptz not null default clock_timestamp(),
  by_user uuid,
  report jsonb not null default '{}',
  constraint engine_switches_pkey primary key (tenant_id, id)
);

comment on table automation.engine_switches is
  'When which engine began to work for a tenant, who said so, and what came of it.';

create or replace function automation.engine_of(tenant_id uuid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select s.unified_engine from ridgeline.tenant_settings as s where s.tenant_id = engine_of.tenant_id), 'on')
  $$;

-- The calls of the application that start runs of the old engine, and what each is for. What is not listened to by an
-- imported workflow is not asked for; the two crons are, always.
create or replace function automation.calls_to_stop(tenant_id uuid) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with heard as (
      select distinct w.trigger_type from automation.legacy_imports as i
      join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id
      where i.tenant_id = calls_to_stop.tenant_id and i.source = 'server' and w.is_active
    )
    select coalesce(jsonb_agg(jsonb_build_object('call', c.call, 'where', c.place, 'why', c.why)
        order by c.rank, c.call), '[]')
    from (
      select 1 as rank, format('triggerWorkflows(''%s'')', t.name) as call, t.place,
        'the write itself starts it here' as why
      from (values
        ('contact_created', 'POST /api/contacts'),
        ('pipeline_stage_changed', 'PATCH /api/projects/:id'),
        ('project_won', 'PATCH /api/projects/:id'),
        ('job_completed', 'PATCH /api/jobs/:id'),
        ('email_opened', 'the webhook of emails'),
        ('email_clicked', 'the webhook of emails')) as t (name, place)
      where t.name in (select h.trigger_type from heard as h)
      union all
      select 2, format('POST /api/workflows/trigger {trigger_type: "%s"}', h.trigger_type), 'whoever sends it',
        'send it to ridgeline.trigger_workflows(), or by the routes of docs/http-api.md'
      from heard as h
      where h.trigger_type not in (
        'contact_created', 'pipeline_stage_changed', 'project_won', 'job_completed', 'email_opened', 'email_clicked')
      union all
      select 3, 'handleStageChange()', 'PATCH /api/projects/:id', 'campaigns start and end by the write itself'
      where exists (
        select from automation.legacy_imports as i
        where i.tenant_id = calls_to_stop.tenant_id and i.source = 'campaigns')
      union all
      select 4, '/api/cron/process-workflows', 'vercel.json', 'its pending steps have gone over'
      union all
      select 5, '/api/cron/process-campaigns', 'vercel.json', 'its pending steps have gone over'
      where exists (
        select from automation.legacy_imports as i
        where i.tenant_id = calls_to_stop.tenant_id and i.source = 'campaigns')
    ) as c
  $$;

-- Runs that the old engine has begun since this one is on: somebody still calls it.
create or replace function automation.begun_there_since(tenant_id uuid, since timestamptz) returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select count(*)::integer
    from unnest('{server,campaigns}'::text[]) as s (source)
    cross join lateral automation.old_runs(begun_there_since.tenant_id, s.source, since, 'infinity') as r
    join automation.legacy_imports as i on i.tenant_id = begun_there_since.tenant_id and i.source = s.source
      and i.legacy_id = coalesce(r.run ->> 'workflow_id', r.run ->> 'campaign_id') and i.part = 0
  $$;

-- The application was called once too often: what it began there although this engine was on, and began here as well,
-- is ended there. What nobody has begun here (a trigger that only a call fires) is taken over like any other.
create or replace function automation.stop_duplicates(tenant_id uuid, source text, since timestamptz) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  open record;
  after text;
  stopped integer := 0;
  seen integer;
begin
  loop
    seen := 0;
    for open in select r.* from automation.legacy_open_runs(source, tenant_id, after, 200) as r loop
      seen := seen + 1;
      after := open.run ->> 'id';
      if coalesce(automation.legacy_moment(open.run ->> 'created_at'),
          automation.legacy_moment(open.run ->> 'enrolled_at')) >= since
        and exists (
          select from automation.legacy_imports as i
          join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id
          cross join lateral automation.legacy_subject(w.trigger_type, coalesce(
            nullif(open.run -> 'trigger_data', 'null'),
            jsonb_build_object('contact_id', open.run -> 'contact_id'))) as s
          join ridgeline.workflow_executions as e on e.tenant_id = i.tenant_id and e.workflow_id = i.workflow_id
            and e.mode = 'live' and e.created_at >= since - interval '10 minutes'
            and (e.record_id = s.record_id or i.source = 'campaigns' and e.contact_id = s.contact_id)
          where i.tenant_id = stop_duplicates.tenant_id and i.source = stop_duplicates.source
            and i.legacy_id = coalesce(open.run ->> 'workflow_id', open.run ->> 'campaign_id'))
        and automation.hand_over(source, open.run, open.step) is not null then
        stopped := stopped + 1;
      end if;
    end loop;
    exit when seen < 200;
  end loop;
  return stopped;
end;
$$;

-- The runs in flight of one old engine, page by page, no further than so many.
create or replace function automation.take_over_all(tenant_id uuid, source text, at_most integer) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  page jsonb;
  after text;
  outcomes jsonb := '{}'::jsonb;
  seen integer := 0;
begin
  loop
    page := automation.take_over_runs(tenant_id, source, after, 200);
    select jsonb_object_agg(k.key, coalesce((outcomes ->> k.key)::integer, 0)
        + coalesce((page #>> array['outcomes', k.key])::integer, 0)) into outcomes
    from (
      select jsonb_object_keys(outcomes) as key union select jsonb_object_keys(page -> 'outcomes')) as k;
    outcomes := coalesce(outcomes, '{}');
    after := page ->> 'last';
    seen := seen + 200;
    exit when after is null or seen >= at_most;
  end loop;
  return jsonb_build_object('outcomes', outcomes, 'more', after is not null);
end;
$$;

create or replace function automation.give_back_all(tenant_id uuid) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  link automation.legacy_links;
  given_back integer := 0;
  going_on integer := 0;
begin
  for link in
    select l.* from automation.legacy_links as l
    join ridgeline.workflow_executions as e on e.tenant_id = l.tenant_id and e.id = l.execution_id
    where l.tenant_id = give_back_all.tenant_id and l.kind = 'in_flight' and e.finished_at is null
    order by l.legacy_id
  loop
    if automation.give_back_run(link) then
      given_back := given_back + 1;
    else
      going_on := going_on + 1;
    end if;
  end loop;
  return jsonb_build_object('given_back', given_back, 'going_on_here', going_on + (
    select count(*) from ridgeline.workflows as w
    join ridgeline.workflow_executions as e on e.workflow_id = w.id and e.tenant_id = w.tenant_id
    where w.tenant_id = give_back_all.tenant_id and e.mode = 'live' and e.finished_at is null
      and not exists (
        select from automation.legacy_links as l where l.tenant_id = e.tenant_id and l.execution_id = e.id)));
end;
$$;

-- Shadows of the last minutes beside which the old engine has begun nothing yet. Their event was written while it was
-- still at work, so it is theirs; should the application have stopped calling by then, nobody has it.
create or replace function automation.unclaimed_shadows(tenant_id uuid, since timestamptz) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(jsonb_build_object(
      'workflow_id', e.workflow_id, 'entity', e.entity, 'record_id', e.record_id, 'at', e.created_at)
      order by e.created_at), '[]')
    from automation.legacy_imports as i
    join ridgeline.workflow_executions as e on e.workflow_id = i.workflow_id and e.tenant_id = i.tenant_id
    where i.tenant_id = unclaimed_shadows.tenant_id and i.source = 'server' and e.mode = 'shadow'
      and e.created_at >= since and e.status <> 'skipped'
      and not exists (
        select from automation.old_runs(i.tenant_id, i.source, since - interval '10 minutes', 'infinity') as r
        where r.run ->> 'workflow_id' = i.legacy_id
          and exists (
            select from automation.legacy_subject(e.trigger_type, r.run -> 'trigger_data') as s
            where s.record_id = e.record_id))
  $$;

create or replace function automation.set_engine(tenant_id uuid, engine text) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.own_tenant(tenant_id);
  before text;
  report jsonb;
  shadows integer;
  source text;
  on_since timestamptz;
begin
  if not automation.is_service() and not coalesce(tenant = any (automation.admin_tenants()), false) then
    raise exception 'role: which engine works is for owners and admins' using errcode = 'insufficient_privilege';
  elsif engine is null or engine not in ('off', 'shadow', 'on') then
    raise exception 'engine: off, shadow or on, not "%"', left(coalesce(engine, 'null'), 60)
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.check_not_forgotten(tenant);
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', tenant, 'engine'), 98));
  before := automation.engine_of(tenant);
  select x.at into on_since from automation.engine_switches as x
  where x.tenant_id = tenant and x.engine = 'on' and x.was <> 'on' order by x.id desc limit 1;
  report := jsonb_build_object('tenant_id', tenant, 'engine', engine, 'was', before);
  if engine = 'on' and before = 'shadow' then
    report := report || jsonb_build_object(
      'unclaimed', automation.unclaimed_shadows(tenant, automation.now() - interval '5 minutes'));
  end if;
  select count(*) into shadows from ridgeline.workflows as w
  join ridgeline.workflow_executions as e on e.workflow_id = w.id and e.tenant_id = w.tenant_id
  where w.tenant_id = tenant and w.mode = 'live' and e.mode = 'shadow' and e.finished_at is null;
  insert into ridgeline.tenant_settings as s (tenant_id, unified_engine) values (tenant, engine)
  on conflict on constraint tenant_settings_pkey do update set unified_engine = excluded.unified_engine
    where s.unified_engine <> excluded.unified_engine;
  if engine = 'on' then
    report := report || jsonb_build_object(
      'cancelled_shadows', shadows, 'stop_calling', automation.calls_to_stop(tenant));
    foreach source in array array['server', 'campaigns'] loop
      if before = 'on' and on_since is not null then
        report := jsonb_set(report, array['duplicates_stopped'], to_jsonb(
          coalesce((report -> 'duplicates_stopped')::integer, 0)
          + automation.stop_duplicates(tenant, source, on_since)));
      end if;
      report := jsonb_set(report, array['taken_over'], coalesce(report -> 'taken_over', '{}')
        || jsonb_build_object(source, automation.take_over_all(tenant, source, 2000)));
    end loop;
  else
    report := report || automation.give_back_all(tenant);
  end if;
  insert into automation.engine_switches (tenant_id, engine, was, by_user, report)
  values (tenant, engine, before, automation.current_user_id(), report);
  return report;
end;
$$;

create or replace function ridgeline.set_engine(engine text, tenant_id uuid default null) returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.set_engine(tenant_id, engine) $$;

comment on function ridgeline.set_engine(text, uuid) is
  'Says what this engine does for a tenant beside the one that it replaces: off, shadow or on. on: runs begin live, '
  'shadows end, and the runs in flight of the old engine go on here, each once, from the step they stood at '
  '(taken_over; where more is true, or a run was left because a step of it was running there, call it again). '
  'stop_calling lists the calls that the application must stop making for this tenant. off and shadow: nothing begins '
  'live any more; runs that were taken over and stand where they stood go back (given_back), the others end here '
  '(going_on_here).';

create or replace function automation.engine_report(tenant_id uuid) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.own_tenant(tenant_id);
  last automation.engine_switches;
begin
  select s.* into last from automation.engine_switches as s
  where s.tenant_id = tenant order by s.id desc limit 1;
  return jsonb_build_object(
    'engine', automation.engine_of(tenant), 'since', last.at,
    'stop_calling', automation.calls_to_stop(tenant),
    'begun_there_since', case when automation.engine_of(tenant) = 'on' and last.at is not null
      then automation.begun_there_since(tenant, last.at) end,
    'switches', (
      select coalesce(jsonb_agg(jsonb_build_object('engine', s.engine, 'was', s.was, 'at', s.at, 'by', s.by_user)
        order by s.id desc), '[]')
      from (
        select x.* from automation.engine_switches as x where x.tenant_id = tenant order by x.id desc limit 20) as s));
end;
$$;

create or replace function ridgeline.engine_report(tenant_id uuid default null) returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.engine_report(tenant_id) $$;

comment on function ridgeline.engine_report(uuid) is
  'Which engine works for a tenant: {engine, since, stop_calling, begun_there_since, switches}. begun_there_since: how '
  'many runs of imported workflows the old engine has begun since this one is on; more than 0 means that something '
  'still calls it, and customers may hear twice.';
