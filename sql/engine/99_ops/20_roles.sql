-- ROLES, POLICIES AND GRANTS
--
-- Three kinds of caller, named as Supabase names them:
--   anon           sees nothing
--   authenticated  a signed-in user: the rows of the tenants they are a member of
--   service_role   Edge Functions and the office's own servers: everything
--
-- Members edit CRM rows and definitions. What the engine owns (versions, executions, steps, the
-- queue) they read; only functions in automation write it.

revoke all on all functions in schema automation from public;
revoke all on all procedures in schema automation from public;
alter default privileges in schema automation revoke execute on functions from public;

grant usage on schema automation to authenticated, service_role;
grant usage on schema ridgeline to anon, authenticated, service_role;

revoke all on all functions in schema ridgeline from public, anon, authenticated, service_role;

do $$
declare
  api regprocedure;
begin
  for api in
    select p.oid::regprocedure from pg_catalog.pg_proc as p
    where p.pronamespace = 'ridgeline'::regnamespace
      and p.proname in (
        'trigger_workflows', 'execute_workflow', 'cancel_execution', 'retry_execution',
        'publish_workflow', 'validate_workflow', 'get_execution_history', 'test_workflow',
        'explain_enrollment', 'move_executions', 'has_unpublished_changes', 'release_submission',
        'install_recipe', 'export_workflow', 'import_workflow', 'save_workflow', 'get_definition',
        'validate_definition', 'test_definition', 'retry_executions',
        'engine_status', 'tenant_of', 'workflow_versions', 'workflow_executions', 'scheduled_steps')
  loop
    execute format('grant execute on function %s to authenticated, service_role', api);
  end loop;
end;
$$;

-- What the API functions and the policies call on behalf of a signed-in user. Each checks the
-- caller itself.
grant execute on function
  automation.member_tenants(), automation.admin_tenants(), automation.editor_tenants(),
  automation.visible_tenants(uuid), automation.now(), automation.default_provider(text),
  automation.test_now(), automation.new_id(), automation.as_uuid(text), automation.in_tenant(uuid),
  automation.own_tenant(uuid), automation.request_scope(jsonb),
  automation.look_up(text), automation.check_seen(jsonb), automation.related_records(text, text),
  automation.named_records(jsonb), automation.naming_columns(), automation.list_records(uuid, text),
  automation.seen_records(uuid, text, text[]),
  automation.trigger_workflows(text, jsonb, uuid), automation.execute_workflow(uuid, jsonb),
  automation.cancel_execution(uuid), automation.retry_execution(uuid),
  automation.publish_workflow(uuid, jsonb, text), automation.validate_workflow(uuid),
  automation.move_executions(uuid, integer, uuid[]),
  automation.has_unpublished_changes(ridgeline.workflows), automation.check_history_filter(text, text, text),
  automation.execution_history(
    uuid, text, uuid, text, uuid, integer, uuid, text, text, timestamptz, timestamptz, text),
  automation.test_workflow(uuid, jsonb, jsonb), automation.explain_enrollment(uuid, jsonb),
  automation.release_submission(uuid, jsonb),
  automation.install_recipe(uuid, jsonb, jsonb), automation.export_workflow(uuid),
  automation.import_workflow(uuid, jsonb, jsonb),
  automation.save_workflow(uuid, jsonb, text), automation.get_definition(uuid, integer),
  automation.try_definition(uuid, jsonb, jsonb, jsonb), automation.retry_executions(uuid, jsonb, integer),
  automation.engine_status()
  to authenticated;

grant execute on all functions in schema automation to service_role;
grant execute on all procedures in schema automation to service_role;
grant select on all tables in schema automation to service_role;
grant update (value) on automation.settings to service_role;

-- Attaching tables and running SQL by name is for the owner alone.
revoke execute on function
  automation.attach(regclass, text, jsonb, jsonb, text[], text[], text), automation.detach(text),
  automation.generate_capture(automation.entities), automation.regenerate_captures(),
  automation.attach_conversations(),
  automation.attach_inbox(regclass, jsonb, jsonb, text), automation.detach_inbox(regclass),
  automation.regenerate_readers(), automation.begin_restore(), automation.end_restore(),
  automation.install_schedule(), automation.remove_schedule(), automation.forget_former_jobs(),
  automation.vault_secret(text), automation.call_dispatch()
  from service_role;
