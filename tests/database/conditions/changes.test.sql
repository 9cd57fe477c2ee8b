begin;
select plan(15);

-- A project moves from Estimate Sent to Won.
create function pg_temp.holds(
  field text, operator text, value jsonb default null,
  fired jsonb default '{"entity": "project",
    "record": {"status": "Won", "value": 100}, "old": {"status": "Estimate Sent", "value": 100},
    "changed": ["status"]}'
) returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions(jsonb_build_object('field', field, 'operator', operator)
        || case when value is null then '{}' else jsonb_build_object('value', value) end)).compiled,
      jsonb_build_object('trigger', fired,
        'project', '{"status": "Lost", "value": 100}'::jsonb,
        'contact', '{"status": "active"}'::jsonb))
  $$;

select ok(pg_temp.holds('status', 'changed'), 'the status changed');
select ok(pg_temp.holds('project.status', 'changed'), 'by its full name too');
select ok(pg_temp.holds('trigger.record.status', 'changed'), 'and in the record that fired');
select ok(not pg_temp.holds('project.value', 'changed'), 'the value did not');
select ok(pg_temp.holds('project.status', 'changed_from', '"estimate sent"'), 'from Estimate Sent');
select ok(not pg_temp.holds('project.status', 'changed_from', '"Won"'), 'not from Won');
select ok(pg_temp.holds('project.status', 'changed_to', '"won"'),
  'to Won, although somebody has edited it since');
select ok(not pg_temp.holds('project.value', 'changed_to', '100'), 'what stayed did not change to it');
select ok(pg_temp.holds('project.value', 'was', '100'), 'but it was that before');
select ok(pg_temp.holds('project.status', 'was', '"Estimate Sent"'), 'the status was Estimate Sent');
select ok(not pg_temp.holds('contact.status', 'changed'), 'the contact did not change');
select ok(not pg_temp.holds('status', 'changed', null, '{"entity": "project",
  "record": {"status": "New"}}'), 'a record that was just created did not change');
select ok(not pg_temp.holds('status', 'was', 'null', '{"entity": "project",
  "record": {"status": "New"}}'), 'and it was nothing before');
select ok(pg_temp.holds('status', 'changed_from', 'null', '{"entity": "project",
  "record": {"status": "New"}, "old": {"status": null}}'), 'a status can change from nothing');
select ok(pg_temp.holds('status', 'changed', null, '{"entity": "project", "changed": ["status"]}'),
  'without the old record, the list of changes tells');

select * from finish();
rollback;
