-- A text whose step says track_links: its links lead through functions/link, and the first that a person follows is an event.
begin;
\ir ../foundation/story.psql
select plan(82);
set client_min_messages = error;

select automation.set_clock('2026-06-01 15:00+00');
select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
update public.tenants set website = 'https://apex.example/home' where id = :'apex';
select pg_temp.contact(:'apex', 'Maria') as maria \gset
update automation.settings set value = 'https://go.example/' where name = 'link_url';
create function pg_temp.text_to(workflow uuid, contact uuid) returns automation.claimed_step
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact));
  select * into claimed from automation.claim_steps('w', 1);
  return claimed;
end;
$$;
create function pg_temp.sent(workflow uuid, contact uuid, provider_id text) returns text
  language plpgsql
  as $$
declare
  claimed constant automation.claimed_step := pg_temp.text_to(workflow, contact);
begin
  perform pg_temp.finish(claimed, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', provider_id)));
  return claimed.payload ->> 'body';
end;
$$;
create function pg_temp.sms(body text) returns uuid
  language sql
  as $$ select pg_temp.workflow((select id from public.tenants where name = 'Apex Roofing'), 'manual', '{}', jsonb_build_array(jsonb_build_object('key', 'text', 'type', 'send_sms', 'config', jsonb_build_object('body', body, 'purpose', 'transactional', 'track_links', true)))) $$;
create function pg_temp.codes(body text) returns text[]
  language sql
  as $$ select array(select m[1] from regexp_matches(body, 'https://go\.example/([0-9A-Za-z]{11})', 'g') as m) $$;
create function pg_temp.said(written text, body text, site text default null) returns text
  language sql
  as $$ select regexp_replace(t.tracked, '/[0-9A-Za-z]{11}\M', '/CODE', 'g') from automation.track_links(written, body, site, 'https://go.example') as t $$;
\set browser '''Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1'''

-- WHICH LINKS
select is(pg_temp.said('See https://g.page/r/apex.', 'See https://g.page/r/apex.'), 'See https://go.example/CODE.', 'what ends the sentence ends no link');
select is(pg_temp.said('(https://g.page/r?x=1&y=2#z)', '(https://g.page/r?x=1&y=2#z)'), '(https://go.example/CODE)', 'nor does a bracket');
select is(pg_temp.said('Rate us at https://G.page.', 'Rate us at https://G.page.'), 'Rate us at https://go.example/CODE.', 'nor does what ends it make another host of it');
select is(pg_temp.said('HTTPS://G.page/r', 'HTTPS://G.page/r'), 'https://go.example/CODE', 'in any case');
select is(pg_temp.said('https://pay.example/{{contact.id}}', 'https://pay.example/7'), 'https://go.example/CODE', 'a variable in the path stays in the link');
select is(pg_temp.said('Hi {{contact.first_name}}', 'Hi https://evil.example/x'), 'Hi https://evil.example/x', 'a link that a record holds goes out as it is');
select is(pg_temp.said('{{contact.notes}}', '(https://evil.example/x).'), '(https://evil.example/x).', 'with all that stands about it');
select is(pg_temp.said('https://pay.example{{contact.x}}', 'https://pay.example/7'), 'https://pay.example/7', 'a host that a variable may go on with is nobody''s');
select is(pg_temp.said('https://pay.example{{contact.x}}', 'https://pay.example.evil.example/'), 'https://pay.example.evil.example/', 'a variable that makes the host another''s gets nothing from us');
select is(pg_temp.said('https://pay.example{{contact.x}}', 'https://pay.example@evil.example/'), 'https://pay.example@evil.example/', 'nor does one that makes it a user''s name');
select is(pg_temp.said('https://{{contact.x}}/', 'https://evil.example/'), 'https://evil.example/', 'nor one that is the host');
select is(pg_temp.said('https://pay.example/{{contact.x}}', 'https://pay.example/ https://evil.example/'), 'https://go.example/CODE https://evil.example/', 'nor one that begins another link');
select is(pg_temp.said('Visit {{tenant.website}}', 'Visit https://apex.example/home', 'https://apex.example/home'), 'Visit https://go.example/CODE', 'the office''s own site is its own');
select is(pg_temp.said('javascript://g.page/%0aalert(1) ftp://g.page/x', 'javascript://g.page/%0aalert(1) ftp://g.page/x'), 'javascript://g.page/%0aalert(1) ftp://g.page/x', 'only web addresses are links');
select is((select array[jsonb_array_length(t.links)::text, (regexp_count(t.tracked, t.links #>> '{0,code}'))::text] from automation.track_links('https://a.example/', 'https://a.example/ https://a.example/', null, 'https://go.example') as t), '{1,2}', 'the same link twice has one code');
select is(pg_temp.said('https://a.example/', 'https://a.example/' || repeat('x', 3000)), 'https://a.example/' || repeat('x', 3000), 'a link that is too long for anybody stays');
select is((select count(distinct automation.link_code()) from generate_series(1, 2000)), 2000::bigint, 'codes do not repeat');
select is((select count(*) from generate_series(1, 500) as i cross join lateral (select automation.link_code() as code, i) as c where c.code !~ '^[0-9A-Za-z]{11}$'), 0::bigint, 'and are eleven letters and digits');

-- SENT
select pg_temp.sms('Hi {{contact.first_name}}, https://g.page/r/apex?c={{contact.first_name}} please') as review \gset
select pg_temp.text_to(:'review', :'maria') as step \gset
select (:'step'::automation.claimed_step).payload ->> 'body' as body, (:'step'::automation.claimed_step).step_id as step_id \gset
select matches(:'body'::text, '^Hi Maria, https://go\.example/[0-9A-Za-z]{11} please$', 'a text is sent with a short link');
select (pg_temp.codes(:'body'))[1] as code \gset
select is(automation.find_link(:'code'), 'https://g.page/r/apex?c=Maria', 'which leads exactly where the step says');
select is((:'step'::automation.claimed_step).payload ?| '{tracked_links,track_links}', false, 'the provider is told nothing of it');
select is((select array[contact_id, recipient, url] from automation.links), array[:'maria', '+15125550100', 'https://g.page/r/apex?c=Maria'], 'whose it is is known');
create temp table again as select pg_temp.finish(:'step'::automation.claimed_step, 'ambiguous', '{"error": {"code": "timeout"}}');
select automation.advance_clock('2 hours');
select is((select c.payload ->> 'body' from automation.claim_steps('w', 10) as c where c.step_id = :'step_id'), :'body'::text, 'an attempt that may have been accepted is repeated with the same link');
select is((select count(*) from automation.links), 1::bigint, 'and no other');
delete from ridgeline.scheduled_steps;
select pg_temp.text_to(:'review', :'maria') as step \gset
create temp table refused as select pg_temp.finish(:'step'::automation.claimed_step, 'retry', '{"error": {"code": "429"}}');
select automation.advance_clock('2 hours');
select isnt((select c.payload ->> 'body' from automation.claim_steps('w', 10) as c where c.step_id = (:'step'::automation.claimed_step).step_id), (:'step'::automation.claimed_step).payload ->> 'body', 'one that was refused is written anew, link and all');
delete from ridgeline.scheduled_steps;
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "https://g.page/r/apex", "purpose": "transactional"}}]') as plain \gset
select is((pg_temp.text_to(:'plain', :'maria')).payload ->> 'body', 'https://g.page/r/apex', 'a step that says nothing changes nothing');
select pg_temp.sms('Hi {{contact.last_name}}') as named \gset
update public.contacts set last_name = 'https://evil.example' where id = :'maria';
select is((pg_temp.text_to(:'named', :'maria')).payload ->> 'body', 'Hi https://evil.example', 'a name that is a link is no link of ours');
select is((select s.warnings #>> '{0,code}' from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'named')).id), 'link_not_tracked', 'and the step says so');
update automation.settings set value = '' where name = 'link_url';
select set_config('automation.functions_address', '', true) \g /dev/null
select is((pg_temp.text_to(:'review', :'maria')).payload ->> 'body', 'Hi Maria, https://g.page/r/apex?c=Maria please', 'where nobody knows where we are, the text goes with the link itself');
select is((select s.warnings #>> '{0,code}' from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'review')).id), 'link_not_tracked', 'and the step says so');
select alike(pg_temp.error_of($$update automation.settings set value = 'javascript:alert(1)' where name = 'link_url'$$), '22023 value: %link_url%', 'where we are is a web address');
update automation.settings set value = 'https://go.example' where name = 'link_url';
delete from ridgeline.scheduled_steps;
select matches((select ridgeline.test_workflow(:'review', jsonb_build_object('contact_id', :'maria'))::text), 'https://go\.example/[0-9A-Za-z]{11}', 'a dry run shows what it would look like');
select is((select count(*) from automation.links), 3::bigint, 'and opens no link');

select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "transactional", "tracked_links": [{"code": "AAAAAAAAAAA", "url": "https://evil.example"}]}}]') as forged \gset
select is((pg_temp.text_to(:'forged', :'maria')).payload ->> 'body', 'Hi', 'a step that writes down links of its own goes out') ;
select is(automation.find_link('AAAAAAAAAAA'), null, 'without them');

-- FORGED, FOREIGN, OLD
select is(automation.find_link(code), null, 'nobody made this code') from (values ('AAAAAAAAAAA')) as c (code);
select is(array[automation.record_click('AAAAAAAAAAA', :browser), automation.record_click(null, null), automation.find_link(null)], '{unknown,unknown,NULL}', 'a click on it is nothing');
select pg_temp.act_as('anon');
select alike(pg_temp.error_of(format('select automation.find_link(%L)', :'code')), '42501 %', 'past the function nobody asks');
select pg_temp.sign_out();
select pg_temp.sign_in(pg_temp.member(:'blue'));
select alike(pg_temp.error_of('select * from automation.links'), '42501 %', 'nor does a member read links');
select alike(pg_temp.error_of(format('select automation.record_click(%L, %L)', :'code', :browser)), '42501 %', 'or make clicks');
select pg_temp.sign_out();

-- A SCANNER FIRST, A PERSON LATER
select pg_temp.workflow(:'apex', 'sms_clicked', '{}', '[{"type": "add_tag", "config": {"tag": "clicked"}}]') as on_click \gset
delete from automation.links;
select (pg_temp.codes(pg_temp.sent(:'review', :'maria', 'SM1')))[1] as code \gset
select is(automation.record_click(:'code', :browser), 'soon_after_delivery', 'a click within seconds is no person''s');
select automation.advance_clock('1 minute');
select is(automation.record_click(:'code', :browser, 'head'), 'head', 'nor is a request that says so');
select is(automation.record_click(:'code', ''), 'no_agent', 'nor one that does not say who asks');
select is(automation.record_click(:'code', 'facebookexternalhit/1.1 Facebot Twitterbot/1.0'), 'known_agent', 'nor the preview that a telephone draws');
select is(automation.record_click(:'code', 'WhatsApp/2.23.20.0'), 'known_agent', 'of whatever program');
select is((select array[m.clicked_at, l.clicked_at] from ridgeline.messages as m, automation.links as l where m.provider_id = 'SM1'), '{NULL,NULL}', 'none of them is a click');
select is(pg_temp.runs(:'on_click'), 0::bigint, 'and nothing starts');
select is(automation.record_click(:'code', :browser), 'clicked', 'then she follows it');
select automation.now() as first_click \gset
select automation.advance_clock('1 minute');
select is(automation.record_click(:'code', :browser), 'clicked', 'twice');
select automation.record_click(:'code', 'Twitterbot/1.0') \g /dev/null
select is((select array[m.clicked_at, l.clicked_at] from ridgeline.messages as m, automation.links as l where m.provider_id = 'SM1'),
  array[:'first_click', :'first_click']::timestamptz[], 'the first time counts, whatever comes after');
select is(pg_temp.runs(:'on_click'), 1::bigint, 'which is one event');
select is((select array[requests, machine_requests] from automation.links), '{8,6}', 'all of them are counted');
select is((select sum(clicked) from ridgeline.workflow_statistics where workflow_id = :'review' and step_key = 'text'), 1::numeric, 'one of them in the statistics');
select is((select contact_id from ridgeline.workflow_executions where workflow_id = :'on_click'), :'maria', 'and hers');

-- EVERY LINK AT ONCE
select pg_temp.sms('https://a.example/ or https://b.example/') as two \gset
select pg_temp.codes(pg_temp.sent(:'two', :'maria', 'SM2')) as codes \gset
select automation.advance_clock('1 hour');
select is(automation.record_click((:'codes'::text[])[1], :browser), 'clicked', 'a scanner looks like a browser');
select is(automation.record_click((:'codes'::text[])[2], :browser), 'every_link_at_once', 'until it follows the second link in the same second');
select is((select array[(select clicked_at::text from ridgeline.messages where provider_id = 'SM2'), (pg_temp.only_run(:'on_click')).status::text]), '{NULL,cancelled}', 'what the first began is taken back');
select automation.advance_clock('1 hour');
select automation.record_click((:'codes'::text[])[1], :browser) \g /dev/null
select is(pg_temp.runs(:'on_click'), 3::bigint, 'a person''s click later is the first');

-- One who is quick, and one who has clicked before a scanner comes.
select pg_temp.sms('https://a.example/ https://b.example/ https://c.example/ https://d.example/') as four \gset
select pg_temp.codes(pg_temp.sent(:'four', :'maria', 'SM4')) as codes \gset
select automation.advance_clock('1 hour');
select automation.now() as first_click \gset
select automation.record_click((:'codes'::text[])[1], :browser) \g /dev/null
select automation.advance_clock('5 seconds');
select is(automation.record_click((:'codes'::text[])[2], :browser), 'clicked', 'a person may follow two within seconds');
select automation.now() as second_click \gset
select automation.advance_clock('1 hour');
select automation.record_click((:'codes'::text[])[3], :browser) \g /dev/null
select is(automation.record_click((:'codes'::text[])[4], :browser), 'every_link_at_once', 'a scanner that comes later');
select is((select array_agg(clicked_at order by url) from automation.links where code = any (:'codes')), array[:'first_click', :'second_click', null, null]::timestamptz[],
  'has its own click taken back, and not hers');
select is((select clicked_at from ridgeline.messages where provider_id = 'SM4'), :'first_click'::timestamptz, 'nor the text''s');
select is((pg_temp.only_run(:'on_click')).status::text, 'pending', 'nor what it began');

-- A FLOOD
select automation.advance_clock('1 minute');
update automation.links set requests = 999 where code = (:'codes'::text[])[1];
select is(automation.record_click((:'codes'::text[])[1], :browser), 'clicked', 'the thousandth request is written down');
select is(automation.record_click((:'codes'::text[])[1], :browser), 'enough', 'and no more than that');
select is((select requests from automation.links where code = (:'codes'::text[])[1]), 1000, 'none');
select is(automation.find_link((:'codes'::text[])[1]), 'https://a.example/', 'though it leads where it leads');

-- What the provider took late was delivered late.
select pg_temp.text_to(:'review', :'maria') as step \gset
select automation.advance_clock('30 minutes');
select pg_temp.finish(:'step'::automation.claimed_step, 'succeeded', '{"result": {"provider_id": "SM5"}}') \g /dev/null
select automation.advance_clock('2 seconds');
select is(automation.record_click((pg_temp.codes((:'step'::automation.claimed_step).payload ->> 'body'))[1], :browser), 'soon_after_delivery',
  'its haste is measured from when the provider took the text');

-- A CLICK THAT IS QUICKER THAN THE DISPATCHER'S REPORT
select pg_temp.text_to(:'two', :'maria') as step \gset
select automation.advance_clock('30 seconds');
select pg_temp.codes((:'step'::automation.claimed_step).payload ->> 'body') as codes, automation.now() as first_click \gset
select is(automation.record_click((:'codes'::text[])[1], :browser), 'clicked', 'the text is there before the report of it');
select automation.advance_clock('10 seconds');
select automation.record_click((:'codes'::text[])[2], :browser) \g /dev/null
create temp table reported as select pg_temp.finish(:'step'::automation.claimed_step, 'succeeded', '{"result": {"provider_id": "SM3"}}');
select is((select clicked_at from ridgeline.messages where provider_id = 'SM3'), :'first_click'::timestamptz, 'and the first counts when it comes');

-- A WAIT FOR THE TEXT OF ONE STEP
select pg_temp.contact(:'apex', 'Nora', '+15125550177') as nora \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "Rate us: https://g.page/r", "purpose": "transactional", "track_links": true}},
  {"key": "map", "type": "send_sms", "config": {"body": "We are here: https://maps.example/r", "purpose": "transactional", "track_links": true}},
  {"key": "click", "type": "wait", "config": {"event": {"type": "sms_clicked", "config": {"step_key": "ask"}}, "timeout": "3 days"}, "on": {"event": [{"type": "stop"}], "timeout": [{"type": "create_task", "config": {"title": "Call her"}}]}}]') as asking \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "Or here: https://yelp.example/r", "purpose": "transactional", "track_links": true}},
  {"key": "click", "type": "wait", "config": {"event": "sms_clicked", "timeout": "3 days"}, "on": {"event": [{"type": "stop"}]}}]') as any_click \gset
select (ridgeline.execute_workflow(:'asking', jsonb_build_object('contact_id', :'nora'))).id as asking_run \gset
create temp table of_asking as select c.payload ->> 'body' as body, pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SMask"}}') from automation.claim_steps('w', 1) as c;
insert into of_asking select c.payload ->> 'body', pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SMmap"}}') from automation.claim_steps('w', 1) as c;
select pg_temp.sent(:'any_click', :'nora', 'SMother') as other_body \gset
select pg_temp.settle() \g /dev/null
select automation.advance_clock('1 hour');
select automation.record_click((pg_temp.codes(body))[1], :browser) from of_asking where body like 'We are%' \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select status::text from ridgeline.workflow_executions where id = :'asking_run'), 'waiting', 'a click on another text of the same run is not the one');
select is((pg_temp.only_run(:'any_click')).status::text, 'completed', 'where no step is named it is one, as ever');
select automation.record_click((pg_temp.codes(:'other_body'))[1], :browser) \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select status::text from ridgeline.workflow_executions where id = :'asking_run'), 'waiting', 'nor is one on the text of a step of that name in another workflow');
select automation.record_click((pg_temp.codes(body))[1], :browser) from of_asking where body like 'Rate%' \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select s.result_data ->> 'branch' from ridgeline.workflow_step_executions as s where s.execution_id = :'asking_run' and s.step_key = 'click'), 'event', 'the one on its own is');
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "https://g.page/r", "track_links": true}}, {"type": "wait", "config": {"event": {"type": "sms_clicked", "config": {"step_key": "asks"}}, "timeout": "3 days"}}]'),
  E'warning no_registered_sender steps[0]\nerror no_tracked_text steps[1].step_config.event.config.step_key', 'a step that there is not is refused');
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "https://g.page/r"}}, {"type": "wait", "config": {"event": {"type": "sms_clicked", "config": {"step_key": "ask"}}, "timeout": "3 days"}}]'),
  E'warning no_registered_sender steps[0]\nerror no_tracked_text steps[1].step_config.event.config.step_key', 'so is one whose links nobody tracks');
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "https://g.page/r", "track_links": true}}, {"type": "wait", "config": {"event": {"type": "sms_clicked", "config": {"step_key": "ask"}}, "timeout": "3 days"}}]'), 'warning no_registered_sender steps[0]', 'one that is tracked is fine');
delete from automation.links where contact_id = :'nora';

-- ENDS
select is((select count(*) from automation.links where contact_id is null), 0::bigint, 'each link is somebody''s');
select is(automation.prune_links(), 0, 'and none that is alive is forgotten');
select automation.advance_clock('14 months');
select is(automation.find_link(:'code'), null, 'after thirteen months a link has ended');
select is((select count(*) from automation.links) > 4 and automation.prune() > 4, true, 'and is forgotten');
select is((select count(*) from automation.links), 0::bigint, 'with all of its time');
select * from finish();
rollback;
