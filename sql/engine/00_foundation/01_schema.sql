-- 00 FOUNDATION
--
-- What every later chapter stands on: the private schema, identifiers, the clock, settings and
-- the way errors are raised. Nothing here knows about a CRM or a workflow, and nothing here
-- takes a row lock that a later chapter could wait for.

create schema if not exists automation;
create schema if not exists ridgeline;

comment on schema automation is
  'Ridgeline''s engine. Not exposed through the Data API; clients use schema ridgeline.';

comment on schema ridgeline is
  'Ridgeline: workflows, what they did and will do, and the functions that clients call. Add it to the schemas of '
  'the Data API.';

revoke all on schema automation from public;
revoke all on schema ridgeline from public;
