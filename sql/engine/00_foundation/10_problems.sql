create or replace function automation.problem(
  path text, code text, message text, hint text default null, severity text default 'error')
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'path', path, 'severity', severity, 'code', code, 'message', message, 'hint', hint)
  $$;

comment on function automation.problem(text, text, text, text, text) is
  'One finding about a definition: where it is, how bad, what is wrong and how to mend it.';

create or replace function automation.raise_problems(problems jsonb, subject text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  worst jsonb;
begin
  select p.value into worst
  from jsonb_array_elements(problems) with ordinality as p (value, position)
  where p.value ->> 'severity' = 'error'
  order by p.position
  limit 1;
  if worst is not null then
    raise exception '%: %: %', subject, worst ->> 'path', worst ->> 'message'
      using errcode = 'invalid_parameter_value',
        detail = problems::text,
        hint = coalesce(worst ->> 'hint', 'detail lists every problem with its path');
  end if;
end;
$$;

comment on function automation.raise_problems(jsonb, text) is
  'Raises 22023 with the first error as message and all problems as JSON in detail; '
  'warnings alone raise nothing.';

create or replace function automation.engine_error(code text, state text, message text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('code', code, 'message', left(message, 2000), 'sqlstate', state)
  $$;

create or replace function automation.check_object(data jsonb, parameter text) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if data is null or jsonb_typeof(data) <> 'object' then
    raise exception '%: a JSON object is needed', parameter
      using errcode = 'invalid_parameter_value', hint = 'For example {"contact_id": "..."}.';
  elsif pg_column_size(data) > 1048576 then
    raise exception '%: at most 1 MB is taken', parameter
      using errcode = 'PT413';
  end if;
end;
$$;

create or replace function automation.has_error(problems jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select jsonb_path_exists(problems, '$[*] ? (@.severity == "error")') $$;
