-- 98 LEGACY
--
-- What came from the engines that this one replaces (docs/legacy.md). Their tables stand in schema public, under names
-- that ours have too; they are read, and written only where a run is taken over or given back.
--
-- Definitions are translated outside (scripts/legacy) and written here; history and runs in flight are moved by sets.

create table automation.legacy_imports (
  tenant_id uuid not null,
  source text not null
    constraint legacy_imports_source_known check (source in ('server', 'client', 'campaigns', 'automations')),
  legacy_id text not null,
  part integer not null default 0,
  workflow_id uuid not null,
  digest text not null,
  revision text not null,
  history_version integer,
  was_active boolean not null,
  step_keys jsonb not null default '{}',
  secrets text[] not null default '{}',
  notes jsonb not null default '[]',
  imported_at timestamptz not null default automation.now(),
  constraint legacy_imports_pkey primary key (tenant_id, source, legacy_id, part),
  constraint legacy_imports_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

create index legacy_imports_by_workflow on automation.legacy_imports (workflow_id, tenant_id);

comment on table automation.legacy_imports is
  'Which workflow came from which old definition. part: which of several that were made of one (a campaign with '
  'several triggers). digest: of what was imported last; revision: of the workflow after it. was_active: it ran there. '
  'step_keys: {old step: our step_key}, the first where several were made of one.';

create table automation.legacy_links (
  tenant_id uuid not null,
  source text not null,
  legacy_id text not null,
  workflow_id uuid not null,
  execution_id uuid not null,
  kind text not null
    constraint legacy_links_kind_known check (kind in ('history', 'in_flight')),
  handed jsonb,
  linked_at timestamptz not null default automation.now(),
  constraint legacy_links_pkey primary key (tenant_id, source, legacy_id)
);

create index legacy_links_by_workflow on automation.legacy_links (workflow_id, tenant_id);
-- Their steps name the run, and no tenant.
create index legacy_links_by_run on automation.legacy_links (legacy_id, source, tenant_id);

comment on table automation.legacy_links is
  'Which execution came from which old run, once. It outlives the execution: what retention took away is not brought '
  'again. handed: of a run in flight, what its old rows said before it was taken over.';

-- A table of the old engines, if it is there.
create or replace function automation.legacy_table(name text) returns regclass
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select to_regclass(format('public.%I', name)) $$;

-- Of which type a column of theirs is: compared as that, an index of it is used where there is one.
create or replace function automation.legacy_type(relation regclass, name text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.attname = name and not a.attisdropped
  $$;

-- The same id whenever it is asked for, and in the order of time as all others (00_foundation/02_ids).
create or replace function automation.legacy_run_id(at timestamptz, source text, legacy_id text) returns uuid
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return (lpad(to_hex(least(281474976710655, greatest(0, floor(extract(epoch from at) * 1000)))::bigint), 12, '0')
    || '7' || left(md5(source || '/' || legacy_id), 3) || '8' || substr(md5(source || '/' || legacy_id), 4, 15))::uuid;

-- What stood in a text column of a stranger's table is no moment until it can be read as one.
create or replace function automation.doubtful_moment(value text) returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+([+-][0-9:]+|Z)?)?$'
      then automation.instant_in(value, 'UTC') end
  $$;

-- Where the column holds moments, its text can be read without a doubt (automation.holds_moments()). Never and always
-- are no moments.
create or replace function automation.legacy_moment(value text, is_sure boolean default false) returns timestamptz
  language sql stable
  -- Bound when created: no search_path to set.
  return case when is_sure then nullif(nullif(value, 'infinity'), '-infinity')::timestamptz
    else automation.doubtful_moment(value) end;

create or replace function automation.holds_moments(relation regclass) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(bool_and(a.atttypid = 'timestamptz'::regtype), true)
    from pg_catalog.pg_attribute as a
    where a.attrelid = relation and not a.attisdropped and (a.attname like '%\_at')
  $$;

-- The version that history hangs from: the steps that there were, and nothing that could run.
create or replace function automation.add_history_version(workflow ridgeline.workflows, steps jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  added integer;
begin
  insert into ridgeline.workflow_versions (
    tenant_id, workflow_id, version, trigger_type, trigger_config, conditions, plan, published_via, source, note)
  select workflow.tenant_id, workflow.id, coalesce(max(v.version), 0) + 1, workflow.trigger_type,
    workflow.trigger_config, null, jsonb_build_object(
      'format', automation.plan_format(), 'first', null, 'steps', coalesce((
        select jsonb_object_agg(k.value #>> '{}', '{}'::jsonb) from jsonb_each(steps) as k), '{}')),
    'import', automation.workflow_source(workflow), 'What ran in the engine before this one. Nothing starts with it.'
  from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
  returning version into added;
  return added;
end;
$$;

-- The id that it had, where that is a UUID that nobody else has: programs that know it go on using it.
create or replace function automation.imported_id(source text, legacy_id text, part integer) returns uuid
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when part = 0 and automation.as_uuid(legacy_id) is not null and not exists (
        select from ridgeline.workflows as w where w.id = automation.as_uuid(legacy_id))
        then automation.as_uuid(legacy_id)
      else gen_random_uuid()
    end
  $$;

-- Published, and listening only if it is to run. What is wrong with it stays with the draft.
create or replace function automation.publish_import(tenant_id uuid, workflow_id uuid, is_on boolean) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow ridgeline.workflows;
  compiled automation.compiled_workflow;
  published ridgeline.workflow_versions;
  refused text;
begin
  if is_on then
    published := ridgeline.publish_workflow(workflow_id, tenant_id => tenant_id, note => 'Imported');
    return published.warnings;
  end if;
  select w.* into workflow from ridgeline.workflows as w
  where w.tenant_id = publish_import.tenant_id and w.id = publish_import.workflow_id
  for no key update;
  compiled := automation.compile_workflow(workflow);
  if compiled.problems @> '[{"severity": "error"}]' then
    return compiled.problems;
  end if;
  published := automation.add_version(workflow, compiled, 'publish', 'Imported');
  -- One after the other: whoever listens for it is told of the switch alone.
  update ridgeline.workflows as w set is_active = false
  where w.tenant_id = workflow.tenant_id and w.id = workflow.id and w.is_active;
  update ridgeline.workflows as w set published_version = published.version, status = 'paused'
  where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
  return compiled.problems;
exception when invalid_parameter_value then
  get stacked diagnostics refused = pg_exception_detail;
  if refused like '[%' then
    return refused::jsonb;
  end if;
  raise;
end;
$$;

-- facts: {digest, was_active, is_draft, is_deleted, step_keys, secrets, notes}; options: {activate, overwrite}.
create or replace function automation.import_definition(
  tenant_id uuid, source text, legacy_id text, part integer, definition jsonb, facts jsonb, options jsonb default '{}')
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.legacy_imports;
  workflow ridgeline.workflows;
  saved jsonb;
  problems jsonb := '[]'::jsonb;
  is_on boolean;
begin
  if automation.tenant_state(tenant_id) <> 'here' then
    raise exception 'tenant_id: % is no tenant here', tenant_id
      using errcode = 'PT404', hint = 'Say where the tenants are: automation.attach_tenants().';
  end if;
  perform automation.check_not_forgotten(tenant_id);
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', tenant_id, source, legacy_id, part), 98));
  select i.* into known from automation.legacy_imports as i
  where (i.tenant_id, i.source, i.legacy_id, i.part)
    = (import_definition.tenant_id, import_definition.source, import_definition.legacy_id, import_definition.part);
  select w.* into workflow from ridgeline.workflows as w
  where w.tenant_id = known.tenant_id and w.id = known.workflow_id;
  is_on := coalesce((options ->> 'activate')::boolean, false) and (facts ->> 'was_active')::boolean;
  if known.digest = facts ->> 'digest' then
    if is_on and not workflow.is_active and workflow.published_version is not null then
      update ridgeline.workflows as w set is_active = true
      where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
      return jsonb_build_object('outcome', 'activated', 'workflow_id', workflow.id);
    end if;
    return jsonb_build_object('outcome', 'unchanged', 'workflow_id', known.workflow_id);
  elsif known.revision <> automation.revision_of(workflow)
    and not coalesce((options ->> 'overwrite')::boolean, false) then
    return jsonb_build_object('outcome', 'edited', 'workflow_id', known.workflow_id);
  end if;
  saved := ridgeline.save_workflow(definition || jsonb_build_object('id',
      coalesce(known.workflow_id, automation.imported_id(source, legacy_id, part))),
    case when known.workflow_id is not null then automation.revision_of(workflow) end, tenant_id);
  select w.* into workflow from ridgeline.workflows as w
  where w.tenant_id = import_definition.tenant_id and w.id = (saved ->> 'workflow_id')::uuid;
  insert into automation.legacy_imports as i (
    tenant_id, source, legacy_id, part, workflow_id, digest, revision, history_version, was_active, step_keys,
    secrets, notes)
  values (
    tenant_id, source, legacy_id, part, workflow.id, facts ->> 'digest', automation.revision_of(workflow),
    case when known.workflow_id is null and source in ('server', 'campaigns') and part = 0
      then automation.add_history_version(workflow, facts -> 'step_keys') end,
    (facts ->> 'was_active')::boolean, coalesce(facts -> 'step_keys', '{}'),
    array(select jsonb_array_elements_text(facts -> 'secrets')), coalesce(facts -> 'notes', '[]'))
  on conflict on constraint legacy_imports_pkey do update set
    digest = excluded.digest, revision = excluded.revision, was_active = excluded.was_active,
    step_keys = i.step_keys || excluded.step_keys, secrets = array(
      select distinct s from unnest(i.secrets || excluded.secrets) as s),
    notes = excluded.notes, imported_at = excluded.imported_at;
  if not (facts ->> 'is_draft')::boolean and not (facts ->> 'is_deleted')::boolean then
    -- Switched off there since, it is off here.
    problems := automation.publish_import(tenant_id, workflow.id, is_on or workflow.is_active
      and not (known.was_active and not (facts ->> 'was_active')::boolean));
  elsif (facts ->> 'is_deleted')::boolean then
    update ridgeline.workflows as w set status = 'archived'
    where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
  end if;
  return jsonb_build_object(
    'outcome', case when known.workflow_id is null then 'created' else 'updated' end,
    'workflow_id', workflow.id, 'problems', problems);
end;
$$;

comment on function automation.import_definition(uuid, text, text, integer, jsonb, jsonb, jsonb) is
  'Writes a translated definition, once: {outcome: created, updated, unchanged, activated or edited, workflow_id, '
  'problems}. What was edited here since is left alone unless options say overwrite. It is published where it can be, '
  'and switched on only if it was on and options say activate.';

-- Switches on what ran there and could be published: how many.
create or replace function automation.activate_imports(tenant_id uuid) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  import record;
  switched integer := 0;
begin
  for import in
    select w.id from automation.legacy_imports as i
    join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id
    where i.tenant_id = activate_imports.tenant_id and i.was_active and not w.is_active
      and w.published_version is not null and w.status <> 'archived'
    order by w.id
  loop
    update ridgeline.workflows as w set is_active = true
    where w.tenant_id = activate_imports.tenant_id and w.id = import.id;
    switched := switched + 1;
  end loop;
  return switched;
end;
$$;

comment on function automation.activate_imports(uuid) is
  'Switches the imported workflows of a tenant on that ran in their engine, as import-legacy --activate does: how '
  'many. Runs in flight are another matter: automation.take_over_runs().';
