begin;
select plan(14);

-- A contact whose score was never filled in is neither below nor above anything.
create function pg_temp.holds(condition jsonb, contact jsonb) returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions(condition, 'conditions')).compiled,
      jsonb_build_object('contact', contact))
  $$;
create function pg_temp.score(operator text, contact jsonb, value jsonb default '0')
  returns boolean
  language sql
  as $$
    select pg_temp.holds(
      jsonb_build_object('field', 'contact.lead_score', 'operator', operator, 'value', value),
      contact)
  $$;

select ok(not pg_temp.score('equals', '{"lead_score": null}'), 'null does not equal 0');
select ok(not pg_temp.score('equals', '{}'), 'a missing score does not equal 0');
select ok(not pg_temp.score('equals', '{"lead_score": null}', '""'), 'null does not equal ""');
select ok(not pg_temp.score('less_than', '{"lead_score": null}', '10'), 'null is not below 10');
select ok(not pg_temp.score('greater_or_equal', '{"lead_score": null}'), 'null is not 0 or above');
select ok(not pg_temp.score('less_or_equal', '{}'), 'a missing score is not 0 or below');
select ok(not pg_temp.score('is_false', '{"lead_score": null}'), 'null is not false');
select ok(pg_temp.score('is_false', '{"lead_score": 0}'), '0 is false');
select ok(pg_temp.score('is_false', '{"lead_score": "No"}'), '"No" is false');
select ok(pg_temp.score('is_true', '{"lead_score": "yes"}'), '"yes" is true');
select ok(not pg_temp.score('is_empty', '{"lead_score": 0}'), '0 is not empty');
select ok(not pg_temp.score('is_empty', '{"lead_score": false}'), 'false is not empty');
select ok(pg_temp.score('is_empty', '{"lead_score": " \n"}'), 'blanks alone are empty');
select ok(not pg_temp.score('greater_than', '{"lead_score": "N/A"}', '100'),
  'text is neither above nor below a number');

select * from finish();
rollback;
