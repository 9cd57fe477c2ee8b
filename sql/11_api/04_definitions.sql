-- Publishing and checking definitions.

create or replace function automation.publish_workflow(workflow_id uuid)
  returns public.workflow_versions
  language plpgsql
  security definer
  set search_path = ''
  as $$
declare
  workflow public.workflows := automation.find_workflow(workflow_id);
begin
  return automation.publish(workflow.tenant_id, workflow.id, 'publish');
end;
$$;

create or replace function automation.validate_workflow(workflow_id uuid) returns jsonb
  language plpgsql stable
  security definer
  set search_path = ''
  as $$
declare
  problems jsonb;
begin
  select c.problems into problems
  from automation.compile_workflow(automation.find_workflow(workflow_id)) as c;
  return jsonb_build_object(
    'valid', not problems @> '[{"severity": "error"}]', 'problems', problems);
end;
$$;

create or replace function public.publish_workflow(workflow_id uuid)
  returns public.workflow_versions
  language sql
  set search_path = ''
  as $$ select automation.publish_workflow(workflow_id) $$;

comment on function public.publish_workflow(uuid) is
  'Compiles the workflow as it is now into a new version and activates it. Errors block: 22023, '
  'with all problems as JSON in detail.';

create or replace function public.validate_workflow(workflow_id uuid) returns jsonb
  language sql stable
  set search_path = ''
  as $$ select automation.validate_workflow(workflow_id) $$;

comment on function public.validate_workflow(uuid) is
  'Every problem of the workflow as it is now: {valid, problems: [{path, severity, code, message, hint}]}.';
