-- Completes the rendered configuration of an outbound step into what the dispatcher sends.
create or replace function automation.address(
  execution ridgeline.workflow_executions, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared := automation.step_address(step_type, execution, prepared);
  if prepared.verdict = 'run' then
    prepared := automation.choose_sender(execution.tenant_id, step_type, prepared);
  end if;
  return prepared;
end;
$$;

-- What a record of the execution has under a mapped name, live: in the first of its columns that is filled. Null
-- for nothing and for a blank.
create or replace function automation.mapped_value(
  execution ridgeline.workflow_executions, entity text, name text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select v.value
    from automation.entities as e
    cross join lateral (select automation.read_root(execution, e.name) as record) as r
    cross join lateral (
      select r.record -> m.column_name as value, m.place from automation.mapped_columns(e, mapped_value.name) as m
      union all
      select r.record -> mapped_value.name, 1000
    ) as v
    where e.name = mapped_value.entity and e.mapped ? mapped_value.name
      and btrim(v.value #>> '{}') <> ''
    order by v.place
    limit 1
  $$;

-- The configured recipient, else the phone or email of the record that fired, where it has one, else
-- its contact's.
create or replace function automation.recipient_of(
  execution ridgeline.workflow_executions, input jsonb, name text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'to' then input -> 'to'
      else coalesce(
        automation.mapped_value(execution, execution.entity, recipient_of.name),
        automation.mapped_value(execution, 'contact', recipient_of.name))
    end
  $$;

-- given: what stands where the recipient should, for whoever has to mend it.
create or replace function automation.skip_unaddressed(
  prepared automation.prepared_step, code text, message text, given text default null)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.verdict := 'skip';
  prepared.reason := jsonb_build_object('code', code, 'message', message)
    || case when given is null then '{}' else jsonb_build_object('given', left(given, 320)) end;
  return prepared;
end;
$$;

-- The country itself, and the one whose numbers it shares: Guernsey's are British. America's and Russia's
-- numbering plans are of countries with nothing else in common.
create or replace function automation.counts_as_countries(country text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(distinct c.country)
    from automation.phone_plans as p
    join automation.phone_plans as c
      on c.country = p.country or c.calling_code = p.calling_code and c.rank = 0 and c.calling_code not in ('1', '7')
    where p.country = counts_as_countries.country
  $$;

-- A form on a web site is filled by anybody: it must not make the office text a satellite telephone.
create or replace function automation.forbidden_destination(tenant_id uuid, phone automation.phone_number)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when phone.is_premium then format('to: %s is a premium-rate number', phone.number)
      when phone.country ~ '^\d' then format('to: +%s is no country (satellite or international)', phone.country)
      else format(
        'to: texts to %s are not allowed; text_countries of the tenant lists where they may go', phone.country)
    end
    from automation.read_tenants(array[forbidden_destination.tenant_id]) as t
    where (phone.is_premium
        or not automation.counts_as_countries(phone.country) && (t.country || t.text_countries))
  $$;

create or replace function automation.fail_unaddressed(
  prepared automation.prepared_step, code text, message text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.verdict := 'fail';
  prepared.reason := jsonb_build_object('code', code, 'message', message);
  return prepared;
end;
$$;

-- A number, a short code or a name that carriers show: nothing else is from anybody, whatever record it was
-- read from.
create or replace function automation.sms_sender(given text, country text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      case when given !~* '^whatsapp:' then automation.normalize_phone(given, country) end,
      substring(given from '^[0-9]{3,8}$'),
      substring(given from '^(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}$'))
  $$;

create or replace function automation.address_sms(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := btrim(automation.recipient_of(execution, prepared.input, 'phone') #>> '{}');
  country constant text := automation.country_of(execution.tenant_id);
  phone constant automation.phone_number := automation.read_phone(given, country);
  named constant text := automation.visible_text(prepared.input ->> 'from');
  sender constant text := automation.sms_sender(named, country);
  forbidden constant text := automation.forbidden_destination(execution.tenant_id, phone);
begin
  if coalesce(given, '') = '' then
    return automation.skip_unaddressed(prepared, 'no_recipient', 'to: there is no phone number');
  elsif phone.number is null then
    return automation.skip_unaddressed(
      prepared, 'invalid_recipient', format('to: "%s" is not a phone number', left(given, 40)), given);
  elsif btrim(coalesce(prepared.input ->> 'body', '')) = '' then
    return automation.fail_unaddressed(prepared, 'empty_body', 'body: the message is empty');
  elsif named <> '' and sender is null then
    return automation.fail_unaddressed(prepared, 'invalid_sender', format(
      'from: "%s" is neither a phone number nor a name of up to 11 letters and digits', left(named, 40)));
  elsif forbidden is not null then
    return automation.skip_unaddressed(prepared, 'country_not_allowed', forbidden, given);
  elsif automation.is_stranger(execution, prepared.input, phone.number, country) then
    return automation.skip_unaddressed(prepared, 'stranger_not_allowed', format(
      'to: %s is no contact; tenants.text_strangers would allow it', phone.number), given);
  end if;
  prepared.recipient := phone.number;
  prepared.input := prepared.input - 'from' || jsonb_build_object('to', phone.number)
    || jsonb_strip_nulls(jsonb_build_object('from', sender));
  return prepared;
end;
$$;

-- The CRM shows what was sent. The message is out already: a CRM row that cannot be written must
-- not lose the result, so the ledger says what happened instead.
create or replace function automation.record_sent(
  execution ridgeline.workflow_executions, ledger ridgeline.workflow_step_executions)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- A workflow that listens to messages must not be started by its own for ever.
  perform automation.cause_of(execution);
  case ledger.step_type
    when 'send_sms' then
      insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body,
        status, provider, provider_id, execution_id)
      values (ledger.tenant_id, automation.existing_contact(execution), 'outbound',
        coalesce(ledger.result_data ->> 'from', ledger.input ->> 'from'), ledger.recipient,
        ledger.input ->> 'body', 'sent',
        coalesce(ledger.input #>> '{sender,provider}', automation.setting('sms_provider')),
        ledger.provider_id, execution.id);
    when 'send_email' then
      insert into ridgeline.emails (tenant_id, contact_id, direction, from_address, to_address, subject,
        html, text, status, provider, provider_id, execution_id)
      values (ledger.tenant_id, automation.existing_contact(execution), 'outbound',
        coalesce(ledger.result_data ->> 'from', ledger.input ->> 'from'),
        (select string_agg(automation.bare_address(m.mailbox), ', ' order by m.place)
         from jsonb_array_elements_text(ledger.input -> 'to') with ordinality as m (mailbox, place)),
        ledger.input ->> 'subject', ledger.input ->> 'html', ledger.input ->> 'text', 'sent',
        coalesce(ledger.input #>> '{sender,provider}', automation.setting('email_provider')),
        ledger.provider_id, execution.id);
    else null;
  end case;
  perform automation.clear_cause();
exception when others then
  update ridgeline.workflow_step_executions as s
  set warnings = coalesce(s.warnings, '[]') || automation.engine_error(
    'not_in_crm', sqlstate, sqlerrm)
  where s.tenant_id = ledger.tenant_id and s.id = ledger.id;
end;
$$;

create or replace function automation.existing_contact(execution ridgeline.workflow_executions)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.id
    from automation.contact_key(execution) as c (id)
    where automation.read_record('contact', execution.tenant_id, c.id) is not null
  $$;

comment on function automation.existing_contact(ridgeline.workflow_executions) is
  'The contact of an execution while there is one.';
