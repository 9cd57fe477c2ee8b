-- HISTORY
--
-- History: what ran, for whom, and what came of it. Rows are written once and finished once; what
-- is still to happen lives in the queue (04_queue).
--
-- One execution is one record's way through one version of a workflow. One step execution is one
-- step of it: its rendered input, its attempts, its result. A step of an execution has one row,
-- whatever it took to get it done.
--
-- Lock order, for every function of the engine:
--   1. scheduled_steps   2. workflow_executions   3. workflow_step_executions
--   4. CRM rows, never waited for longer than 100 ms (see automation.run_database_steps)
-- Capture comes from the other side (the writer holds a CRM row) and therefore only inserts.

-- The tables that capture writes have no CHECK: Postgres reads the text of each again for every statement, and capture
-- is a statement a row (docs/decisions/0012 and 0013).
create table ridgeline.workflow_executions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null,
  status ridgeline.automation_status not null default 'pending',
  trigger_type text not null,
  trigger_data jsonb not null default '{}',
  entity text,
  record_id text,
  contact_id text,
  depth smallint not null default 0,
  root_id uuid,
  fused boolean not null default false,
  current_step text,
  error jsonb,
  created_at timestamptz not null default automation.now(),
  started_at timestamptz,
  finished_at timestamptz,
  expires_at timestamptz,
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  seen pg_snapshot not null default pg_current_snapshot(),
  mode ridgeline.execution_mode not null default 'live',
  changed_at timestamptz not null default automation.now(),
  constraint workflow_executions_pkey primary key (tenant_id, id)
) with (fillfactor = 75);

-- Both tables leave room on their pages: a row is finished soon after it is written, and an update
-- that stays on its page touches no index (no index has status in it).
comment on table ridgeline.workflow_executions is
  'One record''s way through one version of a workflow.';
comment on column ridgeline.workflow_executions.trigger_data is
  'The records as they were when the workflow fired; {{trigger.*}} reads from here, for good.';
comment on column ridgeline.workflow_executions.record_id is
  'The record that fired, as text: tables with other keys than uuid can be attached.';
comment on column ridgeline.workflow_executions.contact_id is
  'The contact it is about now: when a project moves to another one, its runs follow.';
comment on column ridgeline.workflow_executions.expires_at is
  'The date that it waited to be before: messages planned before it do not go out after it.';
comment on column ridgeline.workflow_executions.depth is
  'How many automations led to the write that fired this one.';
comment on column ridgeline.workflow_executions.root_id is
  'The run that began the chain which led to this one; null: it began itself.';
comment on column ridgeline.workflow_executions.fused is
  'It counts against the fuse of its workflow: a stranger began its chain (a text, a call, an email, a form), or '
  'the chain has been at this workflow before.';
comment on column ridgeline.workflow_executions.mode is
  'Whether it is one that counts: live, or a shadow, a test, or history of another system.';
comment on column ridgeline.workflow_executions.changed_at is
  'When it was last written, for a screen that asks again: ask a little before the newest it has, since a write is '
  'seen when it commits. Without an index, for the sake of the writes: ask for a page, or by workflow or record.';
comment on column ridgeline.workflow_executions.seq is
  'Its place in the order of writes: an event with a higher number came after it.';
comment on column ridgeline.workflow_executions.seen is
  'Which transactions had committed when it was enrolled: an event of any other came after it as well.';

-- The ledger refers to a run by (tenant_id, id). A session plans that look when it first writes such a row, and
-- to a plan made while the table is empty every index that has one of the two in it looks as good as the primary key,
-- and reading the table better. So no other index answers a question that names only these (each holds rows whose
-- first column is not null, as whoever asks by that column wants), and whatever writes such rows does so with
-- enable_seqscan off.
create index workflow_executions_by_root
  on ridgeline.workflow_executions (root_id, tenant_id) where root_id is not null;
create index workflow_executions_fused
  on ridgeline.workflow_executions (workflow_id, tenant_id, created_at) where fused;
create index workflow_executions_by_workflow
  on ridgeline.workflow_executions (workflow_id, tenant_id, version, created_at) where workflow_id is not null;
create index workflow_executions_by_record
  on ridgeline.workflow_executions (record_id, tenant_id, workflow_id, created_at) where record_id is not null;
create index workflow_executions_by_contact
  on ridgeline.workflow_executions (contact_id, tenant_id, created_at)
  where contact_id is not null and entity <> 'contact';

-- Whoever ends a run says when, and why where it failed. One that has ended when it is written is looked at where it is
-- counted (97_history/02_statistics).
create or replace function automation.refuse_half_an_end(run ridgeline.workflow_executions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if (run.finished_at is not null) <> (run.status >= 'completed') then
    raise exception 'workflow_executions: what has ended says when, and nothing else does'
      using errcode = 'check_violation', constraint = 'workflow_executions_finished_matches_status',
        table = 'workflow_executions', schema = 'ridgeline';
  elsif run.status = 'failed' and run.error is null then
    raise exception 'workflow_executions: what failed says why'
      using errcode = 'check_violation', constraint = 'workflow_executions_failed_says_why',
        table = 'workflow_executions', schema = 'ridgeline';
  end if;
end;
$$;

create or replace function automation.refuse_half_an_end() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.refuse_half_an_end(new);
  return null;
end;
$$;

create trigger workflow_executions_end_is_whole
  after update of status, finished_at, error on ridgeline.workflow_executions
  for each row when (
    (new.finished_at is not null) <> (new.status >= 'completed') or new.status = 'failed' and new.error is null)
  execute function automation.refuse_half_an_end();

-- No foreign key leads from a run to its version: each lead that comes in would lock a row that all of them share, wait
-- where somebody deletes it, and fail when it is gone. So what is deleted takes its runs along here, and those that
-- began meanwhile go a day later (automation.prune_strays), or when they come due after that.
create table automation.gone_versions (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  gone_at timestamptz not null default automation.now(),
  constraint gone_versions_pkey primary key (tenant_id, workflow_id, version)
);

comment on table automation.gone_versions is
  'Versions that were deleted, until the runs that began meanwhile are, too.';

-- A statement whose plan cannot change: to statistics that say there are none, to read every run looks better than to
-- look for those of a version. The same for what is queued, below.
create or replace function automation.delete_runs_of_versions() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_sort = off
  set jit = off
  as $$
declare
  places tid[];
begin
  insert into automation.gone_versions (tenant_id, workflow_id, version)
  select v.tenant_id, v.workflow_id, v.version from gone as v
  where not exists (select from automation.gone_tenants as g where g.tenant_id = v.tenant_id)
  on conflict on constraint gone_versions_pkey do nothing;
  -- In the order in which everybody locks (sql/README.md): what is queued of them, then they.
  perform from gone as v
  cross join lateral (
    select r.tenant_id, r.id from ridgeline.workflow_executions as r
    where r.workflow_id = v.workflow_id and r.tenant_id is not distinct from v.tenant_id
      and r.version is not distinct from v.version and r.finished_at is null
    offset 0) as e
  cross join lateral (
    select from ridgeline.scheduled_steps as q
    where q.execution_id = e.id and q.tenant_id is not distinct from e.tenant_id
    offset 0 for update) as s;
  -- Locked first: a row that is being changed is waited for, and is elsewhere then.
  places := array(
    select x.ctid from gone as v
    cross join lateral (
      select r.ctid from ridgeline.workflow_executions as r
      where r.workflow_id = v.workflow_id and r.tenant_id is not distinct from v.tenant_id
        and r.version is not distinct from v.version
      offset 0 for update) as x);
  delete from ridgeline.workflow_executions as e where e.ctid = any (places);
  return null;
end;
$$;

create trigger workflow_versions_delete_runs after delete on ridgeline.workflow_versions
  referencing old table as gone
  for each statement execute function automation.delete_runs_of_versions();

create table ridgeline.workflow_step_executions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  execution_id uuid not null,
  step_key text not null,
  step_type text not null,
  status ridgeline.automation_status not null,
  input jsonb,
  result_data jsonb,
  error jsonb,
  warnings jsonb,
  attempts jsonb not null default '[]',
  rendition smallint not null default 0,
  render_again boolean not null default false,
  recipient text,
  provider_id text,
  started_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  duration_ms integer,
  delivered_at timestamptz,
  opened_at timestamptz,
  clicked_at timestamptz,
  replied_at timestamptz,
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  seen pg_snapshot not null default pg_current_snapshot(),
  changed_at timestamptz not null default automation.now(),
  segments smallint,
  cost numeric,
  country text,
  constraint workflow_step_executions_pkey primary key (tenant_id, id),
  constraint workflow_step_executions_execution_fk foreign key (tenant_id, execution_id)
    references ridgeline.workflow_executions (tenant_id, id) on delete cascade,
  constraint workflow_step_executions_once unique (execution_id, tenant_id, step_key),
  constraint workflow_step_executions_finished_matches_status check (
    (finished_at is not null) = (status >= 'completed')),
  constraint workflow_step_executions_failed_says_why check (status <> 'failed' or error is not null)
) with (fillfactor = 75);

comment on table ridgeline.workflow_step_executions is
  'One step of an execution: what it was about to do, each attempt, and what came of it.';
comment on column ridgeline.workflow_step_executions.input is
  'The rendered configuration. An attempt that may have been accepted is repeated with exactly this.';
comment on column ridgeline.workflow_step_executions.rendition is
  'How often it was rendered anew, because what was sent before was certainly refused. Part of the '
  'idempotency key.';
comment on column ridgeline.workflow_step_executions.attempts is
  '[{attempt, at, outcome, error?, worker?}]: every attempt, and why it was not the last.';
comment on column ridgeline.workflow_step_executions.provider_id is
  'The provider''s id of the message: what webhooks refer to, and what reconciliation excludes.';
comment on column ridgeline.workflow_step_executions.delivered_at is
  'Of a message: when it was first known to have arrived. opened_at and clicked_at are of people, as in emails; '
  'replied_at: the first answer to it within thirty days, a stop apart.';
comment on column ridgeline.workflow_step_executions.changed_at is
  'When it was last written; see workflow_executions.';
comment on column ridgeline.workflow_step_executions.segments is 'Of a text that was sent: as how many segments.';
comment on column ridgeline.workflow_step_executions.cost is
  'Of a message that was sent: what it cost by automation.prices or the tenant''s own; null: nobody said a price.';
comment on column ridgeline.workflow_step_executions.country is
  'Of a text: the country of its number as it was read when it was claimed, by which it is priced.';
comment on column ridgeline.workflow_step_executions.seq is
  'Where the step began in the order of writes; a wait that comes next hears what came after that.';
comment on column ridgeline.workflow_step_executions.duration_ms is
  'Real milliseconds from the start of the last attempt to its end.';

create unique index workflow_step_executions_provider_id_unique
  on ridgeline.workflow_step_executions (provider_id, tenant_id) where provider_id is not null;
create index workflow_step_executions_by_recipient
  on ridgeline.workflow_step_executions (recipient, tenant_id, started_at)
  where recipient is not null;
