-- "What did it do, and why?"

create or replace function public.get_execution_history(
  workflow_id uuid default null,
  contact_id uuid default null,
  execution_id uuid default null,
  status text default null,
  before timestamptz default null,
  max_rows integer default 50,
  tenant_id uuid default null)
  returns table (
    id uuid, workflow_id uuid, workflow_name text, version integer, status text,
    trigger_type text, contact_id uuid, current_step text, created_at timestamptz, started_at timestamptz,
    finished_at timestamptz, next_run_at timestamptz, error jsonb, trigger_data jsonb, steps jsonb)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.id, e.workflow_id, w.name, e.version, e.status::text, e.trigger_type, e.contact_id,
      e.current_step, e.created_at, e.started_at, e.finished_at,
      (select min(q.run_at) from public.scheduled_steps as q
       where q.tenant_id = e.tenant_id and q.execution_id = e.id),
      e.error, e.trigger_data,
      (select coalesce(jsonb_agg(to_jsonb(s) - '{tenant_id,execution_id}'::text[]
                order by s.started_at, s.id), '[]')
       from public.workflow_step_executions as s
       where s.tenant_id = e.tenant_id and s.execution_id = e.id)
    from public.workflow_executions as e
    join public.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where (get_execution_history.execution_id is null or e.id = get_execution_history.execution_id)
      and (get_execution_history.tenant_id is null or e.tenant_id = get_execution_history.tenant_id)
      and (get_execution_history.workflow_id is null
        or e.workflow_id = get_execution_history.workflow_id)
      and (get_execution_history.contact_id is null
        or e.contact_id = get_execution_history.contact_id)
      and (get_execution_history.status is null or e.status::text = get_execution_history.status)
      and (get_execution_history.before is null or e.created_at < get_execution_history.before)
    order by e.created_at desc, e.id desc
    limit least(greatest(coalesce(max_rows, 50), 1), 500)
  $$;

comment on function public.get_execution_history(
  uuid, uuid, uuid, text, timestamptz, integer, uuid) is
  'Executions that the caller may see, newest first, each with its steps: rendered input, attempts, '
  'result, error and times. All parameters narrow; max_rows: 1 to 500, 50 when left out; page on '
  'with before = the last created_at.';
