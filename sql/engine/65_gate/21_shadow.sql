-- SHADOWS
--
-- A run in mode shadow waits, branches, exits and renders like any other, and no step of it has an effect. The one
-- place that sees to it is automation.prepare_step (70_dispatch), where both lanes come by: what would be done ends
-- as skipped with code "shadow", the rendered input and the recipient stay in the ledger, and "would" says what it
-- comes to. What the live step would refuse fails here with the same words. What a later step of the same run
-- reads is what it would read had the effect happened (automation.as_if in 50_executions).

-- What one step comes to. A type of step that says nothing of itself is skipped all the same.
create or replace function automation.would_do(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('action', step -> 'type')
    || automation.step_would(step ->> 'type', execution, prepared);
end;
$$;

comment on function automation.would_do(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'What a step of a shadow would have done: {action, ...}. Raises what the step itself would raise. Writes nothing.';

create or replace function automation.skip_in_shadow(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gated automation.send_verdict;
begin
  if prepared.verdict = 'run' and step ->> 'lane' <> 'database' then
    gated := automation.foresee(execution, step, prepared, automation.now());
    prepared := gated.prepared;
    -- What follows is as much later as it would be live.
    if gated.verdict = 'hold' then
      prepared.verdict := 'hold';
      prepared.reason := to_jsonb(gated) - 'prepared';
      return prepared;
    end if;
  end if;
  if prepared.verdict = 'run' and automation.has_effect(step ->> 'type') then
    prepared.verdict := 'skip';
    prepared.reason := jsonb_build_object(
      'code', 'shadow', 'message', 'a shadow has no effect; "would" says what was left out',
      'would', automation.would_do(execution, step, prepared));
  end if;
  return prepared;
end;
$$;

comment on function automation.skip_in_shadow(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'Turns whatever has an effect outside its own run into a skip that says what would have been done; verdict hold: it '
  'would have to wait now (reason: the send_verdict).';
