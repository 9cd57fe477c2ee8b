-- A field's path: names joined by dots, list positions as .0 or [0], and any other key in quotes:
-- contact.custom_fields["Roof type"]. The same in conditions and in templates.

create or replace function automation.parse_path(path text) returns text[]
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select case
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

-- What a path can start with, besides the name of an attached entity. Anything else is a field of the
-- record that fired.
create or replace function automation.context_roots() returns text[]
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return array['trigger', 'contact', 'project', 'job', 'user', 'tenant', 'custom', 'steps'];

comment on function automation.context_roots() is 'The names that a field''s path can start with.';

create or replace function automation.is_root(name text) returns boolean
  language sql stable parallel safe
  set search_path = ''
  as $$
    select name = any (automation.context_roots())
      or exists (select from automation.entities as e where e.name = is_root.name)
  $$;

comment on function automation.is_root(text) is
  'Whether a path may start with it: one of context_roots(), or an attached entity.';
