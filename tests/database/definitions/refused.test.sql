-- A workflow with a mistake is refused when it is switched on, with the path of the mistake and what
-- would mend it; what only looks odd is allowed.
begin;
\ir ../foundation/story.psql
select plan(99);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset

-- Refused on writing.
select alike(pg_temp.error_of($$insert into ridgeline.workflows (tenant_id, name, trigger_type)
    values ('00000000-0000-0000-0000-00000000000a', 'x', 'contact_craeted')$$),
  '22023 trigger_type: there is no trigger "contact_craeted" | Known: appointment_booked, %contact_created%',
  'an unknown trigger type names the known ones');
select alike(pg_temp.error_of($$insert into ridgeline.workflows (tenant_id, name, trigger_type)
    values ('00000000-0000-0000-0000-00000000000a', 'x', null)$$), '22023 trigger_type: %', 'none at all');
select pg_temp.draft(:'apex', 'contact_created') as draft \gset
select alike(pg_temp.error_of($$update ridgeline.workflows set trigger_type = 'nope'$$),
  '22023 trigger_type: there is no trigger "nope" | Known: %', 'nor can it be changed to one');
select alike(pg_temp.error_of($$update ridgeline.workflow_steps set step_type = 'send_fax'$$),
  '22023 step_type: there is no step "send_fax" | Known: %send_sms%', 'an unknown step type');
select alike(pg_temp.error_of($$update ridgeline.workflow_steps set delay_minutes = -1$$),
  '23514 %workflow_steps_delay_in_range%', 'a negative delay');
select alike(pg_temp.error_of($$update ridgeline.workflow_steps set step_config = '[]'$$),
  '23514 %workflow_steps_config_is_object%', 'a configuration that is no object');
select alike(pg_temp.error_of($$update ridgeline.workflows set trigger_config = '"lead"'$$),
  '23514 %workflows_trigger_config_is_object%', 'a trigger_config that is no object');
select alike(pg_temp.error_of($$update ridgeline.workflow_steps set step_key = '1st step'$$),
  '23514 %workflow_steps_key_is_identifier%', 'a step key that variables could not name');
select alike(pg_temp.error_of($$update ridgeline.workflows set status = 'on'$$), '2%', 'an unknown status');
select is(pg_temp.error_of($$insert into ridgeline.workflows (tenant_id, name, trigger_type, status)
    values ('00000000-0000-0000-0000-00000000000a', ' ', 'manual', 'draft')$$)
  like '23514 %workflows_name_not_blank%', true, 'a blank name');

-- Refused on publishing: what a trigger, its conditions or its steps say.
create function pg_temp.refusal(
  trigger_type text, config text default '{}', step text default null, conditions text default '[]')
  returns text
  language plpgsql
  as $$
begin
  return regexp_replace(
    pg_temp.error_of(format(
      'select pg_temp.workflow(%L, %L, %L, %L, %L)', '00000000-0000-0000-0000-00000000000a',
      trigger_type, config,
      coalesce('[' || step || ']', '[{"type": "create_task", "config": {"title": "Call"}}]'),
      conditions)),
    '^22023 workflow ".*" cannot be published: ', '');
end;
$$;
select alike(pg_temp.refusal(event, config), refusal, event || ' ' || config)
from (values
  ('contact_created', '{"tpye": "lead"}',
    'trigger_config.tpye: contact has no column "tpye" | Its columns: %type%'),
  ('contact_created', '{"type": "lead", "from": "new"}', 'trigger_config.from: %'),
  ('stage_changed', '{"pipeline_stage": "won"}', 'trigger_config.pipeline_stage: contact has no column %'),
  ('field_changed', '{}', 'trigger_config.field: field_changed needs the field to watch | %assigned_to%'),
  ('field_changed', '{"field": "scroe"}', 'trigger_config.field: contact has no column "scroe" | %lead_score%'),
  ('field_changed', '{"field": 7}', 'trigger_config.field: %'),
  ('field_changed', '{"entity": "quote", "field": "total"}',
    'trigger_config.entity: there is no entity "quote" | Known: %contact%project%'),
  ('field_changed', '{"entity": "project", "field": "lead_score"}',
    'trigger_config.field: project has no column "lead_score" | %'),
  ('job_completed', '{"custom": true}', 'trigger_config.custom: job has no column "custom" | %')
) as v (event, config, refusal);
select alike(pg_temp.refusal('contact_created', conditions => conditions), refusal, 'conditions ' || conditions)
from (values
  ('[{"field": "contact.stage", "operator": "is", "value": 1}]', 'conditions%.operator: %'),
  ('{"all": [{"operator": "equals", "value": 1}]}', 'conditions.all[0].field: %'),
  ('"stage = new"', 'conditions: %'),
  ('7', 'conditions: %')
) as v (conditions, refusal);
select alike(pg_temp.refusal('contact_created', step => step), refusal, step)
from (values
  ('{"type": "send_sms"}', 'steps[0].step_config.body: send_sms needs body%'),
  ('{"type": "send_sms", "config": {"body": ""}}', 'steps[0].step_config.body: send_sms needs body%'),
  ('{"type": "send_sms", "config": {"body": null}}', 'steps[0].step_config.body: send_sms needs body%'),
  ('{"type": "send_email", "config": {"html": "x"}}', 'steps[0].step_config.subject: send_email needs subject%'),
  ('{"type": "send_email", "config": {"subject": "x"}}', 'steps[0].step_config.html: send_email needs html or text%'),
  ('{"type": "webhook"}', 'steps[0].step_config.url: webhook needs url%'),
  ('{"type": "webhook", "config": {"url": "ftp://x"}}', 'steps[0].step_config.url: url must start with https%'),
  ('{"type": "webhook", "config": {"url": "https://x", "method": "TRACE"}}', 'steps[0].step_config.method: %POST, PUT, PATCH, GET or DELETE%'),
  ('{"type": "webhook", "config": {"url": "https://x", "headers": {"X Lead": "a"}}}', 'steps[0].step_config.headers.X Lead: "X Lead" is not the name of a header%'),
  ('{"type": "webhook", "config": {"url": "https://x", "headers": {"Webhook-Signature": "a"}}}', 'steps[0].step_config.headers.Webhook-Signature: %set by the sender%'),
  ('{"type": "webhook", "config": {"url": "https://x", "headers": {"X-Key": {"secret": "crm", "prefix": "Bearer\n"}}}}', 'steps[0].step_config.headers.X-Key.prefix: %'),
  ('{"type": "webhook", "config": {"url": "https://x", "headers": ["a"]}}', 'steps[0].step_config.headers: %object%'),
  ('{"type": "create_task"}', 'steps[0].step_config.title: create_task needs title%'),
  ('{"type": "create_task", "config": {"title": "x", "due_in_days": "soon"}}', 'steps[0].step_config.due_in_days: %number%'),
  ('{"type": "create_task", "config": {"title": "x", "due_in_days": -1}}', 'steps[0].step_config.due_in_days: %number%'),
  ('{"type": "wait"}', 'steps[0].step_config: wait needs minutes, hours, days or until%'),
  ('{"type": "wait", "config": {"hours": "a while"}}', 'steps[0].step_config.hours: %number%'),
  ('{"type": "update_contact"}', 'steps[0].step_config.fields: update_contact needs fields%'),
  ('{"type": "update_contact", "config": {"fields": {}}}', 'steps[0].step_config.fields: %at least one field%'),
  ('{"type": "update_contact", "config": {"fields": "stage"}}', 'steps[0].step_config.fields: %object%'),
  ('{"type": "update_contact", "config": {"fields": {"stgae": "won"}}}',
    'steps[0].step_config.fields.stgae: contact has no field "stgae" to write | Writable: %stage%'),
  ('{"type": "update_contact", "config": {"fields": {"tenant_id": "x"}}}', 'steps[0].step_config.fields.tenant_id: %'),
  ('{"type": "update_contact", "config": {"fields": {"id": "x"}}}', 'steps[0].step_config.fields.id: %'),
  ('{"type": "update_contact", "config": {"fields": {"created_at": "x"}}}', 'steps[0].step_config.fields.created_at: %'),
  ('{"type": "update_project", "config": {"fields": {"lead_score": 1}}}', 'steps[0].step_config.fields.lead_score: project %'),
  ('{"type": "update_field", "config": {"field": "stage"}}', 'steps[0].step_config.value: update_field needs value%'),
  ('{"type": "update_field", "config": {"field": "nope", "value": 1}}', 'steps[0].step_config.field: contact has no field "nope" %'),
  ('{"type": "add_tag"}', 'steps[0].step_config.tag: add_tag needs tag%'),
  ('{"type": "assign_user"}', 'steps[0].step_config.user_id: assign_user needs user_id%'),
  ('{"type": "change_stage"}', 'steps[0].step_config.stage: change_stage needs stage%'),
  ('{"type": "create_project"}', 'steps[0].step_config.name: create_project needs name%'),
  ('{"type": "send_sms", "config": {"body": "Hi {{contact.first_name"}}', 'steps[0].step_config.body: %'),
  ('{"type": "send_sms", "config": {"body": "Hi {{contact.first_name | shout}}"}}', 'steps[0].step_config.body: %shout%'),
  ('{"type": "create_task", "config": {"title": "x"}, "conditions": [{"field": "a", "operator": "x"}]}',
    'steps[0].conditions%.operator: %'),
  ('{"type": "create_task", "config": {"title": "x"}}, {"type": "send_sms"}', 'steps[1].step_config.body: %'),
  ('{"type": "create_task", "config": {"title": "x"}}, {"type": "send_sms", "enabled": false}', 'steps[1].step_config.body: %'),
  ('{"type": "create_task", "config": {"title": "x"}, "enabled": false}', 'steps: the workflow has no enabled step | %'),
  ('', 'steps: the workflow has no enabled step | Add a row to workflow_steps%')
) as v (step, refusal);

-- All of them at once, for a form that shows them.
select pg_temp.draft(:'apex', 'contact_created', '{"tpye": 1}',
  '[{"type": "send_sms"}, {"type": "wait", "config": {"hours": "x"}}]') as many \gset
select is(
  (select string_agg(p ->> 'path', ' ' order by p ->> 'path')
   from jsonb_array_elements(ridgeline.validate_workflow(:'many') -> 'problems') as p
   where p ->> 'severity' = 'error'),
  'steps[0].step_config.body steps[1].step_config.hours trigger_config.tpye',
  'validation lists every mistake');
select is((select is_active from ridgeline.workflows where id = :'many'), false, 'nothing is switched on');

-- Two steps of one name would be one step.
select alike(pg_temp.refusal('manual', step => '{"key": "step_2", "type": "create_task", "config": {"title": "x"}},
  {"type": "create_task", "config": {"title": "y"}}'), 'steps[%].step_key: %', 'a key that is taken by a nameless step');
select alike(pg_temp.refusal('manual', step => '{"type": "update_field", "config": {"entity": "quote", "field": "total", "value": 1}}'),
  'steps[0].step_config.entity: %', 'an entity that does not exist');

-- A slip of the finger in the name of a setting would be a setting that is ignored.
select is(pg_temp.refusal('contact_created', step => format('{"type": "create_task", "config": {"title": "Call", %s: 1}}', to_jsonb(slip))),
  format('steps[0].step_config.%s: create_task does not know "%s" | Did you mean %s?', slip, slip, meant), slip)
from (values ('due_in_day', 'due_in_days'), ('dueInDays', 'due_in_days'), ('due-in-hours', 'due_in_hours'), ('descripton', 'description'),
  ('desciprtion', 'description'), ('prioritty', 'priority'), ('asigned_to', 'assigned_to')) as v (slip, meant);
select is(pg_temp.refusal('manual', step => '{"type": "webhook", "config": {"url": "https://x", "headers": {"X-A": {"secret": "crm", "prefx": "x"}}}}'),
  'steps[0].step_config.headers.X-A.prefx: a header does not know "prefx" | Did you mean prefix?', 'inside of a setting as well');
select is(pg_temp.refusal('contact_created', step => format('{"type": "send_sms", "config": {"body": "Hi", %s: "x"}}', to_jsonb(other))), null,
  other || ' is nothing of ours')
from unnest('{icon,tos,label}'::text[]) as other;

-- Warnings do not block.
select pg_temp.draft(:'apex', 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"body": "Hi", "colour": "x"}}]') as odd \gset
select is(array[v ->> 'valid', v #>> '{problems,0,severity}', v #>> '{problems,0,path}'],
  array['true', 'warning', 'steps[0].step_config.colour'], 'a key that nobody reads is a warning')
from ridgeline.validate_workflow(:'odd') as v;
update ridgeline.workflows set is_active = true where id = :'odd';
select is((select published_version from ridgeline.workflows where id = :'odd'), 1, 'which does not block');
select is(pg_temp.refusal('manual', step => '{"type": "update_field", "config": {"field": "project.value", "value": 1}}'),
  null, 'a field that names its entity is a field of that entity');
select is(pg_temp.refusal('manual', step => '{"type": "update_field", "config": {"field": "custom_fields.roof", "value": 1}}'),
  null, 'a key of the custom fields is a field');

-- A variable where its value would be more than a text.
create function pg_temp.html(html text) returns text language sql
  as $$ select pg_temp.refusal('contact_created', step => jsonb_build_object('type', 'send_email', 'config',
    jsonb_build_object('subject', 'Hi', 'html', html))::text) $$;
select alike(pg_temp.html(html), 'steps[0].step_config.html: html: the variable at character ' || said || ' | Put it into the text, %', html)
from (values
  ('<script>var a = "{{contact.first_name}}"</script>', '18 stands in <script> and would be run as a program'),
  (E'<SCRIPT\ntype="x">{{#if contact.stage}}a("{{{contact.stage}}}"){{/if}}', '42 stands in <script> %'),
  ('<p>Hé 🏠</p><a onclick="go(''{{contact.first_name}}'')">x</a>', '28 stands in onclick and would be run as a program'),
  ('<img alt="{{contact.stage}}" onerror = ''{{contact.stage}}''>', '41 stands in onerror %'),
  ('<a href="javascript:go(''{{contact.id}}'')">x</a>', '25 stands in a href that a browser runs as a program'),
  ('<a href=" java&Tab;script&#58;go({{contact.id}})">x</a>', '34 stands in a href %'),
  ('<form action="vbscript{{contact.id}}">', '23 stands in a action %'),
  ('<iframe src="data:text/html,{{contact.id}}">', '29 stands in a src %'),
  ('<iframe srcdoc="{{contact.id}}">', '17 stands in srcdoc and would be read as a page of its own')
) as v (html, said);
select alike(pg_temp.html(html), 'steps[0].step_config.html: html must be HTML whose attributes with variables are in quotes | %', html)
from (values ('<a href={{contact.website}}>'), ('<a {{contact.stage}}>x</a>'),
  ('<a title="{{ contact.stage | default: "a>b" }}" {{contact.stage}}>x</a>')) as v (html);
select is(pg_temp.html(html), null, html)
from (values
  ('<p>{{contact.first_name}}</p><a href="{{tenant.website}}" title=''{{contact.stage}}''>x</a>'),
  ('<script src="https://apex.example/a.js"></script><p>{{contact.stage}}</p>'),
  ('<a onclick="track()" href="https://apex.example/?a={{contact.id}}">{{contact.stage}}</a>'),
  ('<a href="https://apex.example/javascript:{{contact.id}}">x</a><img src="data:image/png;base64,{{custom.a}}">'),
  ('<a {{#if contact.stage}}class="b"{{/if}} data-on="{{contact.stage}}">x</a>'),
  ('<!-- <script>{{contact.stage}}</script> --><p>a < b {{contact.stage}}</p>'),
  ('<a class="data" href="mailto:{{contact.email}}?subject=javascript:{{contact.id}}">onclick="{{contact.stage}}"</a>')
) as v (html);

select * from finish();
rollback;
