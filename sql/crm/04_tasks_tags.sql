create table public.tasks (
  tenant_id uuid not null
    constraint tasks_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  contact_id uuid,
  project_id uuid,
  job_id uuid,
  title text not null constraint tasks_title_not_blank check (btrim(title) <> ''),
  description text,
  status text not null default 'open',
  priority text not null default 'normal',
  due_at timestamptz,
  assigned_to uuid,
  execution_id uuid,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint tasks_pkey primary key (tenant_id, id),
  constraint tasks_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete cascade,
  constraint tasks_project_fk foreign key (tenant_id, project_id)
    references public.projects (tenant_id, id) on delete set null (project_id),
  constraint tasks_job_fk foreign key (tenant_id, job_id)
    references public.jobs (tenant_id, id) on delete set null (job_id)
);

comment on column public.tasks.execution_id is 'The workflow execution that created the task.';

create index tasks_by_contact on public.tasks (contact_id, tenant_id);
create index tasks_by_project on public.tasks (project_id, tenant_id);
create index tasks_by_job on public.tasks (job_id, tenant_id);
create index tasks_by_due on public.tasks (status, tenant_id, due_at);

create table public.tags (
  tenant_id uuid not null
    constraint tags_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null constraint tags_name_not_blank check (btrim(name) <> ''),
  created_at timestamptz not null default automation.now(),
  constraint tags_pkey primary key (tenant_id, id)
);

create unique index tags_name_unique on public.tags (lower(name), tenant_id);

create table public.contact_tags (
  tenant_id uuid not null,
  contact_id uuid not null,
  tag_id uuid not null,
  created_at timestamptz not null default automation.now(),
  constraint contact_tags_pkey primary key (tenant_id, contact_id, tag_id),
  constraint contact_tags_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete cascade,
  constraint contact_tags_tag_fk foreign key (tenant_id, tag_id)
    references public.tags (tenant_id, id) on delete cascade
);

create index contact_tags_by_tag on public.contact_tags (tag_id, tenant_id);
