-- 50 EXECUTIONS
--
-- The life of a run: how it begins, what it knows, how it goes on and how it ends.

create type automation.enrolment as (
  workflow_id uuid,
  version integer,
  trigger_type text,
  first_step text,
  first_lane ridgeline.automation_lane,
  first_delay interval,
  failure jsonb,
  role text,
  listener text,
  address text,
  fused boolean,
  mode ridgeline.execution_mode
);

comment on type automation.enrolment is
  'A match between a write and a listener, worked out and ready to be written down: an execution that '
  'starts, or (role exit or wait) a signal to those that run.';

create type automation.prepared_step as (
  verdict text,
  input jsonb,
  reason jsonb,
  warnings jsonb,
  recipient text,
  country text
);

comment on type automation.prepared_step is
  'verdict: run, skip or fail; reason: {code, message} for the last two; country: of the number that a text goes to.';

create type automation.known_records as (
  record jsonb,
  contact_id text,
  contact jsonb,
  others jsonb
);

comment on type automation.known_records is
  'What was read for a run just now, together with that of others: the record it is about, which contact it has, that '
  'one''s record, and others: {"user": ..., "tenant": ...}, those that are asked for.';

create type automation.running_plan as (
  tenant_id uuid,
  workflow_id uuid,
  version integer,
  steps jsonb,
  lifecycle jsonb,
  options jsonb,
  tenant automation.tenant
);

comment on type automation.running_plan is
  'A version that runs of a batch are pinned to, read once for all of them, with its tenant; options: how that one '
  'writes.';

create type automation.obstacle as (
  status ridgeline.automation_status,
  reason jsonb
);

comment on type automation.obstacle is 'What keeps a run from going on; nulls: nothing.';

create type automation.work as (
  due ridgeline.scheduled_steps,
  execution ridgeline.workflow_executions,
  plan integer,
  known automation.known_records,
  obstacle automation.obstacle,
  step jsonb,
  step_id uuid,
  prepared automation.prepared_step,
  status ridgeline.automation_status,
  result jsonb,
  error jsonb,
  next_step jsonb,
  outcome text,
  ran integer,
  seq bigint,
  began timestamptz
);

comment on type automation.work is
  'One due step on its way through a batch: the queue''s row and the run, both locked; plan: the place of its version '
  'among the batch''s plans; step_id: the row of the ledger; outcome: what came of it, see run_wave().';

-- An error in one workflow's conditions is that workflow's own failed execution and leaves the
-- others alone.
-- What one statement has cost so far in conditions, which is what its writer waits for: so many documents
-- for so many records, so many milliseconds. Beyond match_ms, ten milliseconds for each record and half a one
-- for each document, what is left fails and says so.
create or replace function automation.matching_so_far(
  record text, out documents integer, out records integer, out ms numeric, out allowed numeric)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part constant text[] := string_to_array(current_setting('automation.matching', true), ' ');
  is_ours constant boolean := coalesce(part[1] = extract(epoch from statement_timestamp())::text, false);
begin
  documents := case when is_ours then part[2]::integer else 0 end;
  records := case when is_ours then part[3]::integer else 0 end
    + (not is_ours or part[5] <> md5(coalesce(record, '')))::integer;
  ms := case when is_ours then part[4]::numeric else 0 end;
  allowed := automation.at_most('match_ms') + 10 * records + 0.5 * documents;
end;
$$;

create or replace function automation.note_matching(
  record text, documents integer, records integer, ms numeric)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config('automation.matching',
    concat_ws(' ', extract(epoch from statement_timestamp()), documents, records, round(ms, 2),
      md5(coalesce(record, ''))), true);
end;
$$;

-- How a tenant writes times, numbers and money, and whose links are its own; only what becomes HTML is escaped.
create or replace function automation.render_options(tenant automation.tenant, at timestamptz) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'zone', tenant.timezone, 'locale', tenant.settings -> 'locale', 'currency', tenant.settings -> 'currency',
    'country', tenant.country, 'website', tenant.website, 'text_countries', tenant.country || tenant.text_countries,
    'now', at, 'html_paths', '["html"]'::jsonb, 'typed', true));
end;
$$;

create or replace function automation.render_options(
  tenant_id uuid, at timestamptz default automation.now())
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select automation.render_options(t, at) from automation.read_offices(array[render_options.tenant_id]) as t);
end;
$$;

create or replace function automation.try_conditions(conditions jsonb, tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  record constant text := data ->> ((data ->> 'entity') || '_id');
  spent record := automation.matching_so_far(record);
  verdict jsonb;
begin
  if spent.ms > spent.allowed then
    perform automation.note_matching(record, spent.documents, spent.records, spent.ms);
    return automation.engine_error('too_expensive', '54000', format(
      'matching this write had taken %s milliseconds before it came to these conditions', spent.ms));
  end if;
  if jsonb_typeof(conditions -> 'code') is distinct from 'array' then
    raise exception 'these are not compiled conditions';
  end if;
  verdict := to_jsonb(automation.evaluate_conditions(
    conditions, automation.trigger_context(tenant_id, data, conditions -> 'roots'),
    case when conditions ? 'timeless' then 'UTC' else automation.tenant_zone(tenant_id) end));
  perform automation.note_matching(record, spent.documents + 1, spent.records, spent.ms
    + extract(epoch from clock_timestamp() - began) * 1000);
  return verdict;
exception when others then
  perform automation.note_matching(record, spent.documents + 1, spent.records, spent.ms
    + extract(epoch from clock_timestamp() - began) * 1000);
  return automation.engine_error('conditions_failed', sqlstate, sqlerrm);
end;
$$;

comment on function automation.try_conditions(jsonb, uuid, jsonb) is
  'true or false, or the error object of conditions that could not be evaluated.';

create or replace function automation.cause_of(execution ridgeline.workflow_executions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.set_cause(
    execution.depth + 1, coalesce(execution.root_id, execution.id), execution.fused);
end;
$$;

-- The same for a row of many, which is set when the row is written (15_entities/06_targets).
create or replace function automation.cause_in(execution ridgeline.workflow_executions) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('cause', jsonb_build_object('depth', execution.depth + 1,
    'root', coalesce(execution.root_id, execution.id), 'fused', execution.fused));
end;
$$;
