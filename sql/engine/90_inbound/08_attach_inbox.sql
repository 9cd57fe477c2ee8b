-- automation.attach_inbox(): a host that has an inbox of its own, a table in which its texts, emails, calls or forms
-- arrive. A row that is inserted there counts like one that a provider's webhook brings: stops, answers, waits,
-- exits, missed calls, new contacts. The writer's transaction never fails on our account: what cannot be taken is kept
-- and tried again by the tick.

create table automation.inboxes (
  relation text not null constraint inboxes_pkey primary key,
  columns jsonb not null,
  words jsonb not null default '{}',
  kind text not null default 'sms'
    constraint inboxes_kind_known check (kind in ('sms', 'email', 'call', 'form', 'any'))
);

comment on table automation.inboxes is
  'Tables of the CRM in which something arrives: {field: column}, {our word: theirs}. kind: what; any: a column says '
  'it.';

create table automation.inbox_waiting (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  event jsonb not null,
  error text not null,
  tries integer not null default 1,
  created_at timestamptz not null default automation.now(),
  kind text not null default 'sms',
  constraint inbox_waiting_pkey primary key (tenant_id, id)
);

comment on table automation.inbox_waiting is
  'What came into the CRM''s inbox and could not be taken yet, and why. tenant_id: zeros where the inbox does not say. '
  'event.unread: what nobody can read there; without it, and with what was meant, it is taken. event.row: which row '
  'it is, {relation, key}.';

create index inbox_waiting_to_take on automation.inbox_waiting (tenant_id, kind, tries, created_at)
  where tries < 10 and not event ? 'unread';

-- What a kind of inbox says, under the names that its columns usually have; required: what it must say.
create or replace function automation.inbox_fields(kind text)
  returns table (field text, usual text[], required boolean)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select f.field, f.usual::text[], f.needed_by <> '' and (inbox_fields.kind ~ f.needed_by)
    from (values
      ('id', '{id}', '.', '.'),
      ('at', '{received_at,sent_at,created_at}', 'sms|email|call|any', ''),
      ('tenant', '{tenant_id}', '.', ''),
      ('kind', '{}', 'any', 'any'),
      ('direction', '{direction}', 'sms|email|call|any', ''),
      ('from', '{from_number,from_address,from_email}', 'sms|email|call|any', 'sms|email|call|any'),
      ('to', '{to_number,to_address,to_email}', 'sms|email|call|any', ''),
      ('body', '{body}', 'sms|any', 'sms'),
      ('media', '{media_urls}', 'sms|any', ''),
      ('subject', '{subject}', 'email|any', ''),
      ('text', '{text,body_text}', 'email|any', ''),
      ('html', '{html,body_html}', 'email|any', ''),
      ('headers', '{headers}', 'email|any', ''),
      ('status', '{status}', 'call|any', 'call'),
      ('duration', '{duration_seconds,duration}', 'call|any', ''),
      ('form', '{form}', 'form', ''),
      ('data', '{data}', 'form', '')
    ) as f (field, usual, known_by, needed_by)
    where inbox_fields.kind ~ f.known_by
  $$;

-- words: {our word: theirs, or a list of theirs}; one that is not there is theirs too.
create or replace function automation.is_word(words jsonb, ours text, said text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(lower(btrim(said)) in (
      select lower(btrim(w.word))
      from jsonb_array_elements_text(case jsonb_typeof(words -> ours)
        when 'array' then words -> ours when 'string' then jsonb_build_array(words -> ours)
        else jsonb_build_array(ours) end) as w (word)), false)
  $$;

-- A row as JSON whose text can be read: json, unlike jsonb, also holds what is no character.
create or replace function automation.legible(written json) returns json
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform count(*) from json_each(written);
  return written;
exception when others then
  return regexp_replace(regexp_replace(written::text, '(?<!\\)((\\\\)*)\\u0000', '\1', 'g'),
    '(?<!\\)((\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '\1\\ufffd', 'g')::json;
end;
$$;

-- What stands at a place; null: nothing, or nothing that can be read. Of what stands beside it nothing becomes jsonb,
-- which takes no "\u0000" and no 1e200000. JSON is often written as a text that is JSON. whole: a list or an object.
create or replace function automation.inside_json(written json, path text[], whole boolean) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  here json := written;
  depth integer := 0;
begin
  loop
    if json_typeof(here) = 'string' and (whole or depth < cardinality(path)) then
      here := automation.legible((here #>> '{}')::json);
    end if;
    exit when depth = cardinality(path);
    depth := depth + 1;
    here := here #> path[depth:depth];
  end loop;
  return case when json_typeof(here) = 'null' or (json_typeof(here) in ('object', 'array')) = whole
    then here::jsonb end;
exception when others then
  return null;
end;
$$;

-- {field: what the row says there}: in a column, or in a key of a JSON column ("content.text"). A field where there is
-- nothing, or not what is meant, is left out; a null is one.
create or replace function automation.said_in_row(names jsonb, written json) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(s.field, s.value) filter (where s.value is not null), '{}')
    from (
      select n.key as field, automation.inside_json(written,
        case when written -> n.value is null then string_to_array(n.value, '.') else array[n.value] end,
        n.key in ('media', 'headers', 'data')) as value
      from jsonb_each_text(names) as n
    ) as s
  $$;

create or replace function automation.kind_of_row(inbox automation.inboxes, said jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when inbox.kind <> 'any' then inbox.kind else (
      select k from unnest('{sms,email,call}'::text[]) as k
      where automation.is_word(inbox.words, k, said ->> 'kind') limit 1) end
  $$;

-- What was filled in: the column that holds it, else all of the row.
create or replace function automation.fields_of_row(names jsonb, said jsonb, written json) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(said -> 'data') = 'object' then said -> 'data'
      when names ? 'data' then '{}'
      else (
        select coalesce(jsonb_strip_nulls(jsonb_object_agg(w.key, coalesce(
          automation.inside_json(w.value, '{}', false), automation.inside_json(w.value, '{}', true)))), '{}')
        from json_each(written) as w
        where w.key <> all (array(
          select names ->> k from unnest('{id,tenant,form}'::text[]) as k where names ? k)))
    end
  $$;

-- What a row had to say, and where nothing can be read: whoever wrote may have said STOP. Null: all is there.
create or replace function automation.unread_in_row(names jsonb, kind text, said jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%s: row %s has nothing that can be read at "%s"', f.field, coalesce(said ->> 'id', '?'),
      names ->> f.field)
    from unnest('{kind,id,direction,from,body,text,data}'::text[]) with ordinality as f (field, place)
    where names ? f.field and not said ? f.field and case
      when kind is null then f.field = 'kind'
      when f.field in ('id', 'direction') then kind <> 'form'
      when kind = 'sms' then f.field = 'from'
        or f.field = 'body' and coalesce(said -> 'media', '[]') in ('[]', 'null')
      when kind = 'email' then f.field in ('text', 'body') and not said ?| '{text,body,html}'
        and not coalesce(automation.is_stop_request(said ->> 'subject'), false)
      else kind = 'form' and f.field = 'data' end
    order by f.place limit 1
  $$;

-- What a row is known by. A table that is emptied or made anew may count its ids from one again, and then they are
-- other rows': who said what to whom, and when, is part of it. Of a call only what is known when it rings.
create or replace function automation.name_of_row(inbox automation.inboxes, kind text, said jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%s %s %s', inbox.relation, said ->> 'id', left(encode(sha256(convert_to((
      select jsonb_object_agg(s.key, case
        -- A session writes a time in its own zone.
        when s.key = 'at' and automation.is_date(s.value #>> '{}')
          then to_jsonb(extract(epoch from automation.instant_in(s.value #>> '{}', 'UTC')))
        else s.value end)::text
      from jsonb_each(said) as s
      where s.key in ('at', 'from', 'to')
        or kind is distinct from 'call' and s.key in ('body', 'media', 'subject', 'text', 'html')
    ), 'UTF8')), 'hex'), 16))
  $$;

-- A row as what it is a row of takes it; null: it is none that came in. unread: why nobody knows what came.
create or replace function automation.event_of_inbox(
  inbox automation.inboxes, kind text, said jsonb, written json)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  names constant jsonb := inbox.columns;
  unread constant text := automation.unread_in_row(names, kind, said);
  tenant constant text := coalesce(automation.tenant_in_row(said ->> 'tenant'), (
    select t.sole from automation.tenancy as t))::text;
  source constant text := automation.name_of_row(inbox, kind, said);
  is_inbound constant boolean := not names ? 'direction'
    or automation.is_word(inbox.words, 'inbound', said ->> 'direction');
  -- Which of the office's numbers it came to, where the inbox does not say: the one that it writes from.
  own_number constant text := coalesce(nullif(said ->> 'to', ''), (
    select s.address from ridgeline.senders as s
    where s.tenant_id = automation.as_uuid(tenant) and s.channel = 'sms' and s.kind = 'number'
      and s.verified_at is not null
    order by s.is_default desc, s.created_at, s.id limit 1));
begin
  if kind is null and unread is null or said ? 'direction' and not is_inbound and kind in ('sms', 'email') then
    return null;
  end if;
  return jsonb_strip_nulls(jsonb_build_object('tenant_id', tenant, 'unread', unread) || coalesce(case kind
    when 'sms' then jsonb_build_object(
      'message_sid', source, 'from', said ->> 'from', 'to', own_number,
      'body', said ->> 'body',
      'media_urls', case jsonb_typeof(said -> 'media')
        when 'array' then said -> 'media' end)
    when 'email' then jsonb_build_object(
      'email_id', source, 'from', said ->> 'from', 'to', said ->> 'to',
      'subject', said ->> 'subject',
      -- Where one column holds all that is said, texts among it, that is it.
      'text', coalesce(said ->> 'text', said ->> 'body'),
      'html', said ->> 'html',
      'headers', case jsonb_typeof(said -> 'headers')
        when 'object' then said -> 'headers' end)
    when 'call' then jsonb_build_object(
      'call_sid', source, 'direction', case when is_inbound then 'inbound' else 'outbound' end,
      'from', case when is_inbound then said ->> 'from' else coalesce(said ->> 'from', own_number) end,
      'to', own_number, 'said', said ->> 'status',
      'status', (
        select k from unnest(automation.call_words()) with ordinality as w (k, place)
        where automation.is_word(inbox.words, k, said ->> 'status') order by place limit 1),
      'duration', round(automation.as_number(jsonb_build_object('n', said -> 'duration'), 'n')))
    when 'form' then jsonb_build_object(
      'form', coalesce(said ->> 'form', inbox.words ->> 'form'),
      'fields', automation.fields_of_row(names, said, written))
  end, '{}'));
end;
$$;

-- What a call may have become, in the words that automation.record_call() knows.
create or replace function automation.call_words() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{missed,completed,ringing,in-progress,answered,no-answer,busy,failed,canceled,queued,initiated}'::text[]
  $$;

-- What keeps it from being taken; null: nothing, it is.
create or replace function automation.take_event(kind text, event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.as_uuid(event ->> 'tenant_id');
  form ridgeline.forms;
begin
  if event ? 'unread' then
    return event ->> 'unread';
  elsif kind = 'sms' then
    return case when automation.receive_sms(event) = 'unknown_number' then format(
      'to: %s is no number of this tenant''s senders', coalesce(event ->> 'to', 'nothing')) end;
  elsif automation.is_tenant_gone(owner) or not exists (select from automation.read_tenants(array[owner]) as t) then
    return format('tenant: there is no tenant "%s"', left(event ->> 'tenant_id', 60));
  end if;
  case kind
    when 'email' then
      return case when automation.keep_email(owner, event ->> 'to', 'inbox', event) = 'unknown_sender' then format(
        'from: "%s" is no email address', left(event ->> 'from', 60)) end;
    when 'call' then
      -- Who it is may become known while it goes on: it stays that call.
      if event ->> 'was' <> event ->> 'call_sid' then
        update ridgeline.calls as c set provider_id = event ->> 'call_sid'
        where c.provider_id = event ->> 'was' and c.tenant_id = owner and c.provider = 'inbox';
      end if;
      if not event ? 'status' then
        return format('status: "%s" is none of %s; words says which of them it is', left(event ->> 'said', 60),
          array_to_string(automation.call_words(), ', '));
      end if;
      perform automation.keep_call(owner, 'inbox', event);
    else
      select f.* into form from ridgeline.forms as f
      where f.tenant_id = owner and lower(f.name) = lower(btrim(event ->> 'form')) and f.is_active
      order by f.created_at limit 1;
      if not found then
        return format('form: there is no active form "%s"', left(event ->> 'form', 60));
      end if;
      perform automation.accept_submission(form, (event -> 'fields') - form.honeypot);
  end case;
  return null;
end;
$$;

-- Whose word it is: the CRM's own program's, or of whoever else may write there. Where no column says whose a text is,
-- its number does, and somebody who comes through the API speaks for their own tenants alone, so who is not signed in
-- for none, but for a stop, which only silences: a CRM's function may write with the key that everybody has. A program
-- with a role of its own may. It stays what it is when it is taken later. Null: it is nobody's to say.
create or replace function automation.event_of_writer(event jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_service constant boolean := automation.is_service();
  is_client constant boolean := automation.current_user_id() is not null
    or coalesce(nullif(current_setting('role', true), 'none'), session_user) in ('anon', 'authenticated');
  owner uuid;
begin
  event := event || jsonb_build_object('told_by', case when is_service then 'provider' else 'writer' end);
  if is_service or event ? 'tenant_id' or not is_client or automation.current_user_id() is null
      and (upper(event ->> 'opt_out_type') = 'STOP' or automation.is_stop_request(event ->> 'body')
        or event ? 'unread') then
    return event;
  end if;
  owner := automation.tenant_of_number(event ->> 'to', automation.teller(event, 'sms'));
  if owner = any (automation.member_tenants()) then
    return event || jsonb_build_object('tenant_id', owner);
  end if;
  raise warning 'automation: a text to %, which is no number of a tenant of whoever wrote it, is not taken',
    left(event ->> 'to', 60);
  return null;
end;
$$;

-- By what somebody finds a row that waits: the key of its table, else the id that was named.
create or replace function automation.place_of_row(inbox automation.inboxes, relation regclass, written json)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('relation', coalesce(inbox.relation, relation::text), 'key', (
      select jsonb_object_agg(a.attname, left(written ->> a.attname, 200))
      from pg_catalog.pg_attribute as a
      where a.attrelid = place_of_row.relation and case
        when exists (
          select from pg_catalog.pg_index as i where i.indrelid = a.attrelid and i.indisprimary)
        then exists (
          select from pg_catalog.pg_index as i
          where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey))
        else a.attname = inbox.columns ->> 'id' end))
  $$;

create or replace function automation.take_inbox() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  inbox automation.inboxes;
  written json;
  said jsonb;
  kind text;
  event jsonb;
  place jsonb;
  failure text;
begin
  -- What a message that we keep writes there is no message that came.
  if current_setting('automation.in_inbox', true) = 'on' then
    return null;
  end if;
  begin
    select i.* into inbox from automation.inboxes as i
    where to_regclass(i.relation) = tg_relid or i.relation = tg_argv[0];
    written := automation.legible(to_json(new.*));
    said := automation.said_in_row(inbox.columns, written);
    kind := automation.kind_of_row(inbox, said);
    -- Only a call becomes something else.
    if tg_op = 'UPDATE' and kind is distinct from 'call' then
      return null;
    end if;
    event := automation.event_of_inbox(inbox, kind, said, written);
    if event is null then
      return null;
    end if;
    event := automation.event_of_writer(event);
    if event is null then
      return null;
    elsif tg_op = 'UPDATE' then
      event := event || jsonb_build_object('was', automation.name_of_row(inbox, kind,
        automation.said_in_row(inbox.columns, automation.legible(to_json(old.*)))));
    end if;
    perform set_config('automation.in_inbox', 'on', true);
    failure := automation.take_event(kind, event);
    perform set_config('automation.in_inbox', '', true);
  exception when others then
    failure := sqlerrm;
  end;
  if failure is not null then
    raise warning 'automation: a row of % could not be taken: %', tg_argv[0], failure;
    begin
      place := automation.place_of_row(inbox, tg_relid, automation.legible(to_json(new.*)));
    exception when others then
      place := jsonb_build_object('relation', tg_argv[0]);
    end;
    event := '{"told_by": "writer"}' || coalesce(event, jsonb_build_object('unread', failure))
      || jsonb_build_object('row', place);
    insert into automation.inbox_waiting (tenant_id, kind, event, error)
    values (coalesce(automation.as_uuid(event ->> 'tenant_id'), '00000000-0000-0000-0000-000000000000'),
      coalesce(kind, inbox.kind, 'any'), event, failure);
  end if;
  return null;
end;
$$;

-- Whose turn it is: of each tenant and kind the first, then of each the second, so that a thousand of one keep no STOP
-- of another from its own. What is unread has no turn: only somebody who says what it was changes that.
create or replace function automation.next_waiting(portion integer) returns table (tenant_id uuid, id uuid)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive whose (tenant_id, kind) as (
      (select w.tenant_id, w.kind from automation.inbox_waiting as w
       where w.tries < 10 and not w.event ? 'unread' order by 1, 2 limit 1)
      union all
      select n.tenant_id, n.kind
      from whose as t
      cross join lateral (
        select w.tenant_id, w.kind from automation.inbox_waiting as w
        where (w.tenant_id, w.kind) > (t.tenant_id, t.kind) and w.tries < 10 and not w.event ? 'unread'
        order by 1, 2 limit 1) as n
    )
    select t.tenant_id, n.id
    -- They are as many as offices, and each has ten tries in all.
    from (select * from whose limit 500) as t
    cross join lateral (
      select w.id, w.tries, w.created_at, row_number() over (order by w.tries, w.created_at) as turn
      from automation.inbox_waiting as w
      where w.tenant_id = t.tenant_id and w.kind = t.kind and w.tries < 10 and not w.event ? 'unread'
      order by w.tries, w.created_at limit portion) as n
    order by n.turn, n.tries, n.created_at
    limit portion
  $$;

-- Those that were kept, once more: what has been mended since is taken, in a portion. Ten tries; the rows stay.
create or replace function automation.take_waiting(portion integer default 20) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  turn record;
  waiting automation.inbox_waiting;
  failure text;
  taken integer := 0;
begin
  for turn in select n.tenant_id, n.id from automation.next_waiting(portion) as n loop
    select w.* into waiting from automation.inbox_waiting as w
    where w.tenant_id = turn.tenant_id and w.id = turn.id and w.tries < 10 and not w.event ? 'unread'
    for update skip locked;
    continue when not found;
    begin
      failure := automation.take_event(waiting.kind, waiting.event);
    exception when others then
      failure := sqlerrm;
    end;
    if failure is null then
      delete from automation.inbox_waiting as w where w.tenant_id = waiting.tenant_id and w.id = waiting.id;
      taken := taken + 1;
    else
      update automation.inbox_waiting as w set tries = w.tries + 1, error = failure
      where w.tenant_id = waiting.tenant_id and w.id = waiting.id;
    end if;
  end loop;
  return taken;
end;
$$;

-- The fields of an inbox and their columns, as given or as they are usually called.
create or replace function automation.inbox_columns(relation regclass, kind text, given jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(n.field, n.column_name), '{}')
    from (
      select f.field, case when given ? f.field then given ->> f.field else (
        select c.name from automation.relation_columns(relation) as c
        where c.name = any (f.usual || f.field)
        order by array_position(f.usual || f.field, c.name) limit 1) end as column_name
      from automation.inbox_fields(inbox_columns.kind) as f
    ) as n
    where n.column_name is not null
  $$;

create or replace function automation.attach_inbox(
  relation regclass, columns jsonb default '{}', words jsonb default '{}', kind text default 'sms')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- A column that says what a row is.
  is_any constant boolean := columns ? 'kind';
  asked constant text := case when is_any then 'any' else kind end;
  called constant text := automation.relation_name(relation);
  mapped jsonb;
begin
  if coalesce(asked, '') not in ('sms', 'email', 'call', 'form', 'any') then
    raise exception 'kind: "%" is none of sms, email, call, form', left(kind, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Or columns names the column that says it: {"kind": "channel"}.';
  end if;
  mapped := automation.inbox_columns(relation, asked, columns);
  perform automation.check_columns('columns', relation, mapped || jsonb_strip_nulls(columns),
    array(select f.field from automation.inbox_fields(asked) as f),
    array(select f.field from automation.inbox_fields(asked) as f where f.required));
  if not mapped ? 'tenant' and not (asked = 'sms' and mapped ? 'to')
    and not exists (select from automation.tenancy as t where t.sole is not null) then
    raise exception 'columns: % says whose rows % holds',
      case asked when 'sms' then 'neither tenant nor to' else 'no tenant' end, called
      using errcode = 'invalid_parameter_value', hint = 'Such as {"tenant": "company_id"}.';
  elsif asked = 'form' and not mapped ? 'form' and not words ? 'form' then
    raise exception 'columns: nothing says which form % holds', called
      using errcode = 'invalid_parameter_value',
        hint = 'A column, {"form": "form_name"}, or words: {"form": "Website"}.';
  elsif exists (select from automation.targets as t where t.name = 'timeline' and t.relation = called) then
    raise exception 'relation: % is the timeline, in which the engine writes what came in', called
      using errcode = 'invalid_parameter_value', hint = 'An inbox is a table in which the CRM alone writes.';
  end if;
  perform automation.warn_other_tenants(relation, mapped ->> 'tenant');
  insert into automation.inboxes as i (relation, columns, words, kind)
  values (called, mapped, attach_inbox.words, asked)
  on conflict on constraint inboxes_pkey do update set
    (columns, words, kind) = row (excluded.columns, excluded.words, excluded.kind);
  perform automation.take_table(called::regclass, 'access exclusive');
  execute format('create or replace trigger automation_inbox after insert %2$s on %1$s for each row '
    'execute function automation.take_inbox(%1$L)', called,
    case when asked in ('call', 'any') then 'or update' else '' end);
end;
$$;

comment on function automation.attach_inbox(regclass, jsonb, jsonb, text) is
  'A table of the CRM in which something arrives: each row that is inserted is received like one from a provider. '
  'kind: sms, email, call (whose rows may be updated while the call goes on) or form. columns: {field: column} where '
  'they differ, "content.text" reads a key of a JSON column; the fields are those of '
  'automation.inbox_fields(kind), and {"kind": "channel"} names a column that '
  'says what a row is (sms, email or call). words: {our word: theirs, or a list of theirs}, such as '
  '{"inbound": "incoming", "missed": ["no answer", "voicemail"], "sms": "text"}; without direction every row came in. '
  'Raises 22023, 42703.';

create or replace function automation.detach_inbox(relation regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.inboxes as i where to_regclass(i.relation) = detach_inbox.relation;
  if not found then
    raise exception 'relation: % is no inbox', relation using errcode = 'undefined_object';
  end if;
  perform automation.take_table(relation, 'access exclusive');
  execute format('drop trigger if exists automation_inbox on %s', relation);
end;
$$;
