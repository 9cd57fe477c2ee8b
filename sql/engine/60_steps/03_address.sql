-- Completes the rendered configuration of an outbound step into what the dispatcher sends.
create or replace function automation.address(
  execution ridgeline.workflow_executions, step_type text, prepared automation.prepared_step,
  options jsonb default null, known automation.known_records default null)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared := automation.step_address(
    step_type, execution, prepared, coalesce(options, automation.render_options(execution.tenant_id)), known);
  if prepared.verdict = 'run' then
    prepared := automation.choose_sender(execution.tenant_id, step_type, prepared);
  end if;
  return prepared;
end;
$$;

-- What a record of the execution has under a mapped name, live: in the first of its columns that is filled. Null
-- for nothing and for a blank.
create or replace function automation.mapped_value(
  execution ridgeline.workflow_executions, entity text, name text,
  known automation.known_records default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  record jsonb;
  columns jsonb;
begin
  select e.* into attached from automation.entities as e
  where e.name = mapped_value.entity and e.mapped ? mapped_value.name;
  if not found then
    return null;
  end if;
  record := automation.read_root(execution, entity, known);
  columns := case when attached.several ? name then attached.several -> name
    else jsonb_build_array(attached.mapped -> name) end || to_jsonb(name);
  for i in 0 .. jsonb_array_length(columns) - 1 loop
    if btrim(record ->> (columns ->> i)) <> '' then
      return record -> (columns ->> i);
    end if;
  end loop;
  return null;
end;
$$;

-- The configured recipient, else the phone or email of the record that fired, where it has one, else
-- its contact's.
create or replace function automation.recipient_of(
  execution ridgeline.workflow_executions, input jsonb, name text,
  known automation.known_records default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when input ? 'to' then input -> 'to'
    else coalesce(
      automation.mapped_value(execution, execution.entity, recipient_of.name, known),
      automation.mapped_value(execution, 'contact', recipient_of.name, known))
  end;
end;
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
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select array_agg(distinct c.country)
    from automation.phone_plans as p
    join automation.phone_plans as c
      on c.country = p.country or c.calling_code = p.calling_code and c.rank = 0 and c.calling_code not in ('1', '7')
    where p.country = counts_as_countries.country);
end;
$$;

-- A form on a web site is filled by anybody: it must not make the office text a satellite telephone. allowed: the
-- countries that the tenant's texts may go to, its own among them.
create or replace function automation.forbidden_destination(phone automation.phone_number, allowed text[])
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if phone.number is null or allowed is null or not phone.is_premium
    and (phone.country = any (allowed) or automation.counts_as_countries(phone.country) && allowed) then
    return null;
  end if;
  return case
    when phone.is_premium then format('to: %s is a premium-rate number', phone.number)
    when phone.country ~ '^\d' then format('to: +%s is no country (satellite or international)', phone.country)
    else format('to: texts to %s are not allowed; text_countries of the tenant lists where they may go', phone.country)
  end;
end;
$$;

create or replace function automation.forbidden_destination(tenant_id uuid, phone automation.phone_number)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.forbidden_destination(phone, (
    select t.country || t.text_countries
    from automation.read_offices(array[forbidden_destination.tenant_id]) as t));
end;
$$;

-- A number, a short code or a name that carriers show: nothing else is from anybody, whatever record it was
-- read from.
create or replace function automation.sms_sender(given text, country text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    case when given !~* '^whatsapp:' then automation.normalize_phone(given, country) end,
    substring(given from '^[0-9]{3,8}$'),
    substring(given from '^(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}$'));
end;
$$;

create or replace function automation.address_sms(
  execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb,
  known automation.known_records)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := btrim(automation.recipient_of(execution, prepared.input, 'phone', known) #>> '{}');
  country constant text := options ->> 'country';
  phone constant automation.phone_number := automation.read_phone(given, country);
  named constant text := automation.visible_text(prepared.input ->> 'from');
  sender constant text := case when named <> '' then automation.sms_sender(named, country) end;
  forbidden text;
begin
  -- Mostly it is where texts may go, and nothing more is asked.
  if options ? 'text_countries' and (phone.is_premium or not options -> 'text_countries' ? phone.country) then
    forbidden := automation.forbidden_destination(
      phone, array(select jsonb_array_elements_text(options -> 'text_countries')));
  end if;
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
  prepared.country := phone.country;
  prepared.input := prepared.input - 'from' || jsonb_build_object('to', phone.number)
    || jsonb_strip_nulls(jsonb_build_object('from', sender));
  return prepared;
end;
$$;

-- One after the other, each under its own cause: a workflow that listens to messages must not be started by its own
-- for ever.
create or replace function automation.log_each(
  executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[])
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  for i in 1 .. cardinality(ledgers) loop
    perform automation.cause_of(executions[i]);
    perform automation.step_log((ledgers[i]).step_type, executions[i], ledgers[i]);
  end loop;
  return true;
end;
$$;

-- May rows that show what was sent be written as a set, under the cause of one of them? Not where somebody hears that
-- they are written, which is told from trigger to trigger and at the end of the statement, when all would have the
-- cause of the last.
create or replace function automation.logs_sets(entity text, relation regclass, tenant_ids uuid[]) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
begin
  return not exists (
    select from automation.active_triggers as t
    left join automation.trigger_types as y on y.name = t.event
    where t.tenant_id = any (tenant_ids) and t.entity = logs_sets.entity
      -- What no row that goes out is when it is written.
      and (y.column_name = 'direction' and lower(y.becomes) = 'inbound'
        or y.column_name is not null and not y.on_insert) is not true)
    -- A trigger that somebody else put there may write whatever it wants.
    and not exists (
      select from pg_catalog.pg_trigger as g
      join pg_catalog.pg_proc as p on p.oid = g.tgfoid
      where g.tgrelid = relation and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 4 <> 0
        and p.pronamespace <> 'automation'::regnamespace);
end;
$$;

-- Begins writing them as a set, under the cause of the first; false: they are to be written one by one.
create or replace function automation.logs_together(
  entity text, relation regclass, executions ridgeline.workflow_executions[],
  ledgers ridgeline.workflow_step_executions[])
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(ledgers) > 1 then
    if not automation.logs_sets(entity, relation, array(select distinct l.tenant_id from unnest(ledgers) as l)) then
      return false;
    end if;
  end if;
  perform automation.cause_of(executions[1]);
  return true;
end;
$$;

-- The CRM shows what was sent: those of one type together. The messages are out already: a CRM row that cannot be
-- written must not lose a result, so the ledger says what happened instead.
create or replace function automation.record_sent(
  executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ledger ridgeline.workflow_step_executions;
  types text[] := '{}'::text[];
  type text;
  middle constant integer := cardinality(ledgers) / 2;
begin
  foreach ledger in array ledgers loop
    if (ledger.step_type = any (types)) is not true then
      types := types || ledger.step_type;
    end if;
  end loop;
  foreach type in array types loop
    if cardinality(types) = 1 then
      perform automation.step_log_all(type, executions, ledgers);
    else
      perform automation.step_log_all(type,
        array(select executions[i] from generate_subscripts(ledgers, 1) as i
          where (ledgers[i]).step_type = type order by i),
        array(select ledgers[i] from generate_subscripts(ledgers, 1) as i
          where (ledgers[i]).step_type = type order by i));
    end if;
  end loop;
  perform automation.clear_cause();
exception when others then
  if middle > 0 then
    perform automation.record_sent(executions[:middle], ledgers[:middle]);
    perform automation.record_sent(executions[middle + 1:], ledgers[middle + 1:]);
  else
    update ridgeline.workflow_step_executions as s
    set changed_at = automation.now(),
      warnings = coalesce(s.warnings, '[]') || automation.engine_error('not_in_crm', sqlstate, sqlerrm)
    where s.tenant_id = (ledgers[1]).tenant_id and s.id = (ledgers[1]).id;
  end if;
end;
$$;

create or replace function automation.existing_contact(execution ridgeline.workflow_executions)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select c.id
    from automation.contact_key(execution) as c (id)
    where automation.read_record('contact', execution.tenant_id, c.id) is not null);
end;
$$;

comment on function automation.existing_contact(ridgeline.workflow_executions) is
  'The contact of an execution while there is one.';

create or replace function automation.existing_contacts(executions ridgeline.workflow_executions[])
  returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
  tenant_ids uuid[] := '{}'::uuid[];
  ids text[] := '{}'::text[];
  records jsonb[];
begin
  if cardinality(executions) = 1 then
    return array[automation.existing_contact(executions[1])];
  end if;
  foreach execution in array executions loop
    tenant_ids := tenant_ids || execution.tenant_id;
    ids := ids || automation.contact_key(execution);
  end loop;
  records := automation.read_records('contact', tenant_ids, ids);
  for i in 1 .. cardinality(ids) loop
    if records[i] is null then
      ids[i] := null;
    end if;
  end loop;
  return ids;
end;
$$;

comment on function automation.existing_contacts(ridgeline.workflow_executions[]) is
  'The same of several, in their order.';
