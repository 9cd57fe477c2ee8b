-- Whatever is wrong with a workflow, the office's write commits, and a failed execution says why.
begin;
\ir ../foundation/story.psql
select plan(36);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as sound \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', conditions =>
  '{"all": [{"field": "contact.stage", "operator": "matches", "value": "^new$"}]}') as broken \gset
create function pg_temp.why(workflow uuid) returns text
  language sql
  as $$
    select concat_ws(' ', e.status, e.error ->> 'code', e.error ->> 'message')
    from pg_temp.only_run(workflow) as e
  $$;
-- What a new contact does to a workflow.
create function pg_temp.on_contact(workflow uuid) returns text
  language plpgsql
  as $$
begin
  return coalesce(
    pg_temp.error_of('select pg_temp.contact(id) from public.tenants'), pg_temp.why(workflow));
end;
$$;
create function pg_temp.conditions_that(statement text) returns void
  language plpgsql
  as $$
begin
  execute format($f$
    create or replace function automation.evaluate_conditions(
      compiled jsonb, context jsonb, zone text default 'UTC', at timestamptz default automation.now())
      returns boolean language plpgsql stable as $body$ begin %s; end; $body$ $f$, statement);
end;
$$;

-- Compiled rows that were broken by hand or restored badly.
create table pg_temp.breakage (change text, expected text);
insert into pg_temp.breakage values
  ($$conditions = '"nonsense"'$$, 'failed conditions_failed %'),
  ($$conditions = '[1, 2]'$$, 'failed conditions_failed %'),
  ($$conditions = '{"op": "nonsense"}'$$, 'failed conditions_failed %'),
  ($$match_any = '[]'$$, 'failed capture_failed %'),
  ($$match_any = '7'$$, 'failed capture_failed %'),
  -- A path that is no question settles nothing.
  ($$quick = '$.contact'$$, 'pending'),
  ($$quick = 'strict $.contact.nothing.nowhere == 1', quick_folds = null$$, 'pending');
create function pg_temp.on_contact_after(change text, workflow uuid) returns text
  language plpgsql
  as $$
declare
  listener constant automation.active_triggers :=
    (select t from automation.active_triggers as t where t.workflow_id = workflow);
  outcome text;
begin
  execute format('update automation.active_triggers set %s where workflow_id = %L', change, workflow);
  outcome := pg_temp.on_contact(workflow);
  update automation.active_triggers as t
  set (conditions, match_any, quick, quick_folds) =
    row (listener.conditions, listener.match_any, listener.quick, listener.quick_folds)
  where t.workflow_id = workflow;
  return outcome;
end;
$$;
select alike(pg_temp.on_contact_after(change, :'broken'), expected, change) from pg_temp.breakage;

-- Conditions that cannot be evaluated.
savepoint whole;
select pg_temp.conditions_that($$raise exception 'cannot read the conditions'$$);
select is(pg_temp.on_contact(:'broken'),
  'failed conditions_failed cannot read the conditions', 'conditions that raise');
select is(array[status::text, error ->> 'sqlstate'], array['failed', 'P0001'], 'with the SQLSTATE')
from pg_temp.only_run(:'broken');
select is(pg_temp.why(:'sound'), 'pending', 'the workflow beside it starts all the same');
select is((select count(*) from ridgeline.scheduled_steps as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id where e.status = 'failed'), 0::bigint,
  'nothing is queued for the failed one');
select isnt((select finished_at from pg_temp.only_run(:'broken')), null, 'it has ended');
select is((select trigger_data #>> '{contact,first_name}' from pg_temp.only_run(:'broken')), 'Maria',
  'and still knows the record');
select pg_temp.conditions_that('perform 1 / 0');
select is(pg_temp.on_contact(:'broken'), 'failed conditions_failed division by zero',
  'a division by zero');
rollback to savepoint whole;

-- A listener that makes matching itself fail: everybody who listens hears of it.
savepoint whole;
update automation.active_triggers set match_any = '[]' where workflow_id = :'broken';
select alike(pg_temp.on_contact(:'broken'), 'failed capture_failed %', 'matching that raises');
select alike(pg_temp.why(:'sound'), 'failed capture_failed %', 'fails every workflow that listens');
select is(trigger_data, jsonb_build_object('entity', 'contact', 'contact_id', record_id),
  'which at least knows the id of the record') from pg_temp.only_run(:'sound');
rollback to savepoint whole;

savepoint whole;
create or replace function automation.current_user_id() returns uuid
  language plpgsql stable as $$ begin raise exception 'who is it?'; end; $$;
select is(pg_temp.on_contact(:'sound'), 'failed capture_failed who is it?',
  'nor does turning the row into JSON fail the write');
rollback to savepoint whole;

-- Related records that cannot be read.
savepoint whole;
create or replace function automation.read_contact(tenant_id uuid, id text) returns jsonb
  language plpgsql stable as $$ begin raise exception 'no contact today'; end; $$;
select pg_temp.workflow(:'apex', 'project_created') as project \gset
select is(pg_temp.error_of(format(
    'insert into public.projects (tenant_id, contact_id) values (%L, pg_temp.contact(%1$L))', :'apex')),
  null, 'a project whose contact cannot be read is written');
select is(pg_temp.why(:'project'), 'failed capture_failed no contact today', 'and says so');
rollback to savepoint whole;

-- The doorbell is out of order.
savepoint whole;
create or replace function automation.setting(name text) returns text
  language plpgsql stable as $$ begin raise exception 'no settings'; end; $$;
select is(pg_temp.error_of(format('select pg_temp.contact(%L)', :'apex')), null,
  'a doorbell that raises does not fail the write');
select is(pg_temp.why(:'sound'), 'pending', 'nor lose the execution');
rollback to savepoint whole;

-- Settings that an operator mistyped.
savepoint whole;
select pg_temp.workflow(:'apex', 'contact_updated') as updated \gset
select pg_temp.contact(:'apex') as maria \gset
create function pg_temp.write_after(setting text, value text) returns text
  language plpgsql
  as $$
begin
  -- Refusing the setting would do as well.
  return case
    when pg_temp.error_of(format(
      'update automation.settings set value = %L where name = %L', value, setting)) is null
    then pg_temp.error_of('update public.contacts set lead_score = coalesce(lead_score, 0) + 1') end;
end;
$$;
select is(pg_temp.write_after('enrollment_window', 'soon'), null,
  'a window that is no interval does not fail the write');
select is(pg_temp.write_after('max_enrollments', 'many'), null,
  'nor does a limit that is no number');

-- Odd values.
select pg_temp.runs(:'sound') as before \gset
select is(pg_temp.error_of(format($$
    insert into public.contacts (tenant_id, first_name, custom_fields) values (%L, %L, %L)$$,
    :'apex', odd, jsonb_build_object('odd', odd, coalesce(odd, ''), null))), null, 'written: ' || left(why, 40))
from (values
  ('', 'an empty text'), (null, 'null'), ('null', 'the word null'), ('{{contact.first_name}}', 'a template'),
  (E'a\nb\t\\"''', 'quotes and control characters'), (E'\u202e\U0001F600é', 'beyond ASCII'),
  ('%s %L $1', 'format specifiers')
) as v (odd, why);
select is(pg_temp.runs(:'sound') - :before, 7::bigint, 'each of them fired');
insert into public.contacts (tenant_id, first_name, custom_fields)
select :'apex', 'Huge', jsonb_build_object('notes', string_agg(md5(n::text), ''), 'deep',
  (repeat('[', 500) || repeat(']', 500))::jsonb)
from generate_series(1, 200000) as n;
select is(length(trigger_data #>> '{contact,custom_fields,notes}'), 6400000,
  'a record of several megabytes is captured whole') from pg_temp.only_run(:'sound');
update public.contacts set last_contacted_at = 'infinity' where first_name = 'Huge';
select is(pg_temp.error_of($$insert into public.projects (tenant_id, value, appointment_at)
  select id, 'NaN', '-infinity' from public.tenants$$), null, 'NaN and infinity are values too');

-- A definition whose version lacks its step.
update automation.active_triggers set first_step = 'nowhere' where workflow_id = :'sound';
select is(pg_temp.error_of(format('select pg_temp.contact(%L)', :'apex')), null,
  'a first step that does not exist does not fail the write');
select pg_temp.settle();
select alike(pg_temp.why(:'sound'), 'failed %', 'it fails the execution');
select * from finish();
rollback;
