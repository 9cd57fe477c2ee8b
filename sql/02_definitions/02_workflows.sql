create table public.workflows (
  tenant_id uuid not null
    constraint workflows_tenant_fk references public.tenants (id) on delete cascade,
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
  metadata jsonb not null default '{}'
    constraint workflows_metadata_is_object check (jsonb_typeof(metadata) = 'object'),
  published_version integer,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint workflows_pkey primary key (tenant_id, id),
  constraint workflows_active_matches_status check (is_active = (status = 'active'))
);

comment on table public.workflows is
  'Automations as people edit them. Setting is_active publishes; only published versions run.';
comment on column public.workflows.published_version is
  'The version that new executions start with; null until it is first published.';

create index workflows_by_trigger_type on public.workflows (trigger_type);
create index workflows_by_published_version
  on public.workflows (id, tenant_id, published_version);

create table public.workflow_steps (
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
  parent_step_id uuid,
  branch text,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint workflow_steps_pkey primary key (tenant_id, id),
  constraint workflow_steps_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade,
  constraint workflow_steps_parent_fk foreign key (tenant_id, parent_step_id)
    references public.workflow_steps (tenant_id, id) on delete cascade,
  constraint workflow_steps_branch_has_parent check ((parent_step_id is null) = (branch is null)),
  constraint workflow_steps_key_unique unique (tenant_id, workflow_id, step_key)
);

comment on column public.workflow_steps.delay_minutes is
  'How long to wait before this step, counted from the end of the step before it (minutes, up to ten years).';
comment on column public.workflow_steps.step_key is
  'The name other steps use for its result ({{steps.<key>.*}}); step_<n> when empty.';

create index workflow_steps_in_order
  on public.workflow_steps (workflow_id, tenant_id, step_order, id);
create index workflow_steps_by_parent on public.workflow_steps (parent_step_id, tenant_id);
create index workflow_steps_by_step_type on public.workflow_steps (step_type);

create table public.workflow_versions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null constraint workflow_versions_version_positive check (version > 0),
  trigger_type text not null,
  trigger_config jsonb not null,
  conditions jsonb,
  plan jsonb not null,
  published_via text not null
    constraint workflow_versions_via_known check (published_via in ('publish', 'activation', 'steps')),
  published_at timestamptz not null default automation.now(),
  constraint workflow_versions_pkey primary key (tenant_id, id),
  constraint workflow_versions_unique unique (tenant_id, workflow_id, version),
  constraint workflow_versions_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade,
  constraint workflow_versions_plan_has_steps
    check (jsonb_typeof(plan -> 'steps') = 'object' and plan ? 'first')
);

comment on table public.workflow_versions is
  'Published workflows, immutable. Executions are pinned to the version they started with.';
comment on column public.workflow_versions.conditions is
  'Compiled enrolment conditions; null: always.';
comment on column public.workflow_versions.plan is
  '{first: key, steps: {key: {type, lane, delay_seconds, config, conditions, roots, next, ...}}}: '
  'templates parsed, defaults filled in, order resolved to next-pointers.';

alter table public.workflows add constraint workflows_published_version_fk
  foreign key (tenant_id, id, published_version)
  references public.workflow_versions (tenant_id, workflow_id, version);

create table automation.active_triggers (
  tenant_id uuid not null,
  entity text not null,
  event text not null,
  workflow_id uuid not null,
  version integer not null,
  match jsonb not null,
  match_any jsonb,
  match_column text,
  match_value text,
  field text,
  from_values jsonb,
  to_values jsonb,
  conditions jsonb,
  first_step text not null,
  first_lane public.automation_lane not null,
  first_delay interval not null,
  constraint active_triggers_pkey primary key (tenant_id, entity, event, workflow_id),
  constraint active_triggers_version_fk foreign key (tenant_id, workflow_id, version)
    references public.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint active_triggers_match_column_has_value
    check ((match_column is null) = (match_value is null))
);

comment on table automation.active_triggers is
  'The listeners: one row for each active workflow, holding all that capture needs to enrol.';
comment on column automation.active_triggers.match is
  'The record must contain this (jsonb @>).';
comment on column automation.active_triggers.match_any is
  '{field: [values]}: the record must have one of them in each field.';
comment on column automation.active_triggers.match_column is
  'One equality of match, checked before the record is turned into JSON.';
comment on column automation.active_triggers.field is
  'For changes: the column that must have changed; null: any.';

create index active_triggers_by_version
  on automation.active_triggers (workflow_id, tenant_id, version);
