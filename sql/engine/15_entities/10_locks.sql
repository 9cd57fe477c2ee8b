-- Locks on other people's tables.

-- A trigger is made under a lock that waits for whoever is writing the table, and whoever comes to write it waits
-- behind that lock. So it is asked for briefly, and again, until nobody is in the way. Not for long where this
-- transaction keeps others from another table meanwhile, as a script of several calls does.
create or replace function automation.take_table(relation regclass, mode text default 'share row exclusive')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
  as $$
declare
  until constant timestamptz := clock_timestamp()
    + case when automation.holds_another_table(relation) then interval '1 second' else interval '10 seconds' end;
begin
  loop
    begin
      execute format('lock table %s in %s mode', automation.relation_name(relation), mode);
      return;
    exception when lock_not_available then
      if clock_timestamp() > until then
        raise exception 'relation: % is in use by a transaction that does not end; nothing was changed', relation
          using errcode = 'lock_not_available', detail = (
            select format('Process ids: %s.', string_agg(distinct l.pid::text, ', '))
            from pg_catalog.pg_locks as l
            where l.locktype = 'relation' and l.relation = take_table.relation and l.granted
              and l.pid <> pg_backend_pid()),
          hint = 'Call it again when that is over; pg_stat_activity says since when it lasts (xact_start).';
      end if;
    end;
    perform pg_sleep(0.3);
  end loop;
end;
$$;

comment on function automation.take_table(regclass, text) is
  'Locks a table of the CRM for a change of its triggers, in tries of 0.2 s for 10 s: no write waits longer for it. '
  'Raises 55P03 with who is in the way.';

create or replace function automation.holds_another_table(but regclass) returns boolean
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from pg_catalog.pg_locks as l
      join pg_catalog.pg_class as c on c.oid = l.relation
      where l.locktype = 'relation' and l.pid = pg_backend_pid() and c.oid <> but and c.relkind in ('r', 'p')
        and l.mode in ('ShareRowExclusiveLock', 'AccessExclusiveLock')
        and c.relnamespace not in ('pg_catalog'::regnamespace, 'automation'::regnamespace, 'ridgeline'::regnamespace))
  $$;
