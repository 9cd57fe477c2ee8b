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
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('tenant', said -> 'tenant_id', 'contact', said -> 'contact_id', 'type', channel,
      'direction', said -> 'direction', 'subject', said -> 'subject',
      'content', case channel
        when 'sms' then coalesce(said ->> 'body', '')
        when 'email' then coalesce(said ->> 'text', automation.words_of_html(said ->> 'html'), said ->> 'subject', '')
        else concat_ws(', ', said ->> 'status', nullif(said ->> 'duration_seconds', '0') || ' s') end,
      'from', coalesce(said ->> 'from_number', said ->> 'from_address'),
      'to', coalesce(said ->> 'to_number', said ->> 'to_address'),
      'outcome', said -> 'status', 'external', said -> 'provider_id', 'execution', said -> 'execution_id',
      'at', said -> 'created_at');
end;
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

-- The same for all rows of a statement, those that runs sent each under the cause of its own. A table that does not
-- take all of them together is told one after the other.
create or replace function automation.tell_timelines() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_sort = off
  as $$
declare
  depth constant text := current_setting('automation.depth', true);
  root constant text := current_setting('automation.root', true);
  fused constant text := current_setting('automation.fused', true);
  present constant jsonb := jsonb_build_object(
    'cause', jsonb_build_object('depth', depth, 'root', root, 'fused', fused));
  entries jsonb[];
  ids uuid[];
  is_told boolean := false;
begin
  with zones as materialized (
    select d.tenant_id, automation.tenant_zone(d.tenant_id) as zone
    from (select distinct s.tenant_id from said as s) as d
  )
  select array_agg(automation.timeline_entry(tg_argv[0], to_jsonb(s)) || jsonb_build_object('zone', z.zone)
      || coalesce(c.cause, present)), array_agg(s.id)
    into entries, ids
  from said as s
  join zones as z on z.tenant_id = s.tenant_id
  left join lateral (
    select automation.cause_in(x) as cause from ridgeline.workflow_executions as x
    where x.tenant_id = s.tenant_id and x.id between s.execution_id and s.execution_id
    order by x.id
    limit 1) as c on true;
  -- The host's table has casts, keys and triggers of its own.
  if cardinality(entries) > 1 and automation.takes_sets('timeline') then
    begin
      perform automation.write_timelines(entries);
      is_told := true;
    exception when others then
      is_told := false;
    end;
  end if;
  for i in 1 .. case when is_told then 0 else coalesce(cardinality(entries), 0) end loop
    begin
      perform automation.write_timelines(entries[i:i]);
    exception when others then
      raise warning 'automation: the timeline shows nothing of % %: %', tg_argv[0], ids[i], sqlerrm
        using hint = 'automation.attach_target(''timeline'', ...) says what its columns and words are.';
    end;
  end loop;
  perform set_config('automation.depth', coalesce(depth, ''), true),
    set_config('automation.root', coalesce(root, ''), true), set_config('automation.fused', coalesce(fused, ''), true);
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
    referencing new table as said for each statement execute function automation.tell_timelines('sms');
  create trigger emails_timeline after insert on ridgeline.emails
    referencing new table as said for each statement execute function automation.tell_timelines('email');
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
  set client_min_messages = warning
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
