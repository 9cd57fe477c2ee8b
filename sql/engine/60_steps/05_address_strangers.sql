-- Whom a workflow may text. Everybody who may publish can write any number into a step; without a limit an
-- account of a CRM is a machine that texts the world in the office's name. So a text goes to whom the office
-- knows, unless text_strangers of the tenant says otherwise.

-- Does the number stand in the record, in whatever field and notation?
create or replace function automation.mentions_number(record jsonb, phone text, country text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from jsonb_path_query(record, 'strict $.** ? (@.type() == "string" || @.type() == "number")') as v
      where length(v #>> '{}') between 5 and 60
        and automation.phone_key(v #>> '{}') = any (automation.phone_keys(phone))
        and automation.normal_number(v #>> '{}', country) = phone)
  $$;

-- The telephones of the office itself.
create or replace function automation.is_office_number(tenant_id uuid, phone text, country text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from (
        select t.phone from automation.read_offices(array[is_office_number.tenant_id]) as t
        union all
        select m.phone from automation.read_members(array[is_office_number.tenant_id], null) as m
      ) as o
      where automation.phone_key(o.phone) = any (automation.phone_keys(is_office_number.phone))
        and automation.normal_number(o.phone, country) = is_office_number.phone)
  $$;

-- The record that fired and its contact, as they are now: what a caller hands to a run is nobody's record. A dry
-- run of made-up data has no other.
create or replace function automation.own_records(execution ridgeline.workflow_executions) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when execution.version = 0
        then jsonb_build_array(execution.trigger_data -> execution.entity, execution.trigger_data -> 'contact')
      else jsonb_build_array(
        automation.read_record(execution.entity, execution.tenant_id, execution.record_id),
        automation.read_record('contact', execution.tenant_id, automation.contact_key(execution)))
    end
  $$;

-- Cheapest first: most texts name no recipient.
create or replace function automation.is_stranger(
  execution ridgeline.workflow_executions, input jsonb, phone text, country text)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Mostly it goes to the contact that the run is about.
  if input ? 'to' is not true then
    return false;
  end if;
  return phone is not null
    and not exists (
      select from automation.read_offices(array[execution.tenant_id]) as t where t.text_strangers)
    and not exists (select from automation.contacts_by_phone(execution.tenant_id, phone))
    and not automation.mentions_number(automation.own_records(execution), phone, country)
    and not automation.is_office_number(execution.tenant_id, phone, country);
end;
$$;

comment on function automation.is_stranger(ridgeline.workflow_executions, jsonb, text, text) is
  'Is this nobody whom the office knows: no contact of the tenant, no number of the record that fired or of '
  'its contact, none of the office itself? A number that was written into the step or handed to the run is one.';

-- Asked at every later attempt of what was rendered once: the office may have taken a permission back. A step
-- that names no recipient writes to its own contact.
create or replace function automation.recheck_recipient(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  country constant text := automation.country_of(execution.tenant_id);
  names_one constant boolean := coalesce(step #> '{config,base}' ? 'to', false) or exists (
    select from jsonb_array_elements(step #> '{config,slots}') as s where s #>> '{at,0}' = 'to');
  forbidden text;
begin
  if prepared.verdict <> 'run' or automation.channel_of(step ->> 'type') <> 'sms' then
    return prepared;
  end if;
  forbidden := automation.forbidden_destination(
    execution.tenant_id, automation.read_phone(prepared.recipient, country));
  if forbidden is not null then
    return automation.skip_unaddressed(prepared, 'country_not_allowed', forbidden, prepared.recipient);
  elsif names_one
    and automation.is_stranger(execution, prepared.input, prepared.recipient, country) then
    return automation.skip_unaddressed(prepared, 'stranger_not_allowed', format(
      'to: %s is no contact; tenants.text_strangers would allow it', prepared.recipient), prepared.recipient);
  end if;
  return prepared;
end;
$$;

comment on function automation.recheck_recipient(
  ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'May a text still go to whom it was rendered for? By text_countries and text_strangers as they are now.';
