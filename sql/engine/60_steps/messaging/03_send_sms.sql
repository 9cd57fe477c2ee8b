-- A text message.

create or replace function automation.fold_send_sms(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- What tracking makes of a text is no author's to write.
  config := automation.without_blanks(config) - 'tracked_links';
  return case when config ? 'message' and not config ? 'body'
      then config - 'message' || jsonb_build_object('body', config -> 'message')
      else config - 'message' end
    || case when jsonb_typeof(config -> 'media_urls') = 'string'
      and not starts_with(btrim(config ->> 'media_urls'), '{{')
      then jsonb_build_object('media_urls', jsonb_build_array(config -> 'media_urls')) else '{}' end;
end;
$$;

-- A number that is written out goes to the same telephone in every run: what would be skipped then is told now.
-- Whose number the record that fires will have is not known yet, hence no more than a warning.
create or replace function automation.written_number_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (p.phone).number is null then automation.problem(
        g.at, 'invalid_phone', format('to: "%s" is not a phone number', left(g.written, 40)),
        'Write it with its country code, such as "+15125550142", or a field: "{{contact.phone}}".')
      when f.forbidden is not null then automation.problem(
        g.at, 'country_not_allowed', f.forbidden || '; every such text will be skipped',
        'Add the country to tenants.text_countries, or name another number.', 'warning')
      when not t.text_strangers
        and not exists (select from automation.contacts_by_phone(workflow.tenant_id, (p.phone).number))
        and not automation.is_office_number(workflow.tenant_id, (p.phone).number, c.country)
        then automation.problem(
          g.at, 'stranger_not_allowed', format(
            'to: %s is no contact''s and not the office''s; texts to it will be skipped', (p.phone).number),
          'Add the contact, write the number into the phone of the tenant or of a member if it is the office''s, or '
          'allow it with text_strangers of the tenant.', 'warning')
    end
    from (
      select automation.step_path(step) || '.step_config.to' as at,
        btrim(step #>> '{config,base,to}') as written
    ) as g
    cross join lateral (select automation.country_of(workflow.tenant_id) as country) as c
    cross join lateral (select automation.read_phone(g.written, c.country) as phone) as p
    cross join lateral (select automation.forbidden_destination(workflow.tenant_id, p.phone) as forbidden) as f
    left join automation.read_tenants(array[workflow.tenant_id]) as t on true
    where g.written <> '' and g.written not like '%{{%'
  $$;

create or replace function automation.written_sender_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.from', 'invalid_phone', format(
        'from: "%s" is neither a phone number nor a name of up to 11 letters and digits', left(g.written, 40)),
      'Write one of your senders'' numbers, such as "+15125550142", or leave it out.')
    from (select automation.visible_text(step #>> '{config,base,from}') as written) as g
    where g.written <> '' and g.written not like '%{{%'
      and automation.sms_sender(g.written, automation.country_of(workflow.tenant_id)) is null
  $$;

create or replace function automation.needs_send_sms(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Most say neither to nor from, or a field.
  if not step #> '{config,base}' ?| '{from,messaging_service_sid}'
    and coalesce(step #>> '{config,base,to}', '{{') like '%{{%' then
    return automation.needs_recipient(step, scope, 'phone', 'phone number');
  end if;
  return automation.needs_recipient(step, scope, 'phone', 'phone number') || (
    select coalesce(jsonb_agg(p), '[]') from (values
      (automation.written_number_problem(workflow, step)), (automation.written_sender_problem(workflow, step)),
      (automation.foreign_sender_problem(workflow, step))) as f (p)
    where f.p is not null);
end;
$$;

create or replace function automation.writes_send_sms(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.writes_target('ridgeline.messages', '{"direction": ["outbound"], "status": ["sent"]}');
end;
$$;

create or replace function automation.address_send_sms(
  execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb,
  known automation.known_records)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.address_sms(execution, prepared, options, known);
end;
$$;

create or replace function automation.limits_send_sms(input jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return '{"body": "sms"}'::jsonb;
end;
$$;

create or replace function automation.would_send_sms(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('to', prepared.recipient);
end;
$$;

-- What a member was told was not said to the contact.
create or replace function automation.write_sent_texts(
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
  insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body,
    status, provider, provider_id, execution_id, step_key)
  select l.tenant_id, case when not l.input ? 'member' then contacts[l.ordinality] end, 'outbound',
    coalesce(l.result_data ->> 'from', l.input ->> 'from'), l.recipient, l.input ->> 'body', 'sent',
    coalesce(l.input #>> '{sender,provider}', automation.setting('sms_provider')), l.provider_id, l.execution_id,
    l.step_key
  from unnest(ledgers) with ordinality as l;
  for i in 1 .. cardinality(ledgers) loop
    if (ledgers[i]).input ? 'tracked_links' then
      perform automation.cause_of(executions[i]);
      perform automation.note_early_click((ledgers[i]).tenant_id, (ledgers[i]).id, (ledgers[i]).provider_id);
    end if;
  end loop;
end;
$$;

create or replace function automation.log_send_sms(
  execution ridgeline.workflow_executions, ledger ridgeline.workflow_step_executions)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.write_sent_texts(array[execution], array[ledger]);
  return true;
end;
$$;

create or replace function automation.log_all_send_sms(
  executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[])
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.logs_together('message', 'ridgeline.messages', executions, ledgers) then
    return automation.log_each(executions, ledgers);
  end if;
  perform automation.write_sent_texts(executions, ledgers);
  return true;
end;
$$;

select automation.register_step('send_sms', 'sms', null,
  'Sends a text message.', $schema${
  "required": ["body"],
  "properties": {
    "body": {"type": "string", "format": "template", "minLength": 1, "description": "The text."},
    "to": {"type": "string", "format": "template",
      "description": "A phone number. Default: the contact's."},
    "from": {"type": "string", "format": "template", "minLength": 1,
      "description": "One of your senders' numbers. Default: your default sender."},
    "messaging_service_sid": {"type": "string", "format": "template", "minLength": 1,
      "description": "One of your senders that picks the number itself."},
    "media_urls": {"type": ["array", "string"], "format": "template",
      "items": {"type": "string", "format": "template"},
      "description": "Pictures to send along: URLs, or a template that gives a list of them."},
    "purpose": {"enum": ["marketing", "transactional", "internal"],
      "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."},
    "expires_after": {"type": ["string", "object"], "format": "length-of-time",
      "description": "Not sent when it was held for longer. Default: three days for marketing."},
    "expires_at": {"type": "string", "format": "moment", "minLength": 1, "description": "Not sent after then."},
    "over_cap": {"enum": ["hold", "skip"],
      "description": "What becomes of marketing that is one too many for a person. Default: hold."},
    "urgent": {"type": "boolean",
      "description": "A code somebody waits for: no quiet hours, within ten minutes of something they did."},
    "track_links": {"type": "boolean",
      "description": "Links lead through a short one, whose first click of a person is the event sms_clicked."}
  },
  "examples": [{"body": "Hi {{ contact.first_name | default: \"there\" }}, thanks for your call!",
      "purpose": "transactional"}]
}$schema$);
