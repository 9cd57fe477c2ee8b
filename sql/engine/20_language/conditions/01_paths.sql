-- CONDITIONS
--
-- The condition language: what a workflow, a step or a branch asks of a record before it runs.
-- docs/conditions.md has the table of operators; there is one rule above all: evaluating
-- never raises, whatever a record holds, because it runs inside somebody's insert into contacts.
-- A value that is not what an operator needs makes the condition false, not an error.
--
--   01_paths     contact.custom_fields.source -> {contact,custom_fields,source}
--   02_patterns  the regular expressions that `matches` accepts
--   03_compile   a document -> a flat list of tests, each with two jumps
--   04_evaluate  the loop over that list
--   05_explain   the same verdict with its reasons
--
-- Takes no locks and writes nothing. Small
-- functions have the form "return expression": their names are bound when they are created, and
-- they are inlined where they are called, which a search_path setting would forbid.

-- A field's path: names joined by dots, list positions as .0 or [0], and any other key in quotes:
-- contact.custom_fields["Roof type"]. The same in conditions and in templates.

create or replace function automation.parse_path(path text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      -- Most paths are as simple as contact.first_name.
      when length(path) <= 200 and path ~ '^[a-zA-Z_][a-zA-Z0-9_]*([.][a-zA-Z0-9_]+)*$'
      then string_to_array(path, '.')
      when length(path) <= 200 and path ~ (
        E'^[^][ \t\r\n.{}|"''(),:\\\\]+'
        || E'(?:[.][^][ \t\r\n.{}|"''(),:\\\\]+|\\[-?[0-9]{1,6}\\]'
        || E'|\\["[^"\\\\]+"\\]|\\[''[^''\\\\]+''\\])*$'
      )
      then (
        select array_agg(coalesce(part[1], part[2], part[3], part[4]) order by position)
        from regexp_matches(
          path,
          E'\\["([^"]+)"\\]|\\[''([^'']+)''\\]|\\[(-?[0-9]+)\\]|([^].[]+)', 'g')
          with ordinality as token (part, position)
      )
    end
  $$;

comment on function automation.parse_path(text) is
  'The keys a path goes through; null when it is not a path.';

-- What a path can start with. Anything else is a field of the record that fired.
create or replace function automation.context_roots() returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{trigger,user,tenant,custom,steps}'::text[] || automation.entity_names() $$;

comment on function automation.context_roots() is 'The names that a field''s path can start with.';

create or replace function automation.is_root(name text) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return name in ('trigger', 'user', 'tenant', 'custom', 'steps') or automation.is_record(name);
end;
$$;

comment on function automation.is_root(text) is
  'Whether a path may start with it: one of context_roots(), or an attached entity.';
