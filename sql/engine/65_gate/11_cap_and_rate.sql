-- CAP AND RATE
--
-- The last two questions. How much marketing one person gets in a day, across all workflows; and how fast a number may
-- send. Neither waits for a lock: whoever finds a person or a number taken by somebody else's claim comes back in a
-- moment.

create table automation.marketing_sent (
  tenant_id uuid not null,
  person text not null,
  step_id uuid not null,
  at timestamptz not null,
  constraint marketing_sent_pkey primary key (tenant_id, person, step_id)
);

comment on table automation.marketing_sent is
  'What marketing a person got lately, claimed, sent or unclear: a row for their contact and for each of their '
  'addresses. The row that a claim writes is the count. What a shadow would have sent stands under "shadow ", and '
  'counts for shadows.';

create table automation.daily_caps (
  name text not null constraint daily_caps_pkey primary key,
  jurisdiction text not null,
  channel text not null,
  per_day integer not null constraint daily_caps_per_day_positive check (per_day > 0),
  source text not null
);

comment on table automation.daily_caps is
  'How much marketing one number may get within 24 hours where a law says so, by state (US-FL); of those that apply '
  'the least. A release brings its rows along; an operator may add stricter ones under names of their own.';

insert into automation.daily_caps (name, jurisdiction, channel, per_day, source) values
  ('Florida', 'US-FL', 'sms', 3, 'Florida Statutes 501.616(6)(b)'),
  ('Oklahoma', 'US-OK', 'sms', 3, 'Oklahoma Statutes 15-775C')
on conflict on constraint daily_caps_pkey do update set
  (jurisdiction, channel, per_day, source) = row (
    excluded.jurisdiction, excluded.channel, excluded.per_day, excluded.source);

create table automation.sender_slots (
  tenant_id uuid not null,
  sender_id uuid not null,
  is_marketing boolean not null,
  free_at timestamptz not null,
  constraint sender_slots_pkey primary key (tenant_id, sender_id, is_marketing)
);

comment on table automation.sender_slots is
  'Up to when the places of a sender, or of a receiver of webhooks (receiver_id), are given away (GCRA), marketing''s '
  'or a storm''s and the others''.';

create table automation.sender_days (
  tenant_id uuid not null,
  sender_id uuid not null,
  day date not null,
  segments bigint not null,
  constraint sender_days_pkey primary key (tenant_id, sender_id, day)
);

comment on table automation.sender_days is
  'How many segments went to the senders that have a daily limit; the day ends at midnight Pacific, as T-Mobile''s '
  'does. sender_id of zeros: of all of the tenant''s; receiver_id(host): calls of a receiver of webhooks.';

create table automation.sender_blocks (
  tenant_id uuid not null,
  sender_id uuid not null,
  number text not null default '',
  until timestamptz not null,
  constraint sender_blocks_pkey primary key (tenant_id, sender_id, number)
);

comment on table automation.sender_blocks is
  'Senders from which a carrier takes no more today (30023): marketing waits, and all texts to the numbers for which '
  'it said so. number empty: the sender itself.';

-- A tenant's settings: {"marketing_cap": {"per_day": 3}}, or null: as many as there are.
create or replace function automation.cap_of(settings jsonb) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when settings #>> '{marketing_cap,per_day}' ~ '^\d{1,4}$'
    then (settings #>> '{marketing_cap,per_day}')::integer end;
end;
$$;

create type automation.place_regions as (place integer, regions text[]);

create type automation.capped as (
  place integer,
  tenant_id uuid,
  keys text[],
  number text,
  step_id uuid,
  cap integer,
  law integer,
  over_cap text,
  expires_at timestamptz
);

comment on type automation.capped is
  'A message that counts. keys: its contact and its addresses, by any of which the person is known; cap: the '
  'office''s; law: that of the state, of texts to the number.';

-- Who counts: marketing of tenants that have a cap, and texts to states that have one. An attempt that is repeated has
-- been counted.
create or replace function automation.capped_of(
  tickets automation.ticket[], tenants automation.tenant[], regions automation.place_regions[])
  returns automation.capped[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  return array(
    select row(t.place, t.tenant_id, k.keys, case when t.channel = 'sms' then t.recipients[1] end, t.step_id, r.cap,
      l.law, t.over_cap, t.expires_at)::automation.capped
    from unnest(tickets) as t
    cross join lateral (
      select array(select distinct u from unnest(t.contact_id || t.recipients) as u where u is not null) as keys) as k
    left join (
      select n.id, automation.cap_of(n.settings) as cap from unnest(tenants) as n
    ) as r on r.id = t.tenant_id
    left join lateral (
      select min(c.per_day) as law
      from unnest(regions) as g
      join automation.daily_caps as c on c.jurisdiction = any (g.regions)
      where g.place = t.place and c.channel = t.channel
    ) as l on true
    where t.purpose = 'marketing' and (r.cap is not null or l.law is not null) and not exists (
      select from automation.marketing_sent as m
      where m.tenant_id = t.tenant_id and m.person = any (k.keys) and m.step_id = t.step_id)
    order by t.place);
end;
$$;

-- What counts of what went to somebody within a day, and when the nth of it was: what was certainly not sent does not.
create or replace function automation.marketing_of(
  tenant_id uuid, keys text[], nth integer, now timestamptz, out sent integer, out since timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  select count(*), (array_agg(m.at order by m.at desc))[greatest(nth, 1)]
    into sent, since
  from (
    select distinct on (m.step_id) m.step_id, m.at from automation.marketing_sent as m
    where m.tenant_id = marketing_of.tenant_id and m.person = any (keys)
      and m.at > marketing_of.now - interval '1 day'
    order by m.step_id
  ) as m
  left join ridgeline.workflow_step_executions as s on s.tenant_id = marketing_of.tenant_id and s.id = m.step_id
  where s.status is null or s.status not in ('failed', 'skipped', 'cancelled')
    or s.error @> '{"may_have_been_sent": true}' or s.error @> '{"code": "shadow"}';
end;
$$;

-- Those that are one too many, and when there is room again; the others are counted. A person's lock is taken over all
-- their addresses, in one order, so that of two dispatchers one gives way. A cap of null: somebody else's claim is
-- counting this person, for a moment.
create or replace function automation.ask_cap(
  tickets automation.ticket[], tenants automation.tenant[], now timestamptz, regions automation.place_regions[])
  returns table (place integer, until timestamptz, over_cap text, cap integer, expires_at timestamptz)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
declare
  capped automation.capped[];
  together automation.capped[];
  too_many integer[];
  busy text[] := '{}'::text[];
  person record;
  one record;
  tenant automation.tenant;
  has_cap boolean;
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  has_cap := exists (
    select from unnest(regions) as r join automation.daily_caps as c on c.jurisdiction = any (r.regions));
  foreach tenant in array tenants loop
    has_cap := has_cap or automation.cap_of(tenant.settings) is not null;
  end loop;
  if not has_cap then
    return;
  end if;
  capped := automation.capped_of(tickets, tenants, regions);
  for person in
    select distinct c.tenant_id, k.key from unnest(capped) as c cross join lateral unnest(c.keys) as k (key)
    order by 1, 2
  loop
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', person.tenant_id, person.key), 13)) then
      busy := busy || person.key;
    end if;
  end loop;
  if cardinality(busy) > 0 then
    return query
      select c.place, ask_cap.now + interval '1 second', 'hold', null::integer, c.expires_at
      from unnest(capped) as c where c.keys && busy;
    capped := array(select c from unnest(capped) as c where not c.keys && busy order by c.place);
  end if;
  -- Those who share nobody with one before them are counted together; usually that is all of them.
  while cardinality(capped) > 0 loop
    together := array(
      select c from unnest(capped) as c
      where c.place in (
        select k.place
        from (
          select u.place, u.place = min(u.place) over (partition by u.tenant_id, x.key) as is_first
          from unnest(capped) as u cross join lateral unnest(u.keys) as x (key)
        ) as k
        group by k.place having bool_and(k.is_first))
      order by c.place);
    too_many := '{}'::integer[];
    for one in
      select c.place, c.over_cap, c.expires_at, case when o.sent >= c.cap then c.cap else c.law end as cap,
        greatest(case when o.sent >= c.cap then coalesce(o.since, ask_cap.now) end,
          case when l.sent >= c.law then coalesce(l.since, ask_cap.now) end) + interval '1 day' as until
      from unnest(together) as c
      -- Most people got nothing lately, and nothing of theirs is counted.
      cross join lateral (
        select where c.cap = 0 or exists (
          select from automation.marketing_sent as m
          where m.tenant_id = c.tenant_id and m.person = any (c.keys) and m.at > ask_cap.now - interval '1 day')
      ) as lately
      left join lateral automation.marketing_of(c.tenant_id, c.keys, c.cap, ask_cap.now) as o on c.cap is not null
      left join lateral automation.marketing_of(c.tenant_id, array[c.number], c.law, ask_cap.now) as l
        on c.law is not null
      where o.sent >= c.cap or l.sent >= c.law
    loop
      too_many := too_many || one.place;
      return query select one.place, one.until, one.over_cap, one.cap, one.expires_at;
    end loop;
    insert into automation.marketing_sent (tenant_id, person, step_id, at)
    select c.tenant_id, k.key, c.step_id, ask_cap.now
    from unnest(together) as c cross join lateral unnest(c.keys) as k (key)
    where c.place <> all (too_many)
    on conflict on constraint marketing_sent_pkey do nothing;
    delete from automation.marketing_sent as m
    using (
      select distinct u.tenant_id, k.key from unnest(together) as u cross join lateral unnest(u.keys) as k (key)) as c
    where m.tenant_id = c.tenant_id and m.person = c.key and m.at < ask_cap.now - interval '3 days';
    capped := array(
      select c from unnest(capped) as c
      where c.place not in (select g.place from unnest(together) as g) order by c.place);
  end loop;
end;
$$;

comment on function automation.ask_cap(
  automation.ticket[], automation.tenant[], timestamptz, automation.place_regions[]) is
  'What is one too many for a person today, by the office''s cap or the law where they are, and when there is room; '
  'what is not is counted by this. regions: of texts, the states that they go to.';

-- HOW FAST

-- What a carrier takes a second where nobody says: a US number that is registered for 10DLC one segment, as does a
-- messaging service that may have one such number behind it; freephone numbers three, short codes a hundred, numbers
-- and names abroad ten. What waits at the provider would ignore a later STOP, so it waits here.
create or replace function automation.usual_rate(kind text, address text) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set, and it is inlined.
  return case
    when kind = 'number' and left(address, 5) in ('+1800', '+1833', '+1844', '+1855', '+1866', '+1877', '+1888') then 3
    when kind = 'number' and left(address, 1) in ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9') then 100
    when kind = 'number' and left(address, 2) <> '+1' or kind = 'name' then 10
    else 1 end;

-- {"per_second": 4} or what is usual; 0 or anything else that is no number: as fast as the provider likes.
create or replace function automation.rate_in(limits jsonb, otherwise numeric) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set, and it is inlined.
  return case
    when not limits ? 'per_second' then otherwise
    when limits ->> 'per_second' ~ '^\d{1,4}(\.\d{1,3})?$' then nullif((limits ->> 'per_second')::numeric, 0) end;

create or replace function automation.limit_in(limits jsonb, name text) returns bigint
  language sql immutable parallel safe
  -- Bound when created: no search_path to set, and it is inlined.
  return case when limits ->> name ~ '^\d{1,9}$' then (limits ->> name)::bigint end;

-- Of all that a tenant sends, or of the dispatcher's environment, which is no row.
create or replace function automation.no_sender_id() returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '00000000-0000-0000-0000-000000000000'::uuid $$;

create type automation.sized_text as (place integer, segments integer, upto bigint, expires_at timestamptz);

comment on type automation.sized_text is 'upto: how many segments it makes with those of its sender before it.';

create type automation.late_text as (place integer, held jsonb, until timestamptz, expires_at timestamptz);

-- The carriers' day ends at midnight Pacific.
create or replace function automation.carrier_day(now timestamptz, out day date, out ends_at timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select d.day, (d.day + 1)::timestamp at time zone 'America/Los_Angeles'
    from (select (now at time zone 'America/Los_Angeles')::date as day) as d
  $$;

-- How many segments a sender, and the tenant with all its senders, may still send today; null: any number. Marketing
-- leaves a fifth of the day to the others.
create or replace function automation.room_today(
  tenant_id uuid, sender_id uuid, per_day bigint, tenant_per_day bigint, is_marketing boolean, now timestamptz)
  returns bigint
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(floor(l.per_day * case when is_marketing then 0.8 else 1 end)::bigint - coalesce(d.segments, 0))
    from (values (sender_id, per_day), (automation.no_sender_id(), tenant_per_day)) as l (id, per_day)
    left join automation.sender_days as d on d.tenant_id = room_today.tenant_id and d.sender_id = l.id
      and d.day = (automation.carrier_day(now)).day
    where l.per_day is not null
  $$;

create or replace function automation.count_today(
  tenant_id uuid, sender_id uuid, per_day bigint, tenant_per_day bigint, segments bigint, now timestamptz)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.sender_days as d (tenant_id, sender_id, day, segments)
    select count_today.tenant_id, l.id, (automation.carrier_day(now)).day, count_today.segments
    from (values (sender_id, per_day), (automation.no_sender_id(), tenant_per_day)) as l (id, per_day)
    where l.per_day is not null and count_today.segments > 0
    on conflict on constraint sender_days_pkey do update set segments = d.segments + excluded.segments;

    delete from automation.sender_days as d
    where d.tenant_id = count_today.tenant_id and d.sender_id in (count_today.sender_id, automation.no_sender_id())
      and d.day < (automation.carrier_day(now)).day - 7
  $$;

-- Slots: each text that has no room gets its own place in the future, once. Marketing has four fifths of what a sender
-- may send, so that somebody who has just asked does not wait behind a storm; the others have all of it while no
-- marketing waits, and the last fifth while it does. Those whose place is not now, and when it is.
create or replace function automation.give_places(
  tenant_id uuid, sender_id uuid, per_second numeric, is_marketing boolean, texts automation.sized_text[],
  now timestamptz, why text)
  returns automation.late_text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_variable
declare
  segments constant bigint := (texts[cardinality(texts)]).upto;
  late automation.late_text[];
begin
  with free as materialized (
    select greatest(now, max(p.free_at) filter (where p.is_marketing = give_places.is_marketing)) as at,
      1 / (per_second * case
        when give_places.is_marketing then 0.8
        when max(p.free_at) filter (where p.is_marketing) > now then 0.2
        else 1 end) as seconds
    from automation.sender_slots as p
    where p.tenant_id = give_places.tenant_id and p.sender_id = give_places.sender_id
  ), taken as (
    insert into automation.sender_slots as p (tenant_id, sender_id, is_marketing, free_at)
    select give_places.tenant_id, give_places.sender_id, give_places.is_marketing,
      f.at + segments * f.seconds * interval '1 second'
    from free as f
    on conflict on constraint sender_slots_pkey do update set free_at = excluded.free_at
    returning true
  )
  select array_agg(row(
      l.place, jsonb_build_object('code', 'rate', 'why', why), l.at, l.expires_at)::automation.late_text)
    into late
  from (
    select t.place, f.at + (t.upto - t.segments) * f.seconds * interval '1 second' as at, t.expires_at
    -- The last one is a single row.
    from unnest(texts) as t cross join free as f cross join taken
  ) as l
  where l.at > now + interval '1 second';
  return coalesce(late, '{}');
end;
$$;

-- Whom a carrier has said no to today.
create or replace function automation.ask_blocks(tickets automation.ticket[], now timestamptz)
  returns automation.late_text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  return array(
    select row(t.place, jsonb_build_object('code', 'daily_limit', 'why',
        'a carrier takes no more from this number today (30023)'),
      max(b.until) + abs(hashtext(t.place::text)::bigint) % 600 * interval '1 second',
      t.expires_at)::automation.late_text
    from unnest(tickets) as t
    join automation.sender_blocks as b
      on b.tenant_id = t.tenant_id and b.sender_id = coalesce(t.sender_id, automation.no_sender_id())
    where t.channel = 'sms' and b.until > ask_blocks.now
      and (b.number = t.recipients[1] or b.number = '' and t.purpose = 'marketing')
    group by t.place, t.expires_at);
end;
$$;

create type automation.text_sender as (
  tenant_id uuid,
  id uuid,
  is_marketing boolean,
  per_second numeric,
  per_day bigint,
  tenant_per_day bigint,
  texts automation.sized_text[]
);

-- The senders of some texts that have a limit, in the order in which they are locked, with the texts of each.
create or replace function automation.senders_of(tickets automation.ticket[]) returns automation.text_sender[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  return array(
    select row(l.tenant_id, l.id, l.is_marketing, l.per_second, l.per_day, l.tenant_per_day,
      array_agg(row(l.place, l.segments, l.upto, l.expires_at)::automation.sized_text order by l.place)
      )::automation.text_sender
    from (
      select t.tenant_id, coalesce(s.id, automation.no_sender_id()) as id, t.purpose = 'marketing' as is_marketing,
        case when s.id is null then automation.rate_in(
            jsonb_build_object('per_second', automation.setting('environment_per_second')), null)
          else automation.rate_in(s.limits, automation.usual_rate(s.kind, s.address)) end as per_second,
        automation.limit_in(s.limits, 'per_day') as per_day,
        automation.limit_in(o.settings, 'segments_per_day') as tenant_per_day,
        t.place, t.segments, t.expires_at,
        sum(t.segments) over (
          partition by t.tenant_id, coalesce(s.id, automation.no_sender_id()), t.purpose = 'marketing'
          order by t.place) as upto
      from unnest(tickets) as t
      left join ridgeline.senders as s on s.tenant_id = t.tenant_id and s.id = t.sender_id
      left join ridgeline.tenant_settings as o on o.tenant_id = t.tenant_id
      where t.channel = 'sms' and t.held ->> 'code' is distinct from 'rate'
    ) as l
    where coalesce(l.per_second, l.per_day, l.tenant_per_day) is not null
    group by l.tenant_id, l.id, l.is_marketing, l.per_second, l.per_day, l.tenant_per_day
    order by l.tenant_id, l.id, l.is_marketing);
end;
$$;

create or replace function automation.late_today(sender automation.text_sender, room bigint, now timestamptz)
  returns automation.late_text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select row(t.place, jsonb_build_object('code', 'daily_limit', 'why', format(
        'so many segments went today as may (%s); the day ends at midnight Pacific',
        least(sender.per_day, sender.tenant_per_day))),
      (automation.carrier_day(now)).ends_at + abs(hashtext(t.place::text)::bigint) % 600 * interval '1 second',
      t.expires_at)::automation.late_text
    from unnest(sender.texts) as t where t.upto > room);
end;
$$;

create or replace function automation.late_by_a_second(sender automation.text_sender, now timestamptz)
  returns automation.late_text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select row(t.place, '{"code": "busy", "why": "its sender is being counted by another claim"}'::jsonb,
      now + interval '1 second', t.expires_at)::automation.late_text
    from unnest(sender.texts) as t);
end;
$$;

-- Those for which there is no room today; the others are counted.
create or replace function automation.ask_day(sender automation.text_sender, now timestamptz)
  returns automation.late_text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  room constant bigint := automation.room_today(
    sender.tenant_id, sender.id, sender.per_day, sender.tenant_per_day, sender.is_marketing, now);
begin
  perform automation.count_today(sender.tenant_id, sender.id, sender.per_day, sender.tenant_per_day,
    (select max(t.upto) from unnest(sender.texts) as t where t.upto <= room), now);
  return automation.late_today(sender, room, now);
end;
$$;

-- What a sender has no room for: today, or now. What comes back at the place that it was given is not asked again.
create or replace function automation.ask_rate(tickets automation.ticket[], now timestamptz)
  returns automation.late_text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sender automation.text_sender;
  full_day automation.late_text[];
  late automation.late_text[] := '{}'::automation.late_text[];
begin
  foreach sender in array automation.senders_of(tickets) loop
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', sender.tenant_id, sender.id), 14))
      or sender.tenant_per_day is not null and not pg_try_advisory_xact_lock(
        hashtextextended(concat_ws('/', sender.tenant_id, automation.no_sender_id()), 14)) then
      late := late || automation.late_by_a_second(sender, now);
      continue;
    end if;
    if coalesce(sender.per_day, sender.tenant_per_day) is not null then
      full_day := automation.ask_day(sender, now);
      late := late || full_day;
      sender.texts := sender.texts[:cardinality(sender.texts) - cardinality(full_day)];
    end if;
    if sender.per_second is not null and cardinality(sender.texts) > 0 then
      late := late || automation.give_places(
        sender.tenant_id, sender.id, sender.per_second, sender.is_marketing, sender.texts, now,
        'its sender has as much to send as it may');
    end if;
  end loop;
  return late;
end;
$$;

comment on function automation.ask_rate(automation.ticket[], timestamptz) is
  'Texts for which their sender has no room, and until when: in segments, by senders.limits {per_second, per_day}, by '
  'what is usual of such a number, and by the tenant''s {segments_per_day}.';
