create or replace function automation.run_signals(max_signals integer default 200) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.work_off('signal', max_signals);
end;
$$;

comment on function automation.run_signals(integer) is
  'Ends the runs that an event or a deletion ends, and wakes those that waited for it. Returns how many '
  'signals were read. Called before database steps are run.';
