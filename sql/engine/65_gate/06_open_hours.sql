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

-- Until when all is open that is asked, where it is by the hours of today: mostly it is, and nothing is searched for.
-- Null: it is not, or more than one window of a jurisdiction is open, which the search tells apart.
create or replace function automation.open_until(zones text[], rules automation.hours_rule[], since timestamptz)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  zone text;
  today date;
  weekday integer;
  rule automation.hours_rule;
  asked text[];
  opened text[];
  ends timestamptz;
  first_end timestamptz;
begin
  foreach zone in array zones loop
    today := (since at time zone zone)::date;
    weekday := extract(isodow from today);
    asked := '{}'::text[];
    opened := '{}'::text[];
    foreach rule in array rules loop
      if rule.jurisdiction <> all (asked) then
        asked := asked || rule.jurisdiction;
      end if;
      continue when weekday <> all (rule.days);
      ends := (today + rule.closes) at time zone zone;
      if ends > since and (today + rule.opens) at time zone zone <= since then
        if rule.jurisdiction = any (opened) then
          return null;
        end if;
        opened := opened || rule.jurisdiction;
        first_end := least(first_end, ends);
      end if;
    end loop;
    if cardinality(opened) < cardinality(asked) then
      return null;
    end if;
  end loop;
  return first_end;
end;
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
  closes_at := automation.open_until(zones, rules, since);
  if closes_at is not null then
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
  return not coalesce(current_setting('automation.test_clock', true) = 'on'
    and current_setting('automation.quiet_hours', true) = 'off', false);
end;
$$;

create or replace function automation.tenant_among(tenants automation.tenant[], id uuid) returns automation.tenant
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant automation.tenant;
begin
  foreach tenant in array tenants loop
    if tenant.id = tenant_among.id then
      return tenant;
    end if;
  end loop;
  return null;
end;
$$;

create type automation.contact_place as (place integer, zone text, region text);

create or replace function automation.read_places(tickets automation.ticket[], zone_column text, region_column text)
  returns automation.contact_place[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant_ids constant uuid[] := array(select t.tenant_id from unnest(tickets) as t order by t.place);
  contact_ids constant text[] := array(select t.contact_id from unnest(tickets) as t order by t.place);
begin
  return array(
    select row(k.place, k.record ->> zone_column, k.record ->> region_column)::automation.contact_place
    from unnest(array(select t.place from unnest(tickets) as t order by t.place),
      automation.read_records('contact', tenant_ids, contact_ids)) as k (place, record)
    where coalesce(k.record ->> zone_column, k.record ->> region_column) is not null);
exception
  when data_exception then
    return '{}'::automation.contact_place[];
  when undefined_column or undefined_table or invalid_schema_name or insufficient_privilege then
    raise warning 'automation: where contacts are could not be read: %', sqlerrm;
    return '{}'::automation.contact_place[];
end;
$$;

-- What the CRM says of where the contacts of some texts are, of those of whom it says something. Nothing where their
-- table has no such column; a table that was altered says nothing, and the number decides alone.
create or replace function automation.contact_places(tickets automation.ticket[])
  returns automation.contact_place[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ticket automation.ticket;
  zone_column text;
  region_column text;
  zone text;
  region text;
  unread automation.ticket[] := '{}'::automation.ticket[];
  places automation.contact_place[] := '{}'::automation.contact_place[];
begin
  select e.mapped ->> 'timezone', (
      select c
      from unnest('{state,province,region,address_state,mailing_state}'::text[]) with ordinality as n (c, place)
      where c = any (e.columns) order by n.place limit 1)
    into zone_column, region_column
  from automation.entities as e where e.name = 'contact';
  if zone_column is null and region_column is null then
    return places;
  end if;
  foreach ticket in array tickets loop
    continue when ticket.contact_id is null or ticket.channel <> 'sms' or ticket.purpose = 'internal';
    zone := ticket.contact ->> zone_column;
    region := ticket.contact ->> region_column;
    if ticket.contact is null then
      unread := unread || ticket;
    elsif coalesce(zone, region) is not null then
      places := places || row(ticket.place, zone, region)::automation.contact_place;
    end if;
  end loop;
  if cardinality(unread) > 0 then
    places := places || automation.read_places(unread, zone_column, region_column);
  end if;
  return places;
end;
$$;

-- Of zones, those that this server knows, in an order of their own; null: none of them.
create or replace function automation.known_zones(said text[]) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  one text;
  known text;
  zones text[];
begin
  foreach one in array coalesce(said, '{}') loop
    known := automation.known_zone(one);
    if known = any (zones) is not true and known is not null then
      zones := zones || known;
    end if;
  end loop;
  if cardinality(zones) > 1 then
    return array(select z from unnest(zones) as z order by z);
  end if;
  return zones;
end;
$$;

-- The state or province of a country that somebody wrote as the short or the long form of its name.
create or replace function automation.region_of(country text, said text) returns automation.regions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  short constant text := upper(btrim(said));
  found automation.regions;
begin
  select r.* into found from automation.regions as r
  where r.region in (country || '-' || short, short) order by r.region = short limit 1;
  if found.region is null then
    select r.* into found from automation.regions as r where lower(r.name) = lower(short) limit 1;
  end if;
  return found;
end;
$$;

create type automation.whereabout as (
  place integer,
  tenant_id uuid,
  purpose text,
  zones text[],
  regions text[]
);

comment on type automation.whereabout is
  'Where a text goes. zones: as numbers and addresses say, whether or not this server knows them; null: nothing does, '
  'or it goes to the office.';

-- Where the people of some texts are, as their numbers and their addresses say: zones and states. In an order in which
-- those of one place come after each other.
create or replace function automation.whereabouts(tickets automation.ticket[], tenants automation.tenant[])
  returns automation.whereabout[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
declare
  texts automation.whereabout[] := array(
    select row(t.place, t.tenant_id, t.purpose, c.zones,
      case when c.region is null then '{}' else array[c.region] end)::automation.whereabout
    from unnest(tickets) as t
    left join lateral (
      -- The longest that fits, by the index.
      select a.zones, a.region from automation.area_codes as a
      where t.purpose <> 'internal' and a.prefix = any (array(
        select substr(t.recipients[1], 2, l)
        from generate_series(case when t.recipients[1] like '+1%' then 4 else 1 end,
          least(9, length(t.recipients[1]) - 1)) as l))
      order by length(a.prefix) desc
      limit 1
    ) as c on true
    where t.channel = 'sms'
    order by t.place);
  places integer[] := '{}'::integer[];
  address automation.contact_place;
  tenant automation.tenant;
  said text;
  region automation.regions;
  one automation.whereabout;
  at integer;
begin
  foreach one in array texts loop
    places := places || one.place;
  end loop;
  foreach address in array automation.contact_places(tickets) loop
    at := array_position(places, address.place);
    one := texts[at];
    if tenant.id is distinct from one.tenant_id or said is distinct from address.region then
      tenant := automation.tenant_among(tenants, one.tenant_id);
      said := address.region;
      region := automation.region_of(tenant.country, said);
    end if;
    one.zones := one.zones || case when address.zone is null then region.zones else array[address.zone] end;
    if region.region is not null then
      one.regions := one.regions || region.region;
    end if;
    texts[at] := one;
  end loop;
  if cardinality(texts) > 1 then
    return array(select t from unnest(texts) as t order by t.tenant_id, t.purpose, t.zones, t.regions, t.place);
  end if;
  return texts;
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

-- Those of a jurisdiction, and the office's own within them; for its own people in their place.
create or replace function automation.hours_of(purpose text, regions text[], settings jsonb)
  returns automation.hours_rule[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  own automation.hours_rule[] := '{}'::automation.hours_rule[];
begin
  if settings ?| '{open_hours,internal_hours}' then
    own := array(
      select row('own', o.days, o.opens, o.closes)::automation.hours_rule
      from automation.own_hours(
        settings, case purpose when 'internal' then 'internal_hours' else 'open_hours' end) as o);
  end if;
  if purpose = 'internal' and own <> '{}' then
    return own;
  end if;
  return own || array(
    select row(h.jurisdiction, h.days, h.opens, h.closes)::automation.hours_rule
    from automation.open_hours as h
    where h.channel = 'sms' and h.purpose = hours_of.purpose and h.jurisdiction = any (array['*'] || regions));
end;
$$;

create type automation.text_hours as (
  place integer,
  opens_at timestamptz,
  closes_at timestamptz,
  zones text[],
  expires_at timestamptz,
  regions text[]
);

-- Of each text, when it may go: at once where opens_at is now. Worked out once for all that are in the same place.
-- Marketing that waits for an opening is spread over its first ten minutes.
create or replace function automation.ask_hours(
  tickets automation.ticket[], tenants automation.tenant[], now timestamptz)
  returns automation.text_hours[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  said automation.whereabout;
  was automation.whereabout;
  places integer[] := '{}'::integer[];
  ticket automation.ticket;
  tenant automation.tenant;
  zones text[];
  rules automation.hours_rule[];
  hours record;
  answers automation.text_hours[] := '{}'::automation.text_hours[];
begin
  if not automation.keeps_quiet_hours() then
    return answers;
  end if;
  foreach ticket in array tickets loop
    places := places || ticket.place;
  end loop;
  foreach said in array automation.whereabouts(tickets, tenants) loop
    ticket := tickets[array_position(places, said.place)];
    continue when ticket.urgent and automation.is_awaited(ticket, now);
    if was.place is null or row(was.tenant_id, was.purpose, was.zones, was.regions)
      is distinct from row(said.tenant_id, said.purpose, said.zones, said.regions) then
      was := said;
      if tenant.id is distinct from said.tenant_id then
        tenant := automation.tenant_among(tenants, said.tenant_id);
      end if;
      zones := case when said.purpose = 'internal' then array[coalesce(tenant.timezone, 'UTC')] else coalesce(
        automation.known_zones(said.zones), automation.country_zones(tenant.country, tenant.timezone)) end;
      rules := automation.hours_of(said.purpose, said.regions, tenant.settings);
      hours := automation.next_open(zones, rules, now);
      if hours.opens_at = now and hours.closes_at <= now + automation.closing_margin() then
        hours := automation.next_open(zones, rules, hours.closes_at);
      end if;
    end if;
    answers := answers || row(said.place, hours.opens_at
      + case when said.purpose = 'marketing' and hours.opens_at > now
        then abs(hashtext(ticket.step_id::text)::bigint) % 600 * interval '1 second' else interval '0' end,
      hours.closes_at, zones, ticket.expires_at, said.regions)::automation.text_hours;
  end loop;
  return answers;
end;
$$;

comment on function automation.ask_hours(automation.ticket[], automation.tenant[], timestamptz) is
  'When texts may go out where their people are: opens_at (now: at once; null: never in two weeks), when that ends, '
  'and in which states they are.';
