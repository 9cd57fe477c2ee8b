-- The regular expressions that `matches` accepts: the part of the common syntax that Postgres'
-- engine runs as an automaton, in time proportional to the text. Back references and look-around,
-- which need backtracking, are refused; so are repetitions that unfold into a large automaton.
-- The text is cut as well (see 04_evaluate). Checked here, so that running one never raises.

-- One character class, from its [ at `start`: where it ends and how it is written for Postgres.
create or replace function automation.compile_character_class(
  pattern text, start int, out next int, out written text, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  here int := start + 1;
  item text;
  range_from text;
  previous text;
begin
  next := start;
  written := '[';
  if substr(pattern, here, 1) = '^' then
    written := '[^';
    here := here + 1;
  end if;
  loop
    item := substr(pattern, here, 1);
    if item = '' then
      problem := 'a character class is not closed';
      return;
    elsif item = ']' and previous is null and range_from is null then
      problem := 'a character class is empty';
      return;
    elsif item = ']' and range_from is null then
      written := written || ']';
      next := here + 1;
      return;
    elsif item = '[' then
      next := here;
      problem := 'write \[ inside a character class';
      return;
    elsif item = '\' then
      here := here + 1;
      item := substr(pattern, here, 1);
      if item in ('d', 'w', 's') and range_from is null then
        written := written || '\' || item;
        previous := 'class';
        here := here + 1;
        continue;
      elsif item in ('n', 'r', 't') then
        item := case item when 'n' then E'\n' when 'r' then E'\r' else E'\t' end;
      elsif item = '' or item !~ '^[!-/:-@[-`{-~]$' then
        next := here - 1;
        problem := 'this escape is not supported in a character class';
        return;
      end if;
    elsif item = '-' and range_from is null
      and previous is not null and substr(pattern, here + 1, 1) <> ']' then
      if length(previous) <> 1 then
        next := here;
        problem := 'write \- for a hyphen here';
        return;
      end if;
      range_from := previous;
      here := here + 1;
      continue;
    end if;
    here := here + 1;
    if range_from is null then
      written := written || case when item ~ '^[][\\^-]$' then '\' || item else item end;
      previous := item;
    elsif item collate "C" < range_from collate "C" then
      next := here - 1;
      problem := 'a range runs backwards';
      return;
    else
      written := written || '-' || case when item ~ '^[][\\^-]$' then '\' || item else item end;
      range_from := null;
      previous := 'range';
    end if;
  end loop;
end;
$$;

-- One quantifier, at `start`: how it is written, what follows it and how often it unfolds what stands before it.
create or replace function automation.compile_repetition(
  pattern text, start int, out next int, out written text, out times bigint, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  bound constant text[] := regexp_match(substr(pattern, start), '^[{]([0-9]{1,3})(,?)([0-9]{0,3})[}]');
begin
  written := substr(pattern, start, 1);
  next := start + 1;
  times := case written when '+' then 2 else 1 end;
  if written = '{' then
    problem := case
      when bound is null then 'write \{ for a brace, or {2,5} for a repetition'
      when bound[3] <> '' and bound[2] = '' then 'a repetition is {2}, {2,} or {2,5}'
      when bound[3] <> '' and bound[3]::int < bound[1]::int then 'a repetition runs backwards'
    end;
    if problem is not null then
      return;
    end if;
    written := format('{%s%s%s}', bound[1]::int, bound[2], nullif(bound[3], '')::int);
    next := start + position('}' in substr(pattern, start));
    times := greatest(bound[1]::int, coalesce(nullif(bound[3], '')::int, 0), 1);
  end if;
  -- How much a repetition takes makes no difference to whether the whole matches.
  next := next + case when substr(pattern, next, 1) = '?' then 1 else 0 end;
end;
$$;

-- One character, escape or class, at `start`; where something is wrong, next is where that is.
create or replace function automation.compile_atom(
  pattern text, start int, out next int, out written text, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  item constant text := substr(pattern, start, 1);
  escaped constant text := substr(pattern, start + 1, 1);
  class record;
begin
  next := start;
  if item = '[' then
    class := automation.compile_character_class(pattern, start);
    next := class.next;
    written := class.written;
    problem := class.problem;
  elsif item <> '\' then
    written := item;
    next := start + 1;
  elsif escaped ~ '^[0-9]$' then
    problem := 'references to a group are not supported';
  elsif escaped !~ '^[dDwWsSnrt!-/:-@[-`{-~]$' then
    problem := 'this escape is not supported';
  else
    written := item || escaped;
    next := start + 2;
  end if;
end;
$$;

create or replace function automation.compile_pattern(
  pattern text, out compiled text, out problem text, out "position" int
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- The automaton's size: one for each character it has to tell apart, repetitions unfolded.
  max_size constant bigint := 200;
  sizes bigint[] := array[0];  -- of each group that is open
  last_size bigint;         -- of what a quantifier here would repeat; null: nothing to repeat
  nothing_yet boolean := true;  -- in this alternative
  here int := 1;
  item text;
  depth int := 1;
  repetition record;
  atom record;
begin
  compiled := '';
  if length(pattern) > 200 then
    position := 201;
    problem := 'the pattern is longer than 200 characters';
  end if;
  while problem is null and here <= length(pattern) loop
    position := here;
    item := substr(pattern, here, 1);
    if item in ('*', '+', '?', '{') then
      repetition := automation.compile_repetition(pattern, here);
      problem := coalesce(
        repetition.problem, case when last_size is null then 'there is nothing to repeat here' end);
      if problem is null then
        compiled := compiled || repetition.written;
        here := repetition.next;
        sizes[depth] := sizes[depth] + last_size * (repetition.times - 1);
        last_size := null;
      end if;
    elsif item = '|' then
      if nothing_yet then
        problem := 'an alternative is empty';
      end if;
      compiled := compiled || '|';
      nothing_yet := true;
      last_size := null;
      here := here + 1;
    elsif item = '(' then
      if substr(pattern, here + 1, 1) = '?' and substr(pattern, here + 2, 1) <> ':' then
        problem := 'look-around, named groups and inline options are not supported';
      elsif depth >= 20 then
        problem := 'groups are nested too deeply';
      else
        compiled := compiled || '(?:';
        here := here + case when substr(pattern, here + 1, 1) = '?' then 3 else 1 end;
        depth := depth + 1;
        sizes[depth] := 0;
        nothing_yet := true;
        last_size := null;
      end if;
    elsif item = ')' then
      if depth = 1 then
        problem := 'there is no ( for this )';
      elsif nothing_yet then
        problem := 'a group or an alternative is empty';
      else
        compiled := compiled || ')';
        last_size := sizes[depth];
        depth := depth - 1;
        sizes[depth] := sizes[depth] + last_size;
        here := here + 1;
      end if;
    elsif item in ('^', '$') or item = '\' and substr(pattern, here + 1, 1) in ('b', 'B') then
      compiled := compiled || case
        when item <> '\' then item
        when substr(pattern, here + 1, 1) = 'b' then '\y' else '\Y'
      end;
      here := here + case item when '\' then 2 else 1 end;
      nothing_yet := false;
      last_size := null;
    elsif item in (']', '}') then
      problem := format('write \%s for this character', item);
    else
      atom := automation.compile_atom(pattern, here);
      problem := atom.problem;
      position := case when problem is null then position else atom.next end;
      compiled := compiled || atom.written;
      here := atom.next;
      sizes[depth] := sizes[depth] + 1;
      last_size := 1;
      nothing_yet := false;
    end if;
    if problem is null and sizes[depth] > max_size then
      problem := 'the pattern repeats too much; use shorter repetitions';
    end if;
  end loop;
  if problem is null then
    position := length(pattern) + 1;
    problem := case
      when depth > 1 then 'a group is not closed'
      when nothing_yet then 'a pattern or an alternative is empty'
    end;
  end if;
  if problem is null then
    position := null;
  else
    compiled := null;
  end if;
end;
$$;

comment on function automation.compile_pattern(text) is
  'A pattern as Postgres runs it, or what is wrong with it and at which character.';
