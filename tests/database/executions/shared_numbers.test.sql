-- A reply comes from a number, and numbers are shared: by a couple, by a contact that is there twice. It is heard
-- by every run that writes to that number.
begin;
\ir ../foundation/story.psql
select plan(17);

select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900'), (:'blue', 'sms', '+15125550901');
update ridgeline.senders set limits = '{"per_second": 0}';
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.contact(:'apex', 'Jose', '(512) 555-0101') as jose \gset
select pg_temp.contact(:'apex', 'Bob', '+15125550102') as bob \gset
select pg_temp.contact(:'blue', 'Maria', '+15125550101') as blues \gset
select pg_temp.workflow(t, 'manual', '{}', '[{"type": "send_sms", "delay": 60, "config": {"body": "Any questions?"}}]', '[]',
  '{"exit_events": ["sms_received", "call_missed"]}') from unnest(array[:'apex', :'blue']::uuid[]) as t;
create function pg_temp.follow_up(contact uuid, more jsonb default '{}') returns uuid
  language sql
  as $$
    select (ridgeline.execute_workflow(w.id, jsonb_build_object('contact_id', contact) || more)).id
    from ridgeline.workflows as w join public.contacts as c on c.tenant_id = w.tenant_id and c.id = contact where w.settings ? 'exit_events'
  $$;
create function pg_temp.text_from(number text, body text default 'Yes', office text default '+15125550900') returns text
  language sql
  as $$
    select automation.receive_sms(jsonb_build_object(
      'message_sid', 'SM' || replace(gen_random_uuid()::text, '-', ''), 'from', number, 'to', office, 'body', body))
  $$;
create function pg_temp.ended(run uuid) returns text
  language sql
  as $$ select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = run $$;

select pg_temp.follow_up(:'maria') as marias, pg_temp.follow_up(:'jose') as joses, pg_temp.follow_up(:'bob') as bobs, pg_temp.follow_up(:'blues') as theirs \gset
select pg_temp.text_from('+15125550101');
select pg_temp.settle();
select is(pg_temp.ended(:'marias'), 'cancelled exit_event', 'a text ends the runs of one who has the number');
select is(pg_temp.ended(:'joses'), 'cancelled exit_event', 'and of the other one, however it is written');
select is(pg_temp.ended(:'bobs'), 'waiting', 'and of nobody else');
select is(pg_temp.ended(:'theirs'), 'waiting', 'least of all of another office');

select pg_temp.follow_up(:'maria') as marias, pg_temp.follow_up(:'jose') as joses \gset
select automation.record_call(jsonb_build_object('call_sid', 'CA1', 'from', '+15125550101', 'to', '+15125550900', 'direction', 'inbound', 'status', 'no-answer'));
select pg_temp.settle();
select is(pg_temp.ended(:'marias') || ', ' || pg_temp.ended(:'joses'), 'cancelled exit_event, cancelled exit_event', 'so does a call');

-- Before the next message, whoever is faster.
select pg_temp.follow_up(:'maria') as marias, pg_temp.follow_up(:'jose') as joses \gset
select pg_temp.text_from('+15125550101');
select automation.advance_clock('61 minutes');
select is((select string_agg(c.payload ->> 'to', ', ') from automation.claim_steps('w', 10) as c where c.tenant_id = :'apex'), '+15125550102',
  'an unread text keeps messages to that number from going out');
select is(pg_temp.ended(:'joses'), 'cancelled exit_event', 'and ends the run');

-- A number that a step named, and one that the contact had when it was written to.
update public.tenants set text_strangers = true where id = :'apex';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"to": "{{custom.phone}}", "body": "Your crew comes"}},
  {"type": "wait", "key": "reply", "config": {"event": "sms_received", "timeout": "1 day"}},
  {"type": "create_task", "config": {"title": "{{steps.reply.result}} {{steps.reply.event.record.body}}"}}]') as asking \gset
select (ridgeline.execute_workflow(:'asking', jsonb_build_object('contact_id', :'bob', 'custom', '{"phone": "512-555-0177"}'::jsonb))).id as asked \gset
select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}') from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = '+15125550177';
select pg_temp.settle();
select pg_temp.text_from('+15125550177', 'Fine');
select pg_temp.settle();
select is((select title from public.tasks), 'event Fine', 'a run hears the number that it wrote to, whose ever it is');

-- Who is meant: the one we spoke to last.
insert into ridgeline.messages (tenant_id, contact_id, direction, to_number, body, created_at)
values (:'apex', :'jose', 'outbound', '+15125550101', 'Hi', automation.now() - interval '2 days'), (:'apex', :'maria', 'outbound', '+15125550101', 'Hi', automation.now() - interval '1 day');
select is(automation.contact_by_phone(:'apex', '+15125550101'), :'maria', 'the one who was texted last is meant');
insert into ridgeline.calls (tenant_id, contact_id, direction, to_number, status) values (:'apex', :'jose', 'outbound', '+15125550101', 'completed');
select is(automation.contact_by_phone(:'apex', '+15125550101'), :'jose', 'or called');

-- TAPBACKS
select is(array(select t from unnest(array[
    'Liked "See you at nine"', 'Loved “See you at nine”', 'Disliked “No”', 'Laughed at “Ha”', 'Emphasized “Call me”', 'Questioned “500?”',
    'Reacted 👍 to “See you”', 'Reacted 🙏🏽 to "See you"', 'Removed a heart from “See you”', 'Removed a like from "x"', 'Liked an image', 'Loved a movie',
    'Le gustó “Nos vemos”', 'Le encantó "Nos vemos"', 'No le gustó “No”', 'Se rio de “Ja”', 'Reaccionó con 👍 a “Nos vemos”', 'Quitó un corazón de “Nos vemos”',
    E'\u200A👍\u200A to \u201C\u200ASee you at nine\u200A\u201D', E'\u200B❤️\u200B to “See you”', 'A aimé « À demain »', E'Liked “See you\nat nine”', ' Liked “He said "yes"” ',
    'LIKED "See you"']) as t where not automation.is_tapback(t)), '{}', 'a reaction is known as one');
select is(array(select t from unnest(array[
    'Liked it', 'I liked "the blue one"', 'Liked "the blue one" better than the red', 'Loved', 'Loved the roof', 'Yes', '👍', '👍 to Tuesday', 'Questioned about the price?',
    '"See you"', '', 'Laughed at that. When do you come?', 'Me gusta el azul', 'Removed a tree from the yard', '5 to "6"', 'Going to "Home Depot"', null]) as t
  where automation.is_tapback(t)), '{}', 'words of somebody''s own are not');
select pg_temp.workflow(:'apex', 'sms_received') as answering \gset
select pg_temp.follow_up(:'maria') as marias \gset
select is(pg_temp.text_from('+15125550101', 'Liked “Any questions?”'), 'stored', 'a thumb is kept');
select pg_temp.settle();
select is((select is_tapback from ridgeline.messages where body like 'Liked%'), true, 'and flagged');
select is(pg_temp.runs(:'answering'), 0::bigint, 'it starts nothing');
select is(pg_temp.ended(:'marias'), 'waiting', 'and ends nothing');
select pg_temp.text_from('+15125550101', 'Liked it, when do you come?');
select pg_temp.settle();
select is(pg_temp.ended(:'marias'), 'cancelled exit_event', 'a reply does');
select * from finish();
rollback;
