-- TYPES OF STEPS
--
-- A type of step is one file in a folder of this chapter: a function for each question that the engine asks of it,
-- named after the question and the type (automation.fold_add_tag), and its row in the registry. A type that has
-- nothing to say to a question leaves that function out. From the registry and these names
-- automation.generate_steps() makes what the engine calls, automation.step_fold(step_type, ...) and its siblings,
-- each of which refuses a type that is not in the registry.

create type automation.compiled_config as (template jsonb, checked jsonb, more jsonb, roots text[], problems jsonb);

comment on type automation.compiled_config is
  'What of a step_config is compiled as a template, and what is checked by its schema; what the plan holds besides, '
  'and the parts of the context that this reads; and what is wrong.';

create type automation.step_write as (entity text, is_insert boolean, fields jsonb);

comment on type automation.step_write is
  'What a step writes to: the entity, whether it makes a new record, and the fields with what they are set to, '
  '[value], or [] when that is known only when the step runs.';

create type automation.imagined as (data jsonb, result jsonb);

comment on type automation.imagined is 'The records of a run as a step would leave them, and the result it would have.';

-- What is asked of a type of step, and what is said where a type says nothing.
create or replace function automation.step_questions()
  returns table (name text, arguments text, passed text, result text, otherwise text, volatility text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    values
      -- Other spellings of its configuration -> the one that its schema describes.
      ('fold', 'config jsonb', 'config', 'jsonb', 'automation.without_blanks(config)', 'immutable'),
      -- What is wrong with a folded configuration besides what its schema says.
      ('check', 'config jsonb, path text', 'config, path', 'jsonb', $or$'[]'::jsonb$or$, 'stable'),
      -- How it is compiled. shared: what other steps hold too (automation.compile_step).
      ('compile', 'config jsonb, path text, shared jsonb', 'config, path, shared', 'automation.compiled_config',
        $or$row(config, config, '{}', '{}', '[]')::automation.compiled_config$or$, 'stable'),
      -- The ways on from it, in the order of its configuration.
      ('branches', 'config jsonb', 'config', 'text[]', $or$'{}'::text[]$or$, 'immutable'),
      -- Where in the written configuration a place of the compiled one is.
      ('place', 'at text', 'at', 'text', 'at', 'immutable'),
      -- What it lacks to do what it says: a list of problems. scope: as automation.check_scope() tells it.
      ('needs', 'workflow ridgeline.workflows, step jsonb, scope jsonb', 'workflow, step, scope', 'jsonb',
        $or$'[]'::jsonb$or$, 'stable'),
      -- What it writes. fired: the entity whose record starts the run.
      ('writes', 'step jsonb, fired text', 'step, fired', 'automation.step_write[]',
        $or$'{}'::automation.step_write[]$or$, 'stable'),
      -- Records that a run has after it, which its trigger may not have brought.
      ('brings', 'step jsonb', 'step', 'text[]', $or$'{}'::text[]$or$, 'immutable'),
      -- To whom it goes, of a type that a channel carries. options: render_options() of the tenant; known: what was
      -- read of the run already.
      ('address', 'execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb, '
          'known automation.known_records',
        'execution, prepared, options, known', 'automation.prepared_step',
        $or$automation.fail_unaddressed(prepared, 'no_recipient', 'step_type: nothing says to whom it goes')$or$,
        'stable'),
      -- What it would do: raises what the step would raise.
      ('imagine',
        'execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb',
        'execution, step, input, at, events', 'automation.imagined',
        $or$row(execution.trigger_data, '{}')::automation.imagined$or$, 'stable'),
      -- What it does, of a type that runs in the database: its result.
      ('perform', 'execution ridgeline.workflow_executions, step jsonb, input jsonb', 'execution, step, input', 'jsonb',
        'null::jsonb', 'volatile'),
      -- The same for several runs at once, results in their order, of the first at least: those that there was no time
      -- for in a portion are left. zones: of their tenants.
      ('perform_all', 'works automation.work[], zones text[]', 'works, zones', 'jsonb[]',
        'automation.perform_each(works)', 'volatile'),
      -- What keeps it from running though nothing is wrong, of a type that runs in the database: verdict skip.
      ('ready', 'execution ridgeline.workflow_executions, prepared automation.prepared_step', 'execution, prepared',
        'automation.prepared_step', 'automation.skip_targetless(prepared)', 'stable'),
      -- Which of its rendered texts are bounded by which of automation.limits(): {key: limit}; null: each is a field.
      ('limits', 'input jsonb', 'input', 'jsonb', 'null::jsonb', 'immutable'),
      -- The event that it waits for, {type, config} or a type; null: none.
      ('hears', 'step jsonb', 'step', 'jsonb', 'null::jsonb', 'immutable'),
      -- What a shadow leaves out, in words of its own: {...}. Raises what the step itself would raise.
      ('would', 'execution ridgeline.workflow_executions, prepared automation.prepared_step', 'execution, prepared',
        'jsonb', $or$'{}'::jsonb$or$, 'stable'),
      -- Its compiled configuration with all that completes it and is the same for every run, so that filled in
      -- (20_language/variables/06_plain) it is what the step runs with; null: it is completed by what only a run knows.
      ('plain', 'config jsonb', 'config', 'jsonb',
        $or$case automation.channel_of(step_type) when 'database' then config end$or$, 'stable'),
      -- The row that shows, once it was sent, of a type that a channel carries; false: none does.
      ('log', 'execution ridgeline.workflow_executions, ledger ridgeline.workflow_step_executions', 'execution, ledger',
        'boolean', 'false', 'volatile'),
      -- The same for several runs at once.
      ('log_all', 'executions ridgeline.workflow_executions[], ledgers ridgeline.workflow_step_executions[]',
        'executions, ledgers', 'boolean', 'automation.log_each(executions, ledgers)', 'volatile'),
      -- Does it change a record that a user may be editing? It is committed by itself then: should a trigger on that
      -- table take long, it holds no other record meanwhile. What is only added holds nobody up.
      ('holds', 'step jsonb', 'step', 'boolean', 'false', 'stable')
  $$;

create or replace function automation.step_dispatcher(
  name text, arguments text, passed text, result text, otherwise text, volatility text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.step_%1$s(step_type text, %2$s) returns %3$s
  language plpgsql %4$s
  set search_path = pg_catalog, pg_temp
  as $step$
begin
  case step_type
%5$s
  else
    raise exception 'step_type: there is no step "%%"', left(step_type, 60) using errcode = 'invalid_parameter_value';
  end case;
end;
$step$
$template$,
      step_dispatcher.name, arguments, result, volatility, string_agg(
        format('  when %L then return %s;', t.name, case
          when exists (
            select from pg_catalog.pg_proc as p
            where p.pronamespace = 'automation'::regnamespace
              and p.proname = concat_ws('_', step_dispatcher.name, t.name))
            then format('automation.%I(%s)', concat_ws('_', step_dispatcher.name, t.name), passed)
          else otherwise end), E'\n' order by t.name))
    from automation.step_types as t
  $$;

create or replace function automation.channel_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.channel_of(step_type text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $channel$
begin
  return case step_type
%s
  end;
end;
$channel$
$template$,
      string_agg(format('    when %L then %L', t.name, t.lane), E'\n' order by t.name))
    from automation.step_types as t
  $$;

create or replace function automation.generate_steps() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked record;
begin
  for asked in select q.* from automation.step_questions() as q loop
    execute automation.step_dispatcher(
      asked.name, asked.arguments, asked.passed, asked.result, asked.otherwise, asked.volatility);
  end loop;
  execute automation.channel_function();
  perform automation.close_functions();
end;
$$;

comment on function automation.generate_steps() is
  'Makes automation.channel_of(step_type), and automation.step_<question>(step_type, ...), from the registry and from '
  'the functions that are named <question>_<type>. automation.register_step() calls it; call it after a function of a '
  'type was added or dropped.';

create or replace function automation.register_step(
  name text, lane ridgeline.automation_lane, branches text[], description text, config_schema jsonb,
  ends_run boolean default false, has_effect boolean default true)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.step_types (name, lane, branches, description, config_schema, ends_run, has_effect)
  values (
    register_step.name, register_step.lane, register_step.branches, register_step.description,
    jsonb_build_object(
      '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', register_step.name, 'type', 'object')
    || register_step.config_schema, register_step.ends_run, register_step.has_effect)
  on conflict on constraint step_types_pkey do update set
    (lane, branches, description, config_schema, ends_run, has_effect) = row (
      excluded.lane, excluded.branches, excluded.description, excluded.config_schema, excluded.ends_run,
      excluded.has_effect);
  perform automation.generate_steps();
end;
$$;

comment on function automation.register_step(
  text, ridgeline.automation_lane, text[], text, jsonb, boolean, boolean) is
  'Adds a type of step, or changes it. lane: database, or the channel that carries it; branches: null: none, {}: '
  'its configuration names them; config_schema: JSON Schema of step_config; ends_run: no step comes after it; '
  'has_effect: false where it only decides how its own run goes on.';
