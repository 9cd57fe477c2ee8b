-- What variables and conditions see. {{trigger.*}} is the snapshot taken when the workflow fired;
-- every other root is read live, at the moment the step runs, and only when the step asks for it.

create or replace function automation.trigger_root(data jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return data || jsonb_build_object('record', data -> (data ->> 'entity'));
end;
$$;

-- {{trigger.project_name}}, previous_stage, changed_by ... as the engines before this one had them in their
-- snapshots (automation.snapshot_names()). What the data itself says under such a name comes first.
create or replace function automation.add_snapshot_names(context jsonb, data jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_set(context, '{trigger}', jsonb_strip_nulls(jsonb_build_object(
        'project_name', data #> '{project,name}', 'estimated_value', data #> '{project,estimated_value}',
        'approved_value', coalesce(data #> '{project,approved_value}', data #> '{project,value}'),
        'previous_stage', coalesce(data -> 'old' -> e.stage, data #> '{old,stage}'),
        'new_stage', coalesce(r.record -> e.stage, r.record -> 'stage'),
        'old_status', coalesce(data -> 'old' -> e.status, data #> '{old,status}'),
        'new_status', coalesce(r.record -> e.status, r.record -> 'status'),
        'changes', data -> 'changed', 'changed_by', data -> 'user_id',
        'changed_at', coalesce(r.record -> 'stage_changed_at', r.record -> 'updated_at', r.record -> 'created_at'),
        'job_number', coalesce(data #> '{job,job_number}', data #> '{job,name}'),
        'completion_date', coalesce(data #> '{job,completion_date}', data #> '{job,completed_at}'),
        'completed_by', case when data ? 'job' then data -> 'user_id' end,
        'opened_at', data #> '{email,opened_at}', 'clicked_at', data #> '{email,clicked_at}',
        'link', data #> '{email_event,link}',
        'from', coalesce(data #> '{message,from_number}', data #> '{call,from_number}'),
        'to', coalesce(data #> '{message,to_number}', data #> '{call,to_number}'),
        'body', data #> '{message,body}', 'call_sid', data #> '{call,provider_id}',
        'duration', data #> '{call,duration_seconds}'))
      || (context -> 'trigger'))
    from (select data -> (data ->> 'entity') as record) as r
    left join lateral (
      select a.mapped ->> 'stage' as stage, a.mapped ->> 'status' as status
      from automation.entities as a where a.name = data ->> 'entity') as e on true
  $$;

-- At enrolment nothing has happened since: the snapshot is the live record. roots: what is asked for,
-- so that the rest is not read; null: everything.
create or replace function automation.trigger_context(
  tenant_id uuid, data jsonb, roots jsonb default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  context jsonb := data || jsonb_build_object('trigger', automation.trigger_root(data));
begin
  if roots is null or roots ? 'trigger.names' then
    context := automation.add_snapshot_names(context, data);
  end if;
  if roots is null or roots ? 'user' then
    context := context || jsonb_build_object('user', (automation.read_users(
      array[tenant_id], array[coalesce(
        data #>> array[data ->> 'entity', 'assigned_to'], data #>> '{contact,assigned_to}')],
      array[data ->> 'user_id']))[1]);
  end if;
  if (roots is null or roots ? 'contact.tags') and not coalesce(data -> 'contact' ? 'tags', false) then
    context := automation.add_tags(context, automation.contact_tags(tenant_id, data ->> 'contact_id'));
  end if;
  if roots is null or roots ? 'tenant' then
    context := context || jsonb_build_object('tenant', (
      select t.record from automation.read_tenants(array[trigger_context.tenant_id]) as t));
  end if;
  return context;
end;
$$;

create or replace function automation.is_member(tenant_id uuid, user_id text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (select from automation.read_members(
    array[is_member.tenant_id], array[automation.key_uuid(is_member.user_id)]));
end;
$$;

-- Each of them once, those of one tenant together: of many tenants at once, each would be looked for in each.
create or replace function automation.read_users(tenant_ids uuid[], responsible text[], writers text[])
  returns jsonb[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  keys constant uuid[] := array(
    select automation.key_uuid(coalesce(u.responsible, u.writer))
    from unnest(responsible, writers) with ordinality as u (responsible, writer, place)
    order by u.place);
  users jsonb[];
  logins uuid[] := array_fill(null::uuid, array[cardinality(tenant_ids)]);
begin
  users := array(
    select m.record
    from unnest(tenant_ids, keys) with ordinality as u (tenant_id, key, place)
    left join (
      select distinct on (m.tenant_id, m.user_id) m.tenant_id, m.user_id, m.record
      from (
        select k.tenant_id, array_agg(distinct k.key) as keys from unnest(tenant_ids, keys) as k (tenant_id, key)
        where k.key is not null
        group by k.tenant_id
      ) as t
      cross join lateral automation.read_members(array[t.tenant_id], t.keys) as m
    ) as m on m.tenant_id = u.tenant_id and m.user_id = u.key
    order by u.place);
  -- Who wrote it signed in, and need not be known by that.
  for i in 1 .. cardinality(users) loop
    if users[i] is null and responsible[i] is null and writers[i] is not null then
      logins[i] := automation.as_uuid(writers[i]);
    end if;
  end loop;
  if array_remove(logins, null) = '{}' then
    return users;
  end if;
  return array(
    select coalesce(u.record, m.record)
    from unnest(users, tenant_ids, logins) with ordinality as u (record, tenant_id, login, place)
    left join (
      select distinct on (l.login, m.tenant_id) l.login, m.tenant_id, m.record
      from (select distinct k as login from unnest(logins) as k where k is not null) as l
      cross join lateral automation.read_signed_in(l.login) as m
    ) as m on m.tenant_id = u.tenant_id and m.login = u.login
    order by u.place);
end;
$$;

comment on function automation.read_users(uuid[], text[], text[]) is
  '{{user.*}} of each: who is responsible for the record that fired, else for its contact, else who wrote it.';

-- Which contact a run is about: the one that its record belongs to now. One that was given by hand, and not
-- read from the record, stays.
create or replace function automation.contact_key(
  execution ridgeline.workflow_executions, known automation.known_records default null)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := execution.trigger_data ->> 'contact_id';
  snapshot constant jsonb := execution.trigger_data -> execution.entity;
  attached automation.entities;
  was text;
  live jsonb;
  belongs_to text;
begin
  if execution.entity is null or execution.entity = 'contact' or execution.version = 0
    or execution.record_id is null then
    return given;
  end if;
  -- One that names no contact itself has had that of its parent since it was written; unless the parent came later. Who
  -- posts a form or writes a message may be a stranger: nobody is looked up for them.
  select e.* into attached from automation.entities as e
  where e.name = execution.entity
    and (e.related ? 'contact'
      or given is null and not e.is_log and (e.contact_way is not null or e.contact_ways is not null));
  was := coalesce(snapshot ->> (attached.related ->> 'contact'), execution.trigger_data #>> attached.contact_way,
    case when attached.contact_ways is not null then automation.contact_by_ways(
      execution.tenant_id, execution.trigger_data, attached.contact_ways) end);
  if attached.name is null or given is distinct from was and attached.related ? 'contact'
    and (given is null or given is distinct from automation.merged_into(execution.tenant_id, was)) then
    return given;
  end if;
  live := coalesce(
    known.record, automation.read_record(attached.name, execution.tenant_id, execution.record_id));
  if live is null then
    return given;
  end if;
  belongs_to := coalesce(live ->> (attached.related ->> 'contact'),
    automation.read_record(attached.contact_way[1], execution.tenant_id,
      live ->> (attached.related ->> attached.contact_way[1])) ->> attached.contact_way[2],
    case when attached.contact_ways is not null then automation.add_related('{}', execution.tenant_id, live,
      attached.related - 'contact', null, attached.contact_ways) ->> 'contact_id' end);
  if belongs_to is distinct from execution.contact_id then
    belongs_to := coalesce(automation.merged_into(execution.tenant_id, belongs_to), belongs_to);
    -- A foreign key knows no tenants: what the record was given since may be another's. Whoever has read the record
    -- reads that contact next, and ends the run where it is not there.
    if known.record is null and belongs_to is not null
      and not automation.has_record('contact', execution.tenant_id, belongs_to) then
      return null;
    end if;
  end if;
  return belongs_to;
end;
$$;

comment on function automation.contact_key(ridgeline.workflow_executions, automation.known_records) is
  'The id of the contact that a run is about, now; null when its record belongs to none, or to one that is not there '
  'for the tenant.';

-- Whether the table of contacts has a list of tags: an attached CRM may, under whatever name. A list of numbers or
-- uuids is of keys of tags.
create or replace function automation.has_own_tags() returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (
    select from automation.entities as e
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass(e.relation) and a.attname = e.mapped ->> 'tags' and not a.attisdropped
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    left join pg_catalog.pg_type as l on l.oid = t.typelem
    where e.name = 'contact' and (t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype)
      or automation.value_kind(a.atttypid) = 'list'
        and coalesce(l.typcategory <> 'N' and l.oid <> 'pg_catalog.uuid'::regtype, true)));
end;
$$;

-- The tags of a contact are rows of their own, or a list in its table; they are read only where somebody
-- asks for contact.tags.
create or replace function automation.contact_tags(tenant_id uuid, contact_id text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.has_own_tags() then coalesce(nullif(
        automation.read_record('contact', contact_tags.tenant_id, contact_tags.contact_id) -> 'tags', 'null'), '[]')
      else automation.linked_tags(contact_tags.tenant_id, contact_tags.contact_id)
    end
  $$;

create or replace function automation.add_tags(context jsonb, tags jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(context -> 'contact') = 'object'
        then jsonb_set(context, '{contact,tags}', coalesce(tags, '[]'))
      else context
    end
  $$;

create or replace function automation.step_results(tenant_id uuid, execution_id uuid) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(s.step_key,
      case when s.error ->> 'code' = 'shadow' then coalesce(s.error #> '{would,result}', s.error -> 'would')
          || '{"status": "completed"}'
        else coalesce(s.result_data, '{}') || jsonb_build_object('status', s.status) end), '{}')
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = step_results.tenant_id and s.execution_id = step_results.execution_id
  $$;

-- A record as an earlier step of a shadow would have left it. What somebody has written to a field since then
-- counts more than what the shadow would have.
create or replace function automation.as_if(
  execution ridgeline.workflow_executions, entity text, record jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  imagined record;
begin
  if execution.mode is distinct from 'shadow' or record is null then
    return record;
  end if;
  for imagined in
    select string_to_array(f.key, '.') as path, f.value,
      coalesce(s.error #> array['would', 'was', f.key], 'null') as was
    from ridgeline.workflow_step_executions as s
    cross join lateral jsonb_each(s.error #> '{would,fields}') as f
    where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
      and s.error ->> 'code' = 'shadow' and s.error #>> '{would,entity}' = as_if.entity
      -- What it would have written to another record is none of this one's.
      and not s.error -> 'would' ? 'target'
    order by s.seq
  loop
    if coalesce(record #> imagined.path, 'null') = imagined.was then
      record := jsonb_set(record, imagined.path, imagined.value);
    end if;
  end loop;
  return (select automation.both_names(e, record) from automation.entities as e where e.name = as_if.entity);
end;
$$;

create or replace function automation.tags_as_if(execution ridgeline.workflow_executions, tags jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  would jsonb;
begin
  if execution.mode is distinct from 'shadow' then
    return tags;
  end if;
  for would in
    select s.error -> 'would' from ridgeline.workflow_step_executions as s
    where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
      and s.error ->> 'code' = 'shadow' and s.error -> 'would' ? 'tag' and not s.error -> 'would' ? 'target'
    order by s.seq
  loop
    tags := (
      select coalesce(jsonb_agg(t.value order by t.place), '[]')
      from jsonb_array_elements(tags) with ordinality as t (value, place)
      where lower(btrim(t.value #>> '{}')) is distinct from lower(would ->> 'tag'))
      || case when would ? 'added' then jsonb_build_array(would -> 'tag') else '[]' end;
  end loop;
  return tags;
end;
$$;

create or replace function automation.responsible_for(
  execution ridgeline.workflow_executions, known automation.known_records)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    case when execution.entity is not null
      then automation.read_root(execution, execution.entity, known) ->> 'assigned_to' end,
    automation.read_root(execution, 'contact', known) ->> 'assigned_to');
end;
$$;

create or replace function automation.read_root(
  execution ridgeline.workflow_executions, root text, known automation.known_records default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  data constant jsonb := execution.trigger_data;
begin
  if root = 'trigger' then
    return automation.trigger_root(data);
  elsif known.others ? root then
    return nullif(known.others -> root, 'null');
  elsif root = 'contact' then
    if execution.version = 0 then
      return data -> 'contact';
    elsif not data ? 'contact_id' then
      return automation.as_if(execution, 'contact', data -> 'contact');
    elsif known.contact_id is not null then
      return automation.as_if(execution, 'contact', known.contact);
    end if;
    return automation.as_if(execution, 'contact', automation.read_record(
      'contact', execution.tenant_id, automation.contact_key(execution, known)));
  elsif root = 'contact.tags' then
    return coalesce(
      case when execution.version = 0 then data #> '{contact,tags}' end,
      automation.tags_as_if(execution, automation.contact_tags(
        execution.tenant_id, case when known.contact is not null then known.contact_id
          else automation.contact_key(execution) end)));
  elsif root = 'tenant' then
    return (select t.record from automation.read_tenants(array[execution.tenant_id]) as t);
  elsif root = 'user' then
    return (automation.read_users(array[execution.tenant_id],
      array[automation.responsible_for(execution, known)], array[data ->> 'user_id']))[1];
  elsif root = 'custom' then
    return coalesce(data -> 'custom', data #> array[execution.entity, 'custom_fields']);
  elsif root = 'steps' then
    return coalesce(data -> 'steps', '{}') || automation.step_results(execution.tenant_id, execution.id);
  elsif not data ? (root || '_id') or execution.version = 0 then
    return data -> root;
  elsif root = execution.entity and known.record is not null and data ->> (root || '_id') = execution.record_id then
    return automation.as_if(execution, root, known.record);
  end if;
  return automation.as_if(execution, root, automation.read_record(
    root, execution.tenant_id, data ->> (root || '_id')));
end;
$$;

create or replace function automation.execution_context(
  execution ridgeline.workflow_executions, roots jsonb, known automation.known_records default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  root text;
  context jsonb := '{}'::jsonb;
begin
  for i in 0 .. coalesce(jsonb_array_length(roots), 0) - 1 loop
    root := roots ->> i;
    continue when root in ('contact.tags', 'trigger.names') or context ? root;
    context := context || jsonb_build_object(root, automation.read_root(execution, root, known));
  end loop;
  if roots ? 'contact.tags' then
    context := automation.add_tags(context, automation.read_root(execution, 'contact.tags', known));
  end if;
  if roots ? 'trigger.names' then
    context := automation.add_snapshot_names(context, execution.trigger_data);
  end if;
  return context;
end;
$$;

comment on function automation.execution_context(
  ridgeline.workflow_executions, jsonb, automation.known_records) is
  'The roots that a step asks for. A record with an id is read live; a manual run may bring made-up '
  'ones without.';
