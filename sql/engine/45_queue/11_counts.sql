-- COUNTS
--
-- What ended, a row for each (97_history/02_statistics says what becomes of them). Triggers write them, row by row,
-- whoever ends a run or a step. A set that is ended in one statement is counted in it, and says so beforehand by the
-- setting automation.counting, runs or steps: of its rows that had not ended before, nothing is left for the trigger.
-- An error takes the setting back with all else.

create sequence automation.statistic_order as bigint cache 1;

create table automation.statistic_changes (
  tenant_id uuid not null,
  id bigint not null default nextval('automation.statistic_order'),
  workflow_id uuid not null,
  version integer not null,
  step_key text not null,
  entered_at timestamptz,
  at timestamptz not null,
  outcome text not null,
  amount smallint not null default 1,
  mode ridgeline.execution_mode not null default 'live',
  cost numeric,
  constraint statistic_changes_pkey primary key (tenant_id, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

comment on table automation.statistic_changes is
  'What ended, and what became of messages, until it is folded into automation.statistics. No foreign keys: it is '
  'written beside every step.';
comment on column automation.statistic_changes.step_key is 'Empty: it is about the run.';
comment on column automation.statistic_changes.entered_at is
  'When what ended had begun; null: this is about something that became of it later.';
comment on column automation.statistic_changes.cost is 'Of a message that was sent.';
comment on column automation.statistic_changes.amount is '-1: it is taken back (a run that is retried).';

create or replace function automation.step_outcome(status ridgeline.automation_status, step_type text) returns text
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when status operator(pg_catalog.=) 'completed'
        and step_type operator(pg_catalog.=) any ('{send_sms,send_email}'::pg_catalog.text[]) then 'sent'
      else status::pg_catalog.text
    end
  $$;
