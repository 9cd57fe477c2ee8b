begin;
select plan(16);

create function pg_temp.holds(
  operator text, value jsonb, due text, zone text, at timestamptz default '2026-03-10T12:00:00Z'
) returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions(jsonb_build_object(
        'field', 'job.due', 'operator', operator, 'value', value), 'conditions')).compiled,
      jsonb_build_object('job', jsonb_build_object('due', due)), zone, at)
  $$;

select ok(pg_temp.holds('equals', '"2026-03-07"', '2026-03-08T03:00:00Z', 'America/New_York'),
  'late in the evening in New York is still the same day');
select ok(not pg_temp.holds('equals', '"2026-03-07"', '2026-03-08T03:00:00Z', 'UTC'),
  'and the next day in UTC');
select ok(pg_temp.holds('before', '"2026-03-08"', '2026-03-08T04:59:59Z', 'America/New_York'),
  'a second before midnight is before the day');
select ok(not pg_temp.holds('before', '"2026-03-08"', '2026-03-08T05:00:00Z', 'America/New_York'),
  'midnight is not');
select ok(pg_temp.holds('less_or_equal', '"2026-03-08"', '2026-03-09T03:59:59Z', 'America/New_York'),
  'up to and including a day means the whole day');
select ok(not pg_temp.holds('after', '"2026-03-08"', '2026-03-09T03:59:59Z', 'America/New_York'),
  'after a day means after its end');
select ok(pg_temp.holds('equals', '"2026-03-08T15:00:00Z"', '2026-03-08 11:00', 'America/New_York'),
  'a timestamp without an offset is read in the zone');
select ok(pg_temp.holds('before', '"now"', '2026-03-10T11:59:59Z', 'UTC'), 'now is an instant');
select ok(pg_temp.holds('before', '"tomorrow"', '2026-03-10', 'Asia/Tokyo', '2026-03-09T16:00:00Z'),
  'tomorrow is the zone''s tomorrow');

-- The night of March 8 has 23 hours in New York.
select ok(pg_temp.holds('within_last', '"1 day"', '2026-03-07T17:00:00Z', 'America/New_York',
  '2026-03-08T16:00:00Z'), 'a day ago is the same time yesterday, 23 hours before');
select ok(not pg_temp.holds('within_last', '"1 day"', '2026-03-07T16:59:59Z', 'America/New_York',
  '2026-03-08T16:00:00Z'), 'and not a second earlier');
select ok(pg_temp.holds('within_last', '"24 hours"', '2026-03-07T16:00:00Z', 'America/New_York',
  '2026-03-08T16:00:00Z'), '24 hours are 24 hours');
select ok(pg_temp.holds('within_next', '{"months": 1}', '2026-02-28', 'UTC', '2026-01-31T12:00:00Z'),
  'a month from the end of January ends in February');

select ok(not pg_temp.holds('before', '"2027-01-01"', '2026-02-30', 'UTC'),
  'a day that does not exist is no date');
select ok(not pg_temp.holds('within_last', '"100 years"', 'infinity', 'UTC'), 'infinity is no date');
select ok(pg_temp.holds('equals', '"2026-03-08"', '2026-03-08T03:00:00Z', 'Mars/Olympus'),
  'an unknown zone is read as UTC');

select * from finish();
rollback;
