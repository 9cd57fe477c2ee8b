-- Loops. A write made by an automation carries how many automations led to it, and which run was the first: a
-- chain may be so deep and have so many effects. Whatever the cause, one record may enter one workflow only so
-- often within a window. What strangers set off, and what comes round to itself, blows the fuse of its workflow
-- when it becomes too much (65_gate/01_brakes).

create or replace function automation.count_enrolments(
  tenant_id uuid, workflow_id uuid, record_id text, since timestamptz, at_most integer,
  mode ridgeline.execution_mode default 'live')
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select count(*)
    from (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = count_enrolments.tenant_id
        and e.record_id = count_enrolments.record_id
        and e.workflow_id = count_enrolments.workflow_id
        and e.created_at > since and e.mode = count_enrolments.mode
      limit at_most
    ) as e
  $$;

-- How many effects a chain has had (those that were refused included), and was this workflow among them? Shadows
-- are counted for themselves.
create or replace function automation.chain_of(
  tenant_id uuid, root uuid, workflow_id uuid, mode ridgeline.execution_mode,
  out effects integer, out allowed integer, out comes_round boolean)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.effects, c.allowed, c.comes_round or exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = chain_of.tenant_id and e.id = chain_of.root and e.workflow_id = chain_of.workflow_id)
    from (
      select count(e.*)::integer as effects, automation.setting('max_chain_executions')::integer as allowed,
        coalesce(bool_or(e.workflow_id = chain_of.workflow_id), false) as comes_round
      from (
        select x.workflow_id from ridgeline.workflow_executions as x
        where x.root_id = chain_of.root and x.tenant_id = chain_of.tenant_id and x.mode = chain_of.mode
        limit automation.setting('max_chain_executions')::integer + 1
      ) as e
    ) as c
  $$;

-- A refusal is written down once a window, or a runaway loop would fill the history it is kept
-- out of: the refused row itself is the one past the limit.
create or replace function automation.admit(
  tenant_id uuid, workflow_id uuid, record_id text, depth integer, root uuid, already integer,
  mode ridgeline.execution_mode, out admitted boolean, out refusal jsonb, out comes_round boolean)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  max_depth constant integer := automation.setting('max_causation_depth')::integer;
  max_enrollments constant integer := automation.setting('max_enrollments')::integer;
  recent_window constant interval := automation.setting('enrollment_window')::interval;
  recent integer;
  chain record;
begin
  comes_round := false;
  if depth > max_depth then
    refusal := jsonb_build_object(
      'code', 'causation_depth_exceeded',
      'message', format('%s automations in a row led to this write; %s are allowed', depth, max_depth));
  end if;
  recent := automation.count_enrolments(
    tenant_id, workflow_id, record_id, automation.now() - recent_window, max_enrollments + 1, mode);
  if recent = max_enrollments then
    refusal := jsonb_build_object(
      'code', 'enrollment_limit_exceeded',
      'message', format('this record entered the workflow %s times within %s', recent, recent_window));
  end if;
  admitted := recent <= max_enrollments;
  if root is null then
    return;
  end if;
  chain := automation.chain_of(tenant_id, root, workflow_id, mode);
  chain.effects := chain.effects + already;
  comes_round := chain.comes_round;
  admitted := admitted and chain.effects <= chain.allowed;
  if chain.effects = chain.allowed then
    refusal := jsonb_build_object(
      'code', 'chain_budget_exceeded',
      'message', format('one run led to %s others already, as many as a chain may have', chain.allowed),
      'root', root);
  end if;
end;
$$;

comment on function automation.admit(uuid, uuid, text, integer, uuid, integer, ridgeline.execution_mode) is
  'May this record enter this workflow now? already: how many the same write lets enter before it. refusal: enrol '
  'it as failed, with this reason; not admitted: it was refused a moment ago already, write nothing. comes_round: '
  'the chain has been at this workflow before.';

-- Of the workflows that a write matches, those that its record may enter, in their order.
create or replace function automation.admit_all(
  tenant_id uuid, record_id text, enrolments automation.enrolment[])
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  depth constant integer := automation.causation_depth();
  root constant uuid := automation.causation_root();
  enrolment automation.enrolment;
  admission record;
  admitted automation.enrolment[];
begin
  foreach enrolment in array enrolments loop
    if enrolment.role = 'enrol' then
      admission := automation.admit(tenant_id, enrolment.workflow_id, record_id, depth, root, (
        select count(*)::integer from unnest(admitted) as a where a.role = 'enrol' and a.mode = enrolment.mode),
        enrolment.mode);
      continue when not admission.admitted;
      enrolment.failure := coalesce(enrolment.failure, admission.refusal);
      enrolment.fused := enrolment.fused is true or admission.comes_round;
    end if;
    admitted := admitted || enrolment;
  end loop;
  return admitted;
end;
$$;
