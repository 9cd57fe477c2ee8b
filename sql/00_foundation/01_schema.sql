-- 00 FOUNDATION
--
-- What every later chapter stands on: the private schema, identifiers, the clock, settings and
-- the way errors are raised. Nothing here knows about a CRM or a workflow, and nothing here
-- takes a row lock that a later chapter could wait for.

create schema if not exists automation;

comment on schema automation is
  'Ridgeline''s engine. Not exposed through the Data API; clients call the functions in public.';

revoke all on schema automation from public;
