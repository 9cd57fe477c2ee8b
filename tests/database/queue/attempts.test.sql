-- The life of a send: claimed, retried, looked up, given up, taken up again.
begin;
\ir ../foundation/story.psql
select plan(71);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "transactional"}},
    {"key": "call", "type": "create_task", "config": {"title": "Call"}}]') as flow \gset
create temp table claims (n integer generated always as identity, c automation.claimed_step);
create function pg_temp.claim() returns automation.claimed_step
  language sql
  as $$ insert into claims (c) select c from automation.claim_steps('worker 1', 1) as c returning c $$;
create function pg_temp.expire() returns void
  language sql
  as $$
    update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
    where attempt_token is not null
  $$;
-- The latest claim, or one so many before it.
create function pg_temp.held(ago integer default 0) returns automation.claimed_step
  language sql
  as $$ select c.c from claims as c order by c.n desc offset ago limit 1 $$;
create function pg_temp.step() returns ridgeline.workflow_step_executions
  language sql
  as $$
    select s from ridgeline.workflow_step_executions as s where s.step_key = 'text'
    order by s.started_at desc, s.id desc limit 1
  $$;

-- Bad reports and bad claims.
select alike(pg_temp.error_of(statement), expected, statement)
from (values
  ($$select automation.claim_steps('w', 0)$$, '22023 max_steps: %'),
  ($$select automation.claim_steps('w', null)$$, '22023 max_steps: %'),
  ($$select automation.claim_steps('w', 1001)$$, '22023 max_steps: %'),
  ($$select automation.claim_steps('w', 1, '0 seconds')$$, '22023 lease: %'),
  ($$select automation.claim_steps('w', 1, null)$$, '22023 lease: %'),
  ($$select automation.claim_steps('w', 1, '2 hours')$$, '22023 lease: %'),
  ($$select automation.finish_steps(null)$$, '22023 results: %'),
  ($$select automation.finish_steps('{}')$$, '22023 results: %'),
  ($$select automation.finish_steps('[1]')$$, '22023 results[].tenant_id: %'),
  ($$select automation.finish_steps('[{"tenant_id": "x"}]')$$, '22023 results[].tenant_id: %'),
  ($$select automation.finish_steps('[{"tenant_id": "00000000-0000-0000-0000-00000000000a", "step_id": "00000000-0000-0000-0000-00000000000a", "attempt_token": 1, "outcome": "succeeded"}]')$$,
    '22023 results[].attempt_token: %'),
  ($$select automation.finish_steps('[{"tenant_id": "00000000-0000-0000-0000-00000000000a", "step_id": "00000000-0000-0000-0000-00000000000a", "attempt_token": "00000000-0000-0000-0000-00000000000a", "outcome": "sent"}]')$$,
    '22023 results[].outcome: %'),
  ($$select automation.finish_steps('[{"tenant_id": "00000000-0000-0000-0000-00000000000a", "step_id": "00000000-0000-0000-0000-00000000000a", "attempt_token": "00000000-0000-0000-0000-00000000000a", "outcome": "retry", "retry_after_seconds": "soon"}]')$$,
    '22023 results[].retry_after_seconds: %')
) as v (statement, expected);
select is((select accepted from automation.finish_steps('[{"tenant_id": "00000000-0000-0000-0000-00000000000a", "step_id": "00000000-0000-0000-0000-00000000000a", "attempt_token": "00000000-0000-0000-0000-00000000000a", "outcome": "succeeded"}]')),
  false, 'a step that does not exist is not accepted');

-- A claim.
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'nothing is due');
select is(automation.next_due_at(), null, 'nor will be');
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select is(automation.next_due_at(), automation.now(), 'now something is');
select is((pg_temp.claim()).payload, '{"to": "+15125550100", "body": "Hi Maria", "sender": {"provider": "twilio"}}', 'the payload is ready to go');
select is(array[c.attempt::text, c.idempotency_key, c.step_type, c.reconcile_since::text],
  array['1', c.step_id::text, 'send_sms', null], 'the first attempt, nothing to look up') from pg_temp.held() as c;
select cmp_ok((pg_temp.held()).lease_expires_at - clock_timestamp(), '>', interval '50 seconds', 'a lease of a minute');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'nobody else can claim it');
select is(array[(pg_temp.step()).status::text, (pg_temp.only_run(:'flow')).status::text], array['running', 'running'], 'it is running');
select is(automation.next_due_at(), null, 'nothing else is due');

-- Handed back unsent.
create function pg_temp.release(token uuid) returns integer
  language sql
  as $$
    select automation.release_steps(jsonb_build_array(jsonb_build_object(
      'tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', token)))
    from pg_temp.held() as c
  $$;
select is(pg_temp.release(gen_random_uuid()), 0, 'only the holder can hand it back');
select is(pg_temp.release((pg_temp.held()).attempt_token), 1, 'who does');
select is(pg_temp.finish(pg_temp.held(), 'succeeded'), null, 'and holds it no longer');
update public.contacts set first_name = 'Mary' where id = :'maria';
savepoint released;
select ridgeline.cancel_execution((pg_temp.only_run(:'flow')).id);
select isnt((pg_temp.step()).status::text, 'running', 'a run that is cancelled now has no step running');
rollback to savepoint released;

-- Not accepted for certain: later, and later still.
select setseed(0.5);
create temp table pause (attempt integer, seconds numeric);
create function pg_temp.fail_once(outcome text, more jsonb default '{}') returns text
  language plpgsql
  as $$
declare
  claimed constant automation.claimed_step := pg_temp.claim();
  status text;
begin
  status := pg_temp.finish(claimed, outcome, more);
  insert into pause select claimed.attempt, extract(epoch from s.run_at - automation.now())
  from ridgeline.scheduled_steps as s where s.id = claimed.step_id;
  perform automation.advance_clock('2 days');
  return claimed.attempt || ' ' || (claimed.payload ->> 'body') || ' ' || status;
end;
$$;
select is(pg_temp.fail_once('retry', '{"error": {"code": "429", "message": "slow down"}}'), '1 Hi Mary waiting',
  'the released attempt did not count, and nothing was sent yet: it is rendered anew');
update public.contacts set first_name = 'May' where id = :'maria';
select is(pg_temp.fail_once('retry', '{"retry_after_seconds": 4000}'), '2 Hi May waiting', 'the second says what is true by then');
update public.contacts set first_name = 'Mary' where id = :'maria';
select is(pg_temp.fail_once('retry', '{"retry_after_seconds": 999999999}'), '3 Hi Mary waiting', 'the third');
select is(pg_temp.fail_once('retry', '{"retry_after_seconds": -5}'), '4 Hi Mary waiting', 'the fourth');
select cmp_ok((select seconds from pause where attempt = 1), '<=', 10.0, 'at most the base at first');
select cmp_ok((select seconds from pause where attempt = 2), '>=', 4000.0, 'never before Retry-After');
select cmp_ok((select seconds from pause where attempt = 3), '<=', 86400.0, 'which is believed for a day at most');
select cmp_ok((select seconds from pause where attempt = 4), '>=', 0.0, 'and never points back');
select is((select reconcile_since from ridgeline.scheduled_steps), null, 'nothing to look up yet');

-- Accepted or not? Look first, and say the same again.
select is(pg_temp.fail_once('ambiguous', '{"error": {"code": "timeout"}}'), '5 Hi Mary waiting', 'a timeout');
select cmp_ok((select seconds from pause where attempt = 5), '>=', 20.0, 'the provider is given time to list it');
select isnt((select reconcile_since from ridgeline.scheduled_steps), null, 'and the next attempt must look');
update public.contacts set first_name = 'Marie' where id = :'maria';
select reconcile_since as since from ridgeline.scheduled_steps \gset
select is(pg_temp.fail_once('retry'), '6 Hi Mary waiting', 'looking failed');
select is(reconcile_since, :'since'::timestamptz, 'so the one after looks too, as far back') from ridgeline.scheduled_steps;
select is(pg_temp.fail_once('ambiguous'), '7 Hi Mary waiting', 'another timeout');
select is(reconcile_since, :'since'::timestamptz, 'looks back to the first') from ridgeline.scheduled_steps;
select is(pg_temp.fail_once('retry', '{"error": {"code": "503"}}'), '8 Hi Mary failed', 'the last attempt');
select is(array[error ->> 'code', error ->> 'may_have_been_sent', error #>> '{last_error,code}', jsonb_array_length(attempts)::text],
  array['attempts_exhausted', 'true', '503', '8'], 'the ledger tells all of it') from pg_temp.step();
select is(array[attempts #>> '{0,outcome}', attempts #>> '{0,error,message}', attempts #>> '{4,outcome}', attempts #>> '{7,worker}'],
  array['retry', 'slow down', 'ambiguous', 'worker 1'], 'attempt by attempt') from pg_temp.step();
select is((select status::text from pg_temp.only_run(:'flow')), 'failed', 'the execution failed');
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'the queue is empty');

-- Redriven.
select ridgeline.retry_execution((pg_temp.only_run(:'flow')).id);
select is(array[c.attempt::text, c.payload ->> 'body'], array['1', 'Hi Mary'],
  'attempts are counted afresh; what may be out already is not written anew') from pg_temp.claim() as c;
select isnt((pg_temp.held()).reconcile_since, null, 'it is looked up first');
select is((pg_temp.held()).idempotency_key, (pg_temp.held()).step_id || '-5', 'under the same key');
select is(pg_temp.finish(pg_temp.held(), 'succeeded', '{"result": {"provider_id": "SM1", "reconciled": true}}'), 'completed', 'it was there');
select is(array[result_data ->> 'provider_id', provider_id, recipient], array['SM1', 'SM1', '+15125550100'], 'and is ours') from pg_temp.step();
select pg_temp.settle();
select is((select status::text from pg_temp.only_run(:'flow')), 'completed', 'the run goes on to its end');
select is(pg_temp.finish(pg_temp.held(), 'failed'), null, 'a second report is not accepted');

-- Permanent.
select pg_temp.contact(:'apex', 'Bob') as bob \gset
select is(pg_temp.finish(pg_temp.claim(), 'failed', '{"error": {"code": "21211", "message": "invalid number", "http_status": 400}}'), 'failed', 'a permanent error fails at once');
select is(array[status::text, error ->> 'code', error ->> 'step'], array['failed', '21211', 'text'], 'and says why') from pg_temp.only_run(:'flow');
update public.contacts set first_name = 'Robert', phone = '+15125550177' where id = :'bob';
select ridgeline.retry_execution((pg_temp.only_run(:'flow')).id);
select is(array[c.payload ->> 'body', c.payload ->> 'to', c.reconcile_since::text], array['Hi Robert', '+15125550177', null],
  'one that certainly was not sent is written anew') from pg_temp.claim() as c;
select isnt((pg_temp.held()).idempotency_key, (pg_temp.held(1)).idempotency_key,
  'under a new key, or the provider would repeat its refusal');

-- The worker dies.
select is(automation.reap_expired_leases(), 0, 'a lease that runs is left alone');
select pg_temp.expire();
select is(automation.reap_expired_leases(), 1, 'one that ran out is taken back');
select is(pg_temp.finish(pg_temp.held(), 'succeeded', '{"result": {"provider_id": "SM9"}}'), null, 'the late worker is not heard');
select is(array[status::text, provider_id, attempts #>> '{-1,error,code}'], array['waiting', null, 'lease_expired'], 'and changed nothing') from pg_temp.step();
select automation.advance_clock('1 day');
select is((pg_temp.claim()).idempotency_key, (pg_temp.held(1)).idempotency_key, 'the key stays');
select isnt((pg_temp.held()).reconcile_since, null, 'what the dead worker may have sent is looked up');
select is((pg_temp.held()).known_provider_ids, '{}', 'nothing else went to that number');
select is(pg_temp.finish(pg_temp.held(), 'succeeded', '{"result": {"provider_id": "SM2"}}'), 'completed', 'and reported by the one who holds it');

-- The same words to the same person by two runs.
select pg_temp.contact(:'apex', 'Robert', '+15125550177');
select pg_temp.finish(pg_temp.claim(), 'ambiguous');
select automation.advance_clock('1 day');
select is((select known_provider_ids from automation.claim_steps('w', 1)), '{SM2}', 'what the other sent is not ours');
select pg_temp.expire();
select automation.reap_expired_leases();
delete from ridgeline.scheduled_steps;

-- Reaping in small bites.
insert into public.contacts (tenant_id, phone) select :'apex', '+15125550' || 100 + n from generate_series(1, 30) as n;
select is((select count(*) from automation.claim_steps('w', 30)), 30::bigint, 'thirty claimed');
select pg_temp.expire();
select is(array[automation.reap_expired_leases(10), automation.reap_expired_leases(15), automation.reap_expired_leases(100)],
  array[10, 15, 5], 'reaped no more than asked for');

-- One report that cannot be written must not cost the others theirs.
select automation.advance_clock('1 day');
create temp table held as select c from automation.claim_steps('w', 3) as c;
select is((
  select pg_temp.error_of(format('select automation.finish_steps(%L)', jsonb_agg(jsonb_build_object(
    'tenant_id', (h.c).tenant_id, 'step_id', (h.c).step_id, 'attempt_token', (h.c).attempt_token,
    'outcome', 'succeeded', 'result', '{"provider_id": "the same"}'::jsonb))))
  from held as h), null, 'two reports of one provider id');

select * from finish();
rollback;
