-- A third trigger, automation_timers, keeps the timers of chapter 09 in step with the dates they are
-- counted from. A table gets it when the first workflow waits on one of its dates, so that tables
-- without timers pay nothing.

create or replace function automation.timer_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_timers() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $capture$
begin
  if tg_op <> 'INSERT' and (tg_op = 'DELETE'
    or (old.%2$I, old.%3$I) is distinct from (new.%2$I, new.%3$I)) then
    perform automation.drop_timers(%1$L, old.%2$I, old.%3$I::text);
  end if;
  if tg_op <> 'DELETE' and exists (
    select from automation.timer_listeners as t
    where t.entity = %1$L and t.tenant_id = new.%2$I
  ) then
    perform automation.follow_timers(%1$L, new.%2$I, new.%3$I::text,
      case when tg_op = 'UPDATE' then to_jsonb(old) end, to_jsonb(new));
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, attached.tenant_column, attached.id_column)
  $$;

create or replace function automation.has_timer_trigger(relation text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from pg_catalog.pg_trigger as t
      where t.tgrelid = has_timer_trigger.relation::regclass and t.tgname = 'automation_timers')
  $$;

-- Waits for writers of the table, and they for it, but not for long.
create or replace function automation.install_timer_trigger(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  waits constant text := current_setting('lock_timeout');
begin
  select e.* into attached from automation.entities as e where e.name = install_timer_trigger.entity;
  if not found or automation.has_timer_trigger(attached.relation) then
    return;
  end if;
  execute automation.timer_function(attached);
  perform set_config('lock_timeout', '3s', true);
  execute format(
    'create trigger automation_timers after insert or update or delete on %s '
    'for each row execute function automation.capture_%s_timers()',
    attached.relation, attached.name);
  perform set_config('lock_timeout', waits, true);
end;
$$;

comment on function automation.install_timer_trigger(text) is
  'Lets the dates of an attached table set timers. Publishing the first such workflow calls it.';

-- Columns may have other names when a table is attached again.
create or replace function automation.refresh_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.has_timer_trigger(attached.relation) then
    execute automation.timer_function(attached);
  end if;
end;
$$;

create or replace function automation.remove_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  execute format('drop trigger if exists automation_timers on %s', attached.relation);
  execute format('drop function if exists automation.capture_%s_timers()', attached.name);
  delete from automation.timer_listeners as t where t.entity = attached.name;
end;
$$;
