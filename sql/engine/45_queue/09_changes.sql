-- Who changed what: a row for each change of a definition, a sender, a form, a member or a setting. It is written
-- beside the change and never in its way: what cannot be written down costs a warning.

create table ridgeline.changes (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  changed_at timestamptz not null default automation.now(),
  relation text not null,
  record_id text not null,
  workflow_id uuid,
  operation text not null,
  user_id uuid,
  source jsonb not null default '{}',
  before jsonb,
  after jsonb,
  constraint changes_pkey primary key (tenant_id, id)
);

comment on table ridgeline.changes is
  'What was changed of workflows, steps, senders, forms, members and settings, and of how the CRM is attached, by whom '
  'and from where. What is about the whole installation has the tenant 00000000-0000-0000-0000-000000000000.';
comment on column ridgeline.changes.operation is 'insert, update, delete, or save: a whole definition at once.';
comment on column ridgeline.changes.user_id is 'The signed-in user; null: the service role, or SQL.';
comment on column ridgeline.changes.source is
  '{role, application, address}: which role wrote, what its program calls itself, and from where.';
comment on column ridgeline.changes.before is 'Of an update the columns that changed, as they were; of a delete all.';

create index changes_by_record on ridgeline.changes (record_id, tenant_id, changed_at);
create index changes_by_workflow on ridgeline.changes (workflow_id, tenant_id, changed_at)
  where workflow_id is not null;

create index changes_by_time on ridgeline.changes (changed_at);

-- Proxies append to what the caller says of itself: the end is theirs.
create or replace function automation.change_source() returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'role', coalesce(nullif(current_setting('role', true), 'none'), session_user),
      'application', nullif(left(current_setting('application_name', true), 200), ''),
      'address', right(coalesce(
        automation.request_setting('request.headers') ->> 'x-forwarded-for', host(inet_client_addr())), 200)))
  $$;

create or replace function automation.note_change(
  tenant_id uuid, relation text, record_id text, workflow_id uuid, operation text, before jsonb, after jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into ridgeline.changes (
      tenant_id, relation, record_id, workflow_id, operation, user_id, source, before, after)
    values (tenant_id, relation, record_id, workflow_id, operation, automation.current_user_id(),
      automation.change_source(), before, after)
  $$;

-- tg_argv: the column that names the record. What only the engine moves is no change of anybody's.
create or replace function automation.watch_changes() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  moved constant text[] := '{updated_at,published_version,contact_way,contact_ways}'::text[];
  was jsonb;
  is_now jsonb;
  record jsonb;
  tenant uuid;
begin
  was := case when tg_op <> 'INSERT' then to_jsonb(old) - moved end;
  is_now := case when tg_op <> 'DELETE' then to_jsonb(new) - moved end;
  record := coalesce(is_now, was);
  tenant := coalesce((record ->> 'tenant_id')::uuid, '00000000-0000-0000-0000-000000000000'::uuid);
  if was = is_now
    or tg_table_name = 'workflow_steps' and current_setting('ridgeline.saving', true) = 'on'
    or exists (select from automation.gone_tenants as g where g.tenant_id = tenant) then
    return null;
  elsif tg_op = 'UPDATE' then
    select jsonb_object_agg(k.key, was -> k.key), jsonb_object_agg(k.key, k.value) into was, is_now
    from jsonb_each(is_now) as k where k.value is distinct from was -> k.key;
  end if;
  perform automation.note_change(
    tenant, format('%s.%s', tg_table_schema, tg_table_name), record ->> tg_argv[0],
    case tg_table_name when 'workflows' then (record ->> 'id')::uuid
      when 'workflow_steps' then (record ->> 'workflow_id')::uuid end,
    lower(tg_op), was, is_now);
  return null;
exception when others then
  raise warning 'automation: a change of %.% is not on record: %', tg_table_schema, tg_table_name, sqlerrm;
  return null;
end;
$$;

do $$
declare
  watched record;
begin
  for watched in
    select * from (values
      ('ridgeline.workflows', 'id'), ('ridgeline.workflow_steps', 'id'), ('ridgeline.senders', 'id'),
      ('ridgeline.forms', 'id'), ('ridgeline.tenant_settings', 'tenant_id'), ('automation.settings', 'name'),
      ('automation.entities', 'name'), ('automation.targets', 'name'), ('automation.tenancy', 'relation'),
      ('automation.membership', 'relation'))
      as w (relation, id)
  loop
    -- A setting comes with a release, and what is attached for the first time changes nothing that was there.
    execute format(
      'create trigger %I after %s update or delete on %s for each row execute function automation.watch_changes(%L)',
      split_part(watched.relation, '.', 2) || '_changes',
      case when watched.relation like 'automation.%' then '' else 'insert or' end, watched.relation, watched.id);
  end loop;
end;
$$;

-- When a record last came to the stage that it has, and who moved it: capture writes it (85_capture), whatever the CRM
-- itself keeps of it.
create table ridgeline.stage_changes (
  tenant_id uuid not null,
  entity text not null,
  record_id text not null,
  stage text,
  was text,
  changed_at timestamptz not null,
  user_id uuid,
  root_id uuid,
  constraint stage_changes_pkey primary key (tenant_id, entity, record_id)
);

comment on table ridgeline.stage_changes is
  'The last change of stage (without one, of status) of each record that was moved since its table was attached.';
comment on column ridgeline.stage_changes.user_id is
  'The signed-in person who moved it; null with root_id null: a program, or somebody who was not signed in.';
comment on column ridgeline.stage_changes.root_id is
  'The run that moved it, or the one with which the chain of runs began that did; null: no automation.';

create type automation.staged_write as (
  tenant_id uuid, record_id text, stage text, was text, user_id uuid, root_id uuid);

-- Only who holds the record itself comes here, so nobody waits for the row.
create or replace function automation.note_stage(entity text, moved automation.staged_write) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into ridgeline.stage_changes as s (
      tenant_id, entity, record_id, stage, was, changed_at, user_id, root_id)
    values (moved.tenant_id, note_stage.entity, moved.record_id, moved.stage, moved.was, automation.now(),
      moved.user_id, moved.root_id)
    on conflict on constraint stage_changes_pkey do update set
      (stage, was, changed_at, user_id, root_id) = row (
        excluded.stage, excluded.was, excluded.changed_at, excluded.user_id, excluded.root_id)
  $$;

-- When a tick last looked: written at most every few seconds.
create table automation.heartbeats (
  name text constraint heartbeats_pkey primary key,
  at timestamptz not null default '-infinity'
);

comment on table automation.heartbeats is
  'When the engine was last seen alive (real time): tick; when it last looked whom to tell: notices.';

insert into automation.heartbeats (name) values ('tick'), ('notices')
on conflict on constraint heartbeats_pkey do nothing;

create or replace function automation.beat(name text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.heartbeats as h set at = clock_timestamp()
    where h.ctid = (
      select b.ctid from automation.heartbeats as b
      where b.name = beat.name and b.at < clock_timestamp() - interval '3 seconds'
      for update skip locked)
  $$;
