-- A third trigger, automation_timers, keeps the timers of chapter 68 in step with the dates they are
-- counted from. attach() puts it there with the others: publishing changes no table. A table whose dates
-- no workflow waits for pays for a probe of an index.

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
declare
  record_id text;
  left_id text;
begin
  begin
    if tg_op <> 'INSERT' and (tg_op = 'DELETE'
      or (%2$s, old.%3$I) is distinct from (%4$s, new.%3$I)) and exists (
      select from automation.timer_listeners as t
      where t.entity = %1$L and t.tenant_id = %2$s
    ) then
      left_id := old.%3$I::text;
    end if;
    if tg_op <> 'DELETE' and exists (
      select from automation.timer_listeners as t
      where t.entity = %1$L and t.tenant_id = %4$s
    ) then
      record_id := new.%3$I::text;
    end if;
  exception when others then
    perform automation.warn_altered(%1$L, sqlerrm);
    return null;
  end;
  if left_id is not null then
    perform automation.drop_timers(%1$L, %2$s, left_id);
  end if;
  if record_id is not null then
    perform automation.follow_timers(%1$L, %4$s, record_id,
      case when tg_op = 'UPDATE' then to_jsonb(old) end, to_jsonb(new));
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, automation.tenant_expression('old', attached.tenant_column, attached.sole),
      attached.id_column, automation.tenant_expression('new', attached.tenant_column, attached.sole))
  $$;

create or replace function automation.install_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  execute automation.timer_function(attached);
  execute format(
    'create or replace trigger automation_timers after insert or update or delete on %s '
    'for each row execute function automation.capture_%s_timers()',
    attached.relation, attached.name);
end;
$$;

comment on function automation.install_timer_trigger(automation.entities) is
  'Lets the dates of an attached table set timers.';

create or replace function automation.remove_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- With its trigger, wherever the table has been moved and whatever it is called by now.
  execute format('drop function if exists automation.capture_%s_timers() cascade', attached.name);
  delete from automation.timer_listeners as t where t.entity = attached.name;
end;
$$;
