-- What a stranger may have the office say. Anybody can post a public form, under anybody's name and with
-- any address as the one to answer to. So the messages of a run that such a post started carry its words
-- cut and without links, and of a contact that was known before nothing at all: {{contact.*}} is what was
-- posted. Conditions and steps inside the database see the contact, and so does a message that goes to
-- the office itself.

-- What a mail program or a telephone makes a link of.
create or replace function automation.link_pattern() returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '(?:\m(?:https?|hxxps?|ftp|javascript|vbscript)\s*:\s*\S*|\mwww\.\S+'
      '|(?<![@\w.-])(?:[\w-]+\.)+[a-z]{2,}(?::\d+)?/\S*'
      '|(?<![@\w.-])(?:[\w-]+\.)+(?:com|net|org|info|biz|io|co|us|uk|ca|mx|de|fr|es|eu|ru|cn|in|me|tv|cc|to|be|'
      'ly|gl|gd|gg|tk|ml|ga|cf|gq|pw|ws|xyz|top|site|online|shop|store|link|click|live|app|dev|page|club|'
      'win|vip|icu|buzz|fun|pro|bid|loan|work|space|website|tech|life|today|world)(?![\w@-]|\.\w))'
  $$;

create or replace function automation.has_link(given text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(translate(normalize(automation.tidy_words(given, 20000), nfkc), '。', '.')
      ~* automation.link_pattern(), false)
  $$;

-- As they go out. Quotes and angle brackets are replaced because {{{ }}} does not escape.
create or replace function automation.words_of_stranger(given text, at_most integer) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when length(w.plain) > at_most then left(w.plain, at_most - 1) || '…' else w.plain end
    from (
      select regexp_replace(translate(btrim(regexp_replace(regexp_replace(
          case when automation.has_link(given) then translate(normalize(given, nfkc), '。', '.') else given end,
          '[\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF]', '', 'g'),
          '[\x01-\x09\x0B-\x1F\x7F-\x9F]+', ' ', 'g')), '<>"', '‹›”'),
        automation.link_pattern(), '[link]', 'gi') as plain
    ) as w
  $$;

create or replace function automation.words_of_stranger(given jsonb, name text default '') returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case jsonb_typeof(given)
    when 'object' then (
      select coalesce(jsonb_object_agg(f.key, automation.words_of_stranger(f.value, f.key)), '{}')
      from jsonb_each(given) as f)
    when 'array' then (
      select coalesce(jsonb_agg(automation.words_of_stranger(i.value, name) order by i.place), '[]')
      from jsonb_array_elements(given) with ordinality as i (value, place))
    when 'string' then to_jsonb(case
      when name ~* 'name|nombre|company' and automation.has_link(given #>> '{}') then ''
      when name ~* 'name|nombre|company' then automation.words_of_stranger(given #>> '{}', 100)
      else automation.words_of_stranger(given #>> '{}', 500) end)
    else given
  end;
end;
$$;

-- Does the step name recipients of its own who are the office's: fixed ones, or users and the tenant?
create or replace function automation.is_for_office(config jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(config -> 'base' ? 'to', false) and not exists (
      select from jsonb_array_elements(coalesce(config -> 'slots', '[]')) as s
      where (s ->> 'at')::text[] && '{to,cc,bcc}'
        and (not jsonb_path_exists(s, '$.**.name') or exists (
          select from jsonb_path_query(s, 'strict $.**.name') as n
          where n #>> '{}' !~ '^(user|tenant)\.')))
  $$;

-- The execution as a message of this step sees it.
create or replace function automation.speaking_execution(
  execution ridgeline.workflow_executions, step jsonb)
  returns ridgeline.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  posted constant jsonb := execution.trigger_data -> 'form_submission';
  fields jsonb;
begin
  if posted ->> 'is_trusted' is distinct from 'false' or automation.channel_of(step ->> 'type') not in ('sms', 'email')
    or automation.is_for_office(step -> 'config') then
    return execution;
  end if;
  fields := automation.words_of_stranger(posted -> 'understood');
  execution.trigger_data := execution.trigger_data - 'form_submission_id'
    || jsonb_build_object('form_submission', posted || jsonb_build_object(
      'data', automation.words_of_stranger(posted -> 'data'), 'understood', fields));
  if posted ->> 'is_contact_new' = 'false' then
    execution.trigger_data := execution.trigger_data - 'contact_id'
      || jsonb_build_object('contact', fields || coalesce((
        select automation.own_names(e, fields) from automation.entities as e where e.name = 'contact'), '{}'));
  end if;
  return execution;
end;
$$;

comment on function automation.speaking_execution(ridgeline.workflow_executions, jsonb) is
  'The execution itself, or, where a stranger''s post started it and the step is a message, one that knows '
  'of the post only what may go out and of a contact that was known before only what was posted.';
