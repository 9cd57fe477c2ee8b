-- Recipes become drafts once the office has answered, and nothing becomes of an answer but what was asked for.
begin;
\ir ../foundation/story.psql
select plan(45);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
update public.tenants set address = '1 Main St, Austin TX 78701';
select pg_temp.member(:'apex', 'owner') as olivia \gset
select pg_temp.member(:'blue', 'owner') as bella \gset
insert into ridgeline.forms (tenant_id, name) values (:'apex', 'Estimate'), (:'blue', 'Solar');
insert into ridgeline.senders (tenant_id, channel, provider, kind, address) values (:'apex', 'sms', 'twilio', 'number', '+15125550901'), (:'blue', 'sms', 'twilio', 'number', '+15125550902');
-- A recipe with one question, and what becomes of an answer.
create function pg_temp.asked(question jsonb, body text default '[[x]]') returns jsonb
  language sql
  as $$ select jsonb_build_object('name', 'R', 'questions', jsonb_build_array('{"name": "x", "ask": "What?"}' || question), 'workflows', jsonb_build_array(jsonb_build_object('name', 'W', 'trigger_type', 'manual', 'steps', jsonb_build_array(jsonb_build_object('step_type', 'create_task', 'step_config', jsonb_build_object('title', body)))))) $$;
create function pg_temp.install(recipe jsonb, answers jsonb default '{}', tenant text default 'Apex Roofing') returns jsonb
  language sql
  as $$ select ridgeline.install_recipe(recipe, answers, (select id from public.tenants where name = tenant)) $$;
create function pg_temp.installed(recipe jsonb, answers jsonb default '{}') returns jsonb
  language plpgsql
  as $$
declare
  written constant jsonb := pg_temp.install(recipe, answers);
begin
  return ridgeline.get_definition((written #>> '{workflows,0,workflow_id}')::uuid) -> 'definition';
end;
$$;
create function pg_temp.refused(recipe jsonb, answers jsonb default '{}', tenant text default 'Apex Roofing') returns text
  language plpgsql
  as $$
declare
  detail text;
begin
  perform pg_temp.install(recipe, answers, tenant);
  return null;
exception when others then
  get stacked diagnostics detail = pg_exception_detail;
  return coalesce((select string_agg(concat_ws(' ', p ->> 'code', p ->> 'path'), ', ') from jsonb_array_elements(nullif(detail, '')::jsonb) as p where p ->> 'severity' = 'error'), sqlstate || ' ' || sqlerrm);
end;
$$;

-- LISTED
select is((select count(*) from ridgeline.recipes), 10::bigint, 'ten recipes come along');
select pg_temp.sign_in(:'olivia');
select is((select array_agg(name) from ridgeline.recipes where recipe #>> '{workflows,0,trigger_type}' = 'job_completed'), '{review-request,referral}', 'a member reads them');
select pg_temp.sign_out();
select pg_temp.act_as('anon');
select alike(pg_temp.error_of('select * from ridgeline.recipes'), '42501 %', 'a stranger does not');
select pg_temp.sign_out();

-- ANSWERED
select pg_temp.sign_in(:'olivia');
select is(pg_temp.installed('"review-request"', '{"review_url": "https://g.page/r/apex"}') ->> 'name', 'Review request', 'a recipe is installed by its name');
select is((select array_agg(w.status || w.is_active) from ridgeline.workflows as w), '{draftfalse}', 'as a draft');
select is((select w.metadata #>> '{recipe,answers,review_url}' from ridgeline.workflows as w), 'https://g.page/r/apex', 'that knows what was answered');
select is(pg_temp.refused('"review-request"'), 'missing answers.review_url', 'what has no default is asked for');
select is(pg_temp.refused('"review-request"', '{"review_url": "g.page", "balanse": "x", "send_at": "25:00"}'), 'unknown_key answers.balanse, invalid_value answers.review_url, invalid_value answers.send_at', 'every answer that cannot be is named at once');
select is(pg_temp.error_of($$select ridgeline.install_recipe('"no-such-recipe"')$$) like 'PT404 recipe: there is no recipe "no-such-recipe" | There are: speed-to-lead,%', true, 'a name that is no recipe''s');
select is(pg_temp.installed(pg_temp.asked('{"type": "number", "default": 5}', 'In [[x]] days, [[y]]')) #>> '{steps,0,step_config,title}', 'In 5 days, [[y]]', 'a default stands in, and what nobody asked stays');
select is(pg_temp.installed(pg_temp.asked('{"type": "text", "optional": true, "default": null}', 'Call[[x]]')) #>> '{steps,0,step_config,title}', 'Call', 'a text that may be left out is nothing');

-- WHAT AN ANSWER CAN DO
select is(pg_temp.refused(pg_temp.asked('{"type": "text"}'), jsonb_build_object('x', v)), 'invalid_value answers.x', 'no answer is a template: ' || v)
from (values ('{{contact.email}}'), ('{'), ('}'), (E'\\'), (E'two\nlines'), (' ')) as t (v);
select is(pg_temp.installed(pg_temp.asked('{"type": "text"}', 'Say [[x]]'), '{"x": "\"[[x]]\" ''; drop table tenants; --"}') #>> '{steps,0,step_config,title}', 'Say "[[x]]" ''; drop table tenants; --', 'an answer is not answered again, and quotes are quotes');
select pg_temp.sign_out();
select is((automation.fill_in('{"html": "<p>[[x]]</p>", "text": "[[x]]"}', '{"x": "<b>Tom & Jerry</b>"}')), '{"html": "<p>&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;</p>", "text": "<b>Tom & Jerry</b>"}', 'in HTML it is escaped');
select is(automation.fill_in('{"a": "[[x]]", "b": ["[[x]]", 1], "c": "[[f.entity]]/[[f.field]]", "d": "{{[[f]] | upper}}"}', '{"x": null, "f": "job.name"}'), '{"b": [1], "c": "job/name", "d": "{{job.name | upper}}"}', 'an optional one that is left out takes its key along; a field has parts');
select pg_temp.sign_in(:'olivia');
select is(pg_temp.refused(pg_temp.asked('{"type": "field"}'), jsonb_build_object('x', v)), 'invalid_value answers.x', 'no field: ' || v)
from (values ('contact'), ('contact.a}}{{tenant.name'), ('nothing.there')) as t (v);
select is(pg_temp.refused(pg_temp.asked('{"type": "choice", "options": ["a", "b"]}'), '{"x": "c"}'), 'invalid_value answers.x', 'no choice that was not given');
select is(pg_temp.refused(pg_temp.asked('{"type": "number", "minimum": 1}'), '{"x": 0}'), 'invalid_value answers.x', 'no number below what is possible');
select is(pg_temp.refused(pg_temp.asked('{"type": "value"}'), '{"x": {"field": "contact.email"}}'), 'invalid_value answers.x', 'a value is no object');

select is(pg_temp.installed(pg_temp.asked('{"type": "text", "default": "Call", "own": null, "optional": null}')) #>> '{steps,0,step_config,title}', 'Call', 'own and optional may be null');

-- ANOTHER TENANT'S
select is(pg_temp.refused(pg_temp.asked('{"type": "member"}'), jsonb_build_object('x', :'bella')), 'invalid_value answers.x', 'another office''s member is nobody here');
select is(pg_temp.refused(pg_temp.asked('{"type": "sender", "channel": "sms"}'), '{"x": "+15125550902"}'), 'invalid_value answers.x', 'nor is its number a sender');
select is(pg_temp.refused(pg_temp.asked('{"type": "form"}'), '{"x": "Solar"}'), 'invalid_value answers.x', 'nor its form one');
select is(pg_temp.refused(pg_temp.asked('{"type": "member"}'), jsonb_build_object('x', :'olivia')), null, 'one''s own are');
select alike(pg_temp.error_of(format('select ridgeline.install_recipe(%L, ''{}'', %L)', pg_temp.asked('{"type": "text", "default": "a"}'), :'blue')), 'PT404 tenant_id: %', 'nobody installs at another office');
select pg_temp.sign_out();

-- HOSTILE DOCUMENTS
select is(pg_temp.refused('{"name": "R", "workflows": [{"name": "W", "trigger_type": "manual", "steps": [{"step_type": "drop_table"}]}]}'), 'unknown_step_type steps[0].step_type', 'a step that there is not');
select is(pg_temp.refused('{"name": "R", "workflows": [{"name": "W", "trigger_type": "manual", "is_active": true, "tenant_id": "x", "steps": []}]}'), 'unknown_key is_active, unknown_key tenant_id', 'a key that decides more than a draft may');
select is(pg_temp.refused('{"name": "R", "__proto__": 1, "workflows": "all", "questions": {}}'), 'unknown_key __proto__, wrong_type questions, wrong_type workflows', 'keys that are none, and parts of another type');
select is(pg_temp.refused('{"name": "R", "workflows": [], "questions": []}'), 'out_of_range workflows', 'nothing at all');
select is(pg_temp.refused('{"name": "R", "workflows": [{}], "questions": [{"name": "a\"b", "ask": "?", "type": "eval"}]}'), 'invalid_value questions[0].name, unknown_value questions[0].type', 'questions that cannot be asked');
select alike(pg_temp.refused(jsonb_build_object('name', repeat(md5(random()::text), 40000), 'workflows', jsonb_build_array(1))), 'PT413 recipe: %', 'more than a megabyte');
select alike(pg_temp.refused(pg_temp.asked('{"type": "list"}', repeat('[[x]]', 1000)), jsonb_build_object('x', (select jsonb_agg(repeat('a', 500)) from generate_series(1, 100)))), 'PT413 recipe: %', 'an answer of 50 kB a thousand times in one text');
select alike(pg_temp.refused(jsonb_build_object('name', 'R', 'questions', '[{"name": "x", "ask": "?", "type": "list"}]'::jsonb, 'workflows', jsonb_build_array((select jsonb_agg('[[x]]'::text) from generate_series(1, 1000)))), jsonb_build_object('x', (select jsonb_agg(repeat('a', 500)) from generate_series(1, 100)))), 'PT413 recipe: %', 'or in a thousand places');
select alike(pg_temp.refused(('{"name": "R", "workflows": ' || repeat('[', 1500) || repeat(']', 1500) || '}')::jsonb), '22023 recipe: it is nested%', 'nested without end');
select is(pg_temp.refused('{"name": "R", "needs": {"entities": ["spaceship"]}, "workflows": [{"name": "W", "trigger_type": "manual", "steps": []}]}'), 'unknown_entity needs.entities', 'what it needs and is not there');
select is((select count(*) from ridgeline.workflows where name = 'W' and tenant_id = :'blue'), 0::bigint, 'of all that was refused nothing is there');
select is(pg_temp.refused('{"name": "R", "workflows": [{"name": "Good", "trigger_type": "manual", "steps": [{"step_type": "create_task", "step_config": {"title": "Call"}}]}, {"name": "Bad", "trigger_type": "manual", "steps": [{"step_type": "create_task"}]}]}'), 'missing workflows[1].steps[0].step_config.title', 'of two workflows one is wrong');
select is((select count(*) from ridgeline.workflows where name = 'Good'), 0::bigint, 'and neither is written');
select * from finish();
rollback;
