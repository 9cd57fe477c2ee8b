-- "What did it do, and why?"

-- What can be asked for is checked, so that a misspelt word is an error and no empty page. Who belongs to no
-- tenant sees nothing, and is told nothing.
create or replace function automation.check_history_filter(status text, trigger_type text, mode text) returns void
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and automation.member_tenants() = '{}' then
    return;
  elsif status is not null and not status = any (enum_range(null::ridgeline.automation_status)::text[]) then
    raise exception 'status: there is no status "%"', left(status, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || array_to_string(enum_range(null::ridgeline.automation_status), ', ');
  elsif mode is not null and not mode = any (enum_range(null::ridgeline.execution_mode)::text[]) then
    raise exception 'mode: there is no mode "%"', left(mode, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || array_to_string(enum_range(null::ridgeline.execution_mode), ', ');
  elsif trigger_type is not null and not exists (
    select from automation.trigger_types as t where t.name = check_history_filter.trigger_type) then
    raise exception 'trigger_type: there is no trigger "%"', left(trigger_type, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name) from automation.trigger_types as t);
  end if;
end;
$$;

-- Ids are in the order of time and, unlike moments, never the same: a page ends at one, and whatever is
-- written meanwhile is in front of it. Tenant by tenant, so that each tenant's own key is read backwards, no
-- further than a page; planned for what was asked, since most of the filters are left out.
create or replace function automation.execution_history(
  of_workflow uuid, of_contact text, of_id uuid, of_status text, before uuid, max_rows integer, of_tenant uuid,
  of_record text, of_trigger text, since timestamptz, until timestamptz, of_mode text)
  returns table (
    id uuid, tenant_id uuid, workflow_id uuid, workflow_name text, version integer, status text,
    trigger_type text, entity text, record_id text, contact_id text, current_step text,
    created_at timestamptz, started_at timestamptz, finished_at timestamptz, next_run_at timestamptz,
    error jsonb, trigger_data jsonb, steps jsonb, mode text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
  as $$
#variable_conflict use_column
declare
  page constant integer := least(greatest(coalesce(max_rows, 50), 1), 500);
begin
  perform automation.check_history_filter(of_status, of_trigger, of_mode);
  return query
    select e.id, e.tenant_id, e.workflow_id, w.name, e.version, e.status::text, e.trigger_type, e.entity,
      e.record_id, e.contact_id, e.current_step, e.created_at, e.started_at, e.finished_at,
      (select nullif(min(q.run_at), 'infinity') from ridgeline.scheduled_steps as q
       where q.tenant_id = e.tenant_id and q.execution_id = e.id),
      e.error, e.trigger_data,
      (select coalesce(jsonb_agg(to_jsonb(s) - '{tenant_id,execution_id}'::text[]
                order by s.started_at, s.id), '[]')
       from ridgeline.workflow_step_executions as s
       where s.tenant_id = e.tenant_id and s.execution_id = e.id),
      e.mode::text
    from (
      select x.*
      from automation.visible_tenants(of_tenant) as t (id)
      cross join lateral (
        select h.* from ridgeline.workflow_executions as h
        where h.tenant_id = t.id
          and (of_id is null or h.id = of_id)
          and (of_workflow is null or h.workflow_id = of_workflow)
          and (of_record is null or h.record_id = of_record)
          and (of_contact is null or h.entity = 'contact' and h.record_id = of_contact
            or h.entity <> 'contact' and h.contact_id = of_contact)
          and (of_status is null or h.status = of_status::ridgeline.automation_status)
          and (of_trigger is null or h.trigger_type = of_trigger)
          and (of_mode is null or h.mode = of_mode::ridgeline.execution_mode)
          and (since is null or h.created_at >= since)
          and (until is null or h.created_at < until)
          and (before is null or h.id < before)
        order by h.id desc
        limit page
      ) as x
      order by x.id desc
      limit page
    ) as e
    join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    order by e.id desc;
end;
$$;

create or replace function ridgeline.get_execution_history(
  workflow_id uuid default null,
  contact_id text default null,
  execution_id uuid default null,
  status text default null,
  before uuid default null,
  max_rows integer default 50,
  tenant_id uuid default null,
  record_id text default null,
  trigger_type text default null,
  since timestamptz default null,
  until timestamptz default null,
  mode text default null)
  returns table (
    id uuid, tenant_id uuid, workflow_id uuid, workflow_name text, version integer, status text,
    trigger_type text, entity text, record_id text, contact_id text, current_step text,
    created_at timestamptz, started_at timestamptz, finished_at timestamptz, next_run_at timestamptz,
    error jsonb, trigger_data jsonb, steps jsonb, mode text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select h.* from automation.execution_history($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) as h
  $$;

comment on function ridgeline.get_execution_history(
  uuid, text, uuid, text, uuid, integer, uuid, text, text, timestamptz, timestamptz, text) is
  'Executions that the caller may see, newest first, each with its steps: rendered input, attempts, '
  'result, error and times. All parameters narrow; since and until are about created_at; mode: live, shadow, '
  'test or imported; max_rows: 1 to '
  '500, 50 when left out; page on with before = the id of the last row.';
