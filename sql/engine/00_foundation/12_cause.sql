-- What led to a write: carried in settings of the transaction, from an automation's effect to what it fires.

create or replace function automation.causation_depth() returns integer
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('automation.depth', true) operator(pg_catalog.~) '^\d{1,4}$'
      then pg_catalog.current_setting('automation.depth', true)::pg_catalog.int4
      else 0
    end
  $$;

comment on function automation.causation_depth() is
  'How many automations led to the current write: 0 for a person''s or a program''s own.';

-- The first run of the chain that led to the current write.
create or replace function automation.causation_root() returns uuid
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$ select automation.as_uuid(pg_catalog.current_setting('automation.root', true)) $$;

create or replace function automation.has_cause() returns boolean
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select coalesce(pg_catalog.current_setting('automation.depth', true), '') operator(pg_catalog.<>) ''
      or coalesce(pg_catalog.current_setting('automation.root', true), '') operator(pg_catalog.<>) ''
  $$;

create or replace function automation.set_cause(depth integer, root uuid, fused boolean) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config('automation.depth', depth::text, true), set_config('automation.root', root::text, true),
    set_config('automation.fused', fused::text, true);
end;
$$;

comment on function automation.set_cause(integer, uuid, boolean) is
  'From here on the writes of this transaction are effects of a chain of automations.';

create or replace function automation.clear_cause() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.has_cause() or current_setting('automation.fused', true) <> '' then
    perform set_config('automation.depth', '', true), set_config('automation.root', '', true),
      set_config('automation.fused', '', true);
  end if;
end;
$$;
