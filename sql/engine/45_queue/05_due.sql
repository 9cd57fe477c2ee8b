-- Finding due work: first the tenants, then the rows of each, so that no tenant waits behind
-- another's backlog.
--
-- A session keeps the plan it made while the queue was empty, when reading the whole table looked
-- cheapest. The functions that read the queue by its order therefore rule that plan out.

-- Without a backlog the oldest due rows are all the due rows and name every tenant. With one, a
-- loose index scan hops from tenant to tenant, from a random place on. Where it stops before it has
-- been round (more than 500 tenants have something queued), the tenants of the oldest fifty thousand
-- due rows are looked through too, so that nobody waits behind another's backlog.
--
-- Plans: the functions here are held to the index that each query was given. Switching the other
-- ways of reading off makes them look so costly that Postgres 15 to 18 would compile what is left
-- (measured: 100 ms a call instead of 1), so jit goes off with them.
create or replace function automation.due_tenants(lane ridgeline.automation_lane, at_most integer)
  returns uuid[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  at constant timestamptz := automation.now();
  look_ahead constant integer := 4 * at_most;
  tenants uuid[];
  seen integer;
  hopped record;
begin
  select array_agg(t.tenant_id order by t.oldest), coalesce(sum(t.steps), 0) into tenants, seen
  from (
    select h.tenant_id, min(h.run_at) as oldest, count(*) as steps
    from (
      select s.tenant_id, s.run_at
      from ridgeline.scheduled_steps as s
      where s.lane = due_tenants.lane and s.lease_expires_at is null and s.run_at <= at
      order by s.run_at
      limit look_ahead
    ) as h
    group by h.tenant_id
  ) as t;
  if seen < look_ahead then
    return tenants;
  end if;
  hopped := automation.hop_tenants(lane, at, gen_random_uuid(), at_most);
  tenants := automation.merge_tenants(tenants, hopped.tenants, at_most);
  if not hopped.complete and cardinality(tenants) < at_most then
    tenants := automation.merge_tenants(
      tenants, automation.tenants_behind(lane, at, tenants), at_most);
  end if;
  return tenants;
end;
$$;

comment on function automation.due_tenants(ridgeline.automation_lane, integer) is
  'Tenants with due work in a lane, those that have waited longest first where that is cheap to '
  'tell; null when there is none.';

-- Those that have waited longest keep their place; when there are more than places, the others take
-- turns by lot.
create or replace function automation.merge_tenants(first uuid[], others uuid[], at_most integer)
  returns uuid[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(first) <= at_most and (others <@ first) is not false then
    return first;
  end if;
  return (
    select array_agg(m.tenant_id order by m.place)
    from (
      select t.tenant_id,
        case when count(*) over () <= at_most then t.place else random() end as place
      from (
        select u.tenant_id, min(u.place)::double precision as place
        from unnest(first || others) with ordinality as u (tenant_id, place)
        group by u.tenant_id
      ) as t
      order by 2
      limit at_most
    ) as m);
end;
$$;

create or replace function automation.tenants_behind(
  lane ridgeline.automation_lane, at timestamptz, found uuid[])
  returns uuid[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
    select array_agg(distinct d.tenant_id)
    from (
      select s.tenant_id
      from ridgeline.scheduled_steps as s
      where s.lane = tenants_behind.lane and s.lease_expires_at is null and s.run_at <= at
      order by s.run_at
      limit 50000
    ) as d
    where d.tenant_id <> all (found)
  $$;

create or replace function automation.hop_tenants(
  lane ridgeline.automation_lane, at timestamptz, start uuid, at_most integer,
  out tenants uuid[], out complete boolean)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_incremental_sort = off
  as $$
declare
  lap integer := 1;
  after uuid := start;
  tenant uuid;
  oldest timestamptz;
begin
  complete := false;
  for hop in 1 .. 500 loop
    -- In the order that only scheduled_steps_due_by_tenant has: the primary key leads with the
    -- tenant too, and would read past all that the tenant has in the other lane.
    select s.tenant_id, s.run_at into tenant, oldest
    from ridgeline.scheduled_steps as s
    where s.lane = hop_tenants.lane and s.tenant_id > after and s.lease_expires_at is null
    order by s.tenant_id, s.run_at, s.id
    limit 1;
    -- Past the last tenant the second lap begins, up to where the first one started.
    if lap = 2 and (tenant is null or tenant > start) then
      complete := true;
      return;
    elsif tenant is null then
      lap := 2;
      after := '00000000-0000-0000-0000-000000000000';
    else
      after := tenant;
      if oldest <= at then
        tenants := tenants || tenant;
        exit when cardinality(tenants) = at_most;
      end if;
    end if;
  end loop;
end;
$$;

comment on function automation.hop_tenants(
  ridgeline.automation_lane, timestamptz, uuid, integer) is
  'Tenants with due work, at_most of them, found by hopping along the index from start. complete: it has been round.';

-- Locks due rows of tenants, `share` of each and at_most of all, skipping what others are working on. The tenants lead,
-- one after the other, and nothing is locked beyond what is taken.
create or replace function automation.lock_due_of(
  lane ridgeline.automation_lane, tenants uuid[], share integer, at_most integer, taken uuid[])
  returns ridgeline.scheduled_steps[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
begin
  return array(
    select d.due
    from unnest(tenants) as t (id)
    cross join lateral (
      select s as due
      from ridgeline.scheduled_steps as s
      where s.lane = lock_due_of.lane
        and s.tenant_id = t.id
        and s.lease_expires_at is null
        and s.run_at <= automation.now()
        -- Hashed: there may be thousands, of as many that are due.
        and s.id not in (select k from unnest(taken) as k where k is not null)
      order by s.run_at, s.id
      limit share
      for update skip locked
    ) as d
    limit at_most);
end;
$$;

create or replace function automation.without(ids uuid[], but uuid[]) returns uuid[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select array_agg(i.id order by i.place)
    from unnest(ids) with ordinality as i (id, place)
    where i.id <> all (but));
end;
$$;

-- What ordinary work leaves alone: steps that are tried alone, and those somebody is about to work on.
create or replace function automation.set_aside(lane ridgeline.automation_lane) returns uuid[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(array_agg(a.id), '{}')
    from (
      select automation.as_uuid(s.key) as id from automation.suspects as s where s.kind = set_aside.lane::text
      union all
      select i from automation.portions as p cross join unnest(p.step_ids) as i
      where p.lane = set_aside.lane
    ) as a);
end;
$$;

-- Whose turn it is, but for some; null: nobody's.
create or replace function automation.next_tenants(lane ridgeline.automation_lane, at_most integer, but uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants constant uuid[] := automation.due_tenants(lane, at_most + cardinality(but));
begin
  if tenants is null or cardinality(but) = 0 then
    return tenants;
  end if;
  return automation.without(tenants, but);
end;
$$;

-- Equal shares first; what some leave of theirs goes to those who have more.
create or replace function automation.lock_shares(
  lane ridgeline.automation_lane, tenants uuid[], at_most integer, aside uuid[])
  returns ridgeline.scheduled_steps[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  share constant integer := greatest(1, at_most / cardinality(tenants));
  dues constant ridgeline.scheduled_steps[] := automation.lock_due_of(lane, tenants, share, at_most, aside);
  hungry uuid[];
begin
  if cardinality(dues) < share or cardinality(dues) = at_most then
    return dues;
  end if;
  hungry := array(
    select t.id from unnest(tenants) with ordinality as t (id, place)
    where t.id = any (array(select d.tenant_id from unnest(dues) as d group by 1 having count(*) = share))
    order by t.place);
  if hungry = '{}' then
    return dues;
  end if;
  return dues || automation.lock_due_of(lane, hungry, at_most, at_most - cardinality(dues),
    aside || array(select d.id from unnest(dues) as d));
end;
$$;

create or replace function automation.lock_due(
  lane ridgeline.automation_lane, at_most integer, but uuid[] default '{}')
  returns ridgeline.scheduled_steps[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants constant uuid[] := automation.next_tenants(lane, at_most, but);
begin
  if tenants is null then
    return '{}'::ridgeline.scheduled_steps[];
  end if;
  return automation.lock_shares(lane, tenants, at_most, automation.set_aside(lane));
end;
$$;

comment on function automation.lock_due(ridgeline.automation_lane, integer, uuid[]) is
  'Locks due rows of a lane, an equal share for each tenant that has any (but for some), then what is left '
  'to those that have more. Rows that others hold are skipped. Fewer than asked for: there are no more.';

create or replace function automation.next_due_at(lane ridgeline.automation_lane) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
begin
  return (
    select s.run_at from ridgeline.scheduled_steps as s
    where s.lane = next_due_at.lane and s.lease_expires_at is null
    order by s.run_at
    limit 1);
end;
$$;

create or replace function automation.next_due_at() returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select min(automation.next_due_at(l))
    from unnest(automation.channels() || 'database'::ridgeline.automation_lane) as l);
end;
$$;

comment on function automation.next_due_at() is
  'When the next step is due; null when nothing is scheduled.';
