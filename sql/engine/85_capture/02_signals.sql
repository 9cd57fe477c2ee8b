-- Signals: what happens to a record that has runs in flight. Some of these end at an event (a reply, a
-- stage reached) or wait for one, and a record that is deleted ends its runs. Capture only notes it:
-- whoever writes a row neither waits for an execution nor locks one. Chapter 06 acts on the notes, and
-- no step is run or claimed while one that would end its run is still unread.

create or replace function automation.has_open_runs(tenant_id uuid, record_id text, contact_id text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = has_open_runs.tenant_id and e.record_id = has_open_runs.record_id
        and e.finished_at is null
    ) or exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = has_open_runs.tenant_id and e.contact_id = has_open_runs.contact_id
        and e.entity <> 'contact' and e.finished_at is null
    )
  $$;
