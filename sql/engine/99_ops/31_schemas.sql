-- For programs that make workflows: what each step can be told, as JSON Schema.

create view ridgeline.workflow_schemas with (security_invoker = true) as
  select 'step' as kind, t.name, t.lane, t.branches, t.description, t.config_schema
  from automation.step_types as t
  union all
  select 'setting', s.name, null, null, s.description, s.config_schema
  from automation.setting_schemas as s;

comment on view ridgeline.workflow_schemas is
  'The published schemas: of step_config for each kind of step, of workflows.settings (settings) and of '
  'workflow_steps.retry (retry).';

revoke all on ridgeline.workflow_schemas from anon, authenticated, service_role;
grant select on ridgeline.workflow_schemas to authenticated, service_role;
