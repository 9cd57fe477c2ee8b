-- No foreign key leads from a run to its version, nor from what is queued to its run (45_queue): REST embeds by these
-- functions instead, as in scheduled_steps?select=step_key,run_at,workflow_executions(record_id). Whoever asks sees
-- what they may see of either table.

create or replace function ridgeline.workflow_versions(ridgeline.workflow_executions)
  returns setof ridgeline.workflow_versions rows 1
  language sql stable
  -- Bound when created: no search_path to set.
  begin atomic
    select v from ridgeline.workflow_versions as v
    where v.tenant_id = $1.tenant_id and v.workflow_id = $1.workflow_id and v.version = $1.version;
  end;

comment on function ridgeline.workflow_versions(ridgeline.workflow_executions) is
  'The version that a run is pinned to, for REST to embed.';

create or replace function ridgeline.workflow_executions(ridgeline.workflow_versions)
  returns setof ridgeline.workflow_executions
  language sql stable
  -- Bound when created: no search_path to set.
  begin atomic
    select e from ridgeline.workflow_executions as e
    where e.workflow_id = $1.workflow_id and e.tenant_id = $1.tenant_id and e.version = $1.version;
  end;

comment on function ridgeline.workflow_executions(ridgeline.workflow_versions) is
  'The runs of a version, for REST to embed.';

create or replace function ridgeline.workflow_executions(ridgeline.scheduled_steps)
  returns setof ridgeline.workflow_executions rows 1
  language sql stable
  -- Bound when created: no search_path to set.
  begin atomic
    select e from ridgeline.workflow_executions as e where e.tenant_id = $1.tenant_id and e.id = $1.execution_id;
  end;

comment on function ridgeline.workflow_executions(ridgeline.scheduled_steps) is
  'The run of a step that is due or waits, for REST to embed.';

create or replace function ridgeline.scheduled_steps(ridgeline.workflow_executions)
  returns setof ridgeline.scheduled_steps
  language sql stable
  -- Bound when created: no search_path to set.
  begin atomic
    select s from ridgeline.scheduled_steps as s where s.execution_id = $1.id and s.tenant_id = $1.tenant_id;
  end;

comment on function ridgeline.scheduled_steps(ridgeline.workflow_executions) is
  'What is still to happen of a run, for REST to embed.';
