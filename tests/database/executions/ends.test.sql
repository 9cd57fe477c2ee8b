-- What has ended says when, and nothing else does; what failed says why. Whoever writes down what has not ended yet
-- says nothing of an end.
begin;
\ir ../foundation/story.psql
select plan(9);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as workflow \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset

create function pg_temp.becomes(changes text) returns text
  language sql
  as $$ select pg_temp.error_of(format('update ridgeline.workflow_executions set %s', changes)) $$;
select matches(pg_temp.becomes(c), '^23514 workflow_executions: what has ended says when, and nothing else does', c)
from unnest(array['status = ''completed''', 'finished_at = now()', 'status = ''cancelled'', error = ''{}''']) as c;
select matches(pg_temp.becomes('status = ''failed'', finished_at = now()'), '^23514 workflow_executions: what failed says why',
  'a failure says why');
select is(pg_temp.becomes('status = ''failed'', finished_at = now(), error = ''{"code": "none"}'''), null, 'and may');
select matches(pg_temp.becomes('error = null'), '^23514 ', 'for good');

create function pg_temp.is_written(says text, what text) returns text
  language sql
  as $$
    select pg_temp.error_of(format($insert$
      insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, trigger_type, %s)
      select e.tenant_id, e.workflow_id, e.version, e.trigger_type, %s from ridgeline.workflow_executions as e$insert$, says, what))
  $$;
select matches(pg_temp.is_written('finished_at', 'now()'), '^23514 ', 'nor is one written that ended and has not');
select matches(pg_temp.is_written('finished_at, status', 'now(), ''failed'''), '^23514 ', 'or failed without a word');

-- What would write one that has ended and does not say when.
select is_empty($$
  select p.oid::regprocedure, m.said[1]
  from pg_proc as p
  cross join regexp_matches(p.prosrc, 'insert into ridgeline\.workflow_executions[^(]*\(([^)]*)\)(.{0,250}.{0,250})', 'g') as m (said)
  where p.pronamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace)
    and m.said[1] ~ 'status' and m.said[1] !~ 'finished_at'
    and m.said[2] ~ '''(completed|failed|cancelled|skipped)'''$$, 'no insert ends a run and does not say when');
select * from finish();
rollback;
