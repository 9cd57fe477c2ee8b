-- updated_at follows every real change and no other.

create or replace function automation.touch_updated_at() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.updated_at := automation.now();
  return new;
end;
$$;

do $$
declare
  touched text;
begin
  foreach touched in array array[
    'tenants', 'contacts', 'projects', 'jobs', 'tasks', 'messages', 'emails', 'calls'
  ] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;
