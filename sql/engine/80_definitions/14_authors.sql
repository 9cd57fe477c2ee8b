-- What a workflow is about, for whoever tries or starts it by hand.
create or replace function automation.check_starter(version ridgeline.workflow_versions, data jsonb)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.may_author_any(version.tenant_id) then
    return;
  end if;
  perform automation.check_author(version.tenant_id, automation.entities_of(
    automation.compile_trigger(version.trigger_type, version.trigger_config), automation.readable_plan(version.plan))
    || array(select left(k, -3) from jsonb_object_keys(data) as k where k like '%\_id'));
end;
$$;

-- The attached tables that a workflow sees: what fires it, what that belongs to, and what its steps
-- name or write.
create or replace function automation.entities_of(listener automation.compiled_trigger, plan jsonb)
  returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  -- Guesses about the lengths of JSON make the planner compile it, for a second a call where Postgres can.
  set jit = off
  as $$
    with seen (name) as (
      select listener.entity
      union
      select split_part(r #>> '{}', '.', 1) from jsonb_path_query(plan, 'strict $.**.roots[*]') as r
      union
      select w.entity
      from jsonb_each(plan -> 'steps') as s,
        unnest(automation.step_writes(s.value ->> 'type', s.value, listener.entity)) as w
    )
    select automation.with_related(array_agg(s.name)) from seen as s where s.name is not null
  $$;
