-- A CARRIER'S DAY
--
-- T-Mobile takes so many texts of a brand a day, to midnight Pacific. Its no comes with the provider's answer or, after
-- the provider took the text, with news of it: either way the text waits for the next day and is sent then, and so does
-- what would be refused as well.

-- A little apart, so that the day does not begin with all of them.
create or replace function automation.carrier_reopens(step_id uuid, now timestamptz) returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select (automation.carrier_day(now)).ends_at + abs(hashtext(step_id::text)::bigint) % 600 * interval '1 second'
  $$;

create or replace function automation.carrier_hold(since timestamptz, until timestamptz) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('code', 'daily_limit', 'why', 'a carrier took no more from this number that day',
      'since', since, 'until', until)
  $$;

-- Marketing from the senders waits, and so does every text to the numbers, which are known by this to be T-Mobile's. In
-- one order, so that two that report at once do not wait for each other crosswise.
create or replace function automation.block_senders(tenant_ids uuid[], sender_ids uuid[], numbers text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  midnight constant timestamptz := (automation.carrier_day(automation.now())).ends_at;
  refused record;
begin
  delete from automation.sender_blocks as b
  where b.ctid = any (array(
    select o.ctid from automation.sender_blocks as o
    where o.tenant_id = any (tenant_ids) and o.until <= automation.now()
    for update skip locked));
  insert into automation.sender_blocks as b (tenant_id, sender_id, number, until)
  select distinct r.tenant_id, coalesce(r.sender_id, automation.no_sender_id()), n.number, midnight
  from unnest(tenant_ids, sender_ids, numbers) as r (tenant_id, sender_id, number)
  cross join lateral unnest(array['', automation.normal_number(r.number)]) as n (number)
  where n.number is not null
  order by 1, 2, 3
  on conflict on constraint sender_blocks_pkey do update set until = excluded.until;
  for refused in
    select distinct on (1, 2) r.tenant_id, coalesce(r.sender_id, automation.no_sender_id()) as sender_id, r.number
    from unnest(tenant_ids, sender_ids, numbers) with ordinality as r (tenant_id, sender_id, number, place)
    order by 1, 2, r.place
  loop
    perform automation.tell_office(refused.tenant_id, 'daily_limit', refused.sender_id::text, interval '20 hours', null,
      'T-Mobile takes no more texts today',
      format('The first that was refused was to %s: it goes again tomorrow. Offers wait until midnight Pacific. Write '
        'what your brand may send a day into limits of the sender ({"per_day": 2000}), and they wait before they are '
        'refused.', refused.number));
  end loop;
end;
$$;

-- Told by the provider's answers: the steps stay in the queue (70_dispatch).
create or replace function automation.block_recipients(tenant_ids uuid[], step_ids uuid[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  inputs constant jsonb[] := array(
    select l.input
    from unnest(tenant_ids, step_ids) with ordinality as k (tenant_id, id, place)
    left join lateral (
      select s.input from ridgeline.workflow_step_executions as s
      where s.tenant_id = k.tenant_id and s.id between k.id and k.id
      order by s.id
      limit 1) as l on true
    order by k.place);
begin
  perform automation.block_senders(tenant_ids,
    array(select automation.as_uuid(u.i #>> '{sender,id}') from unnest(inputs) with ordinality as u (i, place)
      order by u.place),
    array(select u.i ->> 'to' from unnest(inputs) with ordinality as u (i, place) order by u.place));
end;
$$;
