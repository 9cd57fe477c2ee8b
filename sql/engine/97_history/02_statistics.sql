-- STATISTICS
--
-- What came of workflows, by version, step and day, for good. A run or a step is counted when it ends, with a row that
-- is only added to a list (a change); the tick folds those into one row a day. So nobody waits for a counter, and
-- those who write to attached tables pay nothing: what has not ended is counted where it stands, in the queue.
-- ridgeline.workflow_statistics adds up all three and is exact at every moment. What ends as a set is counted by
-- whoever ends it (45_queue/11_counts); whatever else writes history, the triggers here count.

create table automation.statistics (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  step_key text not null,
  day date not null,
  entered bigint not null default 0,
  completed bigint not null default 0,
  exited bigint not null default 0,
  failed bigint not null default 0,
  skipped bigint not null default 0,
  sent bigint not null default 0,
  delivered bigint not null default 0,
  opened bigint not null default 0,
  clicked bigint not null default 0,
  replied bigint not null default 0,
  mode ridgeline.execution_mode not null default 'live',
  cost numeric not null default 0,
  constraint statistics_pkey primary key (tenant_id, workflow_id, version, step_key, day, mode)
);

comment on table automation.statistics is
  'What ended by day, in the tenant''s zone as it was when it was counted; without what is still in '
  'automation.statistic_changes.';

-- One change is up to three facts: it had begun, it ended, and as a message it was sent.
create or replace function automation.statistic_facts(entered_at timestamptz, ended_at timestamptz, outcome text)
  returns table (at timestamptz, fact text)
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select f.at, f.fact
    from (values
      (entered_at, 'entered'),
      (ended_at, case outcome when 'cancelled' then 'exited' when 'sent' then 'completed' else outcome end),
      (case when outcome operator(pg_catalog.=) 'sent' then ended_at end, 'sent')) as f (at, fact)
    where f.at is not null
  $$;

create or replace function automation.count_run() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if tg_op = 'UPDATE' then
    if old.version <> new.version then
      perform automation.move_statistics(
        old.tenant_id, old.id, old.workflow_id, old.version, new.version, old.mode);
    end if;
    if old.finished_at is not null then
      insert into automation.statistic_changes (
        tenant_id, workflow_id, version, step_key, entered_at, at, outcome, amount, mode)
      values (old.tenant_id, old.workflow_id, old.version, '', old.created_at, old.finished_at, old.status, -1,
        old.mode);
    end if;
  else
    perform automation.refuse_half_an_end(new);
  end if;
  if new.finished_at is not null then
    insert into automation.statistic_changes (
      tenant_id, workflow_id, version, step_key, entered_at, at, outcome, mode)
    values (new.tenant_id, new.workflow_id, new.version, '', new.created_at, new.finished_at, new.status, new.mode);
  end if;
  return null;
end;
$$;

create or replace function automation.count_step() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.statistic_changes (
    tenant_id, workflow_id, version, step_key, entered_at, at, outcome, amount, mode, cost)
  select e.tenant_id, e.workflow_id, e.version, s.step_key, s.started_at, s.finished_at,
    automation.step_outcome(s.status, s.step_type), s.amount, e.mode, s.cost
  from ridgeline.workflow_executions as e
  cross join lateral (values
    (old.step_key, old.started_at, old.finished_at, old.status, old.step_type, old.cost, -1),
    (new.step_key, new.started_at, new.finished_at, new.status, new.step_type, new.cost, 1))
    as s (step_key, started_at, finished_at, status, step_type, cost, amount)
  where e.tenant_id = new.tenant_id and e.id = new.execution_id and s.finished_at is not null;
  return null;
end;
$$;

-- Of all rows of a statement: steps inside Postgres are written when they have ended. The rows lead, and find their
-- runs by the whole primary key.
create or replace function automation.count_steps() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_sort = off
  as $$
begin
  -- A claim writes steps that have not.
  if not exists (select from added as a where a.finished_at is not null) then
    return null;
  end if;
  insert into automation.statistic_changes (
    tenant_id, workflow_id, version, step_key, entered_at, at, outcome, mode, cost)
  select e.tenant_id, e.workflow_id, e.version, a.step_key, a.started_at, a.finished_at,
    automation.step_outcome(a.status, a.step_type), e.mode, a.cost
  from added as a
  cross join lateral (
    select x.tenant_id, x.workflow_id, x.version, x.mode from ridgeline.workflow_executions as x
    where x.tenant_id = a.tenant_id and x.id between a.execution_id and a.execution_id
    order by x.id
    limit 1
  ) as e
  where a.finished_at is not null;
  return null;
end;
$$;

create or replace function automation.count_news() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.statistic_changes (tenant_id, workflow_id, version, step_key, at, outcome, amount, mode)
  select e.tenant_id, e.workflow_id, e.version, new.step_key, c.at, n.outcome, c.amount, e.mode
  from ridgeline.workflow_executions as e
  cross join (values
    ('delivered', old.delivered_at, new.delivered_at), ('opened', old.opened_at, new.opened_at),
    ('clicked', old.clicked_at, new.clicked_at), ('replied', old.replied_at, new.replied_at))
    as n (outcome, before, after)
  cross join lateral (values (n.before, -1), (n.after, 1)) as c (at, amount)
  where e.tenant_id = new.tenant_id and e.id = new.execution_id
    and n.before is distinct from n.after and c.at is not null;
  return null;
end;
$$;

-- A run that moves to another version takes its steps along.
create or replace function automation.move_statistics(
  tenant_id uuid, execution_id uuid, workflow_id uuid, from_version integer, to_version integer,
  mode ridgeline.execution_mode)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.statistic_changes (
      tenant_id, workflow_id, version, step_key, entered_at, at, outcome, amount, mode, cost)
    select s.tenant_id, move_statistics.workflow_id, v.version, s.step_key, f.entered_at, f.at, f.outcome, v.amount,
      move_statistics.mode, case f.outcome when 'sent' then s.cost end
    from ridgeline.workflow_step_executions as s
    cross join lateral (values
      (s.started_at, s.finished_at, automation.step_outcome(s.status, s.step_type)),
      (null, s.delivered_at, 'delivered'), (null, s.opened_at, 'opened'), (null, s.clicked_at, 'clicked'),
      (null, s.replied_at, 'replied')) as f (entered_at, at, outcome)
    cross join (values (from_version, -1), (to_version, 1)) as v (version, amount)
    where s.execution_id = move_statistics.execution_id and s.tenant_id = move_statistics.tenant_id
      and f.at is not null
  $$;

create trigger workflow_executions_count_ended
  after insert on ridgeline.workflow_executions
  for each row when (new.finished_at is not null)
  execute function automation.count_run();
create trigger workflow_executions_count
  after update on ridgeline.workflow_executions
  for each row when ((old.finished_at is distinct from new.finished_at or old.version <> new.version
      or old.status <> new.status and new.finished_at is not null)
    and (old.finished_at is not null or old.version <> new.version
      or current_setting('automation.counting', true) is distinct from 'runs'))
  execute function automation.count_run();
create trigger workflow_step_executions_count_ended
  after insert on ridgeline.workflow_step_executions
  referencing new table as added
  for each statement execute function automation.count_steps();
create trigger workflow_step_executions_count
  after update on ridgeline.workflow_step_executions
  for each row when ((old.finished_at is distinct from new.finished_at
      or old.status <> new.status and new.finished_at is not null)
    and (old.finished_at is not null or current_setting('automation.counting', true) is distinct from 'steps'))
  execute function automation.count_step();
create trigger workflow_step_executions_count_news
  after update of delivered_at, opened_at, clicked_at, replied_at on ridgeline.workflow_step_executions
  for each row when (old.delivered_at is distinct from new.delivered_at or old.opened_at is distinct from new.opened_at
    or old.clicked_at is distinct from new.clicked_at or old.replied_at is distinct from new.replied_at)
  execute function automation.count_news();

-- WHAT BECAME OF MESSAGES

create or replace function automation.note_engagement() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(), opened_at = new.opened_at, clicked_at = new.clicked_at
  where s.provider_id = new.provider_id and s.tenant_id = new.tenant_id
    and automation.channel_of(s.step_type) = 'email';
  return null;
end;
$$;

create or replace function automation.note_click() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(), clicked_at = new.clicked_at
  where s.provider_id = new.provider_id and s.tenant_id = new.tenant_id
    and automation.channel_of(s.step_type) = 'sms';
  return null;
end;
$$;

create trigger messages_note_click
  after update of clicked_at on ridgeline.messages
  for each row when (new.direction = 'outbound' and new.provider_id is not null
    and old.clicked_at is distinct from new.clicked_at)
  execute function automation.note_click();

create trigger emails_note_engagement
  after update of opened_at, clicked_at on ridgeline.emails
  for each row when (new.direction = 'outbound' and new.provider_id is not null
    and (old.opened_at is distinct from new.opened_at or old.clicked_at is distinct from new.clicked_at))
  execute function automation.note_engagement();

-- An answer is one to the last message before it. The row is not waited for: whoever writes a message waits for
-- no step.
create or replace function automation.note_reply() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  said constant jsonb := to_jsonb(new);
  writer constant text := coalesce(said ->> 'from_number', automation.bare_address(said ->> 'from_address'));
  answered uuid;
begin
  if said ->> 'opt_out_type' = 'STOP' or automation.is_stop_request(said ->> 'body')
    or automation.is_stop_request(said ->> 'subject')
    or automation.is_stop_request(automation.without_quotation(said ->> 'text')) then
    return null;
  end if;
  select s.id into answered from ridgeline.workflow_step_executions as s
  where s.recipient = writer and s.tenant_id = new.tenant_id
    and s.started_at between automation.now() - interval '30 days' and automation.now()
    and s.status = 'completed'
    and s.step_type = any ((select automation.types_on(
      case tg_table_name when 'messages' then 'sms' else 'email' end))::text[])
  order by s.started_at desc
  limit 1
  for no key update skip locked;
  update ridgeline.workflow_step_executions as s set changed_at = automation.now(), replied_at = automation.now()
  where s.tenant_id = new.tenant_id and s.id = answered and s.replied_at is null;
  return null;
end;
$$;

create trigger messages_note_reply
  after insert on ridgeline.messages
  for each row when (new.direction = 'inbound' and new.provider <> 'manual' and new.from_number is not null)
  execute function automation.note_reply();
create trigger emails_note_reply
  after insert on ridgeline.emails
  for each row when (new.direction = 'inbound' and new.provider <> 'manual' and not new.is_automatic)
  execute function automation.note_reply();

-- FOLDING

-- One at a time: whoever comes second has nothing to do.
-- Of tenants that want to be told: runs that failed since they last were (99_ops/07_notices).
create table automation.troubles (
  tenant_id uuid not null,
  workflow_id uuid not null,
  failed bigint not null,
  since timestamptz not null,
  constraint troubles_pkey primary key (tenant_id, workflow_id)
);

comment on table automation.troubles is 'Workflows whose runs failed, till the office is told.';

create or replace function automation.fold_statistics(portion integer default 5000) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $$
declare
  changes automation.statistic_changes[];
begin
  if not pg_try_advisory_xact_lock(hashtextextended('ridgeline statistics', 0)) then
    return 0;
  end if;
  -- By their places: these rows are never updated, and are locked.
  with taken as (
    delete from automation.statistic_changes as c
    where c.ctid = any (array(
      select d.ctid from automation.statistic_changes as d
      order by d.tenant_id, d.id
      limit portion
      for update skip locked))
    returning c as change
  )
  select array_agg(t.change) into changes from taken as t;
  if changes is null then
    return 0;
  end if;
  with zones as materialized (
    select d.tenant_id, coalesce(automation.tenant_zone(d.tenant_id), 'UTC') as zone
    from (select distinct c.tenant_id from unnest(changes) as c) as d
  )
  insert into automation.statistics as t (tenant_id, workflow_id, version, step_key, day,
    entered, completed, exited, failed, skipped, sent, delivered, opened, clicked, replied, mode, cost)
  select c.tenant_id, c.workflow_id, c.version, c.step_key, (f.at at time zone z.zone)::date,
    coalesce(sum(c.amount) filter (where f.fact = 'entered'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'completed'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'exited'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'failed'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'skipped'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'sent'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'delivered'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'opened'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'clicked'), 0),
    coalesce(sum(c.amount) filter (where f.fact = 'replied'), 0), c.mode,
    coalesce(sum(c.amount * c.cost) filter (where f.fact = 'sent'), 0)
  from unnest(changes) as c
  join zones as z on z.tenant_id = c.tenant_id
  cross join lateral automation.statistic_facts(c.entered_at, c.at, c.outcome) as f
  group by 1, 2, 3, 4, 5, c.mode
  on conflict on constraint statistics_pkey do update set
    entered = t.entered + excluded.entered, completed = t.completed + excluded.completed,
    exited = t.exited + excluded.exited, failed = t.failed + excluded.failed,
    skipped = t.skipped + excluded.skipped, sent = t.sent + excluded.sent,
    delivered = t.delivered + excluded.delivered, opened = t.opened + excluded.opened,
    clicked = t.clicked + excluded.clicked, replied = t.replied + excluded.replied, cost = t.cost + excluded.cost;
  insert into automation.troubles as x (tenant_id, workflow_id, failed, since)
  select c.tenant_id, c.workflow_id, sum(c.amount), min(c.at)
  from unnest(changes) as c
  join ridgeline.tenant_settings as s on s.tenant_id = c.tenant_id and s.settings ? 'notices'
  where c.outcome = 'failed' and c.step_key = '' and c.mode = 'live'
  group by 1, 2 having sum(c.amount) > 0
  on conflict on constraint troubles_pkey do update set failed = x.failed + excluded.failed;
  return cardinality(changes);
end;
$$;

comment on function automation.fold_statistics(integer) is
  'Adds so many changes to the days they belong to, and says how many those were; 0 while somebody else does.';

-- Of the tenants that the caller may see.
create or replace function automation.visible_zones() returns table (tenant_id uuid, zone text)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select t.id, coalesce(t.timezone, 'UTC')
    from automation.read_tenants(array(select automation.usable_tenants())) as t
  $$;

create view ridgeline.workflow_statistics with (security_invoker = true) as
  select s.tenant_id, s.workflow_id, s.version, s.step_key, s.day,
    sum(s.entered)::bigint as entered, sum(s.completed)::bigint as completed, sum(s.exited)::bigint as exited,
    sum(s.failed)::bigint as failed, sum(s.skipped)::bigint as skipped, sum(s.sent)::bigint as sent,
    sum(s.delivered)::bigint as delivered, sum(s.opened)::bigint as opened, sum(s.clicked)::bigint as clicked,
    sum(s.replied)::bigint as replied, sum(s.waiting)::bigint as waiting, s.mode,
    sum(s.cost) as cost
  from (
    select t.*, 0 as waiting from automation.statistics as t
    union all
    select c.tenant_id, c.workflow_id, c.version, c.step_key, (f.at at time zone z.zone)::date,
      case f.fact when 'entered' then c.amount else 0 end, case f.fact when 'completed' then c.amount else 0 end,
      case f.fact when 'exited' then c.amount else 0 end, case f.fact when 'failed' then c.amount else 0 end,
      case f.fact when 'skipped' then c.amount else 0 end, case f.fact when 'sent' then c.amount else 0 end,
      case f.fact when 'delivered' then c.amount else 0 end, case f.fact when 'opened' then c.amount else 0 end,
      case f.fact when 'clicked' then c.amount else 0 end, case f.fact when 'replied' then c.amount else 0 end,
      c.mode, case f.fact when 'sent' then coalesce(c.amount * c.cost, 0) else 0 end, 0
    from automation.statistic_changes as c
    join automation.visible_zones() as z on z.tenant_id = c.tenant_id
    cross join lateral automation.statistic_facts(c.entered_at, c.at, c.outcome) as f
    union all
    -- What has not ended: the run, the step that it waits for, and that step where it has begun.
    select e.tenant_id, e.workflow_id, e.version, c.step_key, (c.at at time zone z.zone)::date,
      c.entered, 0, 0, 0, 0, 0, 0, 0, 0, 0, e.mode, 0, c.waiting
    from ridgeline.scheduled_steps as q
    join ridgeline.workflow_executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
    join automation.visible_zones() as z on z.tenant_id = q.tenant_id
    left join ridgeline.workflow_step_executions as s
      on s.execution_id = q.execution_id and s.tenant_id = q.tenant_id and s.step_key = q.step_key
      and s.finished_at is null
    cross join lateral (
      select '', e.created_at, 1, 1 where e.finished_at is null
      union all
      select q.step_key, e.created_at, 0, 1 where e.finished_at is null
      union all
      select q.step_key, s.started_at, 1, 0 where s.id is not null) as c (step_key, at, entered, waiting)
  ) as s
  group by s.tenant_id, s.workflow_id, s.version, s.step_key, s.day, s.mode;

comment on view ridgeline.workflow_statistics is
  'What came of a workflow, by version, step, day (of the tenant''s zone) and mode: what shadows came to, and history '
  'of another system, stand apart from what is live. step_key empty: of its runs. entered '
  'counts on the day it began, completed, exited (cancelled), failed and skipped on the day it ended, sent (texts and '
  'emails), delivered, opened, clicked and replied on theirs. waiting is now: runs that have not ended and the step '
  'that they are at, by the day the run entered. cost: of what was sent, as its steps have it. Outlives the runs.';
