-- Two workflows that start each other send a customer the same text until the engine stops them. They
-- are named before that happens, and only when it could.
begin;
\ir ../foundation/story.psql
select plan(38);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');
create function pg_temp.rename(workflow uuid, name text) returns uuid
  language sql
  as $$ update ridgeline.workflows as w set name = rename.name where id = workflow returning id $$;

-- One that starts itself.
select is(pg_temp.findings(:'apex', event, config::jsonb, steps::jsonb, conditions::jsonb), said,
  concat_ws(' ', event, config, steps, nullif(conditions, '[]')))
from (values
  ('contact_updated', '{}', '[{"type": "update_contact", "config": {"fields": {"lead_score": "{{contact.lead_score | plus: 1}}"}}}]',
    '[]', 'warning cycle steps[0]'),
  ('contact_updated', '{}', '[{"type": "create_task", "config": {"title": "x"}}, {"type": "assign_user", "config": {"user_id": "{{user.id}}"}}]',
    '[]', 'warning cycle steps[1]'),
  ('contact_updated', '{}', '[{"type": "update_field", "config": {"field": "custom_fields.seen", "value": true}}]',
    '[]', 'warning cycle steps[0]'),
  ('stage_changed', '{}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]', '[]', 'warning cycle steps[0]'),
  ('stage_changed', '{"to": "new"}', '[{"type": "change_stage", "config": {"stage": "{{contact.source}}"}}]', '[]',
    'warning cycle steps[0]'),
  ('field_changed', '{"field": "assigned_to"}', '[{"type": "assign_user", "config": {"user_id": "{{user.id}}"}}]', '[]',
    'warning cycle steps[0]'),
  ('project_won', '{}', '[{"type": "change_stage", "config": {"stage": "WON"}}]', '[]', 'warning cycle steps[0]'),
  ('project_created', '{}', '[{"type": "create_project", "config": {"name": "Gutters"}}]', '[]', 'warning cycle steps[0]'),
  ('message_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', '[]', 'warning cycle steps[0]'),
  ('email_created', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]', '[]', 'warning cycle steps[0]'),
  -- Another event, field, record or value.
  ('contact_created', '{}', '[{"type": "update_contact", "config": {"fields": {"stage": "x"}}}]', '[]', null),
  ('contact_updated', '{}', '[{"type": "create_task", "config": {"title": "x"}}, {"type": "add_tag", "config": {"tag": "x"}}]', '[]', null),
  ('project_status_changed', '{}', '[{"type": "update_project", "config": {"fields": {"value": 5}}}]', '[]', null),
  ('project_status_changed', '{}', '[{"type": "change_stage", "config": {"entity": "contact", "stage": "x"}}]', '[]', null),
  ('stage_changed', '{"to": "new"}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]', '[]', null),
  ('stage_changed', '{"to": ["new", "quoted"]}', '[{"type": "change_stage", "config": {"stage": "quoted"}}]', '[]', 'warning cycle steps[0]'),
  ('project_won', '{}', '[{"type": "change_stage", "config": {"stage": "building"}}]', '[]', null),
  ('contact_updated', '{"type": "lead"}', '[{"type": "update_contact", "config": {"fields": {"type": "customer"}}}]', '[]', null),
  ('contact_updated', '{"type": ["lead", "partner"]}', '[{"type": "update_contact", "config": {"fields": {"type": "customer"}}}]', '[]', null),
  ('project_created', '{"type": "repair"}', '[{"type": "create_project", "config": {"name": "x", "type": "roof"}}]', '[]', null),
  ('sms_received', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', '[]', null),
  ('message_created', '{"direction": "inbound"}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', '[]', null),
  ('manual', '{}', '[{"type": "update_contact", "config": {"fields": {"stage": "x"}}}]', '[]', null),
  ('time_elapsed', '{"changed": "stage", "offset": "1 day"}', '[{"type": "change_stage", "config": {"stage": "x"}}]', '[]', null),
  -- A condition that no longer holds once the step has run.
  ('stage_changed', '{}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]',
    '[{"field": "stage", "operator": "not_equals", "value": "contacted"}]', null),
  ('stage_changed', '{}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]',
    '[{"field": "contact.stage", "operator": "in", "value": ["new", "quoted"]}]', null),
  ('stage_changed', '{}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]',
    '[{"field": "contact.source", "operator": "equals", "value": "web"}]', 'warning cycle steps[0]')
) as v (event, config, steps, conditions, said);

-- Through others. Score -> Owner -> Stage -> Score.
select pg_temp.rename(pg_temp.workflow(:'apex', 'field_changed', '{"field": "lead_score"}',
  '[{"type": "assign_user", "config": {"user_id": "{{user.id}}"}}]'), 'Owner') as owner \gset
select pg_temp.rename(pg_temp.workflow(:'apex', 'field_changed', '{"field": "assigned_to"}',
  '[{"type": "change_stage", "config": {"stage": "assigned"}}]'), 'Stage') as stage \gset
select is(pg_temp.findings(:'apex', 'stage_changed', '{"to": "assigned"}',
    '[{"type": "create_task", "config": {"title": "x"}}, {"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]',
    mended => true),
  'what this step writes can start this workflow again: stage_changed -> Owner -> Stage -> stage_changed | '
  'Narrow the trigger (from, to, a field that must match), or add a condition that no longer holds once the step has run.',
  'a cycle of three is named');
select is(pg_temp.findings(:'apex', 'stage_changed', '{"to": "won"}',
    '[{"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]'), null,
  'not when the last one sets another value');
select is(pg_temp.findings(:'apex', 'stage_changed', '{"to": "assigned"}',
    '[{"type": "update_contact", "config": {"fields": {"company": "x"}}}]'), null,
  'nor when the first one writes another field');

-- What is switched off does not count, and neither do other tenants.
select is(pg_temp.findings(pg_temp.tenant('Blue Ridge'), 'stage_changed', '{"to": "assigned"}',
    '[{"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]'), null, 'workflows of others');
update ridgeline.workflows set is_active = false where id = :'stage';
select is(pg_temp.findings(:'apex', 'stage_changed', '{"to": "assigned"}',
    '[{"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]'), null, 'workflows that are switched off');
update ridgeline.workflows set is_active = true where id = :'stage';

-- Two ways back are two cycles; a workflow that is published already is looked at as it would become.
select pg_temp.rename(pg_temp.workflow(:'apex', 'field_changed', '{"field": "lead_score"}',
  '[{"type": "change_stage", "config": {"stage": "assigned"}}]'), 'Shortcut');
select is((select string_agg(m, ', ' order by m) from unnest(string_to_array(pg_temp.findings(:'apex', 'stage_changed',
    '{"to": "assigned"}', '[{"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]', mended => true), E'\n')) as l (l),
    substring(l.l from 'again: (.*) \|') as m),
  'stage_changed -> Owner -> Stage -> stage_changed, stage_changed -> Shortcut -> stage_changed', 'each way back is told');
select is((select string_agg(p ->> 'message', ' ') from jsonb_array_elements(
    ridgeline.validate_workflow(:'stage') -> 'problems') as p), null, 'these alone are no cycle');
select pg_temp.rename(pg_temp.workflow(:'apex', 'stage_changed', '{"to": "assigned"}',
  '[{"type": "update_contact", "config": {"fields": {"lead_score": 9}}}]'), 'Score') as score \gset
select is((select string_agg(p ->> 'message', ' ') from jsonb_array_elements(
    ridgeline.validate_workflow(:'stage') -> 'problems') as p),
  'what this step writes can start this workflow again: Stage -> Score -> Owner -> Stage',
  'a warning does not keep it from being published, and the others hear of it too');
update ridgeline.workflow_steps set step_config = '{"stage": "busy"}' where workflow_id = :'stage';
select is((select string_agg(p ->> 'message', ' ') from jsonb_array_elements(
    ridgeline.validate_workflow(:'stage') -> 'problems') as p), null, 'what is being edited counts as edited');

-- A crowd of workflows is looked at up to a limit. Made in parts: none takes as long as a statement may.
select pg_temp.tenant('Crowded') as crowd \gset
create function pg_temp.crowd_in(tenant uuid) returns bigint
  language sql
  as $$
    select count(pg_temp.workflow(tenant, 'field_changed', '{"field": "company"}',
      '[{"type": "update_contact", "config": {"fields": {"source": "x"}}}]')) from generate_series(1, 62)
  $$;
select pg_temp.crowd_in(:'crowd') as made \gset
select pg_temp.crowd_in(:'crowd') as made \gset
select pg_temp.crowd_in(:'crowd') as made \gset
select pg_temp.crowd_in(:'crowd') as made \gset
select pg_temp.crowd_in(:'crowd') as made \gset
select is(pg_temp.findings(:'crowd', 'field_changed', '{"field": "lead_score"}',
    '[{"type": "update_contact", "config": {"fields": {"company": "x"}}}]', mended => true),
  'only 300 workflows were searched for cycles | Narrow the triggers of workflows that listen to every change.',
  'past the limit it is said that some were not looked at');
select is((select array[count(*), count(*) filter (where l = 'warning cycles_not_checked steps')]
  from unnest(string_to_array(pg_temp.findings(:'crowd', 'field_changed', '{"field": "source"}',
    '[{"type": "update_contact", "config": {"fields": {"company": "x"}}}]'), E'\n')) as l), '{21,1}',
  'and no more than twenty cycles are told');

select * from finish();
rollback;
