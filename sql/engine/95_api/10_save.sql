-- A whole definition at once: saved, read, checked and tried without a row of it being there.

create or replace function automation.known_keys(given jsonb, known text[], path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
        concat_ws('.', nullif(path, ''), k), 'unknown_key', format('"%s" is not known here', left(k, 60)),
        'Known: ' || array_to_string(known, ', ') || '.')), '[]')
    from jsonb_object_keys(given) as k where not k = any (known)
  $$;

-- What cannot become rows. Whether it makes a workflow is asked when it is published.
create or replace function automation.mistyped(given jsonb, types jsonb, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
        concat_ws('.', nullif(path, ''), t.key), 'wrong_type',
        format('%s must be %s', t.key, automation.type_words(t.value)))), '[]')
    from jsonb_each(types) as t
    where not automation.as_list(t.value) ? coalesce(jsonb_typeof(given -> t.key), 'null')
  $$;

create or replace function automation.definition_steps(definition jsonb)
  returns table (id uuid, parent_id uuid, branch text, place integer, path text, step jsonb)
  language sql volatile
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive tree (id, parent_id, branch, place, path, step, depth) as (
      select gen_random_uuid(), null::uuid, null::text, s.place::integer, format('steps[%s]', s.place - 1), s.value, 1
      from jsonb_array_elements(definition -> 'steps') with ordinality as s (value, place)
      union all
      select gen_random_uuid(), t.id, b.key, s.place::integer, format('%s.%s[%s]', t.path, b.key, s.place - 1),
        s.value, t.depth + 1
      from tree as t
      cross join lateral jsonb_each(case when jsonb_typeof(t.step -> 'branches') = 'object'
        then t.step -> 'branches' else '{}' end) as b
      cross join lateral jsonb_array_elements(case when jsonb_typeof(b.value) = 'array'
        then b.value else '[]' end) with ordinality as s (value, place)
      where t.depth <= automation.at_most('branch_depth') + 1
    )
    select t.id, t.parent_id, t.branch, t.place, t.path, t.step from tree as t
    limit automation.at_most('steps') + 1
  $$;

create or replace function automation.check_definition(definition jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  problems jsonb;
begin
  perform automation.check_object(definition, 'definition');
  problems := automation.known_keys(definition, '{id,name,description,trigger_type,trigger_config,conditions,'
      'settings,metadata,steps}', '')
    || automation.mistyped('{"steps": []}'::jsonb || definition, '{"id": ["string", "null"], "name": "string",
      "description": ["string", "null"], "trigger_type": "string", "trigger_config": ["object", "null"],
      "settings": ["object", "null"], "metadata": ["object", "null"], "steps": "array"}', '');
  if definition ->> 'id' is not null and automation.as_uuid(definition ->> 'id') is null then
    problems := problems || automation.problem('id', 'wrong_type', 'id must be a UUID');
  end if;
  if jsonb_typeof(definition -> 'steps') = 'array' then
    select problems || coalesce(jsonb_agg(p.problem), '[]') into problems
    from automation.definition_steps(definition) as s
    cross join lateral jsonb_array_elements(case when jsonb_typeof(s.step) <> 'object'
      then jsonb_build_array(automation.problem(s.path, 'wrong_type', 'a step must be an object'))
      else automation.known_keys(s.step, '{step_key,name,step_type,step_config,delay_minutes,enabled,conditions,'
          'continue_on_error,retry,branches}', s.path)
        || automation.mistyped(s.step, '{"step_key": ["string", "null"], "name": ["string", "null"],
          "step_type": "string", "step_config": ["object", "null"], "delay_minutes": ["number", "null"],
          "enabled": ["boolean", "null"], "continue_on_error": ["boolean", "null"], "retry": ["object", "null"],
          "branches": ["object", "null"]}', s.path) end) as p (problem);
    if (select count(*) from automation.definition_steps(definition)) > automation.at_most('steps') then
      problems := problems || automation.problem(
        'steps', 'too_many', format('more than %s steps', automation.at_most('steps')), 'Divide the workflow.');
    end if;
  end if;
  perform automation.raise_problems(problems, 'definition');
end;
$$;

-- One statement for all steps: a workflow that follows its first steps is published once.
create or replace function automation.write_definition(tenant_id uuid, workflow_id uuid, definition jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  insert into ridgeline.workflows as w (
    tenant_id, id, name, description, trigger_type, trigger_config, conditions, settings, metadata)
  values (
    write_definition.tenant_id, workflow_id, definition ->> 'name', definition ->> 'description',
    definition ->> 'trigger_type', coalesce(nullif(definition -> 'trigger_config', 'null'), '{}'),
    coalesce(nullif(definition -> 'conditions', 'null'), '[]'),
    coalesce(nullif(definition -> 'settings', 'null'), '{}'), coalesce(nullif(definition -> 'metadata', 'null'), '{}'))
  on conflict on constraint workflows_pkey do update set
    (name, description, trigger_type, trigger_config, conditions, settings, metadata) = row (
      excluded.name, excluded.description, excluded.trigger_type, excluded.trigger_config, excluded.conditions,
      excluded.settings, excluded.metadata);
  delete from ridgeline.workflow_steps as s
  where s.tenant_id = write_definition.tenant_id and s.workflow_id = write_definition.workflow_id;
  insert into ridgeline.workflow_steps (
    tenant_id, id, workflow_id, step_order, step_key, name, step_type, step_config, delay_minutes, enabled, conditions,
    continue_on_error, retry, parent_step_id, branch)
  select write_definition.tenant_id, s.id, write_definition.workflow_id, s.place, s.step ->> 'step_key',
    s.step ->> 'name', s.step ->> 'step_type', coalesce(nullif(s.step -> 'step_config', 'null'), '{}'),
    coalesce((s.step ->> 'delay_minutes')::numeric, 0), coalesce((s.step ->> 'enabled')::boolean, true),
    coalesce(nullif(s.step -> 'conditions', 'null'), '[]'), coalesce((s.step ->> 'continue_on_error')::boolean, false),
    coalesce(nullif(s.step -> 'retry', 'null'), '{}'), s.parent_id, s.branch
  from automation.definition_steps(definition) as s;
end;
$$;

-- Whoever has edited a step and not committed yet is waited for, or their edit would be gone unseen; not for long,
-- since they may have left it open.
create or replace function automation.lock_steps(tenant_id uuid, workflow_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '2s'
  as $$
begin
  perform from ridgeline.workflow_steps as s
  where s.tenant_id = lock_steps.tenant_id and s.workflow_id = lock_steps.workflow_id
  order by s.id
  for update;
exception when lock_not_available then
  raise exception 'definition: somebody is editing a step of this workflow and has not saved it yet'
    using errcode = 'PT409', hint = 'Try again when they have, or end their session: nothing was written.';
end;
$$;

create or replace function automation.save_workflow(tenant_id uuid, definition jsonb, base_revision text) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, '{}');
  target constant uuid := coalesce(automation.as_uuid(definition ->> 'id'), gen_random_uuid());
  before ridgeline.workflows;
  source jsonb;
begin
  perform automation.check_editor(tenant, 'writing a workflow');
  perform automation.check_not_forgotten(tenant);
  perform automation.check_definition(definition);
  -- Of two who make a new one of the same id the second finds it.
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', tenant, target, 'save'), 0));
  select w.* into before from ridgeline.workflows as w
  where w.tenant_id = tenant and w.id = target
  for no key update;
  if found then
    perform automation.lock_steps(tenant, target);
    source := automation.workflow_source(before);
    if base_revision is null then
      raise exception 'base_revision: this workflow exists; which revision of it was edited?'
        using errcode = 'invalid_parameter_value', hint = 'ridgeline.get_definition() answers with it.';
    elsif base_revision <> md5(source::text) then
      return jsonb_build_object('saved', false, 'workflow_id', target, 'conflict', jsonb_build_object(
        'revision', md5(source::text), 'definition', source, 'changed_at', (
          select max(c.changed_at) from ridgeline.changes as c
          where c.workflow_id = target and c.tenant_id = tenant)));
    end if;
  elsif base_revision is not null then
    perform automation.raise_not_found('definition.id', target);
  end if;
  perform set_config('ridgeline.saving', 'on', true);
  perform automation.write_definition(tenant, target, definition);
  perform set_config('ridgeline.saving', '', true);
  select w.* into before from ridgeline.workflows as w where w.tenant_id = tenant and w.id = target;
  if source is distinct from automation.workflow_source(before) then
    perform automation.note_change(
      tenant, 'ridgeline.workflows', target::text, target, 'save', source, automation.workflow_source(before));
  end if;
  return jsonb_build_object(
    'saved', true, 'workflow_id', target, 'revision', automation.revision_of(before));
end;
$$;

create or replace function ridgeline.save_workflow(
  definition jsonb, base_revision text default null, tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.save_workflow(tenant_id, definition, base_revision) from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.save_workflow(jsonb, text, uuid) is
  'Writes a whole definition as a draft, all of it or nothing: {id?, name, description, trigger_type, trigger_config, '
  'conditions, settings, metadata, steps: [{step_key, name, step_type, step_config, delay_minutes, enabled, '
  'conditions, continue_on_error, retry, branches: {name: [steps]}}]}. What is left out is as in a new row. '
  'base_revision: the revision that was edited; none for a new one. Answers {saved: true, workflow_id, revision}, or, '
  'where somebody else has written it meanwhile, {saved: false, conflict: {revision, definition, changed_at}} and '
  'writes nothing.';

create or replace function automation.get_definition(workflow_id uuid, version integer) returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  published ridgeline.workflow_versions;
begin
  if version is null then
    return jsonb_build_object(
      'revision', automation.revision_of(workflow), 'definition', automation.workflow_source(workflow));
  end if;
  select v.* into published from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id and v.version = get_definition.version;
  if not found then
    raise exception 'version: there is no version %', version using errcode = 'PT404';
  end if;
  return jsonb_build_object(
    'version', version, 'definition', published.source, 'author', published.author, 'note', published.note,
    'published_at', published.published_at);
end;
$$;

create or replace function ridgeline.get_definition(
  workflow_id uuid, version integer default null, tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.get_definition(workflow_id, version) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.get_definition(uuid, integer, uuid) is
  'The definition as ridgeline.save_workflow() takes it: as it is now {revision, definition}, or as a version was '
  'published {version, definition, author, note, published_at}; definition is null for versions of before 1.0.0.';

-- Written, looked at and undone: what is asked sees the rows, and nobody else ever does.
create or replace function automation.try_definition(
  tenant_id uuid, definition jsonb, trigger_data jsonb, options jsonb)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, trigger_data);
  draft constant uuid := gen_random_uuid();
  answer jsonb;
begin
  perform automation.in_tenant(tenant);
  if trigger_data is not null then
    perform automation.check_editor(tenant, 'trying a workflow');
    perform automation.check_not_forgotten(tenant);
  end if;
  perform automation.check_definition(definition);
  begin
    perform automation.write_definition(tenant, draft, definition || jsonb_build_object('id', draft));
    answer := case when trigger_data is null then automation.validate_workflow(draft)
      else automation.test_workflow(draft, trigger_data, options) end;
    raise exception using errcode = 'RL001', message = 'undone';
  exception when sqlstate 'RL001' then
    return answer;
  end;
end;
$$;

create or replace function ridgeline.validate_definition(definition jsonb, tenant_id uuid default null) returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.try_definition(tenant_id, definition, null, '{}') from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.validate_definition(jsonb, uuid) is
  'ridgeline.validate_workflow() of a definition that is not saved: {valid, problems}. It leaves nothing behind.';

create or replace function ridgeline.test_definition(
  definition jsonb, trigger_data jsonb default '{}', options jsonb default '{}', tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.try_definition(tenant_id, definition, automation.check_seen(trigger_data), options)
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(trigger_data ->> 'tenant_id')))
  $$;

comment on function ridgeline.test_definition(jsonb, jsonb, jsonb, uuid) is
  'ridgeline.test_workflow() of a definition that is not saved. It leaves nothing behind.';
