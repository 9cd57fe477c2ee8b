-- QUIET HOURS
--
-- Nobody is texted at night where they are. Which hours are open is data: by jurisdiction, channel and purpose, the
-- strictest of all that apply. Where somebody is, is known by their number and by their address; when the two
-- disagree, both must be open, and when neither says anything, all of the tenant's country.

create table automation.open_hours (
  name text not null constraint open_hours_pkey primary key,
  jurisdiction text not null,
  channel text not null,
  purpose text not null
    constraint open_hours_purpose_known check (purpose in ('marketing', 'transactional', 'internal')),
  days smallint[] not null,
  opens time not null,
  closes time not null,
  source text not null,
  constraint open_hours_days_known check (days <@ '{1,2,3,4,5,6,7}'::smallint[] and cardinality(days) > 0),
  constraint open_hours_open_before_they_close check (opens < closes)
);

comment on table automation.open_hours is
  'When messages may go out, by the clock where the person is: everywhere (*), and in states and provinces (US-TX) '
  'besides. Rows of one jurisdiction add up; of several jurisdictions all must be open. A channel without a row has no '
  'quiet hours. A release brings its rows along; an operator may add stricter ones under names of their own.';
comment on column automation.open_hours.days is '1 is Monday, 7 Sunday.';

insert into automation.open_hours (name, jurisdiction, channel, purpose, days, opens, closes, source) values
  ('marketing', '*', 'sms', 'marketing', '{1,2,3,4,5,6,7}', '08:00', '21:00', '47 CFR 64.1200(c)(1)'),
  ('transactional', '*', 'sms', 'transactional', '{1,2,3,4,5,6,7}', '08:00', '21:00',
   'the same: few want to be woken by what they asked for'),
  ('internal', '*', 'sms', 'internal', '{1,2,3,4,5,6,7}', '07:00', '21:00', 'the office''s own people'),
  ('Texas', 'US-TX', 'sms', 'marketing', '{1,2,3,4,5,6}', '09:00', '21:00', 'Texas Senate Bill 140'),
  ('Texas, Sunday', 'US-TX', 'sms', 'marketing', '{7}', '12:00', '21:00', 'Texas Senate Bill 140'),
  ('Florida', 'US-FL', 'sms', 'marketing', '{1,2,3,4,5,6,7}', '08:00', '20:00', 'Florida Statutes 501.616'),
  ('Oklahoma', 'US-OK', 'sms', 'marketing', '{1,2,3,4,5,6,7}', '08:00', '20:00', 'Oklahoma Statutes 15-775C')
on conflict on constraint open_hours_pkey do update set
  (jurisdiction, channel, purpose, days, opens, closes, source) = row (
    excluded.jurisdiction, excluded.channel, excluded.purpose, excluded.days, excluded.opens, excluded.closes,
    excluded.source);

-- A tenant's settings: {"open_hours": {"from": "09:00", "to": "18:00", "days": ["mon", "tue"]}}, within what is
-- allowed anyway; internal_hours, in place of those for the office's own people. What cannot be read is no hours of its
-- own.
create or replace function automation.own_hours(settings jsonb, name text default 'open_hours')
  returns table (days smallint[], opens time, closes time)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select h.days, h.opens, h.closes
    from (
      select coalesce(
          (select array_agg(d.place::smallint order by d.place)
           from unnest('{mon,tue,wed,thu,fri,sat,sun}'::text[]) with ordinality as d (name, place)
           where settings #> array[own_hours.name, 'days'] ? d.name), '{1,2,3,4,5,6,7}') as days,
        (case when t.opens ~ p.clock then t.opens else '00:00' end)::time as opens,
        (case when t.closes ~ p.clock then t.closes else '24:00' end)::time as closes
      from (values ('^([01]\d|2[0-3]):[0-5]\d$')) as p (clock)
      cross join (
        select settings #>> array[own_hours.name, 'from'] as opens,
          settings #>> array[own_hours.name, 'to'] as closes) as t
      where jsonb_typeof(settings -> own_hours.name) = 'object'
    ) as h
    where h.opens < h.closes
  $$;

create type automation.hours_rule as (
  jurisdiction text,
  days smallint[],
  opens time,
  closes time
);

-- The zones of a tenant's country, for whoever nothing is known of: nobody there is woken.
create or replace function automation.country_zones(country text, tenant_zone text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case country
      when 'US' then '{America/New_York,America/Chicago,America/Denver,America/Phoenix,America/Los_Angeles}'
      when 'CA' then '{America/St_Johns,America/Halifax,America/Toronto,America/Winnipeg,America/Regina,'
        || 'America/Edmonton,America/Vancouver}'
      else coalesce(
        (select a.zones::text from automation.phone_plans as p
         join automation.area_codes as a on a.prefix = p.calling_code
         where p.country = country_zones.country and p.country ~ '^[A-Z]'),
        array[coalesce(tenant_zone, 'UTC')]::text)
    end::text[]
  $$;

-- The first moment from one on at which every rule is open in every zone, and when the first of them closes. Null:
-- there is none in two weeks. days and times are the wall clock's, so that a night in which the clocks change has the
-- hours it has.
create or replace function automation.next_open(
  zones text[], rules automation.hours_rule[], since timestamptz, out opens_at timestamptz, out closes_at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  found record;
begin
  opens_at := since;
  if cardinality(rules) = 0 then
    closes_at := 'infinity';
    return;
  end if;
  for round in 1 .. 50 loop
    select max(greatest(w.starts, opens_at)) as starts, min(w.ends) as ends, bool_or(w.starts is null) as is_never
      into found
    from (
      select z.zone, j.jurisdiction, n.starts, n.ends
      from unnest(zones) as z (zone)
      cross join (select distinct r.jurisdiction from unnest(rules) as r) as j
      left join lateral (
        select (d.day + r.opens) at time zone z.zone as starts, (d.day + r.closes) at time zone z.zone as ends
        from unnest(rules) as r
        cross join lateral (
          select (opens_at at time zone z.zone)::date + n as day from generate_series(0, 8) as n) as d
        where r.jurisdiction = j.jurisdiction and extract(isodow from d.day) = any (r.days)
          and (d.day + r.closes) at time zone z.zone > opens_at
        order by 1
        limit 1
      ) as n on true
    ) as w;
    exit when found.is_never or found.starts > since + interval '14 days';
    if found.starts = opens_at then
      closes_at := found.ends;
      return;
    end if;
    opens_at := found.starts;
  end loop;
  opens_at := null;
end;
$$;

comment on function automation.next_open(text[], automation.hours_rule[], timestamptz) is
  'When all of these rules are open in all of these zones, from a moment on: opens_at, until closes_at.';

-- A send takes a moment to leave: what is claimed when the hour is as good as over would arrive after it.
create or replace function automation.closing_margin() returns interval
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select interval '60 seconds' $$;

-- Tests and simulations that tell of something else run at any hour; nobody else can.
create or replace function automation.keeps_quiet_hours() returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select not coalesce(current_setting('automation.test_clock', true) = 'on'
      and current_setting('automation.quiet_hours', true) = 'off', false));
end;
$$;

create type automation.contact_place as (tenant_id uuid, contact_id text, zone text, region text);

-- What the CRM says of where contacts are, of all at once. Null where their table has no such column; a table that
-- was altered says nothing, and the number decides alone.
create or replace function automation.contact_places(tenant_ids uuid[], contact_ids text[])
  returns setof automation.contact_place
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  zone_column text;
  region_column text;
  records jsonb[];
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  zone_column := contacts.mapped ->> 'timezone';
  region_column := (
    select c from unnest('{state,province,region,address_state,mailing_state}'::text[]) with ordinality as n (c, place)
    where c = any (contacts.columns) order by n.place limit 1);
  if zone_column is null and region_column is null then
    return;
  end if;
  records := automation.read_records('contact', tenant_ids, contact_ids);
  return query
    select distinct on (k.tenant_id, k.id) k.tenant_id, k.id, k.record ->> zone_column, k.record ->> region_column
    from unnest(tenant_ids, contact_ids, records) as k (tenant_id, id, record)
    where k.record is not null
    order by k.tenant_id, k.id;
exception
  when data_exception then
    return;
  when undefined_column or undefined_table or invalid_schema_name or insufficient_privilege then
    raise warning 'automation: where contacts are could not be read: %', sqlerrm;
end;
$$;

-- Where the people of some texts are, as their numbers and their addresses say: zones that this server knows, and
-- states. What goes to the office is where the office is.
create or replace function automation.whereabouts(tickets automation.ticket[], tenants automation.tenant[])
  returns table (place integer, zones text[], regions text[])
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  return query
    with texts as materialized (
      select t.place, t.tenant_id, t.contact_id, t.purpose, substr(t.recipients[1], 2) as digits
      from unnest(tickets) as t where t.channel = 'sms'
    ), homes as materialized (
      select r.id, r.country, r.timezone from unnest(tenants) as r
    ), addresses as materialized (
      select p.tenant_id, p.contact_id, p.zone, p.region
      from automation.contact_places(
        array(select t.tenant_id from texts as t where t.contact_id is not null and t.purpose <> 'internal'),
        array(select t.contact_id from texts as t where t.contact_id is not null and t.purpose <> 'internal')) as p
    ), numbers as materialized (
      -- The longest that fits, each by the index.
      select t.place, o.zones, o.region
      from texts as t
      cross join lateral (
        select a.zones, a.region from automation.area_codes as a
        where a.prefix = any (array(
          select substr(t.digits, 1, l)
          from generate_series(case when t.digits like '1%' then 4 else 1 end, 9) as l where length(t.digits) >= l))
        order by length(a.prefix) desc
        limit 1
      ) as o
      where t.purpose <> 'internal'
    ), states as materialized (
      select d.country, d.said, r.region, r.zones
      from (
        select distinct n.country, btrim(a.region) as said
        from addresses as a join homes as n on n.id = a.tenant_id where btrim(a.region) <> ''
      ) as d
      join automation.regions as r on r.region = d.country || '-' || upper(d.said)
        or r.region = upper(d.said) or lower(r.name) = lower(d.said)
    ), said as (
      select t.place, t.purpose, n.country, n.timezone, array_remove(array[c.region, s.region], null) as regions,
        c.zones || case when a.zone is null then s.zones else array[a.zone] end as zones
      from texts as t
      left join homes as n on n.id = t.tenant_id
      left join numbers as c on c.place = t.place
      left join addresses as a on a.tenant_id = t.tenant_id and a.contact_id = t.contact_id
      left join states as s on s.country = n.country and s.said = btrim(a.region)
    ), known as (
      select s.zones as said, array_agg(distinct k.name) as zones
      from (select distinct d.zones from said as d) as s
      cross join unnest(s.zones) as z (zone)
      cross join lateral (select n.name from automation.time_zones as n where n.key = lower(z.zone) limit 1) as k
      group by 1
    )
    select s.place,
      case when s.purpose = 'internal' then array[coalesce(s.timezone, 'UTC')]
        else coalesce(k.zones, automation.country_zones(s.country, s.timezone)) end,
      case when s.purpose = 'internal' then '{}' else s.regions end
    from said as s
    left join known as k on k.said = s.zones;
end;
$$;

-- A code that somebody waits for: within ten minutes of something they did.
create or replace function automation.is_awaited(ticket automation.ticket, now timestamptz) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select ticket.purpose = 'transactional' and (
      exists (
        select from ridgeline.messages as m
        where m.from_number = ticket.recipients[1] and m.tenant_id = ticket.tenant_id and m.direction = 'inbound'
          and m.created_at > now - interval '10 minutes')
      or exists (
        select from ridgeline.calls as c
        where c.from_number = ticket.recipients[1] and c.tenant_id = ticket.tenant_id and c.direction = 'inbound'
          and c.created_at > now - interval '10 minutes')
      or exists (
        select from ridgeline.form_submissions as f
        where f.contact_id = ticket.contact_id and f.tenant_id = ticket.tenant_id
          and f.created_at > now - interval '10 minutes'))
  $$;

-- Of each text, when it may go: at once where opens_at is now. Worked out once for all that are in the same place.
-- Marketing that waits for an opening is spread over its first ten minutes.
create or replace function automation.ask_hours(
  tickets automation.ticket[], tenants automation.tenant[], now timestamptz)
  returns table (
    place integer, opens_at timestamptz, closes_at timestamptz, zones text[], expires_at timestamptz, regions text[])
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  if not automation.keeps_quiet_hours() then
    return;
  end if;
  return query
    with whereabouts as materialized (
      select w.place, w.zones, w.regions, t.tenant_id, t.purpose, t.step_id, t.expires_at
      from automation.whereabouts(tickets, tenants) as w
      join unnest(tickets) as t on t.place = w.place
      where not (t.urgent and automation.is_awaited(t, ask_hours.now))
    ), groups as materialized (
      select distinct g.zones, g.regions, g.purpose, g.tenant_id from whereabouts as g
    ), own as materialized (
      select r.id, r.settings from unnest(tenants) as r where r.settings ?| '{open_hours,internal_hours}'
    ), asked as materialized (
      select g.*, coalesce(later.opens_at, case when first.closes_at > ask_hours.now + automation.closing_margin()
          or first.opens_at > ask_hours.now then first.opens_at end) as opens_at,
        coalesce(later.closes_at, first.closes_at) as closes_at
      from groups as g
      cross join lateral (
        select array(
          select row(h.jurisdiction, h.days, h.opens, h.closes)::automation.hours_rule
          from automation.open_hours as h
          where h.channel = 'sms' and h.purpose = g.purpose and h.jurisdiction = any (array['*'] || g.regions)
            and (g.purpose <> 'internal' or not exists (
              select from own as t cross join lateral automation.own_hours(t.settings, 'internal_hours') as o
              where t.id = g.tenant_id))
          union all
          select row('own', o.days, o.opens, o.closes)::automation.hours_rule
          from own as t
          cross join lateral automation.own_hours(
            t.settings, case g.purpose when 'internal' then 'internal_hours' else 'open_hours' end) as o
          where t.id = g.tenant_id) as rules
      ) as r
      cross join lateral automation.next_open(g.zones, r.rules, ask_hours.now) as first
      left join lateral automation.next_open(g.zones, r.rules, first.closes_at) as later
        on first.opens_at = ask_hours.now and first.closes_at <= ask_hours.now + automation.closing_margin()
    )
    select w.place,
      case when w.purpose = 'marketing' and a.opens_at > ask_hours.now
        then a.opens_at + abs(hashtext(w.step_id::text)::bigint) % 600 * interval '1 second' else a.opens_at end,
      a.closes_at, w.zones, w.expires_at, w.regions
    from whereabouts as w
    join asked as a on a.zones = w.zones and a.regions = w.regions and a.purpose = w.purpose
      and a.tenant_id = w.tenant_id;
end;
$$;

comment on function automation.ask_hours(automation.ticket[], automation.tenant[], timestamptz) is
  'When texts may go out where their people are: opens_at (now: at once; null: never in two weeks), when that ends, '
  'and in which states they are.';
