-- A field that no record has, or a step that has not run, would leave a hole in a customer's message.
-- The office hears of it when it publishes, with the name it probably meant.
begin;
\ir ../foundation/story.psql
select plan(73);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');

-- What one template says, for a trigger; the path is always that of the template.
create function pg_temp.template(tenant uuid, event text, template text, config jsonb default '{}')
  returns text
  language sql
  as $$
    select replace(pg_temp.findings(tenant, event, config, jsonb_build_array(jsonb_build_object(
      'key', 'first', 'type', 'create_task', 'config', jsonb_build_object('title', template)))),
      ' steps[0].step_config.title', '')
  $$;

select is(pg_temp.template(:'apex', event, template), expected, event || ' ' || template)
from (values
  -- Roots that do not exist.
  ('contact_created', '{{customer.name}}', 'error unknown_variable'),
  ('contact_created', '{{lead.first_name | default: "there"}}', 'error unknown_variable'),
  ('contact_created', '{{quote.total}}', 'error unknown_variable'),
  ('contact_created', '{{contact}}', 'error unknown_variable'),
  ('contact_created', '{{steps}}', 'error unknown_variable'),
  ('manual', '{{customer.name}}', 'warning unknown_variable'),
  -- Fields that do not exist.
  ('contact_created', '{{contact.frist_name}}', 'error unknown_field'),
  ('contact_created', '{{trigger.contact.frist_name}}', 'error unknown_field'),
  ('contact_created', '{{trigger.record.frist_name}}', 'error unknown_field'),
  ('contact_updated', '{{trigger.old.frist_name}}', 'error unknown_field'),
  ('contact_created', '{{frist_name}}', 'error unknown_field'),
  ('contact_created', '{{user.nickname}}', 'error unknown_field'),
  ('contact_created', '{{tenant.slogan}}', 'error unknown_field'),
  ('manual', '{{user.nickname}}', 'error unknown_field'),
  ('manual', '{{contact.frist_name}}', 'warning unknown_field'),
  ('project_created', '{{project.total}}', 'error unknown_field'),
  ('job_completed', '{{job.done_at}}', 'error unknown_field'),
  ('form_submitted', '{{form_submission.fields.roof}}', 'error unknown_field'),
  ('sms_received', '{{message.text}}', 'error unknown_field'),
  ('contact_created', '{{first_name | default: contact.nick}}', 'error unknown_field'),
  ('contact_created', '{{#if contact.vip}}x{{/if}}', 'error unknown_field'),
  ('contact_created', '{{#if contact.stage equals contact.stge}}x{{/if}}', 'error unknown_field'),
  -- There is nothing inside a text or a date.
  ('contact_created', '{{contact.first_name.short}}', 'error unknown_field'),
  ('contact_created', '{{contact.created_at.day}}', 'error unknown_field'),
  ('contact_created', '{{stage.name}}', 'error unknown_field'),
  -- Records that this trigger does not bring.
  ('contact_created', '{{project.value}}', 'warning missing_record'),
  ('contact_created', '{{trigger.job.name}}', 'warning missing_record'),
  ('contact_created', '{{pipeline_stage}}', 'warning missing_record'),
  ('contact_created', '{{trigger.old.stage}}', 'warning missing_record'),
  ('sms_received', '{{job.name}}', 'warning missing_record'),
  -- Nothing to complain of.
  ('contact_created', '{{contact.first_name}} {{trigger.contact.stage}} {{trigger.record.type}}', null),
  ('contact_created', '{{first_name}} {{email}} {{tenant.name}} {{user.full_name}} {{user.id}}', null),
  ('contact_created', '{{contact.tags | first}} {{tags}} {{contact.tags[0]}}', null),
  ('contact_created', '{{contact.custom_fields.roof.pitch}} {{custom_fields["Roof type"]}}', null),
  ('contact_created', '{{custom.anything.at.all}} {{now}} {{today | formatDate}}', null),
  ('contact_created', '{{trigger.campaign}}', 'warning unknown_variable'),
  ('manual', '{{trigger.campaign}}', null),
  ('contact_created', '{{tenant.settings.review_link}}', null),
  ('contact_updated', '{{trigger.old.stage}} {{trigger.changed}}', null),
  ('project_won', '{{project.value}} {{contact.first_name}} {{value}}', null),
  ('job_completed', '{{job.name}} {{project.name}} {{contact.phone}} {{trigger.project.value}}', null),
  ('form_submitted', '{{trigger.form_submission.data.roof}} {{data.roof}} {{form_submission.form}}', null),
  ('sms_received', '{{message.body}} {{trigger.message.body}} {{body}} {{contact.first_name}}', null),
  ('manual', '{{contact.first_name}} {{project.name}} {{job.name}} {{trigger.note}} {{trigger.record.x}}', null)
) as v (event, template, expected);

-- Without records, and with those of for_each.
select is(pg_temp.template(:'apex', 'scheduled', '{{contact.first_name}}', '{"every": "1 day"}'),
  'warning missing_record', 'a schedule has no contact');
select is(pg_temp.template(:'apex', 'scheduled', '{{trigger.record.first_name}}', '{"every": "1 day"}'),
  'warning missing_record', 'nor any record');
select is(pg_temp.template(:'apex', 'scheduled', '{{trigger.scheduled_at}} {{tenant.name}}', '{"every": "1 day"}'),
  null, 'but it has its time');
select is(pg_temp.template(:'apex', 'scheduled', '{{contact.first_name}} {{project.value}}',
  '{"every": "1 day", "for_each": {"entity": "project"}}'), null, 'one for each project has them and their contacts');
select is(pg_temp.findings(:'apex', 'scheduled',
  '{"every": "1 day", "for_each": {"entity": "contact", "conditions": [{"field": "contact.stge", "operator": "is_empty"}]}}'),
  'error unknown_field trigger_config.for_each.conditions[0].field', 'its filter is looked at too');
select is(pg_temp.template(:'apex', 'time_elapsed', '{{job.name}} {{contact.phone}}',
  '{"entity": "job", "field": "scheduled_at", "offset": "-1 day"}'), null, 'a timer has the record it is set by');

-- A table of somebody else's, which knows its contact through its project.
create table public.inspections (
  tenant_id uuid not null references public.tenants (id), id uuid primary key, project_id uuid,
  findings json, place point);
select automation.attach('public.inspections', 'inspection', '{"project": "project_id"}');
select is(pg_temp.template(:'apex', 'inspection_created',
  '{{inspection.findings.roof}} {{findings.roof}} {{place}} {{project.value}} {{contact.first_name}}'), null,
  'an attached table brings its project and that one''s contact');
select is(pg_temp.template(:'apex', 'inspection_created', '{{inspection.result}} {{job.name}}'),
  E'error unknown_field\nwarning missing_record', 'but nothing else');
alter table public.inspections add column result text;
select is(pg_temp.template(:'apex', 'inspection_created', '{{inspection.result}}'), null,
  'a column that was added since is known');

-- Conditions, of the workflow and of a step.
select is(pg_temp.findings(:'apex', 'contact_created', conditions => conditions::jsonb), expected, conditions)
from (values
  ('[{"field": "stge", "operator": "is_empty"}]', 'error unknown_field conditions[0].field'),
  ('{"any": [{"field": "stage", "operator": "equals", "value": {"field": "contact.stge"}}]}',
    'error unknown_field conditions.any[0].value.field'),
  ('[{"field": "steps.first.status", "operator": "is_empty"}]', 'error unknown_step conditions[0].field'),
  ('[{"field": "contact.custom_fields.x", "operator": "is_empty"}, {"field": "stage", "operator": "is_not_empty"}]',
    null)
) as v (conditions, expected);
select is(pg_temp.findings(:'apex', 'contact_created', steps => '[{"type": "create_task", "config": {"title": "x"},
    "conditions": [{"field": "contact.stge", "operator": "is_empty"}]}]'),
  'error unknown_field steps[0].conditions[0].field', 'and of a step');

-- Earlier steps.
select is(pg_temp.findings(:'apex', 'contact_created', steps => format('[
    {"key": "call", "type": "create_task", "config": {"title": %s}},
    {"key": "off", "type": "create_task", "config": {"title": "x"}, "enabled": false},
    {"key": "remind", "type": "create_task", "config": {"title": %s}}]', to_json(first), to_json(second))::jsonb),
  expected, first || ' ' || second)
from (values
  ('{{steps.remind.task_id}}', 'x', 'error unknown_step steps[0].step_config.title'),
  ('{{steps.call.task_id}}', 'x', 'error unknown_step steps[0].step_config.title'),
  ('x', '{{steps.cal.task_id}}', 'error unknown_step steps[2].step_config.title'),
  ('x', '{{steps.off.task_id}}', 'warning unknown_step steps[2].step_config.title'),
  ('x', '{{steps.call.task_id}} {{steps.call.status}}', null)
) as v (first, second, expected);

-- On branches: a conditional whose steps cannot see each other, and a step after both.
create function pg_temp.branch_reference(reader text, wanted text) returns text
  language sql
  as $$
    select pg_temp.findings(t.id, 'contact_created', steps => replace(
      '[{"type": "conditional", "key": "ask", "config": {"conditions": [{"field": "contact.tags", "operator": "contains",
          "value": "vip"}]}, "on": {
        "then": [{"type": "create_task", "key": "won", "config": {"title": "<won>"}}],
        "else": [{"type": "create_task", "key": "lost", "config": {"title": "<lost>"}}]}},
      {"type": "create_task", "key": "after", "config": {"title": "<after>"}}]',
      format('<%s>', reader), format('{{steps.%s.status}}', wanted))::jsonb)
    from public.tenants as t limit 1
  $$;
select is(pg_temp.branch_reference('lost', 'won'),
  'warning step_on_other_branch steps[0].else[0].step_config.title', 'the other branch has not run');
select is(pg_temp.branch_reference('won', 'after'), 'error unknown_step steps[0].then[0].step_config.title',
  'nor has what comes after');
select is(coalesce(pg_temp.branch_reference('after', 'won'), pg_temp.branch_reference('lost', 'ask')), null,
  'after the branches, each may have');

-- The name that was meant.
select alike(pg_temp.findings(:'apex', 'contact_created', mended => true, steps => jsonb_build_array(
    jsonb_build_object('type', 'create_task', 'config', jsonb_build_object('title', template)))), expected, template)
from (values
  ('{{contact.frist_name}}', 'contact.frist_name: contact has no field "frist_name" | Did you mean first_name?'),
  ('{{firstName}}', 'no record here has a field "firstName" | Did you mean first_name?'),
  ('{{contact.phone_number}}', '% | Did you mean phone?'),
  ('{{contact.xyzzy}}', '% | Its fields: address_line1, %phone%'),
  ('{{customer.name}}', 'customer.name: there is no "customer" here | A variable begins with one of: %contact, %'),
  ('{{project.value}}', '"project.value" has no value: this trigger brings no project | It brings: contact.'),
  ('{{steps.frist.status}}', 'there is no step "frist" | Steps: step_1')
) as v (template, expected);

select * from finish();
rollback;
