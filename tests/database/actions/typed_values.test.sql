-- A variable brings whatever type a record holds; the step takes what its schema says, and nothing is lost or
-- spoiled on the way: in the run as in the dry run.
begin;
\ir ../foundation/story.psql
select plan(88);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
update public.contacts set company = null, lead_score = 7, email = 'maria@example.com', phone = '+15125550100',
  custom_fields = '{"id": 7615917337495251231, "price": 1.10, "tiny": 0.1000000000000000055, "huge": 1e400, "yes": true,
    "no": false, "list": ["roof", 5, null, "gutter"], "one": ["roof"], "empty": [], "blank": " ", "none": null,
    "object": {"a": 1}, "deep": [{"a": 1}], "days": "3", "hours": 1.5, "minus": -3, "url": "https://x.example/a",
    "urls": ["https://x.example/1", ["https://x.example/2"], null], "digits": "0042",
    "lines": "Bo\r\nX-Admin: 1\u2028Roofing\n"}'
where id = :'maria';

-- What a step would run with, or why it would not: "key=value" or "verdict code: message".
create function pg_temp.input(step_type text, config jsonb, at text[]) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
    jsonb_build_array(jsonb_build_object('type', step_type, 'config', config)));
  p jsonb;
begin
  p := public.test_workflow(workflow, (
    select jsonb_build_object('contact_id', c.id) from public.contacts as c where c.first_name = 'Maria')) #> '{path,0}';
  return case p ->> 'verdict'
    when 'run' then coalesce((p #> (array['input'] || at))::text, 'left out')
    else concat_ws(' ', p ->> 'verdict', (p #>> '{reason,code}') || ':', p #>> '{reason,message}') end;
end;
$$;
create function pg_temp.custom(key text) returns text language sql as $$ select format('{{contact.custom_fields.%s}}', key) $$;

-- A text is a text.
select is(pg_temp.input('send_email', jsonb_build_object('subject', 'x', 'to', 'a@example.com', 'html', pg_temp.custom(key)), '{html}'),
  expected, 'html: ' || key)
from (values ('id', '"7615917337495251231"'), ('price', '"1.10"'), ('tiny', '"0.1000000000000000055"'),
  ('yes', '"true"'), ('no', '"false"'), ('list', '"roof, 5, gutter"'), ('digits', '"0042"'),
  ('object', 'fail invalid_input: html: a text is needed, and this is an object'),
  ('deep', 'fail invalid_input: html: a text is needed, and this is a list'),
  ('none', 'fail empty_body: html: the message is empty'), ('blank', 'fail empty_body: html: the message is empty')) as v (key, expected);
select is(length(pg_temp.input('create_task', jsonb_build_object('title', pg_temp.custom('huge')), '{title}')), 403 + 0 * length(diag(left(pg_temp.input('create_task', jsonb_build_object('title', pg_temp.custom('huge')), '{title}'), 30))),
  'a number of 401 digits has 401 digits');
select is(pg_temp.input(step_type, config, at), expected, step_type || ' ' || config::text)
from (values
  ('send_email', jsonb_build_object('subject', '{{contact.lead_score}}', 'text', 'x'), '{subject}'::text[], '"7"'),
  ('send_email', jsonb_build_object('subject', '{{contact.company}}', 'text', 'x'), '{subject}', 'fail empty_subject: subject: the subject is empty'),
  ('send_email', jsonb_build_object('subject', 'x', 'html', '{{contact.company}}', 'text', 'x'), '{html}', 'left out'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', pg_temp.custom('id')), '{text}', '"7615917337495251231"'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'to', '{{contact.company}}'), '{to}', 'skip no_recipient: to: there is no email address'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'to', pg_temp.custom('object')), '{to}', 'skip invalid_recipient: to: "{"a": 1}" is not an email address'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'from', '{{contact.company}}'), '{from}', 'left out'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'cc', '{{contact.company}}'), '{cc}', 'left out'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'headers', jsonb_build_object('X-Id', pg_temp.custom('id'))), '{headers,X-Id}', '"7615917337495251231"'),
  ('send_email', jsonb_build_object('subject', 'x', 'text', 'x', 'headers', jsonb_build_object('X-Id', pg_temp.custom('object'))), '{headers,X-Id}', 'fail invalid_input: headers.X-Id: a text is needed, and this is an object'),
  ('send_sms', jsonb_build_object('body', pg_temp.custom('id')), '{body}', '"7615917337495251231"'),
  ('send_sms', jsonb_build_object('body', pg_temp.custom('none')), '{body}', 'fail empty_body: body: the message is empty'),
  ('send_sms', jsonb_build_object('body', 'x', 'from', pg_temp.custom('none')), '{from}', 'left out'),
  ('send_sms', jsonb_build_object('body', 'x', 'messaging_service_sid', pg_temp.custom('none')), '{messaging_service_sid}', 'left out'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', pg_temp.custom('url')), '{media_urls}', '["https://x.example/a"]'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', 'https://x.example/{{contact.lead_score}}'), '{media_urls}', '["https://x.example/7"]'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', 'https://x.example/a'), '{media_urls}', '["https://x.example/a"]'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', pg_temp.custom('urls')), '{media_urls}', '["https://x.example/1", "https://x.example/2"]'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', jsonb_build_array('https://x.example/0', pg_temp.custom('urls'))), '{media_urls}', '["https://x.example/0", "https://x.example/1", "https://x.example/2"]'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', pg_temp.custom('none')), '{media_urls}', 'left out'),
  ('send_sms', jsonb_build_object('body', 'x', 'media_urls', pg_temp.custom('object')), '{media_urls}', 'fail invalid_input: media_urls: a text is needed, and this is an object'),
  ('webhook', jsonb_build_object('url', pg_temp.custom('url')), '{url}', '"https://x.example/a"'),
  ('webhook', jsonb_build_object('url', pg_temp.custom('list')), '{url}', 'fail invalid_input: url: url must start with https:// or http://'),
  ('webhook', jsonb_build_object('url', pg_temp.custom('none')), '{url}', 'fail empty_url: url: it is empty'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', jsonb_build_object('X-A', pg_temp.custom('list'))), '{headers,X-A}', '"roof, 5, gutter"'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', jsonb_build_object('X-A', pg_temp.custom('object'))), '{headers,X-A}', 'fail invalid_input: headers.X-A: a text is needed, and this is an object'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', '{"Authorization": {"secret": "crm", "prefix": "Bearer "}}'::jsonb), '{headers,Authorization}', '{"prefix": "Bearer ", "secret": "crm"}'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', jsonb_build_object('X-A', pg_temp.custom('lines'))), '{headers,X-A}', '"Bo X-Admin: 1 Roofing"'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', jsonb_build_object('X-A', E'one\r\n two')), '{headers,X-A}', '"one  two"'),
  ('webhook', jsonb_build_object('url', 'https://x', 'headers', jsonb_build_object('X-A', pg_temp.custom('id'))), '{headers,X-A}', '"7615917337495251231"'),
  ('webhook', jsonb_build_object('url', 'https://x', 'body', jsonb_build_object('id', pg_temp.custom('id'), 'list', pg_temp.custom('list'))), '{body}', '{"id": 7615917337495251231, "list": ["roof", 5, null, "gutter"]}'),
  ('webhook', jsonb_build_object('url', 'https://x', 'body', pg_temp.custom('none')), '{body}', 'null'),
  ('webhook', jsonb_build_object('url', 'https://x', 'secret_name', pg_temp.custom('none')), '{secret_name}', 'left out'),
  ('create_task', jsonb_build_object('title', pg_temp.custom('list')), '{title}', '"roof, 5, gutter"'),
  ('create_task', jsonb_build_object('title', pg_temp.custom('object')), '{title}', 'fail invalid_input: title: a text is needed, and this is an object'),
  ('create_task', jsonb_build_object('title', pg_temp.custom('empty')), '{title}', 'fail empty_title: title: it is empty'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('days')), '{due_in_days}', '3'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_hours', pg_temp.custom('hours')), '{due_in_hours}', '1.5'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('none')), '{due_in_days}', 'left out'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('minus')), '{due_in_days}', 'fail invalid_input: due_in_days: -3 is not a number from 0 to 9999999'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('tiny')), '{due_in_days}', '0.1'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('yes')), '{due_in_days}', 'fail invalid_input: due_in_days: "true" is not a number'),
  ('create_task', jsonb_build_object('title', 'x', 'due_in_days', pg_temp.custom('list')), '{due_in_days}', 'fail invalid_input: due_in_days: "roof, 5, gutter" is not a number'),
  ('create_task', jsonb_build_object('title', 'x', 'due_at', pg_temp.custom('none')), '{due_at}', 'left out'),
  ('create_task', jsonb_build_object('title', 'x', 'assigned_to', pg_temp.custom('none')), '{assigned_to}', 'left out'),
  ('create_task', jsonb_build_object('title', 'x', 'priority', pg_temp.custom('id')), '{priority}', '"7615917337495251231"'),
  ('create_project', jsonb_build_object('name', pg_temp.custom('id'), 'key', pg_temp.custom('id')), '{key}', '"7615917337495251231"'),
  ('create_project', jsonb_build_object('name', 'x', 'value', pg_temp.custom('price')), '{value}', '1.10'),
  ('create_project', jsonb_build_object('name', 'x', 'value', pg_temp.custom('none')), '{value}', 'left out'),
  ('change_stage', jsonb_build_object('stage', pg_temp.custom('list')), '{stage}', '"roof, 5, gutter"'),
  ('change_stage', jsonb_build_object('stage', pg_temp.custom('none')), '{stage}', 'fail empty_stage: stage: it is empty'),
  ('add_tag', jsonb_build_object('tag', pg_temp.custom('one')), '{tag}', '"roof"'),
  ('add_tag', jsonb_build_object('tag', pg_temp.custom('id')), '{tag}', '"7615917337495251231"'),
  ('add_tag', jsonb_build_object('tag', '{{contact.company}} '), '{tag}', 'fail empty_tag: tag: it is empty'),
  ('remove_tag', jsonb_build_object('tag', pg_temp.custom('object')), '{tag}', 'fail invalid_input: tag: a text is needed, and this is an object'),
  ('update_field', jsonb_build_object('field', 'custom_fields.a', 'value', pg_temp.custom('id')), '{value}', '7615917337495251231'),
  ('assign_user', jsonb_build_object('user_id', pg_temp.custom('object')), '{user_id}', 'fail invalid_input: user_id: a text is needed, and this is an object'),
  ('stop', jsonb_build_object('reason', pg_temp.custom('list')), '{reason}', '"roof, 5, gutter"'),
  ('stop', jsonb_build_object('reason', pg_temp.custom('none')), '{reason}', 'left out'),
  ('wait', jsonb_build_object('days', pg_temp.custom('days')), '{days}', '3'),
  ('wait', jsonb_build_object('minutes', pg_temp.custom('none')), '{minutes}', 'fail empty_minutes: minutes: it is empty'),
  ('wait', jsonb_build_object('days', 1, 'minutes', pg_temp.custom('none')), '{minutes}', 'left out')
) as v (step_type, config, at, expected);

-- And so it runs: a tag by its name, a task by its title, a column by its type.
create function pg_temp.runs(step_type text, config jsonb) returns text
  language plpgsql
  as $$
declare
  execution uuid;
begin
  execution := (public.execute_workflow(
    pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
      jsonb_build_array(jsonb_build_object('type', step_type, 'config', config))),
    (select jsonb_build_object('contact_id', c.id) from public.contacts as c where c.first_name = 'Maria'))).id;
  perform pg_temp.settle();
  return (select concat_ws(' ', s.status, s.error ->> 'message') from public.workflow_step_executions as s
    where s.execution_id = execution);
end;
$$;
select is(pg_temp.runs('add_tag', jsonb_build_object('tag', pg_temp.custom('list'))), 'completed', 'a list as a tag');
select is((select string_agg(name, '|') from public.tags), 'roof, 5, gutter', 'has no brackets');
select is(pg_temp.runs('create_task', jsonb_build_object('title', pg_temp.custom('id'), 'due_at', pg_temp.custom('none'))),
  'completed', 'a task named by a number, due whenever');
select is(array[title, due_at::text], array['7615917337495251231', null], 'keeps every digit, and is not due now')
from public.tasks;
select is(pg_temp.runs('update_contact', jsonb_build_object('fields', jsonb_build_object('company', pg_temp.custom('list')))),
  'completed', 'a list in a column of text');
select is((select company from public.contacts where id = :'maria'), 'roof, 5, gutter', 'reads well');
select is(pg_temp.runs('update_contact', jsonb_build_object('fields', jsonb_build_object('company', pg_temp.custom('object')))),
  'failed fields.company: a text is needed, and this is an object', 'an object does not, and says so');
select is(pg_temp.runs('update_field', jsonb_build_object('field', 'custom_fields.copy', 'value', pg_temp.custom('list'))),
  'completed', 'inside JSON');
select is((select custom_fields -> 'copy' from public.contacts where id = :'maria'), '["roof", 5, null, "gutter"]', 'a list stays one');

-- What can be known beforehand is said beforehand.
create function pg_temp.problems(step_type text, config jsonb) returns jsonb
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'contact_created', '{}',
    jsonb_build_array(jsonb_build_object('type', step_type, 'config', config)));
begin
  return public.validate_workflow(workflow) -> 'problems';
end;
$$;
select ok(pg_temp.problems(step_type, config)
  @> jsonb_build_array(jsonb_build_object('code', 'value_type_mismatch', 'severity', 'warning', 'path', 'steps[0].step_config.' || key)),
  step_type || ' ' || config)
from (values
  ('add_tag', '{"tag": "{{contact.tags}}"}'::jsonb, 'tag'),
  ('create_task', '{"title": "{{contact.custom_fields}}"}', 'title'),
  ('create_task', '{"title": "x", "due_at": "{{contact.lead_score}}"}', 'due_at'),
  ('create_task', '{"title": "x", "due_in_days": "{{contact.created_at}}"}', 'due_in_days'),
  ('assign_user', '{"user_id": "{{contact.lead_score}}"}', 'user_id')
) as v (step_type, config, key);

select * from finish();
rollback;
