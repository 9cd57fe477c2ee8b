-- A lease is whole: what holds a step says with which token, since when and until when; and nothing of the database is
-- leased. Who writes the queue says nothing of leases, or all of it.
begin;
\ir ../foundation/story.psql
select plan(8);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]');
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]');
select pg_temp.contact(:'apex', 'Maria') as maria \gset

create function pg_temp.lease(changes text, of text default 'sms') returns text
  language sql
  as $$ select pg_temp.error_of(format('update ridgeline.scheduled_steps set %s where lane = %L', changes, of)) $$;
select matches(pg_temp.lease(c), '^23514 scheduled_steps: a lease has a token, a beginning and an end', c)
from unnest(array['attempt_token = gen_random_uuid()', 'lease_expires_at = now()',
  'attempt_token = gen_random_uuid(), leased_at = now()', 'leased_at = now(), lease_expires_at = now()']) as c;
select matches(pg_temp.lease('attempt_token = gen_random_uuid(), leased_at = now(), lease_expires_at = now()', 'database'),
  '^23514 ', 'none for what needs nobody outside');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'a claim leases a whole one');
select matches(pg_temp.lease('lease_expires_at = null'), '^23514 ', 'which is not given back in parts');

-- What would write half of one in an insert.
select is_empty($$
  select p.oid::regprocedure, m.said[1]
  from pg_proc as p
  cross join regexp_matches(p.prosrc, 'insert into ridgeline\.scheduled_steps[^(]*\(([^)]*)\)', 'g') as m (said)
  where p.pronamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace)
    and m.said[1] ~ 'attempt_token|lease'$$, 'no insert says anything of a lease');
select * from finish();
rollback;
