-- An email.

-- A body with a tag in it is HTML; any other keeps its line breaks as plain text.
create or replace function automation.body_kind(body jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when body #>> '{}' ~* '<(?:[a-z][a-z0-9]*[[:space:]/>]|/[a-z]|!--|!doctype)' then 'html' else 'text' end
  $$;

create or replace function automation.fold_send_email(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  return case when config ? 'body' and not config ?| '{html,text}'
    then config - 'body' || jsonb_build_object(automation.body_kind(config -> 'body'), config -> 'body')
    else config end;
end;
$$;

create or replace function automation.compile_send_email(config jsonb, path text, shared jsonb)
  returns automation.compiled_config
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read constant record := automation.compile_addresses(config, path, shared -> 'addresses');
begin
  return row(read.compiled, config, '{}', '{}', read.problems)::automation.compiled_config;
end;
$$;

-- to.0.address -> to: what a step is told, of what it was compiled into.
create or replace function automation.place_send_email(at text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when at ~ '\d\.(name|address)$'
    then regexp_replace(at, '^(to|cc|bcc|reply_to|from)\.\d+\.(name|address)$', '\1') else at end;
end;
$$;

create or replace function automation.needs_send_email(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_recipient(step, scope, 'email', 'address')
    || case when step #> '{config,base}' ?| '{from,messaging_service_sid}'
      then coalesce(automation.as_list(automation.foreign_sender_problem(workflow, step)), '[]') else '[]' end;
end;
$$;

create or replace function automation.writes_send_email(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.writes_target('ridgeline.emails', '{"direction": ["outbound"], "status": ["sent"]}');
end;
$$;

create or replace function automation.address_send_email(
  execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb,
  known automation.known_records)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.address_email(execution, prepared, known);
end;
$$;

create or replace function automation.limits_send_email(input jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return '{"subject": "email_subject", "html": "email_body", "text": "email_body"}'::jsonb;
end;
$$;

create or replace function automation.would_send_email(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('to', prepared.input -> 'to');
end;
$$;

create or replace function automation.write_sent_emails(
  executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
declare
  contacts constant text[] := automation.existing_contacts(executions);
begin
  insert into ridgeline.emails (tenant_id, contact_id, direction, from_address, to_address, subject,
    html, text, status, provider, provider_id, execution_id)
  select l.tenant_id, case when not l.input ? 'member' then contacts[l.ordinality] end, 'outbound',
    coalesce(l.result_data ->> 'from', l.input ->> 'from'),
    (select string_agg(automation.bare_address(m.mailbox), ', ' order by m.place)
     from jsonb_array_elements_text(l.input -> 'to') with ordinality as m (mailbox, place)),
    l.input ->> 'subject', l.input ->> 'html', l.input ->> 'text', 'sent',
    coalesce(l.input #>> '{sender,provider}', automation.setting('email_provider')), l.provider_id, l.execution_id
  from unnest(ledgers) with ordinality as l;
end;
$$;

create or replace function automation.log_send_email(
  execution ridgeline.workflow_executions, ledger ridgeline.workflow_step_executions)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.write_sent_emails(array[execution], array[ledger]);
  return true;
end;
$$;

create or replace function automation.log_all_send_email(
  executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[])
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.logs_together('email', 'ridgeline.emails', executions, ledgers) then
    return automation.log_each(executions, ledgers);
  end if;
  perform automation.write_sent_emails(executions, ledgers);
  return true;
end;
$$;

select automation.register_step('send_email', 'email', null,
  'Sends an email.', $schema${
  "required": ["subject"],
  "anyOf": [{"required": ["html"]}, {"required": ["text"]}],
  "properties": {
    "subject": {"type": "string", "format": "template", "minLength": 1, "description": "The subject."},
    "html": {"type": "string", "format": "html", "minLength": 1,
      "description": "The message as HTML; what templates insert is escaped."},
    "text": {"type": "string", "format": "template", "minLength": 1,
      "description": "The message as plain text; without html it goes out as that alone."},
    "to": {"type": ["string", "array"], "format": "template",
      "items": {"type": "string", "format": "template"},
      "description": "Addresses, in a list or between commas; a variable is one. Default: the contact's."},
    "from": {"type": "string", "format": "template", "minLength": 1,
      "description": "One of your addresses, or any in a domain of yours. Default: your default sender."},
    "reply_to": {"type": ["string", "array"], "format": "template", "minLength": 1,
      "items": {"type": "string", "format": "template"}, "description": "Where answers go."},
    "cc": {"type": ["string", "array"], "format": "template", "minLength": 1,
      "items": {"type": "string", "format": "template"}, "description": "Copies."},
    "bcc": {"type": ["string", "array"], "format": "template", "minLength": 1,
      "items": {"type": "string", "format": "template"}, "description": "Blind copies."},
    "headers": {"type": "object", "additionalProperties": {"type": "string", "format": "template"},
      "description": "Further headers, by name; not those that say who it is from or goes to."},
    "purpose": {"enum": ["marketing", "transactional", "internal"],
      "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."},
    "expires_after": {"type": ["string", "object"], "format": "length-of-time",
      "description": "Not sent when it was held for longer. Default: three days for marketing."},
    "expires_at": {"type": "string", "format": "moment", "minLength": 1, "description": "Not sent after then."},
    "over_cap": {"enum": ["hold", "skip"],
      "description": "What becomes of marketing that is one too many for a person. Default: hold."}
  },
  "examples": [{"subject": "Your estimate", "html": "<p>Hi {{contact.first_name}}, here it is.</p>",
      "purpose": "transactional"}]
}$schema$);
