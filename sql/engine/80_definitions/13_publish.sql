-- Publishing, pausing and the is_active switch.

create or replace function automation.publish(tenant_id uuid, workflow_id uuid, via text, note text default null)
  returns ridgeline.workflow_versions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow ridgeline.workflows;
  compiled automation.compiled_workflow;
  published ridgeline.workflow_versions;
begin
  perform automation.check_publisher(tenant_id, 'publishing');
  perform automation.check_not_forgotten(tenant_id);
  perform automation.take_place(tenant_id);
  select w.* into workflow from ridgeline.workflows as w
  where w.tenant_id = publish.tenant_id and w.id = publish.workflow_id
  for no key update;
  compiled := automation.compile_workflow(workflow);
  perform automation.raise_problems(
    compiled.problems, format('workflow "%s" cannot be published', workflow.name));
  perform automation.check_author(
    workflow.tenant_id, automation.entities_of(compiled.listener, compiled.plan));
  published := automation.add_version(workflow, compiled, via, note);
  perform automation.listen(published, compiled.listener);
  update ridgeline.workflows as w
  set published_version = published.version, status = 'active', is_active = true
  where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
  perform automation.check_listeners(published);
  -- With another version follow_switch() is not asked.
  if not workflow.is_active and workflow.published_version is not null then
    perform automation.release_held(workflow.tenant_id, '{workflow_paused}', workflow.id);
  end if;
  return published;
end;
$$;

comment on function automation.publish(uuid, uuid, text, text) is
  'Compiles a workflow into its next version and makes that version the one that new executions '
  'start with. Raises 22023 naming the field when the definition has an error. What is only doubtful is in '
  'the warnings of the version, and raised as warnings.';

-- Everything that may start a run of this version, and nothing else of the workflow, is listened to.
create or replace function automation.listen(
  version ridgeline.workflow_versions, listener automation.compiled_trigger)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.stop_listening(version.tenant_id, version.workflow_id);
  perform automation.start_listening(version, listener);
  perform automation.listen_for_runs(version);
  perform automation.start_waiting(version);
  perform automation.note_activation(version);
end;
$$;

create or replace function automation.note_activation(version ridgeline.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if exists (
    select from automation.activations as a
    where a.tenant_id = version.tenant_id and a.workflow_id = version.workflow_id
      and a.version = version.version and a.active_until is null) then
    return;
  end if;
  perform automation.note_end(version.tenant_id, version.workflow_id, 'version');
  insert into automation.activations (tenant_id, workflow_id, version, active_from)
  values (version.tenant_id, version.workflow_id, version.version, automation.now());
end;
$$;

create or replace function automation.note_end(tenant_id uuid, workflow_id uuid, ended_by text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.activations as a
    set active_until = greatest(automation.now(), a.active_from), ended_by = note_end.ended_by
    where a.tenant_id = note_end.tenant_id and a.workflow_id = note_end.workflow_id
      and a.active_until is null
  $$;

-- What others' writes have to be matched against is bounded, by whichever way a workflow is switched on.
-- Those of older versions that still have runs count too.
create or replace function automation.listener_problems(version ridgeline.workflow_versions) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    select coalesce(jsonb_agg(automation.problem(f.path, 'too_many', format(
      'more than %s %s %s', l.most, l.unit, l.what), f.hint)), '[]')
    from (
      select case e.role when 'enrol' then 'trigger_type' else 'steps' end as path,
        case e.role when 'enrol' then 'listeners' else 'waits' end as name,
        case e.role when 'enrol' then 'Switch others off, or merge small ones into one with branches.'
          else 'Switch workflows that wait for ' || e.event || ' off, or wait for it in fewer steps.' end as hint,
        (select count(*) from automation.active_triggers as t
         where t.tenant_id = version.tenant_id and t.entity = e.entity and t.event = e.event
           and (t.role = 'enrol') = (e.role = 'enrol')) as size
      from (
        select distinct t.entity, t.event, case t.role when 'enrol' then 'enrol' else 'wait' end as role
        from automation.active_triggers as t
        where t.tenant_id = version.tenant_id and t.workflow_id = version.workflow_id
          and t.version = version.version
      ) as e
      union all
      select 'is_active', 'active_workflows', 'Switch those off that are not needed.', (
        select count(*) from ridgeline.workflows as w where w.tenant_id = version.tenant_id and w.is_active)
    ) as f
    join automation.limits() as l on l.name = f.name
    where f.size > l.most
  $$;

create or replace function automation.check_listeners(version ridgeline.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.listener_problems(version) <> '[]' then
    perform automation.forget_listeners(version.tenant_id);
    perform automation.raise_problems(
      automation.listener_problems(version), 'this workflow cannot be switched on');
  end if;
end;
$$;

-- Pausing and resuming changes nothing about what runs: a draft that somebody is working on is published
-- by publish_workflow alone.
create or replace function automation.resume(workflow ridgeline.workflows) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version ridgeline.workflow_versions;
  listener automation.compiled_trigger;
begin
  perform automation.check_not_forgotten(workflow.tenant_id);
  perform automation.take_place(workflow.tenant_id);
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = workflow.published_version;
  listener := automation.compile_trigger(version.trigger_type, version.trigger_config);
  -- What was published while an unknown key was no more than a warning is switched on again.
  perform automation.raise_problems(
    jsonb_path_query_array(listener.problems, '$[*] ? (@.code != "unknown_key")'),
    format('workflow "%s" cannot be switched on', workflow.name));
  perform automation.check_author(
    workflow.tenant_id, automation.entities_of(listener, automation.readable_plan(version.plan)));
  perform automation.listen(version, listener);
  perform automation.check_listeners(version);
  if automation.has_changes(workflow) then
    raise notice 'workflow "%": version % runs again; changes made since wait for publish_workflow',
      workflow.name, version.version;
  end if;
end;
$$;

-- Does the draft differ from what is published? Null: nothing is.
create or replace function automation.has_changes(workflow ridgeline.workflows) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  compiled constant automation.compiled_workflow := automation.compile_workflow(workflow);
  published ridgeline.workflow_versions;
begin
  select v.* into published from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = workflow.published_version;
  if not found then
    return null;
  end if;
  return (published.trigger_type, published.trigger_config, published.conditions,
      automation.readable_plan(published.plan))
    is distinct from (workflow.trigger_type, workflow.trigger_config, compiled.conditions, compiled.plan);
end;
$$;

create or replace function automation.raise_warnings(warnings jsonb, subject text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  doubt jsonb;
begin
  for doubt in select w from jsonb_array_elements(warnings) as w limit 20 loop
    raise warning '%: %: %', subject, doubt ->> 'path', doubt ->> 'message'
      using hint = coalesce(doubt ->> 'hint', '');
  end loop;
end;
$$;

-- What is published without a change is not a new version.
create or replace function automation.add_version(
  workflow ridgeline.workflows, compiled automation.compiled_workflow, via text, note text default null)
  returns ridgeline.workflow_versions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  warnings constant jsonb := jsonb_path_query_array(compiled.problems, '$[*] ? (@.severity == "warning")');
  latest ridgeline.workflow_versions;
begin
  if via <> 'steps' then
    perform automation.raise_warnings(warnings, format('workflow "%s"', workflow.name));
  end if;
  select v.* into latest
  from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
  order by v.version desc
  limit 1;
  if (latest.trigger_type, latest.trigger_config, latest.conditions, automation.readable_plan(latest.plan))
    is not distinct from
    (workflow.trigger_type, workflow.trigger_config, compiled.conditions, compiled.plan) then
    latest.warnings := warnings;
    return latest;
  end if;
  insert into ridgeline.workflow_versions
    (tenant_id, workflow_id, version, trigger_type, trigger_config, conditions, plan, warnings, published_via,
    source, author, note)
  values (
    workflow.tenant_id, workflow.id, coalesce(latest.version, 0) + 1, workflow.trigger_type,
    workflow.trigger_config, compiled.conditions, compiled.plan, warnings, via,
    automation.workflow_source(workflow), automation.current_user_id(), note)
  returning * into latest;
  return latest;
end;
$$;

-- Whose writes a version listens to. Timers follow the dates of an entity: capture asks for both at once.
create or replace function automation.listened_entity(
  version ridgeline.workflow_versions, listener automation.compiled_trigger)
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case version.trigger_type
      when 'time_elapsed' then coalesce(version.trigger_config ->> 'entity', 'contact')
      else listener.entity end
  $$;

-- What counts an insert too is heard under two events: see automation.hears_inserts().
create or replace function automation.start_listening(
  version ridgeline.workflow_versions, listener automation.compiled_trigger)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.active_triggers (
      tenant_id, entity, event, workflow_id, version, listener, match, match_any, match_column, match_value,
      field, from_values, to_values, conditions, quick, quick_folds, reentry, first_step, first_lane, first_delay, mode,
      on_insert)
    select version.tenant_id, automation.listened_entity(version, listener), heard.event,
      version.workflow_id, version.version, automation.enrol_listener(first.lifecycle), listener.match,
      listener.match_any, listener.match_column,
      listener.match_value, listener.field,
      case when not coalesce(heard.on_insert ? 'as', false) then listener.from_values end, listener.to_values,
      version.conditions, quick.path, quick.folds,
      case when not first.lifecycle ? 'key' then first.lifecycle -> 'reentry' end,
      first.step ->> 'key',
      (first.step ->> 'lane')::ridgeline.automation_lane,
      make_interval(secs => (first.step ->> 'delay_seconds')::double precision),
      automation.mode_of(version.tenant_id, version.workflow_id), heard.on_insert
    from (
      select p.plan -> 'lifecycle' as lifecycle, p.plan -> 'steps' -> (p.plan ->> 'first') as step
      from automation.readable_plan(version.plan) as p (plan)
    ) as first
    cross join automation.quick_conditions(version.conditions, listener.entity) as quick
    cross join automation.heard_events(version.trigger_type, version.trigger_config, listener.entity) as heard
  $$;

-- The events that runs of this version end at or wait for. They are listened to for as long as there
-- may be such runs: switching the workflow off does not end them.
create or replace function automation.listen_for_runs(version ridgeline.workflow_versions)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.active_triggers (
      tenant_id, entity, event, workflow_id, version, role, listener, match, match_any, match_column,
      match_value, field, from_values, to_values, on_insert)
    select version.tenant_id, (e.compiled).entity, heard.event, version.workflow_id, version.version,
      w.role, w.listener, (e.compiled).match, (e.compiled).match_any, (e.compiled).match_column,
      (e.compiled).match_value, (e.compiled).field,
      case when not coalesce(heard.on_insert ? 'as', false) then (e.compiled).from_values end,
      (e.compiled).to_values, heard.on_insert
    from (
      select 'exit' as role, (x.place - 1)::text as listener, x.event
      from jsonb_array_elements(automation.readable_plan(version.plan) #> '{lifecycle,exit_events}')
        with ordinality as x (event, place)
      union all
      select 'wait', s.key, automation.step_hears(s.value ->> 'type', s.value)
      from jsonb_each(automation.readable_plan(version.plan) -> 'steps') as s
      union
      -- One for all waits that follow a field.
      select 'wait', 'follows ' || (f.value ->> 'entity') || '.' || (f.value ->> 'field'),
        jsonb_build_object('type', 'field_changed', 'config', f.value)
      from jsonb_path_query(automation.readable_plan(version.plan), '$.steps.*.follows') as f (value)
    ) as w
    cross join lateral automation.compile_event(w.event, '') as e
    cross join lateral automation.heard_events(e.type, w.event -> 'config', (e.compiled).entity) as heard
    where w.event is not null
    on conflict on constraint active_triggers_pkey do nothing
  $$;

create or replace function automation.forget_listeners(tenant_id uuid default null) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  forgotten integer;
begin
  delete from automation.active_triggers as t
  where t.role <> 'enrol'
    and (forget_listeners.tenant_id is null or t.tenant_id = forget_listeners.tenant_id)
    and not exists (
      select from ridgeline.workflows as w
      where w.tenant_id = t.tenant_id and w.id = t.workflow_id and w.published_version = t.version
        and w.is_active)
    and not exists (
      select from ridgeline.workflow_executions as e
      where e.workflow_id = t.workflow_id and e.tenant_id = t.tenant_id and e.version = t.version
        and e.finished_at is null);
  get diagnostics forgotten = row_count;
  return forgotten;
end;
$$;

comment on function automation.forget_listeners(uuid) is
  'Stops listening for runs that are over: events that only runs of older versions, or of workflows that '
  'were switched off, waited for; of one tenant, or of all. Called once a day. Returns how many listeners that was.';

create or replace function automation.stop_listening(tenant_id uuid, workflow_id uuid) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.active_triggers as t
    where t.tenant_id = stop_listening.tenant_id and t.workflow_id = stop_listening.workflow_id
      and t.role = 'enrol'
  $$;

comment on function automation.stop_listening(uuid, uuid) is
  'Nobody enters the workflow any more. Its runs in flight go on, and what they wait for still counts.';

-- is_active and status are two views of one switch: whichever the client changed wins.
create or replace function automation.check_workflow() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from automation.trigger_types as t where t.name = new.trigger_type) then
    raise exception 'trigger_type: there is no trigger "%"', new.trigger_type
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.trigger_types as t);
  end if;
  if tg_op = 'INSERT' then
    new.is_active := new.is_active or new.status = 'active';
  elsif new.is_active = old.is_active and new.status is distinct from old.status then
    new.is_active := new.status = 'active';
  end if;
  if new.is_active then
    new.status := 'active';
  elsif new.status = 'active' then
    new.status := 'paused';
  end if;
  if new.is_active <> (tg_op = 'UPDATE' and old.is_active) then
    perform automation.check_publisher(new.tenant_id, 'switching a workflow on or off');
  elsif tg_op = 'UPDATE' and new.mode <> old.mode then
    perform automation.check_publisher(new.tenant_id, 'switching a workflow between live and shadow');
  end if;
  return new;
end;
$$;

create trigger workflows_check
  before insert or update on ridgeline.workflows
  for each row execute function automation.check_workflow();

-- A workflow that is inserted as active has no steps yet: it is published when they arrive.
create or replace function automation.follow_switch() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if new.is_active and new.published_version is null then
    perform automation.publish(new.tenant_id, new.id, 'activation');
  elsif new.is_active then
    perform automation.resume(new);
    perform automation.release_held(new.tenant_id, '{workflow_paused}', new.id);
  else
    perform automation.stop_listening(new.tenant_id, new.id);
    perform automation.stop_waiting(new.tenant_id, new.id);
    perform automation.note_end(new.tenant_id, new.id, 'switch');
  end if;
  return null;
end;
$$;

create trigger workflows_follow_switch
  after update of is_active, status on ridgeline.workflows
  for each row
  when (old.is_active <> new.is_active
    and old.published_version is not distinct from new.published_version)
  execute function automation.follow_switch();

create or replace function automation.follow_mode() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.apply_mode(new.tenant_id, array[new.id]);
  return null;
end;
$$;

create trigger workflows_follow_mode
  after update of mode on ridgeline.workflows
  for each row when (old.mode <> new.mode)
  execute function automation.follow_mode();

create or replace function automation.follow_engine() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.apply_mode(new.tenant_id, array(
    select w.id from ridgeline.workflows as w where w.tenant_id = new.tenant_id));
  return null;
end;
$$;

create trigger tenant_settings_follow_engine
  after update of unified_engine on ridgeline.tenant_settings
  for each row when (old.unified_engine <> new.unified_engine)
  execute function automation.follow_engine();
create trigger tenant_settings_begin_with_engine
  after insert on ridgeline.tenant_settings
  for each row when (new.unified_engine <> 'on')
  execute function automation.follow_engine();

-- Asked by the key of one workflow, and first whether it is on, which a draft is not. A query over all that are on took
-- each of a draft's steps through thousands of them, and a thousand steps through minutes.
create or replace function automation.follows_its_steps(tenant_id uuid, workflow_id uuid) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  published integer;
begin
  select w.published_version into published
  from ridgeline.workflows as w
  where w.tenant_id = follows_its_steps.tenant_id and w.id = follows_its_steps.workflow_id and w.is_active;
  return found
    and not exists (
      select from ridgeline.workflow_versions as v
      where v.tenant_id = follows_its_steps.tenant_id and v.workflow_id = follows_its_steps.workflow_id
        and v.version = published and v.published_via <> 'steps')
    and not exists (
      select from automation.activations as a
      where a.tenant_id = follows_its_steps.tenant_id and a.workflow_id = follows_its_steps.workflow_id
        and a.ended_by = 'switch')
    and exists (
      select from ridgeline.workflow_steps as s
      where s.tenant_id = follows_its_steps.tenant_id and s.workflow_id = follows_its_steps.workflow_id and s.enabled);
end;
$$;

create or replace function automation.publish_with_first_steps() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting record;
begin
  for waiting in
    select distinct a.tenant_id, a.workflow_id from added as a order by a.tenant_id, a.workflow_id
  loop
    if automation.follows_its_steps(waiting.tenant_id, waiting.workflow_id) then
      perform automation.publish(waiting.tenant_id, waiting.workflow_id, 'steps');
    end if;
  end loop;
  return null;
end;
$$;

comment on function automation.publish_with_first_steps() is
  'Clients that insert an active workflow and then its steps need no third request: such a '
  'workflow follows its new steps until it is published by hand, or switched off, for the first time.';

create trigger workflow_steps_publish_first
  after insert on ridgeline.workflow_steps
  referencing new table as added
  for each statement execute function automation.publish_with_first_steps();

create or replace function automation.check_step() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from automation.step_types as t where t.name = new.step_type) then
    raise exception 'step_type: there is no step "%"', new.step_type
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.step_types as t);
  end if;
  return new;
end;
$$;

create trigger workflow_steps_check
  before insert or update of step_type on ridgeline.workflow_steps
  for each row execute function automation.check_step();

create or replace function automation.refuse_version_change() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception 'workflow_versions: a published version never changes'
    using errcode = 'PT409',
      hint = 'Edit the workflow and publish again.';
end;
$$;

create trigger workflow_versions_immutable
  before update on ridgeline.workflow_versions
  for each row execute function automation.refuse_version_change();

-- History outlives a workflow, and a running capture must find the version it enrols into: a
-- workflow that was ever published is archived, not deleted. A tenant goes with all it has.
create or replace function automation.refuse_published_delete() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if old.published_version is not null
    and not exists (select from automation.gone_tenants as t where t.tenant_id = old.tenant_id) then
    raise exception 'workflow "%" was published and keeps its history', old.name
      using errcode = 'PT409', hint = 'Set status to archived instead.';
  end if;
  return old;
end;
$$;

create trigger workflows_refuse_published_delete
  before delete on ridgeline.workflows
  for each row execute function automation.refuse_published_delete();

do $$
declare
  touched text;
begin
  foreach touched in array array['workflows', 'workflow_steps'] loop
    execute format(
      'create trigger %I before update on ridgeline.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;
