-- What a text costs is known before it goes, is written down when it has gone, and is added up by workflow and day.
begin;
\ir ../foundation/story.psql
select plan(42);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'blue') as bea \gset
create function pg_temp.flow(body text, more jsonb default '{}') returns uuid
  language sql
  as $$ select pg_temp.workflow((select id from public.tenants where name = 'Apex Roofing'), 'manual', '{}', jsonb_build_array(jsonb_build_object(
    'key', 'text', 'type', 'send_sms', 'config', jsonb_build_object('body', body, 'purpose', 'transactional') || more))) $$;
-- What the ledger says of a text that was sent: its segments and its cost.
create function pg_temp.sent(workflow uuid, contact uuid, outcome text default 'succeeded') returns text
  language plpgsql
  as $$
declare
  run constant uuid := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id;
  claimed automation.claimed_step;
begin
  select c.* into claimed from automation.claim_steps('w', 1) as c;
  perform pg_temp.finish(claimed, outcome, jsonb_build_object('result', jsonb_build_object('provider_id', gen_random_uuid()), 'error', '{"code": "x", "message": "x"}'::jsonb));
  return (select concat_ws(' ', s.status, s.segments, s.cost) from ridgeline.workflow_step_executions as s where s.execution_id = run);
end;
$$;

-- THE PRICE
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.contact(:'apex', 'Cleo', '+14165550123') as cleo \gset
select pg_temp.contact(:'apex', 'Beth', '+447911123456') as beth \gset
update public.tenants set text_countries = '{CA,GB}' where id = :'apex';
select pg_temp.flow('Your visit is tomorrow') as short \gset
select is(pg_temp.sent(:'short', :'maria'), 'completed 1 0.0083', 'a text of one segment costs the list price of one');
select is(pg_temp.sent(:'short', :'cleo'), 'completed 1 0.0083', 'in Canada what it costs there');
select is(pg_temp.sent(:'short', :'beth'), 'completed 1', 'where nobody said a price there is none, rather than nothing');
select is(pg_temp.sent(pg_temp.flow(repeat('long ', 40)), :'maria'), 'completed 2 0.0166', 'two segments are twice the price');
select is(pg_temp.sent(pg_temp.flow('Don’t wait' || repeat(' now', 20)), :'maria'), 'completed 2 0.0166', 'a curly quote makes two of what would be one');
select is(pg_temp.sent(pg_temp.flow('Look', '{"media_urls": ["https://example.com/roof.jpg"]}'), :'maria'), 'completed 1 0.022', 'a picture has a price of its own');
select is(pg_temp.sent(:'short', :'maria', 'failed'), 'failed', 'what was refused costs nothing');
select is((select array_agg(cost) from ridgeline.workflow_step_executions where step_type <> 'send_sms'), null, 'nor does what is no message');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "mail", "type": "send_email", "config": {"to": ["ann@example.com", "bob@example.com"], "subject": "Hi", "text": "Hi", "purpose": "internal"}}]') as mail \gset
select is(pg_temp.sent(:'mail', :'maria'), 'completed 0.0008', 'an email costs for each who gets it');

-- MANY AT ONCE
insert into automation.prices (name, provider, kind, country, amount, source, as_of) values ('twilio sms GG', 'twilio', 'sms', 'GG', 0.05, 'an operator', '2026-07-01');
select pg_temp.contact(:'blue', 'Bo', '+15125550102') as bo \gset
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'blue', '{"prices": {"sms": 0.02}}');
create function pg_temp.of_blue() returns uuid
  language sql
  as $$ select pg_temp.workflow((select id from public.tenants where name = 'Blue Ridge Solar'), 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') $$;
-- One of each, claimed and reported together: what the ledger says of them, in the order of their names.
create function pg_temp.sent_together(between_ text default 'select') returns text
  language plpgsql
  as $$
declare
  flows jsonb := jsonb_build_object('a short', pg_temp.flow('Your visit is tomorrow'), 'b long', pg_temp.flow(repeat('long ', 40)),
    'c picture', pg_temp.flow('Look', '{"media_urls": ["https://example.com/roof.jpg"]}'), 'd blue', pg_temp.of_blue());
  results jsonb;
begin
  create temp table together on commit drop as
    select f.key || ' ' || c.first_name as name, (ridgeline.execute_workflow(f.value::uuid, jsonb_build_object('contact_id', c.id))).id as run
    from jsonb_each_text(flows) as f join public.contacts as c on c.first_name = any (case f.key when 'd blue' then '{Bo}' else '{Maria,Cleo,Beth}' end::text[]);
  select jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token,
    'outcome', 'succeeded', 'result', jsonb_build_object('provider_id', gen_random_uuid()))) into results
  from automation.claim_steps('w', 50) as c;
  execute between_;
  perform automation.finish_steps(results);
  return (select string_agg(concat_ws(' ', t.name, s.status, s.segments, s.cost), ', ' order by t.name)
    from together as t join ridgeline.workflow_step_executions as s on s.execution_id = t.run);
end;
$$;
\set as_alone 'a short Beth completed 1 0.05, a short Cleo completed 1 0.0083, a short Maria completed 1 0.0083, b long Beth completed 2 0.10, b long Cleo completed 2 0.0166, b long Maria completed 2 0.0166, c picture Beth completed 1, c picture Cleo completed 1 0.022, c picture Maria completed 1 0.022, d blue Bo completed 1 0.02'
select is(pg_temp.sent_together(), :'as_alone', 'what is reported together costs what each would alone');
drop table together;
select is((select array_agg(distinct s.country order by s.country) from ridgeline.workflow_step_executions as s where s.step_type = 'send_sms'), '{CA,GG,US}', 'a text has the country of its number');
select is((select count(*) from ridgeline.workflow_step_executions as s where s.step_type = 'send_email' and s.country is not null), 0::bigint, 'an email has none');
select is(pg_temp.sent_together('update ridgeline.workflow_step_executions set country = null'), :'as_alone', 'where it was not noted, the number says it');
drop table together;
select is(pg_temp.sent_together('update ridgeline.workflow_step_executions set country = ''GG'' where status = ''running'' and recipient = ''+15125550101'''),
  replace(replace(replace(:'as_alone', 'a short Maria completed 1 0.0083', 'a short Maria completed 1 0.05'), 'b long Maria completed 2 0.0166', 'b long Maria completed 2 0.10'), 'c picture Maria completed 1 0.022', 'c picture Maria completed 1'),
  'where it was, the number is not read again');
drop table together;
savepoint before;
create or replace function automation.price_of(tenant_id uuid, provider text, kind text, country text) returns numeric language plpgsql stable as $$
begin
  if country = 'CA' then raise exception 'no price can be read'; end if;
  return (select case when tenant_id = (select id from public.tenants where name = 'Blue Ridge Solar') then 0.02 else min(p.amount) end
    from automation.prices as p where p.provider = price_of.provider and p.kind = price_of.kind and p.country in (price_of.country, '*'));
end $$;
select is(pg_temp.sent_together(), replace(replace(replace(:'as_alone', 'Cleo completed 1 0.0083', 'Cleo completed'), 'Cleo completed 2 0.0166', 'Cleo completed'), 'Cleo completed 1 0.022', 'Cleo completed'),
  'where a price cannot be read, the message has gone all the same, and the others have theirs');
rollback to before;
select is(pg_temp.sent(:'mail', :'maria'), 'completed 0.0008', 'emails cost what they did');
delete from automation.prices where name = 'twilio sms GG';
delete from ridgeline.tenant_settings where tenant_id = :'blue';

-- WHAT AN OFFICE REALLY PAYS
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'apex', '{"prices": {"sms": {"US": 0.01, "*": 0.05}}}');
select is(pg_temp.sent(:'short', :'maria'), 'completed 1 0.01', 'an office says what it pays');
select is(pg_temp.sent(:'short', :'beth'), 'completed 1 0.05', 'and elsewhere');
select is(pg_temp.sent(:'mail', :'maria'), 'completed 0.0008', 'of what it does not say the list price counts');
update ridgeline.tenant_settings set settings = '{"prices": {"sms": "a lot", "email": 0}}' where tenant_id = :'apex';
select is(pg_temp.sent(:'short', :'maria'), 'completed 1 0.0083', 'what cannot be read is no price');
select is(pg_temp.sent(:'mail', :'maria'), 'completed 0', 'nothing is one');
update ridgeline.tenant_settings set settings = '[]'::jsonb || '{}' where false;
update automation.prices set negotiated = 0.006 where name = 'twilio sms US';
select is(pg_temp.sent(:'short', :'maria'), 'completed 1 0.006', 'so does whoever runs the installation');
select is((select array_agg(distinct cost order by cost) from ridgeline.workflow_step_executions where execution_id in (select id from ridgeline.workflow_executions where workflow_id = :'short') and recipient = '+15125550101' and status = 'completed'),
  '{0.006,0.0083,0.01}', 'what was paid before stays what it was');
select is((select count(*) from automation.prices where source = '' or as_of is null), 0::bigint, 'every price says where it comes from, and as of when');

-- BEFOREHAND
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"key": "one", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "transactional"}},
  {"key": "task", "type": "create_task", "config": {"title": "Call"}},
  {"key": "two", "type": "send_sms", "config": {"body": "Hi again’", "purpose": "transactional"}}]') as both_texts \gset
select ridgeline.test_workflow(:'both_texts', jsonb_build_object('contact_id', :'maria')) as dry \gset
select is(:'dry'::jsonb #>> '{path,0,cost}', '0.006', 'a dry run says what a step would cost');
select is(:'dry'::jsonb #> '{path,1,cost}', null, 'what is no message has no price');
select is(:'dry'::jsonb ->> 'cost', '0.012', 'and what a run would');
select is(:'dry'::jsonb #>> '{path,2,segments}', '1', 'with the segments of each');

-- BY WORKFLOW AND DAY
select pg_temp.sign_in(:'sam');
select is((select sum(cost) from ridgeline.workflow_statistics where workflow_id = :'short'), (select sum(cost) from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.id = s.execution_id where e.workflow_id = :'short'),
  'members read what a workflow has cost');
select is((select sum(cost) from ridgeline.workflow_statistics where workflow_id = :'short') > 0, true, 'which is something');
select is((select array_agg(distinct step_key) from ridgeline.workflow_statistics where workflow_id = :'short' and cost > 0), '{text}', 'by step');
select pg_temp.sign_out();
select sum(cost) as spent from ridgeline.workflow_statistics where workflow_id = :'short' \gset
select automation.fold_statistics() \g /dev/null
select is((select sum(cost) from ridgeline.workflow_statistics where workflow_id = :'short'), :spent::numeric, 'the same when it is folded into days');
delete from ridgeline.workflow_executions where workflow_id = :'short';
select is((select sum(cost) from automation.statistics where workflow_id = :'short'), :spent::numeric, 'and when the runs are gone');
select pg_temp.sign_in(:'bea');
select is((select count(*) from ridgeline.workflow_statistics where workflow_id = :'short'), 0::bigint, 'another office sees nothing of it');
select pg_temp.sign_out();

-- WHAT IS SAID AT PUBLISHING
create function pg_temp.said(body text) returns text
  language sql
  as $$ select pg_temp.findings((select id from public.tenants where name = 'Apex Roofing'), 'manual', '{}', jsonb_build_array(jsonb_build_object(
    'type', 'send_sms', 'config', jsonb_build_object('body', body))), '[]', true) $$;
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550900', 'registered');
select is(pg_temp.said('Hi {{contact.first_name}}, it''s done. 100% [ok] {yes} €5'), null, 'of plain words nothing is said');
select alike(pg_temp.said('We don’t wait'), '%"’" makes it Unicode%', 'the character that makes it Unicode is named');
select alike(pg_temp.said('Thanks 🏠 “Apex” 🏠'), '%"🏠", "“", "”" makes it Unicode%', 'each once');
select is(pg_temp.said('Hi {{ contact.first_name | default: "’" }}'), null, 'what stands in a variable is not what is sent');
select is(pg_temp.said(repeat('a', 459)), null, 'three segments are fine');
select alike(pg_temp.said(repeat('a', 460)), '%as 4 segments%', 'four are told');
select alike(pg_temp.said(repeat('ä', 200) || '漢'), '%"漢"%', 'umlauts are plain');
select is((select array_agg(w ->> 'code') from jsonb_array_elements((ridgeline.publish_workflow(pg_temp.draft(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Don’t", "purpose": "marketing"}}]'), tenant_id => :'apex')).warnings) as w), '{text_is_unicode}',
  'publishing itself says it, and keeps it');
select * from finish();
rollback;
