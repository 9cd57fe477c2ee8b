-- HOW FAST A RECEIVER IS CALLED
--
-- An office's Zapier account or its own n8n takes so many calls a second. Where the office says how many, a webhook
-- without room gets its own place, as a text does. Whoever said nothing has no limit and pays for one look. What came
-- in numbers (an import, a bulk enrolment, a timer for everybody) has four fifths of the rate, so that the webhook of
-- a lead who has just come in does not stand behind ten thousand.

create or replace function automation.receiver_of(url text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select rtrim(lower(substring(url from '^[A-Za-z]+://(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:@]+)')), '.') $$;

comment on function automation.receiver_of(text) is 'The host that a URL calls, in small letters and without its port.';

-- Places and days are kept with those of senders.
create or replace function automation.receiver_id(receiver text) returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select md5('webhook ' || receiver)::uuid $$;

-- {"webhooks": {"per_second": 10, "per_day": 20000, "hosts": {"n8n.apex.example": {"per_second": 2}}}}: of each
-- receiver, and of those that are named. What a host does not say is as for the others.
create or replace function automation.receiver_limits(settings jsonb, receiver text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when jsonb_typeof(settings -> 'webhooks') = 'object' then settings -> 'webhooks' else '{}' end
      || coalesce((
        select h.value
        from jsonb_each(case jsonb_typeof(settings #> '{webhooks,hosts}') when 'object'
          then settings #> '{webhooks,hosts}' else '{}' end) as h
        where lower(h.key) = receiver and jsonb_typeof(h.value) = 'object'
        limit 1), '{}')
  $$;

create or replace function automation.came_in_numbers(execution ridgeline.workflow_executions) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return (
    select count(*) > 10
    from (
      select from ridgeline.workflow_executions as e
      where e.workflow_id = execution.workflow_id and e.tenant_id = execution.tenant_id
        and e.version = execution.version
        and e.created_at between execution.created_at - interval '1 second'
          and execution.created_at + interval '1 second'
      limit 11
    ) as e);
end;
$$;

comment on function automation.came_in_numbers(ridgeline.workflow_executions) is
  'Did more than ten runs of the workflow begin within a second of this one?';

create type automation.receiver_limit as (
  tenant_id uuid,
  receiver text,
  is_storm boolean,
  per_second numeric,
  per_day bigint,
  places integer[]
);

-- Webhooks of receivers that have a limit, those that came in numbers apart. What comes back at the place that it was
-- given is not asked again.
create or replace function automation.limited_receivers(
  questions automation.send_question[], tickets automation.ticket[])
  returns setof automation.receiver_limit
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  return query
    select t.tenant_id, u.receiver, n.is_storm, l.per_second, l.per_day, array_agg(t.place order by t.place)
    from unnest(tickets) as t
    join unnest(questions) as q on q.place = t.place
    join ridgeline.tenant_settings as o on o.tenant_id = t.tenant_id and o.settings ? 'webhooks'
    cross join lateral (select automation.receiver_of((q.prepared).input ->> 'url') as receiver) as u
    cross join lateral (
      select automation.rate_in(s.said, null) as per_second, automation.limit_in(s.said, 'per_day') as per_day
      from (select automation.receiver_limits(o.settings, u.receiver) as said) as s) as l
    cross join lateral (select automation.came_in_numbers(q.execution) as is_storm) as n
    where t.channel = 'webhook' and t.held ->> 'code' is distinct from 'rate' and u.receiver is not null
      and coalesce(l.per_second, l.per_day) is not null
    group by 1, 2, 3, 4, 5
    order by 1, 2, 3;
end;
$$;

-- A receiver that answers "too many requests, come back in half a minute" says it to the office, not to one workflow:
-- what else would call it meanwhile waits as well.
create table automation.receiver_rests (
  tenant_id uuid not null,
  receiver text not null,
  until timestamptz not null,
  constraint receiver_rests_pkey primary key (tenant_id, receiver)
);

comment on table automation.receiver_rests is
  'Hosts that asked an office not to call them until then (429 with Retry-After).';

-- An hour at most: it may mean one address of many. Whatever goes then is told the rest. In one order, so that two that
-- report at once do not wait for each other crosswise.
create or replace function automation.let_receivers_rest(tenant_ids uuid[], step_ids uuid[], seconds numeric[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now constant timestamptz := automation.now();
begin
  delete from automation.receiver_rests as r
  where r.ctid = any (array(
    select o.ctid from automation.receiver_rests as o where o.tenant_id = any (tenant_ids) and o.until <= now
    for update skip locked));
  insert into automation.receiver_rests as r (tenant_id, receiver, until)
  select a.tenant_id, u.receiver, now + least(max(a.seconds), 3600)::double precision * interval '1 second'
  from unnest(tenant_ids, step_ids, seconds) as a (tenant_id, step_id, seconds)
  join ridgeline.workflow_step_executions as s on s.tenant_id = a.tenant_id and s.id = a.step_id
  cross join lateral (select automation.receiver_of(s.input ->> 'url') as receiver) as u
  where u.receiver is not null and a.seconds > 0
  group by 1, 2 order by 1, 2
  on conflict on constraint receiver_rests_pkey do update set until = greatest(r.until, excluded.until);
end;
$$;

create or replace function automation.some_receiver_rests(tickets automation.ticket[], now timestamptz)
  returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (
    select from automation.receiver_rests as r
    where r.tenant_id in (select t.tenant_id from unnest(tickets) as t) and r.until > some_receiver_rests.now);
end;
$$;

-- They do not all come back at once: within as long again, a minute at most.
create or replace function automation.ask_rests(
  questions automation.send_question[], tickets automation.ticket[], now timestamptz)
  returns automation.late_text[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
#variable_conflict use_column
begin
  if not automation.some_receiver_rests(tickets, now) then
    return '{}'::automation.late_text[];
  end if;
  return array(
    select row(t.place, jsonb_build_object('code', 'receiver_busy', 'why',
        format('%s asked not to be called for a while (429)', r.receiver)),
      r.until + abs(hashtext(t.step_id::text)::bigint) % 1000 / 1000.0
        * least(r.until - ask_rests.now, interval '1 minute'), t.expires_at)::automation.late_text
    from unnest(tickets) as t
    join unnest(questions) as q on q.place = t.place
    join automation.receiver_rests as r
      on r.tenant_id = t.tenant_id and r.receiver = automation.receiver_of((q.prepared).input ->> 'url')
    where t.channel = 'webhook' and r.until > ask_rests.now
    order by t.place);
end;
$$;

-- Mostly no office has said a rate, and no receiver asks to be left alone: then the two questions are not put. tenants:
-- those of the tickets, as they were read for their plans; null: they were not.
create or replace function automation.some_receiver_says(
  tickets automation.ticket[], tenants automation.tenant[], now timestamptz)
  returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant automation.tenant;
begin
  foreach tenant in array coalesce(tenants, array[null::automation.tenant]) loop
    if (tenant.settings ? 'webhooks') is not false then
      return true;
    end if;
  end loop;
  return automation.some_receiver_rests(tickets, now);
end;
$$;

create or replace function automation.ask_receivers(
  questions automation.send_question[], tickets automation.ticket[], now timestamptz)
  returns table (place integer, held jsonb, until timestamptz, expires_at timestamptz)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
#variable_conflict use_column
declare
  one automation.receiver_limit;
  receiver_id uuid;
  calls automation.sized_text[];
  room bigint;
  resting constant automation.late_text[] := automation.ask_rests(questions, tickets, now);
begin
  if cardinality(resting) > 0 then
    return query select r.place, r.held, r.until, r.expires_at from unnest(resting) as r;
    tickets := automation.still_open(tickets, array(select r.place from unnest(resting) as r));
  end if;
  if not exists (
    select from ridgeline.tenant_settings as o
    where o.tenant_id in (select t.tenant_id from unnest(tickets) as t) and o.settings ? 'webhooks') then
    return;
  end if;
  for one in select l.* from automation.limited_receivers(questions, tickets) as l loop
    receiver_id := automation.receiver_id(one.receiver);
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', one.tenant_id, receiver_id), 14)) then
      return query
        select t.place, '{"code": "busy", "why": "its receiver is being counted by another claim"}'::jsonb,
          ask_receivers.now + interval '1 second', t.expires_at
        from unnest(tickets) as t where t.place = any (one.places);
      continue;
    end if;
    calls := array(
      select row(t.place, 1, row_number() over (order by t.place), t.expires_at)::automation.sized_text
      from unnest(tickets) as t where t.place = any (one.places) order by t.place);
    room := automation.room_today(one.tenant_id, receiver_id, one.per_day, null, one.is_storm, now);
    if room is not null then
      return query
        select c.place, jsonb_build_object('code', 'daily_limit', 'why', format(
            '%s was called as often today as it may be (%s); the day ends at midnight Pacific', one.receiver,
            one.per_day)),
          (automation.carrier_day(now)).ends_at + abs(hashtext(c.place::text)::bigint) % 600 * interval '1 second',
          c.expires_at
        from unnest(calls) as c where c.upto > room;
      calls := array(select c from unnest(calls) as c where c.upto <= room order by c.place);
      continue when cardinality(calls) = 0;
      perform automation.count_today(one.tenant_id, receiver_id, one.per_day, null, cardinality(calls), now);
    end if;
    continue when one.per_second is null;
    return query
      select g.place, g.held, g.until, g.expires_at
      from unnest(automation.give_places(one.tenant_id, receiver_id, one.per_second, one.is_storm, calls, now,
        format('%s is called as often as it may be', one.receiver))) as g;
  end loop;
end;
$$;

comment on function automation.ask_receivers(automation.send_question[], automation.ticket[], timestamptz) is
  'Webhooks for which their receiver has no room, because it has asked to wait or by ridgeline.tenant_settings '
  '{"webhooks": {per_second, per_day, hosts}}, and until when. Where nobody said anything: none.';
