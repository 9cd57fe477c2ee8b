-- What was said, where the CRM shows it: a row of its own table for each text, email and call, in the transaction that
-- notes the message here. A table that does not take the row costs a warning, never the message.

-- A message that was written in HTML, as somebody would read it aloud.
create or replace function automation.words_of_html(html text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(btrim(regexp_replace(replace(replace(replace(replace(replace(
      regexp_replace(regexp_replace(left(html, 200000), '<(style|script|head|title)[^>]*>.*?</\1>', ' ', 'gi'),
        '<[^>]*>', ' ', 'g'),
      '&nbsp;', ' '), '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&amp;', '&'), '\s+', ' ', 'g')), '')
  $$;

-- A call is told when it is over; "completed, 125 s".
create or replace function automation.timeline_entry(channel text, said jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('tenant', said -> 'tenant_id', 'contact', said -> 'contact_id', 'type', channel,
      'direction', said -> 'direction', 'subject', said -> 'subject',
      'content', case channel
        when 'sms' then coalesce(said ->> 'body', '')
        when 'email' then coalesce(said ->> 'text', automation.words_of_html(said ->> 'html'), said ->> 'subject', '')
        else concat_ws(', ', said ->> 'status', nullif(said ->> 'duration_seconds', '0') || ' s') end,
      'from', coalesce(said ->> 'from_number', said ->> 'from_address'),
      'to', coalesce(said ->> 'to_number', said ->> 'to_address'),
      'outcome', said -> 'status', 'external', said -> 'provider_id', 'execution', said -> 'execution_id',
      'at', said -> 'created_at')
  $$;

create or replace function automation.tell_timeline() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- The host's table has casts, keys and triggers of its own.
  begin
    perform automation.write_timeline(
      automation.timeline_entry(tg_argv[0], to_jsonb(new)), automation.tenant_zone(new.tenant_id));
  exception when others then
    raise warning 'automation: the timeline shows nothing of % %: %', tg_argv[0], new.id, sqlerrm
      using hint = 'automation.attach_target(''timeline'', ...) says what its columns and words are.';
  end;
  return null;
end;
$$;

-- Once for each message: what becomes of it later is no second one.
create or replace function automation.watch_timeline() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.unwatch_timeline();
  create trigger messages_timeline after insert on ridgeline.messages
    for each row execute function automation.tell_timeline('sms');
  create trigger emails_timeline after insert on ridgeline.emails
    for each row execute function automation.tell_timeline('email');
  create trigger calls_timeline after insert on ridgeline.calls
    for each row when (automation.call_is_over(new.status)) execute function automation.tell_timeline('call');
  create trigger calls_timeline_end after update of status on ridgeline.calls
    for each row when (automation.call_is_over(new.status) and not automation.call_is_over(old.status))
    execute function automation.tell_timeline('call');
end;
$$;

create or replace function automation.unwatch_timeline() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  drop trigger if exists messages_timeline on ridgeline.messages;
  drop trigger if exists emails_timeline on ridgeline.emails;
  drop trigger if exists calls_timeline on ridgeline.calls;
  drop trigger if exists calls_timeline_end on ridgeline.calls;
end;
$$;

create or replace function automation.call_is_over(status text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select status in ('completed', 'missed', 'no-answer', 'busy', 'failed', 'canceled') $$;

-- A key that is only looked at when the transaction commits would fail it there, where nobody can catch that.
create or replace function automation.late_constraint(relation regclass) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(t.tgname) from (
      select c.conname as tgname from pg_catalog.pg_constraint as c
      where c.conrelid = relation and c.condeferred
      union all
      select t.tgname from pg_catalog.pg_trigger as t
      where t.tgrelid = relation and t.tginitdeferred and not t.tgisinternal
    ) as t
  $$;
