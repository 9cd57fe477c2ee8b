-- THE QUEUE
--
-- scheduled_steps holds only what is still to happen: one row for the next step of each execution
-- that has one. A row is inserted when a step is scheduled and deleted when the step has ended, so
-- the table stays as small as the work ahead of it.
--
--   due        run_at has come and nobody holds it
--   claimed    a dispatcher holds a lease: attempt_token, lease_expires_at. Whoever reports the
--              outcome must present the token, so a late worker changes nothing.
--   expired    the lease ran out; the reaper hands the row back, marked for reconciliation
--
-- Lanes: steps of 'database' run inside Postgres in one transaction with their ledger row and
-- are never leased; those of a channel (sms, email, webhook) are leased to a dispatcher.
--
-- run_at is business time (automation.now()); leases are real time (clock_timestamp()).

create table ridgeline.scheduled_steps (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  execution_id uuid not null,
  step_key text not null,
  lane ridgeline.automation_lane not null,
  run_at timestamptz not null,
  attempt smallint not null default 0,
  attempt_token uuid,
  leased_by text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  reconcile_since timestamptz,
  expires_at timestamptz,
  held jsonb,
  constraint scheduled_steps_pkey primary key (tenant_id, id)
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_insert_scale_factor = 0.1,
  autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0
);

comment on table ridgeline.scheduled_steps is
  'What is still to happen. A row leaves when its step has ended; history is elsewhere.';
comment on column ridgeline.scheduled_steps.id is
  'Becomes the id of the step execution, and with it the idempotency key of every attempt.';
comment on column ridgeline.scheduled_steps.attempt_token is
  'The fence: an outcome is accepted only with the token of the attempt that holds the lease.';
comment on column ridgeline.scheduled_steps.reconcile_since is
  'An attempt since then may have been accepted by the provider: look it up before sending again.';

comment on column ridgeline.scheduled_steps.expires_at is
  'It is not sent after this date: it was planned before it (a reminder), or it says so itself.';
comment on column ridgeline.scheduled_steps.held is
  '{code, why, until?, zones?, since}: why it waits though its turn had come (since). run_at is when it is asked '
  'again; infinity: when somebody lets it go on. Without code it was let go and has not gone yet.';

-- The claim asks twice, and each question has an index that matches its filter and its order:
-- which tenants have due work (oldest first), and what is due for one tenant.
create index scheduled_steps_due
  on ridgeline.scheduled_steps (lane, run_at, tenant_id) where lease_expires_at is null;
create index scheduled_steps_due_by_tenant
  on ridgeline.scheduled_steps (lane, tenant_id, run_at, id) where lease_expires_at is null;
create index scheduled_steps_leased
  on ridgeline.scheduled_steps (lease_expires_at) where lease_expires_at is not null;
-- Where the queue was analyzed after it was drained, while its pages stood, every index seems as good as another. So
-- this one answers nobody who names a step by tenant and id; and who asks by the execution says of the tenant `is not
-- distinct from`, which no index answers: by either the whole of a tenant's queue would be read.
create index scheduled_steps_by_execution
  on ridgeline.scheduled_steps (execution_id, tenant_id) where execution_id is not null;

-- Capture writes a row of the queue for each lead, and a CHECK or a foreign key costs as much as the row itself
-- (docs/decisions/0012): so a lease is looked at where it is taken or left, and a run that is deleted takes along what
-- waits of it.
create or replace function automation.refuse_half_a_lease() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception 'scheduled_steps: a lease has a token, a beginning and an end, and a database step has none'
    using errcode = 'check_violation', constraint = 'scheduled_steps_lease_is_whole', table = 'scheduled_steps',
      schema = 'ridgeline';
end;
$$;

create trigger scheduled_steps_lease_is_whole
  after update of attempt_token, leased_at, lease_expires_at, lane on ridgeline.scheduled_steps
  for each row when (
    num_nulls(new.attempt_token, new.leased_at, new.lease_expires_at) in (1, 2)
    or new.attempt_token is not null and new.lane = 'database')
  execute function automation.refuse_half_a_lease();

create or replace function automation.delete_steps_of_runs() returns trigger
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
  places constant tid[] := array(
    select x.ctid from gone as e
    cross join lateral (
      select q.ctid from ridgeline.scheduled_steps as q
      where q.execution_id = e.id and q.tenant_id is not distinct from e.tenant_id
      offset 0 for update) as x);
begin
  delete from ridgeline.scheduled_steps as s where s.ctid = any (places);
  return null;
end;
$$;

create trigger workflow_executions_delete_steps after delete on ridgeline.workflow_executions
  referencing old table as gone
  for each statement execute function automation.delete_steps_of_runs();

-- WORK UNDER WAY
--
-- What is about to be worked on is written down and committed before it is touched, a set at a time; the
-- row goes in the transaction that did the work. One that stays tells of work that never came to its end: a
-- crash, a lost connection, a timeout. See 70_dispatch/04_portions.

create table automation.tick_portions (
  id uuid not null default automation.new_id() constraint tick_portions_pkey primary key,
  kind text not null
    constraint tick_portions_kind_known check (kind in ('schedule', 'timer', 'bulk', 'signal', 'lease')),
  tenant_ids uuid[] not null,
  keys text[] not null,
  started_at timestamptz not null default clock_timestamp(),
  constraint tick_portions_is_whole check (cardinality(tenant_ids) = cardinality(keys))
);

comment on table automation.tick_portions is
  'The same for the other work of a tick: schedules, timers, bulk enrolments, signals and expired leases, by their '
  'keys.';

create table automation.tick_parts (
  part text not null constraint tick_parts_pkey primary key,
  place integer not null,
  begun_at timestamptz not null default '-infinity',
  ended_at timestamptz not null default '-infinity'
);

comment on table automation.tick_parts is
  'What a tick does, in its order; begun and not ended: being done, or cut off, and then the other parts '
  'come first.';

insert into automation.tick_parts (part, place) values
  ('lease', 0), ('schedule', 1), ('timer', 2), ('bulk', 3), ('signal', 4), ('step', 5)
on conflict on constraint tick_parts_pkey do update set place = excluded.place;
