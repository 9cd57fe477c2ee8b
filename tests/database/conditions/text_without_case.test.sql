begin;
select plan(10);

create function pg_temp.holds(operator text, value jsonb, actual text, more jsonb default '{}')
  returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions(jsonb_build_object(
        'field', 'contact.city', 'operator', operator, 'value', value) || more, 'conditions')).compiled,
      jsonb_build_object('contact', jsonb_build_object('city', actual)))
  $$;

select ok(pg_temp.holds('equals', '"ÉVREUX"', 'évreux'), 'accents fold, whatever the locale');
select ok(pg_temp.holds('equals', '"МОСКВА"', 'Москва'), 'and so does Cyrillic');
select ok(not pg_temp.holds('equals', '"Evreux"', 'Évreux'), 'an accent is not left out');
select ok(pg_temp.holds('in', '["paris", "łódź"]', 'ŁÓDŹ'), 'in lists too');
select ok(pg_temp.holds('matches', '"^łó"', 'ŁÓDŹ'), 'in patterns too');
select ok(pg_temp.holds('contains', '"ÓD"', 'łódź'), 'and within a text');
select ok(not pg_temp.holds('equals', '"lodi"', 'Lodi', '{"case_sensitive": true}'),
  'case counts when asked');
select ok(pg_temp.holds('equals', '"Lodi"', 'Lodi', '{"case_sensitive": true}'),
  'and then the same text is equal');
select ok(not pg_temp.holds('matches', '"^lo"', 'Lodi', '{"case_sensitive": true}'),
  'in patterns too');
select ok(pg_temp.holds('contains', '"%"', '100%') and not pg_temp.holds('contains', '"%"', '100'),
  'a percent sign is a percent sign');

select * from finish();
rollback;
