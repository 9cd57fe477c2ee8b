-- Signals: what happens to a record that has runs in flight. Some of these end at an event (a reply, a
-- stage reached) or wait for one, and a record that is deleted ends its runs. Capture only notes it:
-- whoever writes a row neither waits for an execution nor locks one. Chapter 06 acts on the notes, and
-- no step is run or claimed while one that would end its run is still unread.

-- What it computes cannot fail; what it writes has no constraint that it could break.
create or replace function automation.raise_signal(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment, seq bigint,
  by_contact boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.signals (
    tenant_id, role, workflow_id, version, listener, event, entity, record_id, contact_id, address,
    by_contact, record, seq)
  values (
    tenant_id, enrolment.role, enrolment.workflow_id, enrolment.version, enrolment.listener,
    enrolment.trigger_type, entity, record_id, automation.as_key(data ->> 'contact_id'),
    enrolment.address, by_contact, data -> entity, seq);
  perform automation.ring_once();
end;
$$;

comment on function automation.raise_signal(uuid, text, text, jsonb, automation.enrolment, bigint, boolean) is
  'Notes an event for the runs of a version. A record that was just created is nobody''s own yet, so '
  'that it concerns the runs of its contact.';

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
