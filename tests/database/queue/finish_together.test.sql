-- Results of several workflows come back in one report: each run goes on in its own workflow.
begin;
\ir ../foundation/story.psql
select plan(3);

select pg_temp.tenant('Apex Roofing') as apex \gset
create temp table flows as
select n, pg_temp.workflow(:'apex', 'manual', '{}', format('[
  {"key": "text", "type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}},
  {"key": "call", "type": "create_task", "config": {"title": "Call %s"}, "delay": %s}]', n, n * 60)::jsonb) as id
from generate_series(1, 6) as n;
-- Runs of one workflow between those of others, in the order of nothing.
create temp table runs as
select f.n, (ridgeline.execute_workflow(f.id, jsonb_build_object('contact_id', pg_temp.contact(:'apex', 'Lee', '+1512555' || lpad((r * 10 + f.n)::text, 4, '0'))))).id as id
from generate_series(1, 3) as r cross join flows as f;
create temp table claimed as select c from automation.claim_steps('w', 100) as c;
select is((select count(*) from claimed), 18::bigint, 'eighteen texts of six workflows go out together');
select is((select count(*) from automation.finish_steps((select jsonb_agg(jsonb_build_object('tenant_id', (c).tenant_id, 'step_id', (c).step_id, 'attempt_token', (c).attempt_token,
  'outcome', 'succeeded', 'result', jsonb_build_object('provider_id', gen_random_uuid())) order by random()) from claimed)) as f where f.status = 'completed'), 18::bigint, 'and are reported together');
select is(string_agg(distinct r.n || ' after ' || round(extract(epoch from s.run_at - automation.now()) / 3600), ', '), '1 after 1, 2 after 2, 3 after 3, 4 after 4, 5 after 5, 6 after 6', 'each run waits as long as its own workflow says')
from ridgeline.scheduled_steps as s join runs as r on r.id = s.execution_id;
select * from finish();
rollback;
