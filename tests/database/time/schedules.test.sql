-- Scheduled workflows: what fires when the clock comes round, and what a stack that was down for a
-- day makes up for.
begin;
\ir ../foundation/story.psql
select plan(29);

select automation.set_clock('2026-03-02 12:00:00+00');
select pg_temp.tenant() as apex \gset
create function pg_temp.next_run(workflow uuid) returns text
  language sql
  as $$
    select to_char(s.next_run_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
    from ridgeline.workflow_schedules as s where s.workflow_id = next_run.workflow
  $$;
-- Where and as a transaction stands still, so does now(): the test moves the clock by hand.
create function pg_temp.at(moment timestamptz) returns jsonb
  language sql as $$ select automation.set_clock(moment); select automation.tick() $$;

-- Once a week.
select pg_temp.workflow(:'apex', 'scheduled', '{"cron": "0 9 * * MON"}') as weekly \gset
select is(pg_temp.next_run(:'weekly'), '2026-03-02 14:00', 'nine o''clock in the tenant''s zone');
select is(automation.tick() ->> 'scheduled', '0', 'before its time nothing runs');
select is(pg_temp.at('2026-03-02 14:00:01+00') ->> 'scheduled', '1', 'at nine it runs');
select is(automation.tick() ->> 'scheduled', '0', 'once');
select is(pg_temp.runs(:'weekly'), 1::bigint, 'for the tenant');
select is((pg_temp.only_run(:'weekly')).trigger_data -> 'scheduled_at', '"2026-03-02T14:00:00+00:00"',
  'it knows what time it was meant for');
select is((select status::text from pg_temp.only_run(:'weekly')), 'completed', 'and ran in the same tick');
select is(pg_temp.next_run(:'weekly'), '2026-03-09 13:00', 'next Monday is on summer time, nine all the same');

-- Publishing again.
update ridgeline.workflows set name = 'Weekly' where id = :'weekly';
select pg_temp.at('2026-03-08 00:00:00+00');
select ridgeline.publish_workflow(:'weekly');
select is(pg_temp.next_run(:'weekly'), '2026-03-09 13:00', 'publishing again leaves the schedule alone');
update ridgeline.workflows set trigger_config = '{"cron": "30 2 8 3 *"}' where id = :'weekly';
select ridgeline.publish_workflow(:'weekly');
select is(pg_temp.next_run(:'weekly'), '2026-03-08 07:00',
  'half past two does not exist this night: the first moment after it');
select pg_temp.at('2026-03-08 07:00:01+00');
select is(pg_temp.next_run(:'weekly'), '2027-03-08 07:30', 'and that was it for the year');
update ridgeline.workflows set is_active = false where id = :'weekly';
select is(pg_temp.next_run(:'weekly'), null, 'a workflow that is switched off has no schedule');
select is(pg_temp.at('2028-04-01 00:00:00+00') ->> 'scheduled', '0', 'and never runs');

-- The night the clocks go back.
select pg_temp.at('2026-11-01 04:00:00+00');
select pg_temp.workflow(:'apex', 'scheduled', '{"cron": "30 1 * * *"}') as nightly \gset
select pg_temp.at(t) from generate_series('2026-11-01 04:10:00+00'::timestamptz, '2026-11-01 09:00:00+00', '10 minutes') as t;
select is(pg_temp.runs(:'nightly'), 1::bigint, 'half past one comes twice and fires once');
update ridgeline.workflows set is_active = false where id = :'nightly';

-- A day without a tick.
select pg_temp.at('2026-06-01 12:00:00+00');
create temp table down as
select m as missed, pg_temp.workflow(:'apex', 'scheduled', jsonb_build_object('cron', '0 * * * *', 'missed', m)) as workflow
from unnest('{once,skip,catch_up}'::text[]) as m;
select pg_temp.at('2026-06-01 13:00:10+00');
select is((select array_agg(pg_temp.runs(workflow)) from down), '{1,1,1}', 'all run on the hour');
select pg_temp.at('2026-06-02 13:30:00+00');
select is((select pg_temp.runs(workflow) from down where missed = 'once'), 2::bigint, 'a day later: once makes up for it once');
select is((select pg_temp.runs(workflow) from down where missed = 'skip'), 1::bigint, 'skip leaves the day out');
select is((select pg_temp.runs(workflow) from down where missed = 'catch_up'), 21::bigint, 'catch_up begins with twenty');
select automation.tick();
select is((select pg_temp.runs(workflow) from down where missed = 'catch_up'), 25::bigint, 'and has run each of them by the next tick');
select is((select array_agg(distinct pg_temp.next_run(workflow)) from down), '{2026-06-02 14:00}', 'then all wait for the next hour');
select pg_temp.at('2026-06-02 14:02:00+00');
select is((select array_agg(pg_temp.runs(workflow)) from down), '{3,2,26}', 'two minutes late is not missed');
select pg_temp.at('2026-08-01 14:02:00+00');
select pg_temp.at('2026-08-01 14:02:00+00') from generate_series(1, 20);
select is((select pg_temp.runs(workflow) from down where missed = 'catch_up'), (26 + 7 * 24 + 0)::bigint,
  'two months later catch_up goes back a week and no further');
update ridgeline.workflows set is_active = false;

-- Every so often.
select pg_temp.at('2026-03-07 15:00:00+00');
select pg_temp.workflow(:'apex', 'scheduled', '{"every": "1 day"}') as daily \gset
select pg_temp.workflow(:'apex', 'scheduled', '{"every": "90 minutes"}') as often \gset
select is(array[pg_temp.next_run(:'daily'), pg_temp.next_run(:'often')], '{2026-03-08 14:00,2026-03-07 16:30}',
  'a day later is the same time of day; ninety minutes are ninety minutes');
select pg_temp.at('2026-03-07 20:00:00+00');
select is(pg_temp.next_run(:'often'), '2026-03-07 21:00', 'late or not, it keeps to its beat');
update ridgeline.workflows set is_active = false;

-- Once for each record.
insert into public.contacts (tenant_id, first_name, lead_score)
select :'apex', 'Lead ' || n, n from generate_series(1, 25) as n;
select pg_temp.workflow(:'apex', 'scheduled', '{"cron": "0 9 * * *", "zone": "UTC", "for_each":
  {"entity": "contact", "conditions": [{"field": "contact.lead_score", "operator": "greater_than", "value": 20}]}}') as each \gset
select pg_temp.at('2026-03-08 09:00:01+00');
select is(pg_temp.runs(:'each'), 5::bigint, 'a schedule for each record that meets the conditions');
select is((select array_agg(distinct trigger_data ->> 'scheduled_at') from ridgeline.workflow_executions where workflow_id = :'each'
  and entity = 'contact' and contact_id is not null and trigger_data #>> '{contact,first_name}' like 'Lead 2%'),
  '{2026-03-08T09:00:00+00:00}', 'with the record and the time it was meant for');
select is((select array[status, scanned::text, enrolled::text, skipped::text] from ridgeline.bulk_enrollments),
  '{completed,25,5,20}', 'and a row that tells what was done');

-- What cannot be published names its field.
select is(left(pg_temp.error_of(format('select pg_temp.workflow(%L, ''scheduled'', %L)', :'apex', config)), 300), null, config)
from (select '{"cron": "0 9 * * MON"}'::text as config) as valid;
select is((select string_agg(substring(pg_temp.error_of(format('select pg_temp.workflow(%L, ''scheduled'', %L)', :'apex', config))
  from 'trigger_config[.a-z_]*'), ' ' order by place)
from unnest(array['{}', '{"cron": "0 25 * * *"}', '{"every": "soon"}', '{"cron": "0 0 30 2 *"}', '{"cron": "@daily", "zone": "Mars"}',
  '{"cron": "@daily", "missed": "never"}', '{"cron": "@daily", "for_each": {"entity": "roof"}}', '{"cron": "@daily", "when": 1}'])
  with ordinality as c (config, place)),
  'trigger_config.cron trigger_config.cron trigger_config.every trigger_config.cron trigger_config.zone '
  'trigger_config.missed trigger_config.for_each.entity trigger_config.when', 'errors name their field');

select * from finish();
rollback;
