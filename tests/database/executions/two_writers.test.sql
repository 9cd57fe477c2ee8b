-- A run that a write begins and one that time, a list or a person begins are written by other functions, and by one of
-- its own where one listener only asks to contain something, for what a row at a time costs (docs/decisions/0011). Nobody can
-- tell from the rows which of them it was.
begin;
\ir ../foundation/story.psql
select plan(18);

-- What either of them names. Only what was planned before a date expires, which no write is; what could not start is
-- written by the same function. The number of the write may be the column's own.
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
    where c not in ('expires_at', 'error', 'finished_at', 'seq')
  $$;
select cmp_ok(cardinality(pg_temp.written_columns('automation.enter', w.relation)), '>', w.at_least, w.relation || ' has columns')
from (values ('ridgeline.workflow_executions', 15), ('ridgeline.scheduled_steps', 4)) as w (relation, at_least);
select is(pg_temp.written_columns(w.writer::regproc, w.relation), pg_temp.written_columns('automation.enter', w.relation),
  w.writer || ' writes the same columns of ' || w.relation)
from (values ('automation.enrol_write', 'ridgeline.workflow_executions'), ('automation.enrol_write', 'ridgeline.scheduled_steps'),
  ('automation.capture_contact_insert', 'ridgeline.workflow_executions'), ('automation.capture_contact_insert', 'ridgeline.scheduled_steps'))
  as w (writer, relation);

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

-- What a session knows to be the only listener has its run begun as it is found. Each is said to be the only one in turn.
update ridgeline.workflows set is_active = false where id = :'broken';
create function pg_temp.insert_for(sole uuid) returns setof ridgeline.workflow_executions
  language plpgsql
  as $$
declare
  listener automation.active_triggers;
  lead uuid;
begin
  select t.* into strict listener from automation.active_triggers as t where t.workflow_id = sole;
  perform set_config('automation.heard_contact_insert_' || right(listener.tenant_id::text, 1), array[
    concat(pg_sequence_last_value('automation.listening'), ' ', listener.tenant_id), 'any', 'none', 'none', 'sole', null,
    concat_ws(' ', sole, listener.version, listener.first_lane, listener.first_step)]::text, true);
  lead := pg_temp.contact(listener.tenant_id, 'Jose');
  return query select e.* from ridgeline.workflow_executions as e where e.record_id = lead::text;
end;
$$;
-- Nobody else writes them.
drop function automation.enrol_write;
create temp table alone as
  select e.* from unnest(array[:'at_once', :'shadow', :'later']::uuid[]) as w cross join lateral pg_temp.insert_for(w) as e;
select is((select array_agg(a.workflow_id order by a.seq) from alone as a), array[:'at_once', :'shadow']::uuid[],
  'each run is begun alone, but one that begins later');
select is(pg_temp.told(to_jsonb(a)) - '{record_id,contact_id,trigger_data}'::text[],
  pg_temp.told(to_jsonb(b)) - '{record_id,contact_id,trigger_data}'::text[], format('%s %s: the same run', a.status, a.mode))
from alone as a
join captured as c using (workflow_id)
join entered as n on n.captured = c.id
join ridgeline.workflow_executions as b on b.id = n.id
order by a.mode;
select is(a.trigger_data, jsonb_build_object('entity', 'contact', 'contact', to_jsonb(c), 'contact_id', c.id, 'user_id', null),
  'about its record')
from alone as a
join public.contacts as c on c.id::text = a.record_id and a.contact_id = a.record_id
order by a.mode;
select is(jsonb_agg(pg_temp.told(to_jsonb(a)) order by p.mode), jsonb_agg(pg_temp.told(to_jsonb(b)) order by p.mode), 'and the same first steps')
from alone as p
join captured as c using (workflow_id)
join entered as n on n.captured = c.id
join ridgeline.scheduled_steps as a on a.execution_id = p.id
join ridgeline.scheduled_steps as b on b.execution_id = n.id;

select * from finish();
rollback;
