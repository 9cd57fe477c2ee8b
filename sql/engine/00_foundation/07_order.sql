-- Order. An event may end a run, or be what it waits for: which of them came first? now() cannot tell: it is
-- the same for two writes of one transaction, and that of a long transaction lies in the past. So runs, steps
-- and events take a number at the write (seq), and say who wrote them (written_by) and what had committed by
-- then (seen). An event that had not came after, whatever its number: the side that sends nothing wins.
--
-- Never cached: a session would draw its numbers in advance, and late ones would look early.

create sequence automation.write_order cache 1;

create or replace function automation.came_after(
  event_seq bigint, event_by xid8, seq bigint, written_by xid8, seen pg_snapshot)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select event_seq > seq or event_by <> written_by and not pg_visible_in_snapshot(event_by, seen)
  $$;

comment on function automation.came_after(bigint, xid8, bigint, xid8, pg_snapshot) is
  'Did an event come after something that was written with seq by written_by, having seen so much?';
