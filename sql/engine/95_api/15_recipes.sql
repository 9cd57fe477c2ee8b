-- RECIPES
--
-- Workflows that others wrote, with questions to the office: which number calls back, which stage means won. Answers
-- are checked, put where [[name]] stands, and what comes of it becomes drafts, all of them or none. A workflow that is
-- exported is the same kind of document: whatever belongs to its tenant alone (members, senders, forms, ids of
-- records) is a question, whose default holds where it came from.

create table automation.recipes (
  name text not null constraint recipes_pkey primary key,
  place integer not null,
  document jsonb not null constraint recipes_document_is_object check (jsonb_typeof(document) = 'object')
);

comment on table automation.recipes is 'The recipes that come with a release: recipes/*.json.';

create view ridgeline.recipes with (security_invoker = true) as
  select r.name, r.document ->> 'name' as title, r.document ->> 'description' as description,
    r.document -> 'needs' as needs, r.document -> 'questions' as questions, r.document as recipe
  from automation.recipes as r
  order by r.place, r.name;

comment on view ridgeline.recipes is
  'What can be installed with ridgeline.install_recipe(): by name, or as a document that somebody changed.';

-- CHECKING A DOCUMENT

create or replace function automation.question_types() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{text,number,boolean,choice,list,value,values,url,phone,email,time,duration,field,member,members,sender,'
      'form,record}'::text[]
  $$;

create or replace function automation.check_question(question jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if jsonb_typeof(question) <> 'object' then
    return jsonb_build_array(automation.problem(path, 'wrong_type', 'a question must be an object'));
  end if;
  return automation.known_keys(question, '{name,ask,type,help,default,optional,own,options,minimum,maximum,entity,'
      'channel}', path)
    || automation.mistyped(question, '{"name": "string", "ask": "string", "type": "string", "help": ["string", "null"],
      "optional": ["boolean", "null"], "own": ["boolean", "null"], "options": ["array", "null"],
      "minimum": ["number", "null"], "maximum": ["number", "null"], "entity": ["string", "null"],
      "channel": ["string", "null"]}', path)
    || case when question ->> 'name' ~ '^[a-z][a-z0-9_]{0,60}$' then '[]' else jsonb_build_array(automation.problem(
      path || '.name', 'invalid_value', 'a question needs a name of small letters, digits and _')) end
    || case when question ->> 'type' = any (automation.question_types()) then '[]'
      else jsonb_build_array(automation.problem(path || '.type', 'unknown_value', format(
        'there is no type of question "%s"', left(question ->> 'type', 60)),
        'Known: ' || array_to_string(automation.question_types(), ', ') || '.')) end;
end;
$$;

create or replace function automation.check_recipe(document jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  problems jsonb;
begin
  perform automation.check_object(document, 'recipe');
  problems := automation.known_keys(document, '{$schema,recipe,version,name,description,needs,questions,workflows,'
      'tenant_id}', '')
    || automation.mistyped('{"questions": [], "name": ""}'::jsonb || document, '{"recipe": ["string", "null"],
      "name": "string", "description": ["string", "null"], "needs": ["object", "null"], "questions": "array",
      "workflows": "array", "tenant_id": ["string", "null"]}', '');
  if automation.has_error(problems) then
    perform automation.raise_problems(problems, 'recipe');
  end if;
  if jsonb_array_length(document -> 'workflows') not between 1 and 20 then
    problems := problems || automation.problem('workflows', 'out_of_range', 'a recipe has from 1 to 20 workflows');
  elsif jsonb_array_length(coalesce(document -> 'questions', '[]')) > 200 then
    problems := problems || automation.problem('questions', 'out_of_range', 'a recipe has at most 200 questions');
  else
    select problems || coalesce(jsonb_agg(p.problem), '[]') into problems
    from jsonb_array_elements(coalesce(document -> 'questions', '[]')) with ordinality as q (question, place)
    cross join lateral jsonb_array_elements(
      automation.check_question(q.question, format('questions[%s]', q.place - 1))) as p (problem);
    if not automation.has_error(problems) then
      select problems || coalesce(jsonb_agg(automation.problem('questions', 'ambiguous', format(
          '"%s" is asked twice', d.name))), '[]') into problems
      from (
        select q ->> 'name' as name from jsonb_array_elements(coalesce(document -> 'questions', '[]')) as q
        group by 1 having count(*) > 1
      ) as d;
    end if;
  end if;
  perform automation.raise_problems(problems, 'recipe');
end;
$$;

-- What the recipe is about has to be there before anything of it is: {"entities": ["invoice"]}.
create or replace function automation.missing_needs(document jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    select coalesce(jsonb_agg(automation.problem('needs.entities', 'unknown_entity', format(
        'this recipe is about records called "%s", and no table is attached as that', left(n.name, 60)),
        'Attach it: docs/attach.md. Known: ' || (
          select string_agg(e.name, ', ' order by e.name) from automation.entities as e) || '.')), '[]')
    from jsonb_array_elements_text(case jsonb_typeof(document #> '{needs,entities}')
      when 'array' then document #> '{needs,entities}' else '[]' end) as n (name)
    where not exists (select from automation.entities as e where e.name = n.name)
  $$;

-- ANSWERS

-- A text stands in templates, so it has none of their marks: it can begin no variable, and end none.
create or replace function automation.plain_text_problem(answer jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(answer) <> 'string' then 'must be a text'
      when btrim(answer #>> '{}') = '' then 'must not be empty'
      when answer #>> '{}' ~ '[{}\\]' then 'cannot have {, } or \ in it'
      when answer #>> '{}' ~ '[[:cntrl:]]' then 'must be one line'
      when length(answer #>> '{}') > 500 then 'can have at most 500 characters'
    end
  $$;

create or replace function automation.scalar_problem(answer jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case jsonb_typeof(answer)
      when 'number' then null when 'boolean' then null
      when 'string' then automation.plain_text_problem(answer)
      else 'must be a text, a number, true or false' end
  $$;

create or replace function automation.list_problem(answer jsonb, of_texts boolean) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(answer) <> 'array' then 'must be a list'
      when jsonb_array_length(answer) not between 1 and 500 then 'must be a list of 1 to 500'
      else (
        select min(p.problem) from jsonb_array_elements(answer) as a
        cross join lateral (select case when of_texts then automation.plain_text_problem(a)
          else automation.scalar_problem(a) end as problem) as p)
    end
  $$;

create or replace function automation.number_problem(question jsonb, answer jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(answer) <> 'number' then 'must be a number'
      when (answer)::numeric < coalesce((question ->> 'minimum')::numeric, (answer)::numeric)
        then format('must be at least %s', question ->> 'minimum')
      when (answer)::numeric > coalesce((question ->> 'maximum')::numeric, (answer)::numeric)
        then format('can be at most %s', question ->> 'maximum')
    end
  $$;

-- Its record and its column are looked at with the rest of the workflow; here, that it can be nothing else.
create or replace function automation.field_problem(question jsonb, answer jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(answer) <> 'string'
        or answer #>> '{}' !~ '^[a-z][a-z0-9_]{0,60}(\.[A-Za-z_][A-Za-z0-9_]{0,62}){1,8}$'
        then 'must be a field, such as contact.stage'
      when split_part(answer #>> '{}', '.', 1) <> coalesce(question ->> 'entity', split_part(answer #>> '{}', '.', 1))
        then format('must be a field of %s', question ->> 'entity')
      when not exists (select from automation.entities as e where e.name = split_part(answer #>> '{}', '.', 1))
        then format('no table is attached as "%s"', split_part(answer #>> '{}', '.', 1))
    end
  $$;

create or replace function automation.member_problem(tenant_id uuid, answer jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when jsonb_typeof(answer) <> 'string' or not automation.is_member_key(answer #>> '{}') or not exists (
        select from automation.read_members(
          array[member_problem.tenant_id], array[automation.key_uuid(answer #>> '{}')]))
      then 'must be the id of somebody who belongs to you' end
  $$;

create or replace function automation.sender_problem(tenant_id uuid, channel text, answer jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when jsonb_typeof(answer) <> 'string' or not exists (
        select from unnest(case when channel is null then '{sms,email}' else array[channel] end) as c (name)
        cross join lateral automation.named_sender(sender_problem.tenant_id, c.name, answer #>> '{}') as s
        where s.id is not null)
      then 'must be one of your senders' end
  $$;

create or replace function automation.answer_problem(tenant_id uuid, question jsonb, answer jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  said constant text := answer #>> '{}';
  plain constant text := automation.plain_text_problem(answer);
begin
  return case question ->> 'type'
    when 'text' then plain
    when 'number' then automation.number_problem(question, answer)
    when 'boolean' then case when jsonb_typeof(answer) <> 'boolean' then 'must be true or false' end
    when 'choice' then case when not coalesce(question -> 'options' @> jsonb_build_array(answer), false)
      then 'must be one of ' || coalesce(
        (select string_agg(o #>> '{}', ', ') from jsonb_array_elements(question -> 'options') as o), 'nothing')
      else automation.scalar_problem(answer) end
    when 'list' then automation.list_problem(answer, true)
    when 'value' then automation.scalar_problem(answer)
    when 'values' then automation.list_problem(answer, false)
    when 'url' then case when plain is not null then plain
      when said !~* '^https?://[^\s/?#"<>]+[^\s"<>]*$' then 'must be an address that begins with https://' end
    when 'phone' then case when plain is not null then plain
      when automation.normalize_phone(said, automation.country_of(answer_problem.tenant_id)) is null
      then 'must be a telephone number' end
    when 'email' then case when plain is not null then plain
      when automation.normalize_email(automation.bare_address(said)) is null then 'must be an email address' end
    when 'time' then case when not automation.format_holds('time-of-day', answer)
      then 'must be a time, such as 09:30' end
    when 'duration' then case when jsonb_typeof(answer) <> 'string' then 'must be a length of time, such as 3 days'
      when not (automation.format_holds('signed-length-of-time', answer) or said ~ '^-?\d{1,3} business days?$')
      then 'must be a length of time, such as 3 days' end
    when 'field' then automation.field_problem(question, answer)
    when 'member' then automation.member_problem(answer_problem.tenant_id, answer)
    when 'members' then case when jsonb_typeof(answer) <> 'array' or jsonb_array_length(answer) not between 1 and 100
      then 'must be a list of members' else (
        select min(automation.member_problem(answer_problem.tenant_id, a)) from jsonb_array_elements(answer) as a) end
    when 'sender' then coalesce(
      plain, automation.sender_problem(answer_problem.tenant_id, question ->> 'channel', answer))
    when 'form' then coalesce(plain, case when not exists (
        select from ridgeline.forms as f where f.tenant_id = answer_problem.tenant_id and f.name = said)
      then 'must be the name of one of your forms' end)
    when 'record' then case when jsonb_typeof(answer) = 'number' then null
      when jsonb_typeof(answer) <> 'string' or btrim(said) = '' or said ~ '[{}]' or length(said) > 2000
      then 'must be an id or an address' end
  end;
exception when data_exception then
  return 'cannot be this';
end;
$$;

comment on function automation.answer_problem(uuid, jsonb, jsonb) is
  'What is wrong with an answer to a question of a recipe; null: nothing.';

-- {name: answer} for each question; a default stands in, one of the exporting tenant (own) for that tenant alone.
create or replace function automation.settle_answers(
  tenant_id uuid, document jsonb, answers jsonb, out settled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  question jsonb;
  answer jsonb;
  given boolean;
  wrong text;
begin
  settled := '{}';
  problems := automation.known_keys(answers, array(
    select q ->> 'name' from jsonb_array_elements(coalesce(document -> 'questions', '[]')) as q), 'answers');
  for question in select q.value from jsonb_array_elements(coalesce(document -> 'questions', '[]')) as q loop
    answer := nullif(answers -> (question ->> 'name'), 'null');
    given := answer is not null;
    if not given and (question -> 'own' is distinct from 'true'
      or automation.as_uuid(document ->> 'tenant_id') = settle_answers.tenant_id) then
      answer := nullif(question -> 'default', 'null');
    end if;
    if answer is null and question -> 'optional' = 'true' then
      settled := settled || jsonb_build_object(question ->> 'name', null);
      continue;
    end if;
    wrong := case when answer is null then 'has no answer'
      else automation.answer_problem(settle_answers.tenant_id, question, answer) end;
    if wrong is null then
      settled := settled || jsonb_build_object(question ->> 'name', answer);
    else
      problems := problems || automation.problem('answers.' || (question ->> 'name'),
        case when given then 'invalid_value' else 'missing' end,
        case when given or answer is null then wrong else 'has no answer, and its default ' || wrong end,
        left(question ->> 'ask', 300));
    end if;
  end loop;
end;
$$;

-- FILLING IN

-- One answer where [[name]] stands: of a field also its parts, [[name.entity]] and [[name.field]].
create or replace function automation.answer_part(answers jsonb, name text, part text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case part
      when 'entity' then to_jsonb(split_part(answers ->> name, '.', 1))
      when 'field' then to_jsonb(substr(answers ->> name, strpos(answers ->> name, '.') + 1))
      else answers -> name end
  $$;

create or replace function automation.answer_text(answer jsonb, in_html boolean) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when in_html then automation.escape_html(a.said) else a.said end
    from (
      select case jsonb_typeof(answer)
        when 'null' then ''
        when 'array' then (select string_agg(i, ', ') from jsonb_array_elements_text(answer) as i)
        else answer #>> '{}' end as said) as a
  $$;

-- Looked at once, from left to right: what an answer says is never looked at again.
create or replace function automation.fill_text(written text, answers jsonb, in_html boolean) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pattern constant text := '\[\[([a-z][a-z0-9_]*)(?:\.(entity|field))?\]\]';
  found constant text[] := regexp_match(written, '^' || pattern || '$');
begin
  if found is not null and answers ? found[1] then
    return automation.answer_part(answers, found[1], found[2]);
  end if;
  return (
    select to_jsonb(string_agg(p.said || coalesce(
      case when answers ? m.names[1]
        then automation.answer_text(automation.answer_part(answers, m.names[1], m.names[2]), in_html)
        else '[[' || array_to_string(m.names, '.') || ']]' end, ''), '' order by p.place))
    from unnest(regexp_split_to_array(written, pattern)) with ordinality as p (said, place)
    left join regexp_matches(written, pattern, 'g') with ordinality as m (names, place) on m.place = p.place);
end;
$$;

-- An optional question without an answer leaves out the key, or the item, that would have been it.
create or replace function automation.is_left_out(value jsonb, answers jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_typeof(value) = 'string' and answers -> substring(
      value #>> '{}' from '^\[\[([a-z][a-z0-9_]*)(?:\.(?:entity|field))?\]\]$') = 'null', false)
  $$;

create or replace function automation.fill_in(value jsonb, answers jsonb, key text default '', depth integer default 0)
  returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  if depth > 200 then
    raise exception 'recipe: it is nested more than 200 levels deep' using errcode = 'invalid_parameter_value';
  end if;
  case jsonb_typeof(value)
    when 'string' then
      return case when strpos(value #>> '{}', '[[') = 0 then value
        else automation.fill_text(value #>> '{}', answers, key = 'html') end;
    when 'object' then
      return coalesce((
        select jsonb_object_agg(m.key, automation.fill_in(m.value, answers, m.key, depth + 1))
        from jsonb_each(value) as m
        where not automation.is_left_out(m.value, answers)), '{}');
    when 'array' then
      return coalesce((
        select jsonb_agg(automation.fill_in(m.value, answers, key, depth + 1) order by m.place)
        from jsonb_array_elements(value) with ordinality as m (value, place)
        where not automation.is_left_out(m.value, answers)), '[]');
    else
      return value;
  end case;
end;
$$;

comment on function automation.fill_in(jsonb, jsonb, text, integer) is
  'A document with answers where [[name]] stands: as they are where that is the whole text, else as text, escaped in '
  'html. What no question is called stays.';

-- An answer may stand in many places: what comes of all of them is bounded before any of it is made.
create or replace function automation.check_filled_size(workflows jsonb, answers jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  written constant text := (
    select string_agg(s #>> '{}', ' ') from jsonb_path_query(workflows, 'strict $.** ? (@.type() == "string")') as s);
begin
  if (
    select sum((length(written) - length(replace(written, m.mark, ''))) / length(m.mark) * m.size)
    from (
      select '[[' || a.key as mark, octet_length(a.value::text)::bigint as size from jsonb_each(answers) as a) as m)
    > 1048576 then
    raise exception 'recipe: its answers fill more than 1 MB' using errcode = 'PT413',
      hint = 'An answer counts in each place where it stands. Give shorter ones, or use them in fewer places.';
  end if;
end;
$$;

-- INSTALLING

-- Of another release, or of nobody's.
create or replace function automation.unknown_step_types(definition jsonb) returns jsonb
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(s.path || '.step_type', 'unknown_step_type', format(
        'there is no step "%s"', left(s.step ->> 'step_type', 60)),
        'Known: ' || (select string_agg(t.name, ', ' order by t.name) from automation.step_types as t) || '.')), '[]')
    from automation.definition_steps(definition) as s
    where not exists (select from automation.step_types as t where t.name = s.step ->> 'step_type')
  $$;

-- Drafts, all of them, if each could be published; else what is wrong with any, and nothing is there.
create or replace function automation.write_drafts(tenant_id uuid, definitions jsonb) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  definition jsonb;
  place integer := 0;
  saved jsonb;
  problems jsonb := '[]'::jsonb;
  found_problems jsonb;
  written jsonb := '[]'::jsonb;
begin
  for definition in select d.value from jsonb_array_elements(definitions) as d loop
    perform automation.check_object(definition, format('workflows[%s]', place));
    definition := definition - 'id';
    perform automation.check_definition(definition);
    perform automation.raise_problems(automation.unknown_step_types(definition), format('workflows[%s]', place));
    saved := automation.save_workflow(tenant_id, definition, null);
    found_problems := automation.validate_workflow((saved ->> 'workflow_id')::uuid) -> 'problems';
    select problems || coalesce(jsonb_agg(p || jsonb_build_object('path', format(
        'workflows[%s].%s', place, p ->> 'path')) order by p ->> 'severity', o), '[]') into problems
    from jsonb_array_elements(found_problems) with ordinality as f (p, o);
    written := written || jsonb_build_object('workflow_id', saved -> 'workflow_id', 'revision', saved -> 'revision',
      'name', definition -> 'name', 'problems', found_problems);
    place := place + 1;
  end loop;
  perform automation.raise_problems(problems, 'recipe');
  return written;
end;
$$;

create or replace function automation.install(tenant_id uuid, document jsonb, answers jsonb, is_recipe boolean)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  settled record;
  definitions jsonb;
begin
  perform automation.check_editor(tenant_id, 'writing a workflow');
  perform automation.check_not_forgotten(tenant_id);
  perform automation.check_recipe(document);
  perform automation.check_object(answers, 'answers');
  perform automation.raise_problems(automation.missing_needs(document), 'recipe');
  settled := automation.settle_answers(tenant_id, document, answers);
  perform automation.raise_problems(settled.problems, 'answers');
  perform automation.check_filled_size(document -> 'workflows', settled.settled);
  definitions := automation.fill_in(document -> 'workflows', settled.settled);
  if is_recipe then
    select jsonb_agg(case jsonb_typeof(d.value) when 'object' then d.value || jsonb_build_object('metadata',
        case jsonb_typeof(d.value -> 'metadata') when 'object' then d.value -> 'metadata' else '{}' end
        || jsonb_build_object('recipe', jsonb_strip_nulls(jsonb_build_object(
          'name', document -> 'recipe', 'version', document -> 'version', 'answers', settled.settled))))
      else d.value end order by d.place) into definitions
    from jsonb_array_elements(definitions) with ordinality as d (value, place);
  end if;
  return automation.write_drafts(tenant_id, definitions);
end;
$$;

create or replace function automation.install_recipe(tenant_id uuid, recipe jsonb, answers jsonb) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, '{}');
  document jsonb := recipe;
begin
  perform automation.in_tenant(tenant);
  if jsonb_typeof(recipe) = 'string' then
    document := (select r.document from automation.recipes as r where r.name = recipe #>> '{}');
    if document is null then
      raise exception 'recipe: there is no recipe "%"', left(recipe #>> '{}', 60) using errcode = 'PT404',
        hint = (select 'There are: ' || string_agg(r.name, ', ' order by r.place) || '.' from automation.recipes as r);
    end if;
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'recipe', document -> 'recipe', 'workflows', automation.install(tenant, document, coalesce(answers, '{}'), true)));
end;
$$;

create or replace function ridgeline.install_recipe(
  recipe jsonb, answers jsonb default '{}', tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.install_recipe(tenant_id, recipe, answers) from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.install_recipe(jsonb, jsonb, uuid) is
  'Writes the workflows of a recipe as drafts, all of them or nothing. recipe: a name of ridgeline.recipes, or a whole '
  'document such as those (recipes/recipe.schema.json). answers: {question: answer}; a question without one has its '
  'default. Answers {recipe, workflows: [{workflow_id, revision, name, problems}]}, problems being warnings. What is '
  'missing, wrong or could not be published is 22023, with the path of each problem in detail. Editors.';

-- EXPORTING

-- The texts of a definition that are somebody's of this tenant alone, by the key that they stand under (null: any).
create or replace function automation.own_texts(tenant_id uuid, source jsonb)
  returns table (key text, said text, kind text, channel text, label text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with ids as materialized (
      select distinct t.said, automation.as_uuid(t.said) as id
      from (select s #>> '{}' as said from jsonb_path_query(source, 'strict $.** ? (@.type() == "string")') as s) as t
      where t.said ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
    ), people as materialized (
      select m.user_id, m.full_name from automation.read_members(
        array[own_texts.tenant_id], array(select i.id from ids as i where i.id is not null)) as m
    ), senders as (
      select distinct k.key, v #>> '{}' as said,
        case when s.value ->> 'step_type' = 'send_email' then 'email' else 'sms' end as channel
      from jsonb_path_query(source, 'strict $.** ? (exists (@.step_type) && exists (@.step_config))') as s (value)
      cross join unnest('{from,messaging_service_sid,to,cc,bcc,reply_to}'::text[]) as k (key)
      cross join lateral jsonb_array_elements(automation.as_list(s.value #> array['step_config', k.key])) as v
      where s.value ->> 'step_type' in ('send_sms', 'send_email') and jsonb_typeof(v) = 'string'
        and v #>> '{}' !~ '[{}]' and btrim(v #>> '{}') <> ''
    )
    select null, i.said, case when p.user_id is not null then 'member' else 'record' end, null, p.full_name
    from ids as i left join people as p on p.user_id = i.id
    union
    select s.key, s.said, case when s.key in ('from', 'messaging_service_sid') then 'sender' else 'address' end,
      s.channel, null
    from senders as s
    where s.said not in (select i.said from ids as i)
    union
    select 'form', f.name, 'form', null, null
    from jsonb_path_query(source, 'strict $.**.form ? (@.type() == "string")') as s
    join ridgeline.forms as f on f.tenant_id = own_texts.tenant_id and f.name = s #>> '{}'
  $$;

-- The reverse of fill_in(): {"said": "name"} for any key, {"key said": "name"} for one.
create or replace function automation.take_out(value jsonb, names jsonb, key text default '') returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  return case jsonb_typeof(value)
    when 'string' then to_jsonb(coalesce(
      '[[' || coalesce(names ->> (key || E'\n' || (value #>> '{}')), names ->> (E'\n' || (value #>> '{}'))) || ']]',
      value #>> '{}'))
    when 'object' then coalesce((
      select jsonb_object_agg(m.key, automation.take_out(m.value, names, m.key)) from jsonb_each(value) as m), '{}')
    when 'array' then coalesce((
      select jsonb_agg(automation.take_out(m.value, names, key) order by m.place)
      from jsonb_array_elements(value) with ordinality as m (value, place)), '[]')
    else value end;
end;
$$;

create or replace function automation.ask_for(kind text, label text, said text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'member' then format('Who takes the place of %s?', coalesce(label, 'this member'))
      when 'sender' then format('Which of your senders, in place of %s?', said)
      when 'address' then format('Who gets what went to %s?', said)
      when 'form' then format('Which of your forms, in place of "%s"?', said)
      else format('Which record, in place of %s?', said) end
  $$;

create or replace function automation.export_workflow(workflow_id uuid) returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  source constant jsonb := automation.workflow_source(workflow) - 'id';
  -- No question is called as something that a text says already.
  ending text := '';
  names jsonb;
  questions jsonb;
begin
  while source::text ~ ('\[\[(member|sender|address|form|record)_\d+' || ending || '[.\]]') loop
    ending := ending || '_x';
  end loop;
  select jsonb_object_agg(concat(o.key, E'\n', o.said), o.name), jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'name', o.name, 'type', case o.kind when 'address' then 'record' else o.kind end,
      'ask', automation.ask_for(o.kind, o.label, o.said), 'channel', case o.kind when 'sender' then o.channel end,
      'default', o.said, 'own', true)) order by o.name)
    into names, questions
  from (
    select t.*, t.kind || '_' || row_number() over (partition by t.kind order by t.key, t.said) || ending as name
    from automation.own_texts(workflow.tenant_id, source) as t
  ) as o;
  return jsonb_build_object('tenant_id', workflow.tenant_id, 'name', workflow.name,
    'questions', coalesce(questions, '[]'),
    'workflows', jsonb_build_array(case when names is null then source else automation.take_out(source, names) end));
end;
$$;

create or replace function ridgeline.export_workflow(workflow_id uuid, tenant_id uuid default null) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.export_workflow(workflow_id) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.export_workflow(uuid, uuid) is
  'The draft of a workflow as a document for ridgeline.import_workflow(): {tenant_id, name, questions, workflows: '
  '[definition]}. What is this tenant''s alone (members, senders, addresses that are written out, forms, ids of '
  'records) is a question.';

create or replace function automation.import_workflow(tenant_id uuid, document jsonb, answers jsonb) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, '{}');
begin
  perform automation.in_tenant(tenant);
  if jsonb_typeof(document -> 'workflows') = 'array' and jsonb_array_length(document -> 'workflows') <> 1 then
    raise exception 'document.workflows: one workflow is imported at a time' using errcode = 'invalid_parameter_value',
      hint = 'ridgeline.install_recipe() takes several.';
  end if;
  return automation.install(tenant, document, coalesce(answers, '{}'), false) -> 0;
end;
$$;

create or replace function ridgeline.import_workflow(
  document jsonb, answers jsonb default '{}', tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.import_workflow(tenant_id, document, answers) from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.import_workflow(jsonb, jsonb, uuid) is
  'Writes what ridgeline.export_workflow() gave as a new draft: {workflow_id, revision, name, problems}. Where it came '
  'from it needs no answers, and is unchanged; elsewhere each of its questions does. Checked as install_recipe() '
  'checks, before anything is written. Editors.';
