-- updated_at follows every real change and no other.

do $$
declare
  touched text;
begin
  foreach touched in array array[
    'tenants', 'contacts', 'projects', 'jobs', 'tasks', 'appointments', 'invoices'
  ] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;
