-- What a step can be told is published as JSON Schema, and publishing checks by it: the new steps, the
-- nested parts, and what the older engines wrote.
begin;
\ir ../foundation/story.psql
select plan(113);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset

-- Everything said of a configuration as it was written: "path: message | hint; ...".
create function pg_temp.said(step_type text, config jsonb) returns text
  language sql
  as $$
    select string_agg(
      concat_ws(' | ', (p ->> 'path') || case p ->> 'severity' when 'warning' then ' (warning)' else '' end
        || ': ' || (p ->> 'message'), p ->> 'hint'), '; ')
    from automation.fold_step_config(step_type, config) as folded,
      automation.check_step_config(step_type, folded, 'c') as problems,
      jsonb_array_elements(problems) as p
  $$;

-- Refused.
select alike(pg_temp.said(step_type, config::jsonb), said, step_type || ' ' || config)
from (values
  -- A conditional is one question or several.
  ('conditional', '{}', 'c.conditions: conditional needs conditions or branches%'),
  ('conditional', '{"conditions": [], "branches": [{"name": "a", "conditions": []}, {"name": "b", "conditions": []}]}',
    'c.conditions: conditional takes only one of conditions, branches'),
  ('conditional', '{"branches": []}', 'c.branches: branches must not be empty%'),
  ('conditional', '{"branches": {"name": "a"}}', 'c.branches: branches must be a list%'),
  ('conditional', '{"branches": [{"name": "hot", "conditions": []}, {"name": "hot", "conditions": []}]}',
    'c.branches[1].name: another one has the name "hot"'),
  ('conditional', '{"branches": [{"name": "hot", "conditions": []}, {"name": "else", "conditions": []}]}',
    'c.branches[1].name: name must be a letter and at most 40 letters, digits or _, and not else'),
  ('conditional', '{"branches": [{"name": "hot", "conditions": []}, {"name": "2nd", "conditions": []}]}',
    'c.branches[1].name: %'),
  ('conditional', '{"branches": [{"name": "hot", "conditions": []}, {"name": "warm"}]}',
    'c.branches[1].conditions: a branch needs conditions'),
  ('conditional', '{"branches": [{"name": "hot", "conditions": []}, 7]}', 'c.branches[1]: branches[1] must be an object'),
  ('conditional', '{"branches": [{"name": "a", "conditions": {"all": [{"field": "x", "operator": "is"}]}}, {"name": "b", "conditions": 5}]}',
    'c.branches[0].conditions.all[0].operator: %; c.branches[1].conditions: %'),
  ('conditional', '{"conditions": [{"operator": "is_empty"}]}', 'c.conditions[0].field: %'),
  ('conditional', '{"condition": "stage = won"}', 'c.conditions: %'),
  ('conditional', '{"field": "contact.stage", "operator": "resembles", "value": "won"}', 'c.conditions.operator: %'),
  -- A split has weights.
  ('split', '{}', 'c.branches: split needs branches'),
  ('split', '{"branches": [{"name": "a", "weight": 0}, {"name": "b", "weight": 1000001}]}',
    'c.branches[0].weight: weight must be more than 0; c.branches[1].weight: weight must be at most 1000000'),
  ('split', '{"branches": [{"name": "a", "weight": "50"}, {"name": "b", "weight": null}]}',
    'c.branches[0].weight: weight must be a number; c.branches[1].weight: weight must be a number'),
  ('split', '{"branches": [{"name": "a", "weight": 1}, {"weight": 1}]}', 'c.branches[1].name: a branch needs name'),
  ('split', '{"branches": [{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]}', 'c.branches[1].name: another one %'),
  ('split', format('{"branches": [%s]}', (
    select string_agg(format('{"name": "b%s", "weight": 1}', n), ', ') from generate_series(1, 11) as n)),
    'c.branches: branches must have at most 10 items'),
  ('split', '{"branches": [{"name": "a", "weight": 1}]}', 'c.branches: branches must have at least 2 items%'),
  -- stop and assign_user.
  ('stop', '{"outcome": "failed"}', 'c.outcome: outcome must be completed or cancelled'),
  ('stop', '{"reason": ["x"]}', 'c.reason: reason must be a text'),
  ('assign_user', '{}', 'c.user_id: assign_user needs user_id or user_ids%'),
  ('assign_user', '{"user_id": "{{user.id}}", "user_ids": ["{{user.id}}"]}',
    'c.user_id: assign_user takes only one of user_id, user_ids'),
  ('assign_user', '{"user_id": "Sam"}', 'c.user_id: user_id must be an id | A member''s id, or a template such as %'),
  ('assign_user', '{"user_ids": []}', 'c.user_ids: user_ids must not be empty'),
  ('assign_user', '{"user_ids": ["{{user.id}}", "Sam"]}', 'c.user_ids[1]: user_ids[1] must be an id%'),
  ('assign_user', format('{"user_ids": [%s]}', array_to_string(array_fill('"{{user.id}}"'::text, '{101}'), ',')),
    'c.user_ids: user_ids must have at most 100 items'),
  ('assign_user', '{"user_id": "{{user.id}}", "entity": "quote"}', 'c.entity: there is no entity "quote" | Known: %'),
  -- A wait knows what for, and the parts go together.
  ('wait', '{"zone": "tenant"}', 'c: wait needs minutes, hours, days or until%'),
  ('wait', '{"days": -1}', 'c.days: days must be a number of at least 0 | For example 3,%'),
  ('wait', '{"days": 0.0000001}', 'c.days: days must be a number of at least 0%'),
  ('wait', '{"weeks": true}', 'c.weeks: weeks must be a number or a text'),
  ('wait', '{"duration": "a while"}', 'c.duration: duration must be a length of time | For example "3 days"%'),
  ('wait', '{"duration": {"days": 1.5}}', 'c.duration: %'),
  ('wait', '{"duration": true}', 'c.duration: duration must be a text or an object'),
  ('wait', '{"until": "soon"}', 'c.until: until must be a date | For example "2026-12-01"%'),
  ('wait', '{"until": "2026-02-30"}', 'c.until: until must be a date%'),
  ('wait', '{"until": "{{today}}", "days": 3}', 'c.days: days cannot be combined with until'),
  ('wait', '{"until": "{{today}}", "offset": "a bit"}', 'c.offset: offset must be a length of time | For example "1 day" (after)%'),
  ('wait', '{"days": 3, "offset": "-1 day"}', 'c.until: offset needs until'),
  ('wait', '{"days": 3, "if_missing": "stop"}', 'c.until: if_missing needs until'),
  ('wait', '{"until": "{{today}}", "if_missing": "never"}', 'c.if_missing: if_missing must be fail, continue, stop, skip or wait'),
  ('wait', '{"until": "{{today}}", "if_past": "never"}', 'c.if_past: if_past must be continue, stop, fail or skip'),
  ('wait', '{"at": "9 am"}', 'c.at: at must be a time of day | From "00:00" to "23:59".'),
  ('wait', '{"at": "24:00"}', 'c.at: at must be a time of day%'),
  ('wait', '{"window": {}}', 'c.window: window %'),
  ('wait', '{"window": {"from": "09:00", "to": "5pm", "days": ["monday"]}}',
    'c.window.to: to must be a time of day%c.window.days[0]: days[0] must be mon, tue, wed, thu, fri, sat or sun'),
  ('wait', '{"window": "office hours"}', 'c.window: window must be an object'),
  ('wait', '{"at": "10:00", "zone": "Mars/Olympus"}', 'c.zone: zone must be tenant, contact or a time zone%'),
  ('wait', '{"event": "sms_received"}', 'c.timeout: event needs timeout'),
  ('wait', '{"days": 1, "timeout": "2 hours"}', 'c.event: timeout needs event'),
  ('wait', '{"event": "sms_received", "timeout": "later"}', 'c.timeout: timeout must be a length of time%'),
  ('wait', '{"event": "sms_received", "timeout": "1 day", "days": 3, "at": "10:00"}',
    'c.at: at cannot be combined with event; c.days: days cannot be combined with event'),
  ('wait', '{"event": {"config": {}}, "timeout": "1 day"}', 'c.event.type: event needs type'),
  ('wait', '{"event": "sms_recieved", "timeout": "1 day"}', 'c.event: there is no event "sms_recieved" to wait for | Known: %sms_received%'),
  ('wait', '{"event": "scheduled", "timeout": "1 day"}', 'c.event: there is no event "scheduled" to wait for%'),
  ('wait', '{"event": {"type": "manual"}, "timeout": "1 day"}', 'c.event.type: there is no event "manual" to wait for%'),
  ('wait', '{"event": {"type": "stage_changed", "config": {"colour": "red"}}, "timeout": "1 day"}',
    'c.event.config.colour: contact has no column "colour" | Its columns: %'),
  ('wait', '{"event": "field_changed", "timeout": "1 day"}', 'c.event.config.field: field_changed needs the field to watch%'),
  -- The steps there have always been.
  ('send_sms', '{"body": ["Hi"]}', 'c.body: body must be a text'),
  ('send_sms', '{"body": "Hi", "to": 15125550100}', 'c.to: to must be a text'),
  ('send_sms', '{"body": "Hi", "media_urls": ["https://x/1.jpg", 2]}', 'c.media_urls[1]: media_urls[1] must be a text'),
  ('send_email', '{"subject": "x", "text": "y", "headers": {"X-Ref": 5}}', 'c.headers.X-Ref: X-Ref must be a text'),
  ('send_email', '{}', 'c.html: send_email needs html or text | For example %; c.subject: send_email needs subject'),
  ('webhook', '{"url": "ftp://x"}', 'c.url: url must start with https:// or http:// | For example "https://%'),
  ('create_task', '{"title": "x", "due_at": "soon", "due_in_days": "12345678"}',
    'c.due_at: due_at must be a date%c.due_in_days: due_in_days must be a number of at least 0%'),
  ('change_stage', '{"stage": {"to": "won"}}', 'c.stage: stage must be a text or a number'),
  ('update_field', '{"field": "stage", "value": null}', 'c.value: update_field needs value'),
  ('update_project', '{"fields": null}', 'c.fields: fields must be an object of at least one field')
) as v (step_type, config, said);

-- Accepted, in every spelling.
select is(pg_temp.said(step_type, config::jsonb), null, step_type || ' ' || config)
from (values
  ('conditional', '{"conditions": []}'),
  ('conditional', '{"conditions": {"any": [{"field": "contact.stage", "operator": "equals", "value": null}]}}'),
  ('conditional', '{"condition": {"field": "contact.stage", "operator": "equals", "value": "won"}}'),
  ('conditional', '{"field": "contact.stage", "operator": "not_equals", "value": null}'),
  ('conditional', '{"all": [{"field": "contact.stage", "operator": "is_empty"}]}'),
  ('stop', '{}'),
  ('stop', '{"reason": "", "outcome": null}'),
  ('assign_user', '{"user_ids": ["{{user.id}}"], "entity": "project"}'),
  ('wait', '{"days": 1, "hours": "2.5", "minutes": "{{contact.custom_fields.m}}", "weeks": 0}'),
  ('wait', '{"duration": 3, "unit": "weeks"}'),
  ('wait', '{"duration": "3 days", "at": "10:00", "zone": "contact"}'),
  ('wait', '{"until": "{{job.scheduled_at}}", "offset": "-24 hours", "at": "09:00"}'),
  ('wait', '{"until": "2026-12-01", "offset": {"days": 3}}'),
  ('wait', '{"window": {"from": "22:00", "to": "06:00"}, "zone": "America/Chicago"}'),
  ('wait', '{"event": {"type": "sms_received"}, "timeout": {"hours": 2}, "days": null}'),
  ('webhook', '{"url": "HTTPS://x", "method": "put", "body": null}'),
  ('create_task', '{"title": "x", "priority": null, "due_at": ""}'),
  ('send_email', '{"subject": "x", "body": "y", "to": ["a@x.com", "{{contact.email}}"], "cc": ""}'),
  ('update_contact', '{"stage": null}'),
  ('add_tag', '{"tag_name": 2026}')
) as v (step_type, config);

-- A group that is written into a conditional keeps its operator.
select is(automation.fold_step_config('conditional', '{"operator": "or", "conditions": [{"field": "x"}]}'),
  '{"conditions": {"operator": "or", "conditions": [{"field": "x"}]}}'::jsonb, 'or stays or');

-- Odd, and allowed.
select alike(pg_temp.said('wait', '{"window": {"from": "09:00", "to": "17:00", "hue": "red"}}'),
  'c.window.hue (warning): window does not know "hue" | It knows: %', 'a key inside that nobody reads is a warning');

-- What compiling makes of a conditional: questions, no templates, and the parts of the context they read.
select pg_temp.draft(:'apex', 'contact_created', '{}', '[{"type": "conditional", "config": {"branches": [
  {"name": "hot", "conditions": {"field": "contact.stage", "operator": "equals", "value": "{{won"}},
  {"name": "rest", "conditions": []}]}}]') as branching \gset
select is(array[step.compiled #> '{cases,0,conditions,roots}', step.compiled #> '{cases,1}', step.compiled -> 'roots',
    step.compiled #> '{config,base}', step.problems],
  array['["contact"]', '{"name": "rest", "conditions": null}', '["contact"]', '{}', '[]']::jsonb[],
  'conditions are compiled, and are no templates')
from ridgeline.workflow_steps as s, automation.compile_step(s, 'step_1', 'steps[0]') as step
where s.workflow_id = :'branching';

-- Settings and retries.
select alike(coalesce((select string_agg(concat(p ->> 'path', ': ', p ->> 'message'), '; ')
    from jsonb_array_elements(automation.check_settings(settings::jsonb, 'settings')) as p), 'fine'),
  said, 'settings ' || settings)
from (values
  ('{}', 'fine'),
  ('{"reentry": "not_while_open", "dedupe_key": "{{contact.phone}}", "on_missing": "fail", "exit_conditions": null}', 'fine'),
  ('{"reentry": {"once_in": "30 days"}, "exit_events": ["sms_received", {"type": "stage_changed", "config": {"to": "won"}}]}', 'fine'),
  ('{"reentry": "sometimes"}', 'settings.reentry: reentry must be always, never, not_while_open or restart'),
  ('{"reentry": {"once_in": "a moon"}}', 'settings.reentry.once_in: once_in must be a length of time'),
  ('{"reentry": {"once_per": "1 day"}}', 'settings.reentry.once_in: reentry needs once_in%'),
  ('{"reentry": 5}', 'settings.reentry: reentry must be a text or an object'),
  ('{"dedupe_key": "{{contact.phone"}', 'settings.dedupe_key: %(character 1)'),
  ('{"exit_conditions": [{"field": "contact.stage", "operator": "is"}]}', 'settings.exit_conditions[0].operator: %'),
  ('{"exit_events": ["sms_received", "reply"]}', 'settings.exit_events[1]: there is no event "reply" to wait for'),
  ('{"exit_events": [{"config": {}}]}', 'settings.exit_events[0].type: event needs type'),
  ('{"exit_events": "sms_received"}', 'settings.exit_events: exit_events must be a list'),
  ('{"on_missing": "skip"}', 'settings.on_missing: on_missing must be empty or fail')
) as v (settings, said);
select is(automation.check_retry(retry::jsonb, 'retry') #>> '{0,message}', said, 'retry ' || retry)
from (values
  ('{"max_attempts": 3, "delay": "5 minutes", "max_delay": {"hours": 1}}', null),
  ('{"max_attempts": 101}', 'max_attempts must be at most 100'),
  ('{"max_attempts": 2.5}', 'max_attempts must be a whole number'),
  ('{"delay": 5}', 'delay must be a text or an object')
) as v (retry, said);

select pg_temp.draft(:'apex', 'contact_created') as strict \gset
update ridgeline.workflows set settings = '{"reentry": "sometimes"}' where id = :'strict';
update ridgeline.workflow_steps set retry = '{"max_attempts": 0}' where workflow_id = :'strict';
select is(
  (select string_agg(p ->> 'path', ' ' order by p ->> 'path')
   from jsonb_array_elements(ridgeline.validate_workflow(:'strict') -> 'problems') as p),
  'settings.reentry steps[0].retry.max_attempts', 'publishing checks both');

-- Members read what is published, and cannot change it.
select pg_temp.member(:'apex') as sam \gset
select pg_temp.sign_in(:'sam');
select is(
  (select array[count(*), count(*) filter (where kind = 'setting')] from ridgeline.workflow_schemas),
  (select array[count(*) + 2, 2] from automation.step_types), 'a member reads every schema');
select alike(pg_temp.error_of($$update automation.step_types set description = ''$$), '42501 %', 'and changes none');
select pg_temp.sign_out();

select * from finish();
rollback;
