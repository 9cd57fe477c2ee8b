// The task row and its ledger row in one statement: one round trip, one transaction.
export const createTask = `with task as (
    insert into public.tasks (tenant_id, id, contact_id, title, priority, due_at, execution_id)
    values ($1, automation.new_id(), $2, $3, 'normal', now() + interval '1 day', $4)
    returning id
  )
  insert into bench.ledger
    (tenant_id, id, execution_id, step_key, step_type, status, input, result_data, started_at,
     finished_at, duration_ms)
  select $1, automation.new_id(), $4, $5, 'create_task', 'completed',
    jsonb_build_object('title', $3::text, 'due_in_days', 1),
    jsonb_build_object('task_id', task.id), now(), now(), 0
  from task`;
