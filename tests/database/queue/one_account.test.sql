-- Two offices that send with one account: what one of them sent is not the other's, whose text is unclear.
begin;
\ir ../foundation/story.psql
select plan(11);

update automation.settings set value = 'every_tenant' where name = 'environment_serves';
select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Roofing') as blue \gset
select pg_temp.workflow(t, 'contact_created', '{}',
  '[{"key": "text", "type": "send_sms", "config": {"body": "See you soon", "purpose": "transactional"}}]')
from (values (:'apex'::uuid), (:'blue'::uuid)) as v (t);
create function pg_temp.claimed(tenant uuid) returns automation.claimed_step
  language sql
  as $$ select c from automation.claim_steps('w', 10) as c where c.tenant_id = tenant $$;
create function pg_temp.report(step automation.claimed_step, id text) returns jsonb
  language sql
  as $$
    select jsonb_build_object('tenant_id', step.tenant_id, 'step_id', step.step_id,
      'attempt_token', step.attempt_token, 'outcome', 'succeeded',
      'result', jsonb_build_object('provider_id', id, 'reconciled', true))
  $$;

select pg_temp.contact(:'apex', 'Maria', '+15125550100');
select pg_temp.finish(pg_temp.claimed(:'apex'), 'succeeded', '{"result": {"provider_id": "SM1"}}');
select pg_temp.contact(:'blue', 'Maria', '+15125550100');
select pg_temp.finish(pg_temp.claimed(:'blue'), 'ambiguous');
select automation.advance_clock('1 day');
create temp table held as select pg_temp.claimed(:'blue') as c;
select is((h.c).known_provider_ids, '{SM1}', 'what the other office sent is told to whoever looks it up') from held as h;

-- It was not recorded yet, when that was asked.
select is((
    select f.status from held as h cross join automation.finish_steps(jsonb_build_array(pg_temp.report(h.c, 'SM1'))) as f),
  'waiting', 'who has found it all the same has not been sent');
select is((select error ->> 'code' from ridgeline.workflow_step_executions where tenant_id = :'blue'),
  'provider_id_taken', 'and says why');

-- Both are unclear, and are looked up at once.
select pg_temp.contact(:'apex', 'Zoe', '+15125550101');
select pg_temp.contact(:'blue', 'Zoe', '+15125550101');
select automation.finish_steps(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id,
  'attempt_token', c.attempt_token, 'outcome', 'ambiguous')))
from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = '+15125550101';
select automation.advance_clock('1 day');
create temp table two as
select c from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = '+15125550101';
create temp table left_as as
select f.* from automation.finish_steps((select jsonb_agg(pg_temp.report(b.c, 'SM2')) from two as b)) as f;
select is(array(select status from left_as order by 1), '{completed,waiting}', 'of two that found one text, one has sent it');
select is((select count(*) from ridgeline.workflow_step_executions where provider_id = 'SM2'), 1::bigint, 'which is its own');

-- One is sent while the other is looked up, and finds it: told before it, in one report.
create function pg_temp.sent_and_found(phone text, id text, sent_by uuid, found_by uuid, together boolean default true)
  returns text
  language plpgsql
  as $$
declare
  found jsonb;
  sent jsonb;
begin
  perform pg_temp.contact(found_by, 'Bo', phone);
  perform automation.finish_steps(jsonb_agg(pg_temp.report(c, id) || '{"outcome": "ambiguous", "result": null}'))
  from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = phone;
  perform automation.advance_clock('1 day');
  perform pg_temp.contact(sent_by, 'Bo', phone);
  with claimed as (select c from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = phone)
  select jsonb_agg(pg_temp.report(c, id)) filter (where (c).reconcile_since is not null),
    jsonb_agg(pg_temp.report(c, id) #- '{result,reconciled}') filter (where (c).reconcile_since is null)
    into found, sent from claimed;
  if together then
    perform automation.finish_steps(found || sent);
  else
    perform automation.finish_steps(found);
    perform automation.finish_steps(sent);
  end if;
  return (
    select string_agg(concat_ws(' ', s.status, s.provider_id), ', ' order by s.id)
    from ridgeline.workflow_step_executions as s where s.recipient = phone);
end;
$$;
select is(pg_temp.sent_and_found('+15125550102', 'SM3', :'apex', :'blue'), 'waiting, completed SM3',
  'whose text is unclear is not the one that was just sent');
select is(pg_temp.sent_and_found('+15125550103', 'SM4', :'blue', :'apex'), 'waiting, completed SM4',
  'whichever office comes first');
select is(pg_temp.sent_and_found('+15125550104', 'SM5', :'apex', :'apex'), 'waiting, completed SM5',
  'nor is what was sent sent again, of one office');
-- Told in two: whoever found it has gone on with it, and the other one's is sent anew. Two texts are two texts.
select is(pg_temp.sent_and_found('+15125550105', 'SM6', :'apex', :'blue', false), 'completed SM6, waiting',
  'what one office has found is no other''s, who tells of it later');
select automation.advance_clock('1 day');
create temp table anew as select c from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = '+15125550105';
select is((select ((c).tenant_id, (c).known_provider_ids)::text from anew), format('(%s,{SM6})', :'apex'), 'whose text is looked for beside it');
select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM7"}}') from anew;
select is((select array_agg(provider_id order by provider_id) from ridgeline.workflow_step_executions where recipient = '+15125550105' and status = 'completed'),
  '{SM6,SM7}', 'and each has a text, whose news is its own');

select * from finish();
rollback;
