-- Secrets, and who says that an address is not to be written to.

revoke execute on function
  automation.vault_name(uuid, text), automation.read_secret(uuid, text, interval),
  automation.write_secret(uuid, text, text), automation.may_use_secrets(uuid),
  automation.set_secret(uuid, text, text), automation.delete_secret(uuid, text),
  automation.list_secrets(uuid), automation.check_signing_secret(text),
  automation.make_signing_secret(), automation.signing_secrets(uuid, text),
  automation.first_signing_secret(uuid), automation.rotate_webhook_secret(uuid),
  ridgeline.set_secret(text, text, uuid), ridgeline.delete_secret(text, uuid), ridgeline.list_secrets(uuid),
  ridgeline.rotate_webhook_secret(uuid)
  from public, anon, authenticated, service_role;
grant execute on function
  automation.read_secret(uuid, text, interval), automation.signing_secrets(uuid, text),
  automation.first_signing_secret(uuid)
  to service_role;
grant execute on function
  automation.set_secret(uuid, text, text), automation.delete_secret(uuid, text),
  automation.list_secrets(uuid), automation.rotate_webhook_secret(uuid),
  ridgeline.set_secret(text, text, uuid), ridgeline.delete_secret(text, uuid), ridgeline.list_secrets(uuid),
  ridgeline.rotate_webhook_secret(uuid)
  to authenticated, service_role;

revoke execute on function
  automation.role_in(uuid), automation.suppress_address(uuid, text, text), ridgeline.suppress_address(text, text, uuid)
  from public, anon, authenticated, service_role;
grant execute on function
  automation.suppress_address(uuid, text, text), ridgeline.suppress_address(text, text, uuid)
  to authenticated, service_role;
