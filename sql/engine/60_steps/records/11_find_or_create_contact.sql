-- The contact that has a phone number or an email address; a new one where nobody has.

create or replace function automation.fold_find_or_create_contact(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.without_blanks(config);
end;
$$;

-- Columns without which the table takes no row, and that nothing fills by itself. A trigger of its own might.
create or replace function automation.needed_columns(contacts automation.entities) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select a.attname::text from pg_catalog.pg_attribute as a
      where a.attrelid = to_regclass(contacts.relation) and a.attnum > 0 and not a.attisdropped and a.attnotnull
        and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
        and a.attname is distinct from contacts.tenant_column
        and not exists (
          select from automation.filled_columns(a.attrelid::regclass, contacts.id_column, '{}') as f
          where f.name = a.attname)
        and not exists (
          select from pg_catalog.pg_trigger as g
          where g.tgrelid = a.attrelid and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 7 = 7)
      order by a.attnum)
  $$;

create or replace function automation.missing_columns(contacts automation.entities, config jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when m.names <> '{}' then jsonb_build_array(automation.problem(
      'fields', 'missing', format('a contact of yours needs %s, and a new one would have none',
        array_to_string(m.names, ', ')),
      format('Say what it is to be in fields, such as {"%s": "Unknown caller"}.', m.names[1])))
      else '[]' end
    from (
      select array(
        select c.name from unnest(automation.needed_columns(contacts)) with ordinality as c (name, place)
        where not automation.own_names(contacts, automation.whole_name(contacts, coalesce(config -> 'fields', '{}'))
          || (config - '{fields}'::text[])) ? c.name
        order by c.place) as names
    ) as m
  $$;

-- Consent is what somebody gave, and is recorded with its evidence (ridgeline.grant_consent): having called is none.
create or replace function automation.written_consents(contacts automation.entities, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
      'fields.' || f.name, 'consent_by_step',
      format('fields.%s: who calls or writes has not agreed to anything by it', f.name),
      'Leave it out; ridgeline.grant_consent() records what somebody agreed to, and on what evidence.')), '[]')
    from jsonb_object_keys(fields) as f (name)
    where automation.own_name(contacts, f.name)
      in (contacts.mapped ->> 'sms_consent', contacts.mapped ->> 'email_consent')
  $$;

create or replace function automation.check_find_or_create_contact(config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields constant jsonb := case jsonb_typeof(config -> 'fields') when 'object' then config -> 'fields' else '{}' end;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  if contacts.name is null then
    return jsonb_build_array(automation.problem(
      path, 'unknown_entity', 'there are no contacts here', 'Attach the table of your contacts: docs/attach.md.'));
  end if;
  return automation.check_fields(
    'contact', automation.names_in(automation.whole_name(contacts, fields)), path || '.fields.') || (
    select coalesce(jsonb_agg(p.problem || jsonb_build_object('path', path || '.' || (p.problem ->> 'path'))), '[]')
    from jsonb_array_elements(
      automation.missing_columns(contacts, config || jsonb_build_object('fields', fields))
      || automation.written_consents(contacts, fields)
      || case when config ?| '{phone,email}' then '[]' else jsonb_build_array(automation.problem(
        'phone', 'missing', 'find_or_create_contact needs phone or email',
        'For example {"phone": "{{call.from_number}}"}.')) end
      || (
        select coalesce(jsonb_agg(automation.problem(
          k, 'unknown_field', format('%s: contacts have no field "%1$s" by which one could be found', k),
          'Map it where they are attached: {"' || k || '": "<column>"}.')), '[]')
        from unnest('{phone,email}'::text[]) as k where config ? k and not contacts.mapped ? k)) as p (problem));
end;
$$;

create or replace function automation.writes_find_or_create_contact(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array[row('contact', true,
    automation.written_fields(step #> '{config,base,fields}'))::automation.step_write];
end;
$$;

-- After it the run has a contact.
create or replace function automation.brings_find_or_create_contact(step jsonb) returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return '{contact}'::text[];
end;
$$;

-- Number and address in their normal form. One that is none is left out with a warning, where the other is good; with
-- neither, a withheld caller for one, there is nobody to find.
create or replace function automation.ready_find_or_create_contact(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant jsonb := prepared.input;
  phone constant text := case when not automation.is_withheld(given ->> 'phone')
    then automation.normal_number(given ->> 'phone', automation.country_of(execution.tenant_id)) end;
  email constant text := automation.normalize_email(given ->> 'email');
  wrong constant jsonb := (
    select coalesce(jsonb_agg(jsonb_build_object('path', w.key, 'code', 'invalid_recipient',
      'message', format('%s: "%s" is not %s', w.key, left(automation.one_line(given ->> w.key), 60), w.noun),
      'given', left(given ->> w.key, 320)) order by w.key), '[]')
    from (values ('phone', phone, 'a phone number'), ('email', email, 'an email address')) as w (key, found, noun)
    where w.found is null and btrim(given ->> w.key) <> '');
begin
  prepared.input := given - '{phone,email}'::text[]
    || jsonb_strip_nulls(jsonb_build_object('phone', phone, 'email', email));
  if phone is not null or email is not null then
    return automation.add_warnings(prepared, wrong);
  end if;
  prepared.verdict := 'skip';
  prepared.reason := jsonb_build_object('code', 'no_address', 'message',
    coalesce(wrong #>> '{0,message}', 'phone: there is no phone number or email address to find a contact by'));
  return prepared;
end;
$$;

-- The new row. What came out empty is left to the table.
create or replace function automation.new_contact(contacts automation.entities, tenant_id uuid, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fields constant jsonb := automation.whole_name(contacts, (
    select coalesce(jsonb_object_agg(f.key, f.value), '{}')
    from jsonb_each(coalesce(input -> 'fields', '{}')) as f where not automation.is_blank(f.value)));
begin
  if fields <> '{}' then
    perform automation.check_writable(contacts, fields);
  end if;
  return automation.fit_fields(contacts, automation.own_names(
    contacts, automation.with_fields('{}', fields) || (input - '{fields}'::text[])), tenant_id);
end;
$$;

create or replace function automation.check_new_assignee(tenant_id uuid, input jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_assignee(check_new_assignee.tenant_id, 'fields.assigned_to', coalesce(
    input #>> '{fields,assigned_to}', input -> 'fields' ->> automation.mapped_column('contact', 'assigned_to')));
end;
$$;

-- Somebody else who makes the same contact by other means may have been quicker: then theirs is it.
create or replace function automation.make_contact(
  execution ridgeline.workflow_executions, input jsonb, out id text, out created boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields jsonb;
  refused text;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  fields := automation.new_contact(contacts, execution.tenant_id, input);
  begin
    id := automation.insert_contact(contacts, execution.tenant_id, fields);
    created := true;
  exception when unique_violation then
    get stacked diagnostics refused = constraint_name;
    id := (automation.contact_with(execution.tenant_id, input ->> 'phone', input ->> 'email')).id;
    created := false;
  end;
  if refused is not null and id is null then
    raise exception 'contact: the table has one like it already, which may be deleted (%)', refused
      using errcode = 'unique_violation';
  elsif id is null then
    raise exception 'contact: the table took no new row: a trigger of its own left it out'
      using errcode = 'no_data_found';
  end if;
exception
  when data_exception then
    raise exception 'fields.%: %', automation.misfit(contacts, fields), sqlerrm using errcode = sqlstate;
  when not_null_violation then
    get stacked diagnostics refused = column_name;
    raise exception 'fields.%: it must have a value: a contact of this CRM needs it', refused using errcode = sqlstate;
  when check_violation then
    raise exception 'fields.%', coalesce(
      automation.judge_row(to_regclass(contacts.relation), fields, array(select jsonb_object_keys(fields))), sqlerrm)
      using errcode = sqlstate;
  when foreign_key_violation then
    raise exception 'fields: %', sqlerrm using errcode = 'check_violation';
end;
$$;

create or replace function automation.find_or_create_contact(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found record;
  made record;
  adopted constant jsonb := case when automation.contact_key(execution) is null
    then '{"adopted": true}'::jsonb else '{}' end;
begin
  perform automation.try_lock_addresses(execution.tenant_id, array[input ->> 'phone', input ->> 'email']);
  found := automation.contact_with(execution.tenant_id, input ->> 'phone', input ->> 'email');
  if found.id is not null then
    return adopted || jsonb_build_object('contact_id', found.id, 'created', false, 'found_by', found.found_by);
  end if;
  perform automation.check_new_assignee(execution.tenant_id, input);
  made := automation.make_contact(execution, input);
  return adopted || jsonb_build_object('contact_id', made.id, 'created', made.created);
end;
$$;

comment on function automation.find_or_create_contact(ridgeline.workflow_executions, jsonb) is
  'The contact with input.phone (E.164) or input.email, or a new one with input.fields: {contact_id, created, '
  'found_by?, adopted?}. Whoever makes one of the same number or address meanwhile is not waited for: the step comes '
  'back. Consent is neither read nor written.';

create or replace function automation.perform_find_or_create_contact(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.find_or_create_contact(execution, input);
end;
$$;

-- {contact_id, created, found_by?, adopted?, contact: its record}. Raises what its table would refuse.
create or replace function automation.foresee_contact(execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  found record;
  fields jsonb;
  needed text[];
  result jsonb := case when automation.contact_key(execution) is null
      and jsonb_typeof(execution.trigger_data -> 'contact') is distinct from 'object'
    then '{"adopted": true}'::jsonb else '{}' end;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  found := automation.contact_with(execution.tenant_id, input ->> 'phone', input ->> 'email');
  if found.id is not null then
    return result || jsonb_build_object('contact_id', found.id, 'created', false, 'found_by', found.found_by,
      'contact', automation.read_record('contact', execution.tenant_id, found.id));
  end if;
  fields := automation.new_contact(contacts, execution.tenant_id, input);
  needed := automation.needed_columns(contacts);
  perform automation.check_new_assignee(execution.tenant_id, input);
  perform automation.refuse_misfit('fields.' || automation.judge_row(to_regclass(contacts.relation),
    (select coalesce(jsonb_object_agg(n, null), '{}') from unnest(needed) as n) || fields,
    needed || array(select jsonb_object_keys(fields))));
  return result || jsonb_build_object('contact_id', automation.imagined_id('contact'), 'created', true,
    'contact', automation.both_names(contacts, fields));
end;
$$;

create or replace function automation.imagine_find_or_create_contact(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  foreseen constant jsonb := automation.foresee_contact(execution, input);
begin
  return row(
    execution.trigger_data || case when (foreseen ->> 'adopted')::boolean
      then jsonb_build_object('contact', foreseen -> 'contact') || case when (foreseen ->> 'created')::boolean
        then '{}' else jsonb_build_object('contact_id', foreseen -> 'contact_id') end
      else '{}' end,
    foreseen - 'contact')::automation.imagined;
end;
$$;

create or replace function automation.would_find_or_create_contact(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  foreseen constant jsonb := automation.foresee_contact(execution, prepared.input);
begin
  return jsonb_build_object('result', foreseen - 'contact')
    || case when (foreseen ->> 'created')::boolean
      then jsonb_build_object('contact', foreseen -> 'contact') else '{}' end;
end;
$$;

select automation.register_step('find_or_create_contact', 'database', null,
  'Finds the contact with a phone number or an email address, or makes one; a run without a contact goes on with it.',
  $schema${
  "properties": {
    "phone": {"type": ["string", "number"], "format": "template",
      "description": "By which number, however it is written. This or email is needed."},
    "email": {"type": "string", "format": "template", "description": "By which address."},
    "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
      "errorMessage": "fields must be an object of at least one field",
      "description": "What a new contact has besides. One that is found stays as it is."}
  },
  "examples": [
    {"phone": "{{call.from_number}}", "fields": {"source": "missed_call"}},
    {"email": "{{contact.custom_fields.friend_email}}",
      "fields": {"first_name": "{{contact.custom_fields.friend_name}}"}}
  ]
}$schema$);
