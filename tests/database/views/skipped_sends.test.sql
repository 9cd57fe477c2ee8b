-- A message that did not go out is told, though its run went on and ended as completed.
begin;
\ir ../foundation/story.psql
select plan(16);

select pg_temp.tenant() as apex \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'blue') as kim \gset

-- What one lead in the office's books comes to: "code recipient" of each skipped send.
create function pg_temp.skipped(contact text) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', s.step_key, s.step_type, s.code, s.recipient, case when s.is_failure then 'failure' end), ', '
      order by s.step_key)
    from ridgeline.automation_skipped_sends as s where s.contact_id = contact
  $$;
create function pg_temp.lead(tenant uuid, phone text, email text) returns uuid
  language plpgsql
  as $$
declare
  lead constant uuid := gen_random_uuid();
begin
  insert into public.contacts (tenant_id, id, first_name, phone, email) values (tenant, lead, 'Maria', phone, email);
  perform pg_temp.finish(c, 'succeeded') from automation.claim_steps('w', 10) as c;
  perform pg_temp.finish(c, 'succeeded') from automation.claim_steps('w', 10) as c;
  perform pg_temp.settle();
  return lead;
end;
$$;
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi"}},
  {"key": "mail", "type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]') as workflow \gset

select pg_temp.lead(:'apex', '+15125550142', 'maria@example.com') as fine \gset
select is(pg_temp.skipped(:'fine'), null, 'nothing is told of what went out');
select pg_temp.lead(:'apex', null, null) as bare \gset
select is((pg_temp.only_run(:'workflow')).status, 'completed', 'a lead without phone and email: the run goes on to its end');
select is(pg_temp.skipped(:'bare'), 'mail send_email no_recipient failure, text send_sms no_recipient failure', 'and both sends are told');
select pg_temp.lead(:'apex', '12', 'maria at home') as wrong \gset
select is(pg_temp.skipped(:'wrong'), 'mail send_email invalid_recipient maria at home failure, text send_sms invalid_recipient 12 failure',
  'with what stood where the recipient should');
select is((select array_agg(format('%s %s: %s', f.step_key, f.code, f.message) order by f.step_key)
    from ridgeline.automation_failures as f where f.contact_id = :'wrong' and f.execution_status = 'completed'),
  array['mail invalid_recipient: to: "maria at home" is not an email address', 'text invalid_recipient: to: "12" is not a phone number'],
  'they are failures, of an execution that completed');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values
  (:'apex', 'sms', '+15125550177', 'opt_out'), (:'apex', 'email', 'stop@example.com', 'opt_out');
select pg_temp.lead(:'apex', '512 555 0177', 'Stop@example.com') as gone \gset
select is(pg_temp.skipped(:'gone'), 'mail send_email suppressed stop@example.com, text send_sms suppressed +15125550177',
  'who opted out is told too');
select is((select count(*) from ridgeline.automation_failures where contact_id = :'gone'), 0::bigint, 'and is no failure');

-- What the workflow itself decides is no news.
update ridgeline.workflows set is_active = false;
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi"},
  "conditions": [{"field": "contact.last_name", "operator": "equals", "value": "Nobody"}]}]') as choosy \gset
select pg_temp.lead(:'apex', null, null) as unasked \gset
select is(pg_temp.way((pg_temp.only_run(:'choosy')).id), 'text skipped', 'a step whose conditions do not hold');
select is(pg_temp.skipped(:'unasked'), null, 'is the workflow''s own choice and not told');
-- A reason that nobody has registered is told as a failure rather than lost.
update ridgeline.workflow_step_executions set error = '{"code": "out_of_ink", "message": "no"}' where step_key = 'text'
  and execution_id = (pg_temp.only_run(:'choosy')).id;
select is(pg_temp.skipped(:'unasked'), 'text send_sms out_of_ink failure', 'an unknown code counts as a failure');

-- A step that failed while its run went on is a failure as well, once.
update ridgeline.workflows set is_active = false;
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "{{contact.last_name}}"}, "continue_on_error": true},
  {"key": "again", "type": "send_sms", "config": {"body": "{{contact.last_name}}"}}]') as empty \gset
select pg_temp.lead(:'apex', '+15125550142', null) as unnamed \gset
select is((select array_agg(format('%s %s %s', f.step_key, f.code, f.execution_status) order by f.step_key desc)
    from ridgeline.automation_failures as f where f.contact_id = :'unnamed'),
  array['text empty_body failed', 'again empty_body failed'], 'a step that may fail, and the one that ended the run');

-- Each office sees its own.
select pg_temp.sign_in(:'sam');
select is((select count(distinct tenant_id) || ' ' || count(*) from ridgeline.automation_skipped_sends), '1 7', 'a member sees the tenant''s');
select is((select count(*) from ridgeline.automation_failures), 7::bigint, 'and its failures');
select pg_temp.sign_out();
select pg_temp.sign_in(:'kim');
select is((select count(*) from ridgeline.automation_skipped_sends), 0::bigint, 'another tenant''s member none');
select pg_temp.sign_out();
select pg_temp.act_as('anon');
select alike(pg_temp.error_of('select * from ridgeline.automation_skipped_sends'), '42501 %', 'anon none at all');
select pg_temp.sign_out();
select is((select array_agg(distinct s.error ->> 'code') from ridgeline.workflow_step_executions as s
    where s.status = 'skipped' and s.error ->> 'code' <> 'out_of_ink'
      and not exists (select from automation.skip_codes as c where c.code = s.error ->> 'code')),
  null, 'every code that occurred is explained');

select * from finish();
rollback;
