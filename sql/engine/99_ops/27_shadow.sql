-- Shadows: who may switch a workflow. automation.set_workflow_mode() asks who calls.
revoke all on function ridgeline.set_workflow_mode(uuid, text, uuid) from public, anon;
grant execute on function automation.set_workflow_mode(uuid, text), ridgeline.set_workflow_mode(uuid, text, uuid)
  to authenticated, service_role;
