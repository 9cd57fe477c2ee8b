-- The same link for everybody, whatever they think (16 CFR 465.7): who is asked for a review may not depend on how
-- pleased they were.

-- Does a name say what somebody thinks of the work?
create or replace function automation.is_rating_name(name text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select name ~* ('(^|_)(ratings?|stars?|nps|csat|satisfaction|satisfied|sentiment|happy|happiness|'
      '(review|feedback|survey)_score)(_|$)')
  $$;

-- Does a document of conditions ask what somebody thinks? Of an answer to an earlier step, where a text asks for a
-- number.
create or replace function automation.asks_rating(compiled jsonb, asked_before boolean) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from jsonb_array_elements(compiled -> 'code') as c
      -- Whether somebody has answered at all is another question.
      where c ->> 'o' !~ 'empty|exist' and (
        exists (select from string_to_table(c ->> 'field', '.') as n (name) where automation.is_rating_name(n.name))
        or asked_before and c ->> 'field' like 'steps.%'))
  $$;

create or replace function automation.has_review_link(step jsonb) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select step ->> 'lane' in ('sms', 'email') and (step #> '{config,base}')::text ~* (
      '(review[a-z]*_?(link|url|page)|(link|url)_?(for_|to_)?review|g\.page|writereview|google\.[a-z.]+/[^"\s]*review|'
      'yelp\.[a-z]+|trustpilot\.|bbb\.org|https?://[^"\s]*reviews?\M)')
  $$;

create or replace function automation.steps_from(plan jsonb, first text) returns setof text
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive walk (key) as (
      select first where first is not null
      union
      select e.target from walk as w
      cross join lateral automation.step_exits(plan -> 'steps' -> w.key, null) as e (target)
      where e.target is not null and not exists (
        select from automation.step_types as t where t.name = plan #>> array['steps', w.key, 'type'] and t.ends_run)
    )
    select w.key from walk as w
  $$;

create or replace function automation.check_reviews(documents jsonb, plan jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  asking constant text[] := array(
    select s.key from jsonb_each(plan -> 'steps') as s where automation.has_review_link(s.value));
  asked_before boolean;
  at text;
begin
  -- Most workflows ask for no review.
  if cardinality(asking) = 0 then
    return '[]'::jsonb;
  end if;
  asked_before := exists (
    select from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' in ('sms', 'email')
      and (s.value #> '{config,base}')::text ~* '\m(rate|rating|stars|(1|one) ?(-|to) ?(5|five|10|ten))\M');
  select case
      when d ->> 'branch' = 'exit' then 'settings.exit_conditions'
      when d ->> 'step' is null then 'conditions'
      else automation.step_path(plan -> 'steps' -> (d ->> 'step')) end
    into at
  from jsonb_array_elements(documents) as d
  where automation.asks_rating(d -> 'compiled', asked_before)
    and (d ->> 'step' is null
      or d ->> 'branch' is null and d ->> 'step' = any (asking)
      or d ->> 'branch' is not null and (
        -- On one way they are asked, on another they are not.
        select bool_or(w.asks) and not bool_and(w.asks)
        from (
          select exists (select from automation.steps_from(plan, b.target) as f where f = any (asking)) as asks
          from (
            select coalesce(
                plan #>> array['steps', d ->> 'step', 'branches', n.name],
                plan #>> array['steps', d ->> 'step', 'next']) as target
            from (
              select c ->> 'name' as name from jsonb_array_elements(plan #> array['steps', d ->> 'step', 'cases']) as c
              union all
              select 'else'
            ) as n
          ) as b
        ) as w))
  order by 1
  limit 1;
  return case when at is null then '[]'::jsonb else jsonb_build_array(automation.problem(
    at, 'review_gating', 'whether somebody is asked for a review depends on how pleased they were, which is not '
      'allowed: everybody gets the same link',
    'Send the link on every way, and make a task besides where somebody was not pleased.', 'warning')) end;
end;
$$;

comment on function automation.check_reviews(jsonb, jsonb) is
  'A warning where only who is pleased is asked for a review.';
