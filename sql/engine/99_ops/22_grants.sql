-- Explicit grants: new tables in ridgeline are exposed to nobody until they are listed here.

revoke all on all tables in schema ridgeline from anon, authenticated, service_role;

grant select on all tables in schema ridgeline to service_role;

grant insert, update, delete on
  ridgeline.tenant_settings, ridgeline.messages, ridgeline.emails, ridgeline.calls,
  ridgeline.form_submissions, ridgeline.workflows, ridgeline.workflow_steps
  to service_role;
-- Lifted by ridgeline.lift_revocation() alone, which keeps who did it and why.
grant insert on ridgeline.suppressions to service_role;

grant select on
  ridgeline.tenant_settings, ridgeline.messages, ridgeline.emails, ridgeline.calls,
  ridgeline.form_submissions, ridgeline.workflows, ridgeline.workflow_steps, ridgeline.workflow_versions,
  ridgeline.workflow_executions, ridgeline.workflow_step_executions, ridgeline.scheduled_steps,
  ridgeline.suppressions
  to authenticated;

grant insert, update, delete on
  ridgeline.form_submissions, ridgeline.workflow_steps
  to authenticated;

-- What was said, as a member notes it down. The provider's word for it (its name and id, what became
-- of it, who sent it) is the provider's: news of a message is matched by it.
grant delete,
  insert (tenant_id, id, contact_id, direction, from_number, to_number, body, status, media_urls,
    created_at),
  update (contact_id, status)
  on ridgeline.messages to authenticated;
grant delete,
  insert (tenant_id, id, contact_id, direction, from_address, to_address, subject, html, text, status,
    created_at),
  update (contact_id, status)
  on ridgeline.emails to authenticated;
grant delete,
  insert (tenant_id, id, contact_id, direction, from_number, to_number, status, duration_seconds,
    created_at),
  update (contact_id, status, duration_seconds)
  on ridgeline.calls to authenticated;

-- published_version is the engine's to set.
grant delete,
  insert (tenant_id, id, name, description, status, trigger_type, trigger_config, conditions,
    is_active, metadata, mode),
  update (name, description, status, trigger_type, trigger_config, conditions, is_active, metadata, mode)
  on ridgeline.workflows to authenticated;

-- Which engine is at work ridgeline.set_engine() says alone.
grant
  insert (tenant_id, name, timezone, country, text_countries, text_strangers, phone, email, website, address, settings),
  update (name, timezone, country, text_countries, text_strangers, phone, email, website, address, settings)
  on ridgeline.tenant_settings to authenticated;

grant insert, update, delete on
  ridgeline.senders, ridgeline.email_addresses, ridgeline.forms, ridgeline.held_submissions
  to service_role;
grant select on
  ridgeline.senders, ridgeline.email_addresses, ridgeline.forms, ridgeline.email_events, ridgeline.held_submissions
  to authenticated;
grant delete on ridgeline.held_submissions to authenticated;

-- Which of its own a tenant uses; not which are its own.
grant update (label, display_name, is_default, is_active) on ridgeline.senders to authenticated;

-- A form's public key is made for it, not chosen.
grant delete,
  insert (tenant_id, id, name, is_active, allowed_origins, required_fields, field_map, honeypot,
    redirect_url, max_per_hour, max_per_source_per_hour, duplicate_window, trusted, max_fired_per_hour,
    max_per_address_per_hour, consent),
  update (name, is_active, allowed_origins, required_fields, field_map, honeypot, redirect_url,
    max_per_hour, max_per_source_per_hour, duplicate_window, trusted, max_fired_per_hour,
    max_per_address_per_hour, consent)
  on ridgeline.forms to authenticated;

-- What ridgeline.workflow_schemas and ridgeline.automation_skipped_sends read.
grant select on automation.step_types, automation.setting_schemas, automation.skip_codes
  to authenticated, service_role;

-- The indexes of contacts and tenants call these, as whoever writes one: a role that could not would have its
-- write refused. They read nothing but what they are given.
grant execute on function
  automation.phone_key(text), automation.phone_digits(text), automation.email_key(text),
  automation.normalize_email(text), automation.visible_text(text), automation.half_width(text),
  automation.ascii_domain(text), automation.punycode(text),
  automation.punycode_bias(integer, integer, boolean), automation.key_uuid(text), automation.row_uuid(text),
  automation.as_uuid(text)
  to public;

-- What ridgeline.workflow_statistics adds up, for its own tenants.
grant select on automation.statistics, automation.statistic_changes to authenticated, service_role;
grant select on ridgeline.workflow_statistics to authenticated, service_role;
grant execute on function automation.visible_zones(), automation.statistic_facts(timestamptz, timestamptz, text)
  to authenticated, service_role;

grant select on ridgeline.erasures, ridgeline.tenant_erasures to authenticated;
-- To erase a tenant is for whoever runs the installation.
grant execute on function ridgeline.erase_tenant(uuid) to service_role;
revoke all on automation.erasures_under_way, automation.erased_addresses from service_role;
revoke execute on function
  automation.erasure_key(), automation.make_erasure_key(), automation.erased_digest(uuid, text, text),
  automation.erasure_digest(uuid, text, text, text)
  from service_role;
grant execute on function
  automation.erase_person(uuid, text, text, text), automation.erasures_of(uuid, text, text, text),
  ridgeline.erase_person(text, text, text, uuid), ridgeline.erasures_of(text, text, text, uuid),
  automation.person_meant(uuid, text, text, text), automation.person_runs(automation.person, timestamptz),
  automation.person_conversation(automation.person),
  ridgeline.get_person_history(text, text, text, timestamptz, integer, uuid)
  to authenticated, service_role;
