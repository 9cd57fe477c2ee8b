-- Live or shadow: see docs/shadow.md.

create or replace function automation.set_workflow_mode(workflow_id uuid, mode text) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  open_shadows integer;
  in_force ridgeline.execution_mode;
begin
  perform automation.check_publisher(workflow.tenant_id, 'switching a workflow between live and shadow');
  if mode is null or mode not in ('live', 'shadow') then
    raise exception 'mode: a workflow is live or shadow, not "%"', left(coalesce(mode, 'null'), 60)
      using errcode = 'invalid_parameter_value', hint = 'Send "live" or "shadow".';
  end if;
  select count(*) into open_shadows from ridgeline.workflow_executions as e
  where e.tenant_id = workflow.tenant_id and e.workflow_id = workflow.id and e.mode = 'shadow'
    and e.finished_at is null;
  update ridgeline.workflows as w set mode = set_workflow_mode.mode::ridgeline.execution_mode
  where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
  in_force := automation.mode_of(workflow.tenant_id, workflow.id);
  return jsonb_build_object(
    'workflow_id', workflow.id, 'mode', mode, 'in_force', coalesce(in_force::text, 'off'),
    'cancelled_shadows', case in_force when 'live' then open_shadows else 0 end);
end;
$$;

create or replace function ridgeline.set_workflow_mode(workflow_id uuid, mode text, tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.set_workflow_mode(workflow_id, mode) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.set_workflow_mode(uuid, text, uuid) is
  'Switches a workflow between live and shadow, active or not: {workflow_id, mode, in_force, cancelled_shadows}. '
  'Runs keep the mode that they began in; switching to live cancels the shadow runs that are open. in_force: what '
  'runs begin in, shadow or off where the engine of the tenant says so.';
