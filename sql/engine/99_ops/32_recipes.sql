-- What can be installed is no secret of anybody's.
alter table automation.recipes enable row level security;
create policy recipes_read on automation.recipes for select to authenticated using (true);
grant select on automation.recipes to authenticated, service_role;
revoke all on ridgeline.recipes from anon, authenticated, service_role;
grant select on ridgeline.recipes to authenticated, service_role;
