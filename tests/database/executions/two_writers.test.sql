-- A run that a write begins and one that time, a list or a person begins are written by two functions, for what a row at a
-- time costs (docs/decisions/0011). Nobody can tell from the rows which of them it was.
begin;
\ir ../foundation/story.psql
select plan(10);

-- What either of them names. Only what was planned before a date expires, which no write is; what could not start is
-- written by the same function.
create function pg_temp.written_columns(writer regproc, relation text) returns text[]
  language sql
  as $$
    select array_agg(c order by c)
    from (
      select btrim(n, E' \n') as c
      from regexp_matches((select p.prosrc from pg_proc as p where p.oid = writer),
        'insert into ' || relation || ' \(([^)]*)\)') as m (said),
        regexp_split_to_table(m.said[1], ',') as n
    ) as s
    where c not in ('expires_at', 'error', 'finished_at')
  $$;
select cmp_ok(cardinality(pg_temp.written_columns('automation.enter', w.relation)), '>', w.at_least, w.relation || ' has columns')
from (values ('ridgeline.workflow_executions', 15), ('ridgeline.scheduled_steps', 4)) as w (relation, at_least);
select is(pg_temp.written_columns('automation.enrol_write', w.relation), pg_temp.written_columns('automation.enter', w.relation),
  'both write the same columns of ' || w.relation)
from (values ('ridgeline.workflow_executions'), ('ridgeline.scheduled_steps')) as w (relation);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]') as at_once \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "send_sms", "delay": 90, "config": {"body": "Hi", "purpose": "transactional"}}]') as later \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]') as shadow \gset
update ridgeline.workflows set mode = 'shadow' where id = :'shadow';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]',
  '[{"field": "contact.lead_score", "operator": "greater_than", "value": 0}]') as broken \gset
-- Conditions that nobody can evaluate: the run is there, and says why.
update automation.active_triggers set conditions = '{"code": "none"}', quick = null where workflow_id = :'broken';
select pg_temp.contact(:'apex', 'Maria') as maria \gset
create temp table captured as select e.id, e.workflow_id from ridgeline.workflow_executions as e;
create temp table entered as
  select c.id as captured, automation.enrol(e.tenant_id, e.entity, e.record_id, e.trigger_data, o.enrolment) as id
  from captured as c
  join ridgeline.workflow_executions as e on e.id = c.id
  join ridgeline.workflow_versions as v on v.workflow_id = c.workflow_id
  cross join lateral automation.enrolment_of(v, 'contact_created') as g
  cross join lateral (
    select row(g.workflow_id, g.version, g.trigger_type, g.first_step, g.first_lane, g.first_delay, e.error, g.role,
      g.listener, g.address, g.fused, g.mode)::automation.enrolment as enrolment) as o;
create function pg_temp.told(written jsonb) returns jsonb
  language sql
  as $$ select written - '{id,execution_id,seq,written_by,seen}'::text[] $$;
select is((select string_agg(concat_ws(' ', e.status, e.mode), ', ' order by e.status, e.mode)
    from ridgeline.workflow_executions as e join captured as c using (id)),
  'pending live, pending shadow, waiting live, failed live', 'four runs that a write has begun');
select is(pg_temp.told(to_jsonb(a)), pg_temp.told(to_jsonb(b)), format('%s %s: the same run', a.status, a.mode))
from entered as n
join ridgeline.workflow_executions as a on a.id = n.captured
join ridgeline.workflow_executions as b on b.id = n.id
order by a.status, a.mode;
select is(jsonb_agg(pg_temp.told(to_jsonb(a)) order by n.captured), jsonb_agg(pg_temp.told(to_jsonb(b)) order by n.captured), 'and the same first steps')
from entered as n
join ridgeline.scheduled_steps as a on a.execution_id = n.captured
join ridgeline.scheduled_steps as b on b.execution_id = n.id;

select * from finish();
rollback;
