-- What both lanes do before a step runs: decide whether it runs at all, and render it.

-- Where functions/link is for the outside: at a shorter address, if there is one, or where the dispatcher that claims
-- says that the functions are. Null: nobody says it. A dry run shows what it would look like.
create or replace function automation.link_base() returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    rtrim(nullif(btrim(automation.setting('link_url')), ''), '/'),
    automation.functions_address() || '/link',
    case when current_setting('automation.functions_address', true) is null then 'https://functions.example/link' end);
end;
$$;

-- A text whose links lead through functions/link: they are a part of what is rendered, and stand in the ledger.
create or replace function automation.with_links(step jsonb, prepared automation.prepared_step, options jsonb)
  returns automation.prepared_step
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant text := step #>> '{config,base,body}';
  base constant text := automation.link_base();
  made record;
begin
  made := automation.track_links(written, prepared.input ->> 'body',
    case when written ~ '\mtenant\.' then options ->> 'website' end, base);
  if base is not null and made.links <> '[]' then
    prepared.input := prepared.input || jsonb_build_object('body', made.tracked, 'tracked_links', made.links);
  end if;
  if base is null and made.links <> '[]' or made.left_out <> '{}' then
    prepared.warnings := coalesce(prepared.warnings, '[]') || jsonb_build_object(
      'path', 'body', 'code', 'link_not_tracked', 'message', case
        when base is null
          then 'links are not tracked: neither PUBLIC_URL nor the setting link_url says where functions/link is'
        else format('%s is not tracked: only links are whose host is written out in the step',
          left(made.left_out[1], 200)) end);
  end if;
  return prepared;
end;
$$;

create or replace function automation.prepare_step(
  execution ridgeline.workflow_executions, step jsonb, at timestamptz default automation.now(),
  options jsonb default null, known automation.known_records default null)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  prepared automation.prepared_step;
  made record;
  told jsonb;
  speaking constant ridgeline.workflow_executions := automation.speaking_execution(execution, step);
  context jsonb := automation.execution_context(execution, step -> 'roots', known);
begin
  options := coalesce(options, automation.render_options(execution.tenant_id, at))
    || jsonb_build_object('on_missing', step -> 'on_missing');
  prepared.verdict := 'run';
  if step ? 'left_out_by' then
    prepared.reason := automation.left_out(execution, step ->> 'left_out_by');
    if prepared.reason is not null then
      prepared.verdict := 'skip';
      return prepared;
    end if;
  end if;
  if jsonb_typeof(step -> 'conditions') = 'object' and not automation.evaluate_conditions(
    step -> 'conditions', context, options ->> 'zone', at) then
    prepared.verdict := 'skip';
    prepared.reason := automation.unmet('the conditions of the step were not met',
      automation.explain_conditions(step -> 'conditions', context, options ->> 'zone', at));
    return prepared;
  end if;
  if execution.trigger_data ? 'form_submission' and speaking.trigger_data <> execution.trigger_data then
    context := automation.execution_context(speaking, step -> 'roots');
  end if;
  if step ? 'member' then
    told := automation.member_to_notify(execution, step, context, options);
    context := context || jsonb_build_object('user', case when not told ? 'code' then told else '{}' end);
  end if;
  made := automation.render(step -> 'config', context, options);
  prepared.input := made.rendered;
  prepared.warnings := nullif(made.warnings, '[]');
  prepared.reason := automation.size_problem(prepared.warnings);
  if prepared.reason is null and prepared.input is not null then
    prepared.reason := automation.oversize(step ->> 'type', prepared.input);
  end if;
  if prepared.reason is not null then
    prepared.verdict := 'fail';
    prepared.input := null;
    return prepared;
  elsif prepared.input is null and step ? 'on_missing' then
    prepared.verdict := 'fail';
    prepared.reason := automation.missing_reason(prepared.warnings);
    return prepared;
  end if;
  if step #> '{config,fits}' <> '[]' then
    made := automation.fit_input(step #> '{config,fits}', prepared.input);
    prepared.input := made.fitted;
    prepared.reason := made.reason;
    if prepared.reason is not null then
      prepared.verdict := 'fail';
      return prepared;
    end if;
  end if;
  if told ? 'code' then
    prepared.verdict := 'skip';
    prepared.reason := told;
    return prepared;
  elsif told is not null then
    prepared.input := prepared.input || jsonb_build_object('member', told -> 'id');
  end if;
  if step ->> 'lane' <> 'database' then
    prepared := automation.address(speaking, step ->> 'type', prepared, options, known);
  else
    prepared := automation.step_ready(step ->> 'type', execution, prepared);
  end if;
  if execution.mode = 'shadow' then
    prepared := automation.skip_in_shadow(execution, step, prepared);
  end if;
  if prepared.verdict = 'run' and step #> '{sending,track_links}' = 'true' then
    prepared := automation.with_links(step, prepared, options);
  end if;
  return prepared;
end;
$$;

-- What a plain step is given, without asking what it does not ask; null: prepare_step() has to.
create or replace function automation.plain_input(
  step jsonb, execution ridgeline.workflow_executions, known automation.known_records)
  returns jsonb
  language sql stable
  -- No search_path: this is inlined.
  as $$
    select case
      when step operator(pg_catalog.?) 'plain' and not step operator(pg_catalog.?) 'left_out_by'
        and execution.mode operator(pg_catalog.=) 'live' and execution.version operator(pg_catalog.>) 0
      then automation.fill_plain(step operator(pg_catalog.->) 'plain', execution.trigger_data, execution.entity,
        case
          when execution.trigger_data operator(pg_catalog.->>) (execution.entity operator(pg_catalog.||) '_id')
            operator(pg_catalog.=) execution.record_id then known.record end,
        case
          when execution.trigger_data operator(pg_catalog.?) 'contact_id' and known.contact_id is not null
          then known.contact end)
    end
  $$;

-- What a channel or a field takes no more of. A message is not cut: half a message is not what was meant.
create or replace function automation.oversize(step_type text, input jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  bounded jsonb;
begin
  -- The smallest of the limits, in bytes of all there is: nothing in it can be too large.
  if octet_length(input::text) <= 900 then
    return null;
  end if;
  bounded := automation.step_limits(step_type, input);
  return (
    select jsonb_build_object('code', 'too_large', 'message', format('%s: has %s %s; at most %s are possible',
      s.path, m.size, l.unit, l.most))
    from (
      select b.key as path, b.value as name, input ->> b.key as said from jsonb_each_text(bounded) as b
      union all
      select f.key, 'field', f.value #>> '{}'
      from jsonb_each(case jsonb_typeof(input -> 'fields') when 'object' then input -> 'fields' else input end)
        as f
      where bounded is null
    ) as s
    join automation.limits() as l on l.name = s.name
    cross join lateral (
      select case l.unit when 'characters' then length(s.said) else octet_length(s.said) end as size) as m
    where m.size > l.most
    limit 1);
end;
$$;

comment on function automation.prepare_step(
  ridgeline.workflow_executions, jsonb, timestamptz, jsonb, automation.known_records) is
  'Evaluates the conditions of a step and renders its configuration, as of a time. Writes nothing. options: '
  'render_options() of the tenant, where they are read already; known: what was read of the run already.';

create or replace function automation.missing_reason(warnings jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'missing_variable',
      'message', 'no value for ' || string_agg(
        format('%s (%s)', w ->> 'variable', w ->> 'path'), ', ')
        || '; the workflow asks for failure then')
    from jsonb_array_elements(warnings) as w
    where w ->> 'code' = 'missing_variable'
  $$;
