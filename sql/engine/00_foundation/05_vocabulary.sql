-- The words that several chapters share.

-- In this order on purpose: whatever sorts from 'completed' on has ended.
create type ridgeline.automation_status as enum (
  'pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'skipped');

comment on type ridgeline.automation_status is
  'Status of an execution and of a step; from completed on it has ended.';

create type ridgeline.automation_lane as enum ('database', 'sms', 'email', 'webhook');

comment on type ridgeline.automation_lane is
  'Where a step runs. database: inside Postgres, exactly once. The channels: claimed by the dispatcher, '
  'at least once, each with places of its own, so that a slow one holds up no other.';

create type ridgeline.execution_mode as enum ('live', 'shadow', 'test', 'imported');

comment on type ridgeline.execution_mode is
  'live: a run like any other. shadow: beside another system that does the work. test: kept for runs that somebody '
  'tries; none is written, since a dry run leaves no row. imported: history of another system, taken over.';

create or replace function automation.channels() returns ridgeline.automation_lane[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{sms,email,webhook}'::ridgeline.automation_lane[] $$;
