-- The words that several chapters share.

-- In this order on purpose: whatever sorts from 'completed' on has ended.
create type public.automation_status as enum (
  'pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'skipped');

comment on type public.automation_status is
  'Status of an execution and of a step; from completed on it has ended.';

create type public.automation_lane as enum ('database', 'outbound');

comment on type public.automation_lane is
  'Where a step runs. database: inside Postgres, exactly once. outbound: claimed by the dispatcher, '
  'at least once.';
