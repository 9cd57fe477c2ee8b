create table ridgeline.workflows (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  name text not null constraint workflows_name_not_blank check (btrim(name) <> ''),
  description text,
  status text not null default 'draft'
    constraint workflows_status_known check (status in ('draft', 'active', 'paused', 'archived')),
  trigger_type text not null
    constraint workflows_trigger_type_fk references automation.trigger_types (name),
  trigger_config jsonb not null default '{}'
    constraint workflows_trigger_config_is_object check (jsonb_typeof(trigger_config) = 'object'),
  conditions jsonb not null default '[]',
  is_active boolean not null default false,
  settings jsonb not null default '{}'
    constraint workflows_settings_is_object check (jsonb_typeof(settings) = 'object'),
  metadata jsonb not null default '{}'
    constraint workflows_metadata_is_object check (jsonb_typeof(metadata) = 'object'),
  published_version integer,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  mode ridgeline.execution_mode not null default 'live'
    constraint workflows_mode_is_live_or_shadow check (mode in ('live', 'shadow')),
  constraint workflows_pkey primary key (tenant_id, id),
  constraint workflows_name_at_most_500_characters check (length(name) <= 500),
  constraint workflows_description_at_most_64_kb check (octet_length(description) <= 65536),
  constraint workflows_trigger_config_at_most_64_kb check (octet_length(trigger_config::text) <= 65536),
  constraint workflows_conditions_at_most_256_kb check (octet_length(conditions::text) <= 262144),
  constraint workflows_settings_at_most_64_kb check (octet_length(settings::text) <= 65536),
  constraint workflows_metadata_at_most_256_kb check (octet_length(metadata::text) <= 262144),
  constraint workflows_active_matches_status check (is_active = (status = 'active'))
);

comment on table ridgeline.workflows is
  'Automations as people edit them; only published versions run. Setting is_active for the first time '
  'publishes; later it resumes the version that was published last, whatever the draft says by then.';
comment on column ridgeline.workflows.settings is
  '{reentry, dedupe_key, exit_conditions, exit_events, on_missing}: who may enter again, what ends a '
  'run early, and what a variable without a value does. See docs/lifecycle.md.';
comment on column ridgeline.workflows.published_version is
  'The version that new executions start with; null until it is first published.';

comment on column ridgeline.workflows.mode is
  'live, or shadow: its runs wait, branch and render as if live, and have no effect. Switching it to live cancels the '
  'shadow runs that are open; runs keep the mode that they began in. See docs/shadow.md.';

create index workflows_by_trigger_type on ridgeline.workflows (trigger_type);
create index workflows_by_published_version
  on ridgeline.workflows (id, tenant_id, published_version);

create table ridgeline.workflow_steps (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  workflow_id uuid not null,
  step_order integer not null default 0,
  step_key text
    constraint workflow_steps_key_is_identifier check (step_key ~ '^[A-Za-z][A-Za-z0-9_]{0,62}$'),
  name text,
  step_type text not null
    constraint workflow_steps_step_type_fk references automation.step_types (name),
  step_config jsonb not null default '{}'
    constraint workflow_steps_config_is_object check (jsonb_typeof(step_config) = 'object'),
  delay_minutes numeric not null default 0
    constraint workflow_steps_delay_in_range check (delay_minutes between 0 and 5256000),
  enabled boolean not null default true,
  conditions jsonb not null default '[]',
  continue_on_error boolean not null default false,
  retry jsonb not null default '{}'
    constraint workflow_steps_retry_is_object check (jsonb_typeof(retry) = 'object'),
  parent_step_id uuid,
  branch text,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint workflow_steps_pkey primary key (tenant_id, id),
  constraint workflow_steps_name_at_most_500_characters check (length(name) <= 500),
  constraint workflow_steps_step_config_at_most_256_kb check (octet_length(step_config::text) <= 262144),
  constraint workflow_steps_conditions_at_most_256_kb check (octet_length(conditions::text) <= 262144),
  constraint workflow_steps_retry_at_most_4_kb check (octet_length(retry::text) <= 4096),
  constraint workflow_steps_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade,
  constraint workflow_steps_parent_fk foreign key (tenant_id, parent_step_id)
    references ridgeline.workflow_steps (tenant_id, id) on delete cascade,
  constraint workflow_steps_branch_has_parent check ((parent_step_id is null) = (branch is null)),
  constraint workflow_steps_key_unique unique (tenant_id, workflow_id, step_key)
);

comment on column ridgeline.workflow_steps.delay_minutes is
  'How long to wait before this step, counted from the end of the step before it (minutes, up to ten years).';
comment on column ridgeline.workflow_steps.step_key is
  'The name other steps use for its result ({{steps.<key>.*}}); step_<n> when empty.';

comment on column ridgeline.workflow_steps.retry is
  '{max_attempts, delay, max_delay}: how often this step is attempted and how long it waits in '
  'between; what is left out is as automation.settings says, and a database step is tried once.';
comment on column ridgeline.workflow_steps.branch is
  'On which branch of the parent step this one is: then or else, a name, event or timeout.';

create index workflow_steps_in_order
  on ridgeline.workflow_steps (workflow_id, tenant_id, step_order, id);
create index workflow_steps_by_parent on ridgeline.workflow_steps (parent_step_id, tenant_id);
create index workflow_steps_by_step_type on ridgeline.workflow_steps (step_type);

create table ridgeline.workflow_versions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null constraint workflow_versions_version_positive check (version > 0),
  trigger_type text not null,
  trigger_config jsonb not null,
  conditions jsonb,
  plan jsonb not null,
  warnings jsonb not null default '[]'
    constraint workflow_versions_warnings_is_list check (jsonb_typeof(warnings) = 'array'),
  published_via text not null
    constraint workflow_versions_via_known check (published_via in ('publish', 'activation', 'steps', 'import')),
  published_at timestamptz not null default automation.now(),
  source jsonb,
  author uuid,
  note text constraint workflow_versions_note_at_most_4_kb check (octet_length(note) <= 4096),
  constraint workflow_versions_pkey primary key (tenant_id, id),
  constraint workflow_versions_unique unique (tenant_id, workflow_id, version),
  constraint workflow_versions_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade,
  constraint workflow_versions_plan_has_steps
    check (jsonb_typeof(plan -> 'steps') = 'object' and plan ? 'first')
);

comment on table ridgeline.workflow_versions is
  'Published workflows, immutable. Executions are pinned to the version they started with.';
comment on column ridgeline.workflow_versions.conditions is
  'Compiled enrolment conditions; null: always.';
comment on column ridgeline.workflow_versions.source is
  'The definition that was published, as ridgeline.save_workflow takes it: what restores or compares a version.';
comment on column ridgeline.workflow_versions.author is
  'The signed-in user who published it; null: the service role, or SQL.';
comment on column ridgeline.workflow_versions.note is 'What whoever published it said about it.';
comment on column ridgeline.workflow_versions.warnings is
  'What validation had to say when it was published: [{path, severity, code, message, hint}].';
comment on column ridgeline.workflow_versions.plan is
  '{format, first: key, steps: {key: {type, lane, delay_seconds, config, conditions, roots, next, branches, '
  '...}}, lifecycle}: templates parsed, defaults filled in, order and branches resolved to pointers.';

alter table ridgeline.workflows add constraint workflows_published_version_fk
  foreign key (tenant_id, id, published_version)
  references ridgeline.workflow_versions (tenant_id, workflow_id, version);

-- Without it nobody could tell later why a record of last Tuesday did not enter.
create table automation.activations (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null,
  active_from timestamptz not null,
  active_until timestamptz,
  ended_by text
    constraint activations_ended_by_known check (ended_by in ('switch', 'version', 'detach')),
  constraint activations_pkey primary key (tenant_id, id),
  constraint activations_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade,
  constraint activations_end_says_why check ((active_until is null) = (ended_by is null))
);

comment on table automation.activations is
  'When a workflow listened, with which version, and what ended it: it was switched off, another version '
  'was published, or its table was detached.';

create index activations_by_workflow on automation.activations (workflow_id, tenant_id, active_from);

create table automation.active_triggers (
  tenant_id uuid not null,
  entity text not null,
  event text not null,
  workflow_id uuid not null,
  version integer not null,
  role text not null default 'enrol'
    constraint active_triggers_role_known check (role in ('enrol', 'exit', 'wait')),
  listener text not null default '',
  match jsonb not null,
  match_any jsonb,
  match_column text,
  match_value text,
  field text,
  from_values jsonb,
  to_values jsonb,
  conditions jsonb,
  quick jsonpath,
  quick_folds boolean,
  reentry jsonb,
  first_step text,
  first_lane ridgeline.automation_lane,
  first_delay interval,
  mode ridgeline.execution_mode default 'live',
  on_insert jsonb,
  plainly text generated always as (
    case
      when role = 'enrol'
        and num_nulls(conditions, match_any, field, from_values, to_values, on_insert, reentry) = 7
      then case when listener = '' and first_delay = interval '0' and mode is not null then 'at once' else 'yes' end
    end) stored,
  constraint active_triggers_pkey
    primary key (tenant_id, entity, event, workflow_id, version, role, listener),
  constraint active_triggers_first_step_matches_role check (
    (role = 'enrol') = (first_step is not null)
    and (first_step is null) = (first_lane is null)
    and (first_step is null) = (first_delay is null)),
  constraint active_triggers_version_fk foreign key (tenant_id, workflow_id, version)
    references ridgeline.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint active_triggers_match_column_has_value
    check ((match_column is null) = (match_value is null))
);

comment on table automation.active_triggers is
  'The listeners: one row for each active workflow, holding all that capture needs to enrol; and one '
  'for each event that runs of a version wait for or end at, as long as there may be such runs.';
comment on column automation.active_triggers.reentry is
  'The rule of re-entry where it goes by record; null: none, or one that is asked before the first step.';
comment on column automation.active_triggers.quick is
  'The conditions as a path that is mostly sure of its answer; see automation.quick_conditions().';

comment on column automation.active_triggers.mode is
  'role enrol: the mode of the runs that it begins; null: it begins none, the engine is off for the tenant.';

comment on column automation.active_triggers.on_insert is
  'Of a change that counts an insert too there are two rows. {as, becomes?, unless?}: the one for inserts, under '
  'the event that they are; as: what it is called then. {}: the one that hears updates.';

comment on column automation.active_triggers.listener is
  'role wait: the key of the step that waits; exit: which of the exit events; enrol: restart, or restart by key, '
  'where it ends the run before. Part of the key.';
comment on column automation.active_triggers.match is
  'The record must contain this (jsonb @>).';
comment on column automation.active_triggers.plainly is
  'Of one that enrols and asks nothing but to contain something; at once: and begins at once, ending nothing.';
comment on column automation.active_triggers.match_any is
  '{field: [values]}: the record must have one of them in each field.';
comment on column automation.active_triggers.match_column is
  'One equality of match, checked before the record is turned into JSON.';
comment on column automation.active_triggers.field is
  'For changes: the column that must have changed; null: any.';

-- Whoever changes who listens takes a number, and holds a lock until that is committed: what a session keeps in mind of
-- the listeners holds as long as the number stays, and was learnt while nobody held it (85_capture/01_enrol).
create sequence automation.listening cache 1;

-- A number of the clock is none that was here before: at first, and where a dump has set an older one.
create or replace function automation.listen_by_clock() returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select setval('automation.listening', greatest(
      coalesce(pg_sequence_last_value('automation.listening'), 0) + 1,
      (extract(epoch from clock_timestamp()) * 1000000)::bigint))
  $$;

-- Who takes a number learns nothing itself before that is committed: a transaction that is prepared may still be
-- undone by another session.
create or replace function automation.change_listening() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('automation.listening', 0));
  perform set_config('automation.changes_listening', 'yes', true);
  if pg_sequence_last_value('automation.listening') is null then
    perform automation.listen_by_clock();
  else
    perform nextval('automation.listening');
  end if;
end;
$$;

create or replace function automation.note_listening() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.change_listening();
  return null;
end;
$$;

create trigger active_triggers_note_listening after insert or update or delete on automation.active_triggers
  for each statement execute function automation.note_listening();
-- Also where what is loaded or replicated fires nothing else: a session that is not told would miss what is written.
alter table automation.active_triggers enable always trigger active_triggers_note_listening;
-- A subscription applies rows without statements.
create trigger active_triggers_replicated after insert or update or delete on automation.active_triggers
  for each row execute function automation.note_listening();
alter table automation.active_triggers enable replica trigger active_triggers_replicated;

create index active_triggers_by_version
  on automation.active_triggers (workflow_id, tenant_id, version);

-- In which mode a run of a workflow begins. The tenant's engine comes first: off is nobody's mode, and null.
create or replace function automation.mode_of(tenant_id uuid, workflow_id uuid) returns ridgeline.execution_mode
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case s.unified_engine when 'off' then null when 'shadow' then 'shadow' else w.mode end
    from ridgeline.workflows as w
    left join ridgeline.tenant_settings as s on s.tenant_id = w.tenant_id
    where w.tenant_id = mode_of.tenant_id and w.id = mode_of.workflow_id
      and not exists (select from automation.gone_tenants as g where g.tenant_id = w.tenant_id and g.is_asked));
end;
$$;
