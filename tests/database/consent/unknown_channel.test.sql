-- The gate fails closed: a type of step that no rule of consent is written for reaches nobody, and somebody is told.
begin;
\ir ../foundation/story.psql
select plan(6);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "send_sms", "key": "text", "config": {"body": "Hi"}}, {"type": "create_task", "key": "call", "config": {"title": "Call"}}]') as greeting \gset

-- What a prepared send becomes at the gate, by type of step.
create function pg_temp.verdict(type text) returns text
  language sql
  as $$
    select concat_ws(' ', g.verdict, (g.prepared).reason ->> 'code')
    from pg_temp.only_run((select id from ridgeline.workflows)) as run
    cross join lateral automation.foresee(
      run, jsonb_build_object('type', type, 'lane', case type when 'webhook' then 'webhook' else 'sms' end),
      ('run', '{"to": "+15125550199"}', null, null, null, null)::automation.prepared_step, automation.now()) as g
  $$;
select pg_temp.contact(:'apex');
select is(pg_temp.verdict('send_sms'), 'send', 'a text to somebody who did not opt out goes');
select automation.suppress(:'apex', 'sms', '+15125550199', 'opt_out');
select is(pg_temp.verdict('send_sms'), 'skip suppressed', 'to somebody who did, it does not');
select is(pg_temp.verdict('webhook'), 'send', 'a program is asked for no consent');
select is(pg_temp.verdict('send_pigeon'), 'skip no_consent_rule', 'a type that nobody knows is not sent');
select is(pg_temp.verdict('create_task'), 'skip no_consent_rule', 'nor one that is no send at all');
select is((select counts_as from automation.skip_codes where code = 'no_consent_rule'), 'failure', 'and it counts as a failure');

select * from finish();
rollback;
