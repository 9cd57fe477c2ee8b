-- Which release this database holds. Every migration that follows the first sets both functions anew: the
-- version is for people, api_version for the Edge Functions, which are deployed at another moment than the
-- migration is pushed. It goes up by one whenever what they call or read changes its shape; what they used one
-- version ago is kept until the next, so that either side may be upgraded first.

create or replace function automation.version() returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '1.0.0-rc' $$;

comment on function automation.version() is 'The release of Ridgeline that this database holds.';

create or replace function automation.api_version() returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select 2 $$;

comment on function automation.api_version() is
  'The version of what the Edge Functions call. They work with a database that is at most one apart.';

-- A version of a workflow is never compiled again, so its plan may be as old as its last run. A change of the
-- compiler that older code could not read, or that needs more than older plans hold, is a new format: it adds
-- one here and its upgrader to automation.readable_plan().
create or replace function automation.plan_format() returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select 1 $$;

comment on function automation.plan_format() is 'The format of the plans that this release compiles.';
