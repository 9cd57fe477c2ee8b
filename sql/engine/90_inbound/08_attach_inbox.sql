-- automation.attach_inbox(): a host that has an inbox of its own, a table in which its texts arrive. A row that is
-- inserted there counts like one that a provider's webhook brings: stops, answers, waits, exits, missed contacts.
-- The writer's transaction never fails on our account: what cannot be taken is kept and tried again by the tick.

create table automation.inboxes (
  relation text not null constraint inboxes_pkey primary key,
  columns jsonb not null,
  words jsonb not null default '{}'
);

comment on table automation.inboxes is 'Tables of the CRM in which texts arrive: {field: column}, {inbound: its word}.';

create table automation.inbox_waiting (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  event jsonb not null,
  error text not null,
  tries integer not null default 1,
  created_at timestamptz not null default automation.now(),
  constraint inbox_waiting_pkey primary key (tenant_id, id)
);

comment on table automation.inbox_waiting is
  'Texts of the CRM''s inbox that could not be taken yet, and why. tenant_id: zeros where the inbox does not say.';

-- A row as receive_sms() takes it; null: it is none that came in.
create or replace function automation.event_of_inbox(inbox automation.inboxes, written jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  names constant jsonb := inbox.columns;
  tenant constant text := written ->> (names ->> 'tenant');
  direction constant text := written ->> (names ->> 'direction');
begin
  if names ? 'direction'
    and lower(direction) is distinct from lower(coalesce(inbox.words ->> 'inbound', 'inbound')) then
    return null;
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'message_sid', format('%s %s', inbox.relation, written ->> (names ->> 'id')),
    'from', written ->> (names ->> 'from'),
    -- Which of the office's numbers it came to, where the inbox does not say: the one that it writes from.
    'to', coalesce(nullif(written ->> (names ->> 'to'), ''), (
      select s.address from ridgeline.senders as s
      where s.tenant_id = automation.as_uuid(tenant) and s.channel = 'sms' and s.kind = 'number'
        and s.verified_at is not null
      order by s.is_default desc, s.created_at, s.id limit 1)),
    'body', written ->> (names ->> 'body'), 'tenant_id', tenant,
    'media_urls', case jsonb_typeof(written -> (names ->> 'media'))
      when 'array' then written -> (names ->> 'media') end));
end;
$$;

create or replace function automation.take_inbox() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  inbox automation.inboxes;
  event jsonb;
  failure text;
begin
  begin
    select i.* into inbox from automation.inboxes as i
    where to_regclass(i.relation) = tg_relid or i.relation = tg_argv[0];
    event := automation.event_of_inbox(inbox, to_jsonb(new.*));
    -- What a message that we keep writes there is no message that came.
    if event is null or current_setting('automation.in_inbox', true) = 'on' then
      return null;
    end if;
    perform set_config('automation.in_inbox', 'on', true);
    if automation.receive_sms(event) = 'unknown_number' then
      failure := format('to: %s is no number of this tenant''s senders', coalesce(event ->> 'to', 'nothing'));
    end if;
    perform set_config('automation.in_inbox', '', true);
  exception when others then
    failure := sqlerrm;
  end;
  if failure is not null and event is not null then
    raise warning 'automation: a text in % could not be taken: %', tg_argv[0], failure;
    insert into automation.inbox_waiting (tenant_id, event, error)
    values (coalesce(automation.as_uuid(event ->> 'tenant_id'), '00000000-0000-0000-0000-000000000000'), event,
      failure);
  end if;
  return null;
end;
$$;

-- Those that were kept, once more: what has been mended since is taken, in a portion. Ten tries; the rows stay.
create or replace function automation.take_waiting(portion integer default 20) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting automation.inbox_waiting;
  taken integer := 0;
begin
  for waiting in
    select w.* from automation.inbox_waiting as w where w.tries < 10 order by w.tries, w.created_at limit portion
    for update skip locked
  loop
    begin
      if automation.receive_sms(waiting.event) = 'unknown_number' then
        raise exception 'to: % is no number of this tenant''s senders', coalesce(waiting.event ->> 'to', 'nothing');
      end if;
      delete from automation.inbox_waiting as w where w.tenant_id = waiting.tenant_id and w.id = waiting.id;
      taken := taken + 1;
    exception when others then
      update automation.inbox_waiting as w set tries = w.tries + 1, error = sqlerrm
      where w.tenant_id = waiting.tenant_id and w.id = waiting.id;
    end;
  end loop;
  return taken;
end;
$$;

create or replace function automation.attach_inbox(
  relation regclass, columns jsonb default '{}', words jsonb default '{}')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known constant text[] := '{id,tenant,from,to,body,direction,media}'::text[];
  called constant text := automation.relation_name(relation);
  mapped constant jsonb := (
    select jsonb_object_agg(n.key, n.column_name)
    from (
      select k as key, case when columns ? k then columns ->> k else (
        select c.name from automation.relation_columns(relation) as c
        where c.name = any (case k when 'tenant' then '{tenant_id}' when 'from' then '{from_number}'
          when 'to' then '{to_number}' when 'media' then '{media_urls}' else array[k] end::text[])) end as column_name
      from unnest(known) as k
    ) as n where n.column_name is not null);
begin
  perform automation.check_columns('columns', relation, mapped || jsonb_strip_nulls(columns), known,
    '{id,from,body}');
  if not mapped ?| '{tenant,to}' then
    raise exception 'columns: neither tenant nor to says whose texts % holds', called
      using errcode = 'invalid_parameter_value', hint = 'Such as {"tenant": "company_id"}.';
  elsif exists (select from automation.targets as t where t.name = 'timeline' and t.relation = called) then
    raise exception 'relation: % is the timeline, in which the engine writes what came in', called
      using errcode = 'invalid_parameter_value', hint = 'An inbox is a table in which the CRM alone writes.';
  end if;
  insert into automation.inboxes as i (relation, columns, words)
  values (called, mapped, attach_inbox.words)
  on conflict on constraint inboxes_pkey do update set (columns, words) = row (excluded.columns, excluded.words);
  execute format('drop trigger if exists automation_inbox on %s', called);
  execute format('create trigger automation_inbox after insert on %1$s for each row '
    'execute function automation.take_inbox(%1$L)', called);
end;
$$;

comment on function automation.attach_inbox(regclass, jsonb, jsonb) is
  'A table of the CRM in which texts arrive: each row that is inserted is received like one from a provider. columns: '
  '{field: column} where they differ: id, tenant (tenant_id), from (from_number), to (to_number), body, direction, '
  'media. words: {"inbound": "incoming"} where direction has other words; without direction every row came in. '
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
  execute format('drop trigger if exists automation_inbox on %s', relation);
end;
$$;
