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
  'What marketing a person (the contact, or else the address) got lately: claimed, sent or unclear. The row that a '
  'claim writes is the count.';

create table automation.sender_slots (
  tenant_id uuid not null,
  sender_id uuid not null,
  is_marketing boolean not null,
  free_at timestamptz not null,
  constraint sender_slots_pkey primary key (tenant_id, sender_id, is_marketing)
);

comment on table automation.sender_slots is
  'Up to when the places of a sender are given away (GCRA), marketing''s and the others''.';

-- Of a text, what the carriers count: GSM-7 160, then 153 each, some characters twice; with any other character UCS-2,
-- 70, then 67 each, in units of UTF-16. No character is cut in two, so the end of a segment may stay empty.
create or replace function automation.sms_segments(body text) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_gsm constant boolean := body ~ ('^[@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà'
    '{}\\~|€\f\[\]\^-]*$');
  alone constant integer := case when is_gsm then 160 else 70 end;
  joined constant integer := case when is_gsm then 153 else 67 end;
  units constant integer := case
    when is_gsm then length(body) + length(regexp_replace(body, '[^][\^{}\\~|€\f]', '', 'g'))
    else length(body) + length(regexp_replace(body, '[^\U00010000-\U0010FFFF]', '', 'g')) end;
  segments integer := 1;
  used integer := 0;
  size integer;
  one text;
begin
  if units <= alone then
    return 1;
  elsif units = length(body) then
    return ceil(units::numeric / joined);
  end if;
  foreach one in array string_to_array(body, null) loop
    size := case when is_gsm then 1 + (one ~ '[][\^{}\\~|€\f]')::integer else 1 + (ascii(one) > 65535)::integer end;
    if used + size > joined then
      segments := segments + 1;
      used := 0;
    end if;
    used := used + size;
  end loop;
  return segments;
end;
$$;

comment on function automation.sms_segments(text) is 'How many segments a text is sent, and paid for, as.';

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

create type automation.capped as (
  place integer,
  tenant_id uuid,
  person text,
  step_id uuid,
  cap integer,
  over_cap text,
  expires_at timestamptz
);

-- Those that are one too many, and when there is room again; the others are counted. A cap of null: somebody else's
-- claim is counting this person, for a moment.
create or replace function automation.ask_cap(
  tickets automation.ticket[], tenants automation.tenant[], now timestamptz)
  returns table (place integer, until timestamptz, over_cap text, cap integer, expires_at timestamptz)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
declare
  capped automation.capped[];
  busy text[] := '{}'::text[];
  person record;
  tenant automation.tenant;
  has_cap boolean := false;
begin
  foreach tenant in array case when cardinality(tickets) > 0 then tenants else '{}' end loop
    has_cap := has_cap or automation.cap_of(tenant.settings) is not null;
  end loop;
  if not has_cap then
    return;
  end if;
  -- An attempt that is repeated has been counted.
  capped := array(
    select row(t.place, t.tenant_id, coalesce(t.contact_id, t.recipients[1]), t.step_id, r.cap, t.over_cap,
      t.expires_at)::automation.capped
    from unnest(tickets) as t
    join (
      select n.id, automation.cap_of(n.settings) as cap from unnest(tenants) as n
    ) as r on r.id = t.tenant_id and r.cap is not null
    where t.purpose = 'marketing' and not exists (
      select from automation.marketing_sent as m
      where m.tenant_id = t.tenant_id and m.person = coalesce(t.contact_id, t.recipients[1])
        and m.step_id = t.step_id)
    order by t.place);
  for person in select distinct c.tenant_id, c.person as name from unnest(capped) as c order by 1, 2 loop
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', person.tenant_id, person.name), 13)) then
      busy := busy || person.name;
    end if;
  end loop;
  return query
    select c.place, ask_cap.now + interval '1 second', 'hold', null::integer, c.expires_at
    from unnest(capped) as c where c.person = any (busy);
  capped := array(select c from unnest(capped) as c where c.person <> all (busy) order by c.place);
  return query
    select c.place, coalesce(r.nth + interval '1 day', ask_cap.now + interval '1 day'), c.over_cap, c.cap, c.expires_at
    from (
      select u.*, row_number() over (partition by u.tenant_id, u.person order by u.place) as number
      from unnest(capped) as u
    ) as c
    cross join lateral (
      select count(*) as sent, (array_agg(m.at order by m.at desc))[greatest(c.cap, 1)] as nth
      from automation.marketing_sent as m
      where m.tenant_id = c.tenant_id and m.person = c.person and m.at > ask_cap.now - interval '1 day'
    ) as r
    where r.sent + c.number > c.cap;
  insert into automation.marketing_sent (tenant_id, person, step_id, at)
  select c.tenant_id, c.person, c.step_id, ask_cap.now
  from (
    select u.*, row_number() over (partition by u.tenant_id, u.person order by u.place) as number
    from unnest(capped) as u
  ) as c
  where c.number <= c.cap - (
    select count(*) from automation.marketing_sent as m
    where m.tenant_id = c.tenant_id and m.person = c.person and m.at > ask_cap.now - interval '1 day')
  on conflict on constraint marketing_sent_pkey do nothing;
  delete from automation.marketing_sent as m
  using (select distinct u.tenant_id, u.person from unnest(capped) as u) as c
  where m.tenant_id = c.tenant_id and m.person = c.person and m.at < ask_cap.now - interval '3 days';
end;
$$;

comment on function automation.ask_cap(automation.ticket[], automation.tenant[], timestamptz) is
  'Marketing that is one too many for a person today, and when there is room; what is not is counted by this.';

-- Slots: each text that has no room gets its own place in the future, once, and is not asked again when it comes back.
-- Marketing has four fifths of what a sender may send, so that somebody who has just asked does not wait behind a
-- storm; the others have all of it while no marketing waits, and the last fifth while it does.
create or replace function automation.ask_rate(
  questions automation.send_question[], tickets automation.ticket[], now timestamptz)
  returns table (place integer, until timestamptz, expires_at timestamptz)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
declare
  sender record;
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  for sender in
    select s.tenant_id, s.id, t.purpose = 'marketing' as is_marketing, array_agg(t.place order by t.place) as places,
      (s.limits ->> 'per_second')::numeric as per_second
    from unnest(tickets) as t
    join ridgeline.senders as s on s.tenant_id = t.tenant_id and s.id = t.sender_id
    where t.channel = 'sms' and s.limits ->> 'per_second' ~ '^\d{1,4}(\.\d{1,3})?$'
      and (s.limits ->> 'per_second')::numeric > 0 and t.held ->> 'code' is distinct from 'rate'
    group by 1, 2, 3, 5
    order by 1, 2, 3
  loop
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', sender.tenant_id, sender.id), 14)) then
      return query
        select t.place, ask_rate.now + interval '1 second', t.expires_at
        from unnest(tickets) as t where t.place = any (sender.places);
      continue;
    end if;
    return query
      with slots as (
        select greatest(ask_rate.now, max(p.free_at) filter (where p.is_marketing = sender.is_marketing)) as free_at,
          1 / (sender.per_second * case
            when sender.is_marketing then 0.8
            when max(p.free_at) filter (where p.is_marketing) > ask_rate.now then 0.2
            else 1 end) as seconds
        from (values (1)) as always (here)
        left join automation.sender_slots as p on p.tenant_id = sender.tenant_id and p.sender_id = sender.id
      ), placed as (
        select t.place, t.expires_at, s.free_at, s.seconds,
          sum(automation.sms_segments((q.prepared).input ->> 'body')) over (order by t.place) as upto,
          automation.sms_segments((q.prepared).input ->> 'body') as segments
        from unnest(tickets) as t
        join unnest(questions) as q on q.place = t.place
        cross join slots as s
        where t.place = any (sender.places)
      ), taken as (
        insert into automation.sender_slots as p (tenant_id, sender_id, is_marketing, free_at)
        select sender.tenant_id, sender.id, sender.is_marketing,
          max(l.free_at + l.upto * l.seconds * interval '1 second')
        from placed as l
        on conflict on constraint sender_slots_pkey do update set free_at = excluded.free_at
      )
      select l.place, l.free_at + (l.upto - l.segments) * l.seconds * interval '1 second', l.expires_at
      from placed as l
      where l.free_at + (l.upto - l.segments) * l.seconds * interval '1 second' > ask_rate.now + interval '1 second';
  end loop;
end;
$$;

comment on function automation.ask_rate(automation.send_question[], automation.ticket[], timestamptz) is
  'Texts for which their sender has no room now, and the place each got: by senders.limits {per_second}, in segments.';
