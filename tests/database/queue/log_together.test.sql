-- What was sent is shown where the office looks: the rows of a report are written together, and each is its own run's.
begin;
\ir ../foundation/story.psql
select plan(20);

select pg_temp.tenant('Apex Roofing') as apex \gset
create temp table people as
select p.name, p.place, pg_temp.contact(:'apex', p.name, '+1512555' || (1000 + p.place)) as id
from unnest('{Ann,Bo,Cy,Dee}'::text[]) with ordinality as p (name, place);
update public.contacts set email = lower(first_name) || '@example.com';
create temp table claimed (c automation.claimed_step);
-- Four runs of a workflow, claimed together.
create function pg_temp.send(workflow uuid) returns void
  language sql
  as $$
    truncate claimed;
    select ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', p.id)) from people as p order by p.place;
    insert into claimed select c from automation.claim_steps('w', 100) as c;
  $$;
-- The provider's id of each says whose it is.
create function pg_temp.sid(prefix text, name text) returns text
  language sql
  as $$ select prefix || place from people as p where p.name = sid.name $$;
create function pg_temp.report(prefix text) returns bigint
  language sql
  as $$
    select count(*) from automation.finish_steps((
      select jsonb_agg(jsonb_build_object('tenant_id', (c).tenant_id, 'step_id', (c).step_id, 'attempt_token', (c).attempt_token,
        'outcome', 'succeeded', 'result', jsonb_build_object('provider_id', prefix || p.place)))
      from claimed
      join ridgeline.workflow_step_executions as s on s.id = (c).step_id
      join ridgeline.workflow_executions as e on e.id = s.execution_id
      join people as p on p.id::text = e.contact_id)) as f
    where f.status = 'completed'
  $$;
create function pg_temp.shown(prefix text) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', p.name, m.body, right(m.to_number, 4), m.status), ', ' order by p.place)
    from ridgeline.messages as m
    join ridgeline.workflow_executions as e on e.id = m.execution_id
    join people as p on p.id::text = m.contact_id and p.id::text = e.contact_id
    where m.provider_id like prefix || '%' and m.provider_id = prefix || p.place
  $$;
select pg_temp.workflow(:'apex', 'manual', '{}',
  '[{"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "transactional"}}]') as texts \gset

-- NEWS came before the report.
select pg_temp.send(:'texts') \g /dev/null
select is(automation.record_message_status(jsonb_build_object('message_sid', pg_temp.sid('SMa', 'Bo'), 'status', 'delivered')),
  'early', 'that a text arrived is known before its dispatcher says that it was sent');
select is(pg_temp.report('SMa'), 4::bigint, 'four texts are reported together');
select is(pg_temp.shown('SMa'), 'Ann Hi Ann 1001 sent, Bo Hi Bo 1002 delivered, Cy Hi Cy 1003 sent, Dee Hi Dee 1004 sent',
  'each is shown for its own contact, and what was known of one is known of that one');
select is((select count(*) from automation.early_events), 0::bigint, 'and is not waited for any more');
select is((select sent || ' ' || delivered from ridgeline.workflow_statistics where workflow_id = :'texts' and step_key = 'text'), '4 1',
  'all are counted once');

-- ONE CANNOT BE SHOWN.
alter table ridgeline.messages add constraint no_cy check (body not like '%Cy%') not valid;
select pg_temp.send(:'texts') \g /dev/null
select is(pg_temp.report('SMb'), 4::bigint, 'four more, one of which the table of messages refuses');
select is(pg_temp.shown('SMb'), 'Ann Hi Ann 1001 sent, Bo Hi Bo 1002 sent, Dee Hi Dee 1004 sent', 'the other three are shown');
select is((select string_agg(p.name || ' ' || (s.warnings #>> '{0,code}'), ', ') from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id join people as p on p.id::text = e.contact_id
    where s.warnings is not null), 'Cy not_in_crm', 'its own step says why it is not, and no other does');
select is((select count(*) from ridgeline.workflow_step_executions as s where s.provider_id like 'SMb%' and s.status = 'completed'),
  4::bigint, 'and none is taken for unsent');
alter table ridgeline.messages drop constraint no_cy;

-- SOMEBODY HEARS that a message was written: what that starts knows which run wrote it.
select pg_temp.workflow(:'apex', 'message_created', '{}',
  '[{"type": "create_task", "config": {"title": "File it"}}]') as files \gset
select pg_temp.send(:'texts') \g /dev/null
select pg_temp.report('SMc') \g /dev/null
select is((select count(*) || ' ' || count(distinct e.root_id) from ridgeline.workflow_executions as e
    join ridgeline.messages as m on m.id::text = e.record_id and m.execution_id = e.root_id
    where e.workflow_id = :'files' and e.depth = 1), '4 4', 'each text starts a run of the chain that sent it');
select is((select array_agg(distinct depth) from ridgeline.workflow_executions where workflow_id = :'files'), '{1}', 'one deeper than that');
update ridgeline.workflows set is_active = false where id = :'files';

-- A TRIGGER of the office's own.
create table public.heard (provider_id text, root text, fused text);
create function public.hear() returns trigger language plpgsql as $$
  begin
    insert into public.heard values (new.provider_id, current_setting('automation.root', true), current_setting('automation.fused', true));
    return null;
  end $$;
create trigger hear after insert on ridgeline.messages for each row execute function public.hear();
select pg_temp.send(:'texts') \g /dev/null
select pg_temp.report('SMd') \g /dev/null
select is((select count(*) from public.heard as h join ridgeline.messages as m using (provider_id) where h.root = m.execution_id::text),
  4::bigint, 'is told of each whose it is');
select is(coalesce(current_setting('automation.root', true), ''), '', 'what comes next in the same transaction is nobody''s effect');
drop trigger hear on ridgeline.messages;

-- EMAILS.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "mail", "type": "send_email", "config":
  {"subject": "Hi {{contact.first_name}}", "text": "Hello", "to": ["{{contact.email}}", "office@example.com"], "purpose": "transactional"}}]') as mails \gset
select pg_temp.workflow(:'apex', 'email_opened', '{}',
  '[{"type": "create_task", "config": {"title": "They read it"}}]') as opens \gset
select pg_temp.send(:'mails') \g /dev/null
select is(automation.record_email_event('evt_1', jsonb_build_object('email_id', pg_temp.sid('EMa', 'Cy'), 'type', 'opened',
  'occurred_at', automation.now() + interval '10 minutes', 'user_agent', 'Mozilla/5.0 (Macintosh) Safari/605.1.15')), 'early', 'an email is read before it is known to be sent');
select is(pg_temp.report('EMa'), 4::bigint, 'four emails are reported together');
select is((select string_agg(concat_ws(' ', p.name, m.subject, m.to_address, m.opened_at is not null), ', ' order by p.place)
    from ridgeline.emails as m join people as p on p.id::text = m.contact_id and m.provider_id = 'EMa' || p.place),
  'Ann Hi Ann ann@example.com, office@example.com f, Bo Hi Bo bo@example.com, office@example.com f, '
  'Cy Hi Cy cy@example.com, office@example.com t, Dee Hi Dee dee@example.com, office@example.com f',
  'each is shown for its own contact, to whom it went, and as read if it was');
select is((select count(*) from ridgeline.workflow_executions as e
    join ridgeline.emails as m on m.id::text = e.record_id and m.execution_id = e.root_id and m.provider_id = pg_temp.sid('EMa', 'Cy')
    where e.workflow_id = :'opens' and e.depth = 1), 1::bigint, 'that it was read starts a run of the chain that sent it');

-- TEXTS AND EMAILS in one report.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"key": "mail", "type": "send_email", "config": {"subject": "Hi", "text": "Hello", "purpose": "transactional"}}]') as more \gset
select ridgeline.execute_workflow(case p.place % 2 when 0 then :'more'::uuid else :'texts'::uuid end, jsonb_build_object('contact_id', p.id))
from people as p order by p.place \g /dev/null
truncate claimed;
insert into claimed select c from automation.claim_steps('w', 100) as c;
select is(pg_temp.report('X'), 4::bigint, 'two texts and two emails are reported together');
select is((select string_agg(provider_id, ' ' order by provider_id) from ridgeline.messages where provider_id like 'X%'), 'X1 X3', 'the texts are texts');
select is((select string_agg(provider_id, ' ' order by provider_id) from ridgeline.emails where provider_id like 'X%'), 'X2 X4', 'and the emails emails');
select * from finish();
rollback;
