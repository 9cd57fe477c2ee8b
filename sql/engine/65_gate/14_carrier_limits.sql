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

-- Marketing from the sender waits, and so does every text to the number, which is known by this to be T-Mobile's.
create or replace function automation.block_sender(tenant_id uuid, sender_id uuid, number text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  midnight constant timestamptz := (automation.carrier_day(automation.now())).ends_at;
begin
  delete from automation.sender_blocks as b
  where b.tenant_id = block_sender.tenant_id and b.until <= automation.now();
  insert into automation.sender_blocks as b (tenant_id, sender_id, number, until)
  select block_sender.tenant_id, coalesce(sender_id, automation.no_sender_id()), n.number, midnight
  from unnest(array['', automation.normal_number(block_sender.number)]) as n (number)
  where n.number is not null
  on conflict on constraint sender_blocks_pkey do update set until = excluded.until;
  perform automation.tell_office(block_sender.tenant_id, 'daily_limit',
    coalesce(sender_id, automation.no_sender_id())::text, interval '20 hours', null,
    'T-Mobile takes no more texts today',
    format('The first that was refused was to %s: it goes again tomorrow. Offers wait until midnight Pacific. Write '
      'what your brand may send a day into limits of the sender ({"per_day": 2000}), and they wait before they are '
      'refused.', block_sender.number));
end;
$$;

-- Told by the provider's answer: the step stays in the queue (70_dispatch).
create or replace function automation.block_recipient(tenant_id uuid, step_id uuid) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.block_sender(
      s.tenant_id, automation.as_uuid(s.input #>> '{sender,id}'), s.input ->> 'to')
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = block_recipient.tenant_id and s.id = block_recipient.step_id
  $$;
