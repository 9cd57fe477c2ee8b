-- Whose clock, and which days: the contact's own zone, and days on which somebody is in the office.
begin;
\ir ../foundation/story.psql
select plan(27);

select automation.set_clock('2026-03-02 12:00:00+00');
select pg_temp.tenant() as apex \gset
create function pg_temp.due(record text) returns text
  language sql
  as $$
    select string_agg(to_char(t.due_at at time zone 'UTC', 'MM-DD HH24:MI'), ', ' order by t.due_at)
    from ridgeline.workflow_timers as t where t.record_id = due.record
  $$;
create function pg_temp.at(moment timestamptz) returns text
  language sql as $$ select automation.set_clock(moment); select automation.tick() ->> 'timers' $$;
create function pg_temp.person(tenant uuid, zone text) returns uuid
  language sql
  as $$ insert into public.contacts (tenant_id, first_name, timezone) values (tenant, 'Maria', zone) returning id $$;
create function pg_temp.visit(tenant uuid, contact uuid, at timestamptz) returns uuid
  language sql
  as $$
    insert into public.projects (tenant_id, name, contact_id, appointment_at)
    values (tenant, 'Roof', contact, visit.at) returning id
  $$;

-- The contact's zone; the office is in New York.
select pg_temp.workflow(:'apex', 'time_elapsed', '{"offset": "1 day", "at": "09:00", "zone": "contact"}') as welcome \gset
select pg_temp.person(:'apex', null) as near \gset
select pg_temp.person(:'apex', 'America/Los_Angeles') as far \gset
select pg_temp.person(:'apex', 'Middle Earth') as elsewhere \gset
select is(pg_temp.due(:'near'), '03-03 14:00', 'a contact without a zone is where the office is');
select is(pg_temp.due(:'far'), '03-03 17:00', 'one in California gets up three hours later');
select is(pg_temp.due(:'elsewhere'), '03-03 14:00', 'a zone there is none of counts as none');
update public.contacts set first_name = 'Mary' where id = :'far';
select is(pg_temp.due(:'far'), '03-03 17:00', 'another field moves nothing');
update public.contacts set timezone = 'America/Chicago' where id = :'far';
select is(pg_temp.due(:'far'), '03-03 15:00', 'who moves, moves the timer');
select is(pg_temp.at('2026-03-03 14:00:01+00'), '2', 'at nine in the east it is not nine for everybody');
select is(pg_temp.at('2026-03-03 15:00:01+00'), '1', 'in Chicago it is an hour later');

-- An appointment's zone is that of its customer; Phoenix does not change its clocks.
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "project", "field": "appointment_at", "offset": "-1 day", "zone": "contact"}') as reminder \gset
select pg_temp.person(:'apex', 'America/Phoenix') as phoenix \gset
select pg_temp.visit(:'apex', :'phoenix', '2026-03-08 20:00:00+00') as desert \gset
select pg_temp.visit(:'apex', :'near', '2026-03-08 20:00:00+00') as coast \gset
select is(pg_temp.due(:'desert'), '03-07 20:00', 'a day before, where clocks do not change');
select is(pg_temp.due(:'coast'), '03-07 21:00', 'and where they do');
update public.projects set contact_id = :'phoenix' where id = :'coast';
select is(pg_temp.due(:'coast'), '03-07 20:00', 'another customer is another zone');
insert into public.projects (tenant_id, name, appointment_at) values (:'apex', 'Nobody''s', '2026-03-08 20:00:00+00')
  returning id as nobodys \gset
select is(pg_temp.due(:'nobodys'), '03-07 21:00', 'an appointment without a customer goes by the office');
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "job", "field": "completed_at", "offset": "1 day", "at": "10:00", "zone": "contact"}') as review \gset
insert into public.jobs (tenant_id, project_id, completed_at) values (:'apex', :'desert', automation.now())
  returning id as job \gset
select is(pg_temp.due(:'job'), '03-04 17:00', 'a job knows its customer through its project');
update public.contacts set timezone = 'Pacific/Honolulu' where id = :'phoenix';
select is(pg_temp.at('2026-03-04 17:00:01+00'), '0', 'whose customer has moved meanwhile');
select is(pg_temp.due(:'job'), '03-04 20:00', 'it waits for ten o''clock there');
update ridgeline.workflows set is_active = false;

-- Business days. Friday the sixth of March, three in the afternoon in New York.
select automation.set_clock('2026-03-06 20:00:00+00');
update public.tenants set settings = '{"holidays": ["2026-03-10", "Easter", 7, null, {"on": "2026-03-11"}]}' where id = :'apex';
select pg_temp.workflow(:'apex', 'time_elapsed', '{"offset": "1 business day"}') as next_day \gset
select pg_temp.person(:'apex', null) as friday \gset
select is(pg_temp.due(:'friday'), '03-09 19:00', 'the business day after Friday is Monday, at the same time, an hour of clocks later');
update public.contacts set created_at = '2026-03-07 15:00:00+00' where id = :'friday';
select is(pg_temp.due(:'friday'), '03-09 14:00', 'after Saturday too');
update public.contacts set created_at = '2026-03-09 14:00:00+00' where id = :'friday';
select is(pg_temp.due(:'friday'), '03-11 14:00', 'after Monday it is Wednesday, when Tuesday is a holiday');
update ridgeline.workflows set is_active = false where id = :'next_day';
select pg_temp.workflow(:'apex', 'time_elapsed', '{"business_days": 10, "at": "08:30"}') as fortnight \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"offset": {"business_days": 10}, "at": "09:30", "existing": false}') as later \gset
select pg_temp.person(:'apex', null) as patient \gset
select is(pg_temp.due(:'patient'), '03-23 12:30, 03-23 13:30', 'ten are two weeks and the holiday; written as a number too');
update ridgeline.workflows set is_active = false;
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "project", "field": "appointment_at", "offset": "-2 business days", "at": "10:00"}') as prepare \gset
select pg_temp.visit(:'apex', :'near', '2026-03-16 13:00:00+00') as monday \gset
select is(pg_temp.due(:'monday'), '03-12 14:00', 'two before Monday is Thursday');
update public.tenants set settings = '{"holidays": ["2026-03-13"]}' where id = :'apex';
update public.projects set appointment_at = '2026-03-16 13:30:00+00' where id = :'monday';
select is(pg_temp.due(:'monday'), '03-11 14:00', 'or Wednesday, when nobody works on Friday');
update public.tenants set settings = '{}' where id = :'apex';
select is(pg_temp.at('2026-03-11 14:00:01+00'), '0', 'when they do after all');
select is(pg_temp.due(:'monday'), '03-12 14:00', 'it is Thursday again');
select pg_temp.at('2026-03-17 12:00:00+00');
select is(pg_temp.runs(:'prepare'), 0::bigint, 'preparing for what is over helps nobody');
update public.tenants set settings = '{"holidays": "all of them"}' where id = :'apex';
select lives_ok(format('select pg_temp.visit(%L, %L, ''2026-03-30 13:00:00+00'')', :'apex', :'near'),
  'holidays that are no list hold up no write');

-- A date without a time is midnight, and stays it.
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "custom_fields.signed_on", "offset": "3 business days"}') as cooling \gset
insert into public.projects (tenant_id, name, custom_fields) values (:'apex', 'Signed', '{"signed_on": "2026-10-30"}')
  returning id as signed \gset
select is(pg_temp.due(:'signed'), '11-04 05:00', 'three business days after a date, over the end of summer time');

-- What cannot be published names its field.
select is((select string_agg(coalesce(substring(pg_temp.error_of(format('select pg_temp.workflow(%L, ''time_elapsed'', %L)', :'apex', config))
  from 'trigger_config[.a-z_]*'), 'fine'), ' ' order by place)
from unnest(array['{"offset": "0 business days"}', '{"offset": "367 business days"}', '{"offset": "ten business days"}',
  '{"offset": {"business_days": 1, "hours": 2}}', '{"offset": {"business_days": 1.5}}', '{"offset": "-1 business day", "changed": "stage"}',
  '{"offset": "1 day", "zone": "customer"}'])
  with ordinality as c (config, place)),
  'trigger_config.offset trigger_config.offset trigger_config.offset trigger_config.offset trigger_config.offset '
  'trigger_config.offset trigger_config.zone', 'errors name their field');
create table public.vans (tenant_id uuid, id integer primary key, inspected_on date);
select automation.attach('public.vans', 'van');
select matches(pg_temp.error_of(format('select pg_temp.workflow(%L, ''time_elapsed'', %L)', :'apex',
  '{"entity": "van", "field": "inspected_on", "offset": "1 year", "zone": "contact"}')), 'trigger_config.zone: van belongs to no contact',
  'a van has no contact to have a zone');

select * from finish();
rollback;
