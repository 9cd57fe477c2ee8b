-- Plans of other releases. An execution keeps the version it started with, so whatever reads a plan gets it
-- through readable_plan(), in today's format.

-- One upgrader a format, each from its own format to the next, in order:
--   if format = 1 then plan := automation.plan_2_of_1(plan); format := 2; end if;
-- A plan of a release that is newer than this one (a dump of a newer database, restored here) has no steps to
-- run, and says why its executions fail.
create or replace function automation.readable_plan(plan jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  format constant integer := coalesce((plan -> 'format')::integer, 1);
begin
  if format > automation.plan_format() then
    return jsonb_build_object(
      'format', format, 'first', plan -> 'first', 'steps', '{}'::jsonb,
      'lifecycle', jsonb_build_object('unreadable', format(
        'this version was published by a newer release of Ridgeline: its plan has format %s, and %s reads up to '
        'format %s. Apply the newer migrations, then retry; or publish the workflow again.',
        format, automation.version(), automation.plan_format())));
  elsif not plan ? 'format' then
    return plan || '{"format": 1}';
  end if;
  return plan;
end;
$$;

comment on function automation.readable_plan(jsonb) is
  'A compiled plan in the format of this release; one of a newer release comes without steps, and '
  'lifecycle.unreadable says why.';
