-- Loops. A write made by an automation carries how many automations led to it; and whatever the
-- cause, one record may enter one workflow only so often within a window.

create or replace function automation.causation_depth() returns integer
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('automation.depth', true) operator(pg_catalog.~) '^\d{1,4}$'
      then pg_catalog.current_setting('automation.depth', true)::pg_catalog.int4
      else 0
    end
  $$;

comment on function automation.causation_depth() is
  'How many automations led to the current write: 0 for a person''s or a program''s own.';

create or replace function automation.count_enrolments(
  tenant_id uuid, workflow_id uuid, record_id text, since timestamptz, at_most integer)
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select count(*)
    from (
      select from public.workflow_executions as e
      where e.tenant_id = count_enrolments.tenant_id
        and e.record_id = count_enrolments.record_id
        and e.workflow_id = count_enrolments.workflow_id
        and e.created_at > since
      limit at_most
    ) as e
  $$;

-- A refusal is written down once a window, or a runaway loop would fill the history it is kept
-- out of: the refused row itself is the one past the limit.
create or replace function automation.admit(
  tenant_id uuid, workflow_id uuid, record_id text, depth integer,
  out admitted boolean, out refusal jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  max_depth constant integer := automation.setting('max_causation_depth')::integer;
  max_enrollments constant integer := automation.setting('max_enrollments')::integer;
  recent_window constant interval := automation.setting('enrollment_window')::interval;
  recent integer;
begin
  if depth > max_depth then
    refusal := jsonb_build_object(
      'code', 'causation_depth_exceeded',
      'message', format('%s automations in a row led to this write; %s are allowed', depth, max_depth));
  end if;
  recent := automation.count_enrolments(
    tenant_id, workflow_id, record_id, automation.now() - recent_window, max_enrollments + 1);
  if recent = max_enrollments then
    refusal := jsonb_build_object(
      'code', 'enrollment_limit_exceeded',
      'message', format('this record entered the workflow %s times within %s', recent, recent_window));
  end if;
  admitted := recent <= max_enrollments;
end;
$$;

comment on function automation.admit(uuid, uuid, text, integer) is
  'May this record enter this workflow now? refusal: enrol it as failed, with this reason; '
  'not admitted: it was refused a moment ago already, write nothing.';
