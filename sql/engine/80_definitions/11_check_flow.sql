-- Steps that no run reaches, and steps that cannot do what they say for want of a record, a
-- recipient or a date.

-- Where a step can lead to. verdicts: what is certain of conditions; null: whatever they say, and
-- past a stop.
create or replace function automation.step_exits(step jsonb, verdicts jsonb) returns setof text
  language sql stable
  -- No search_path of its own, so that Postgres writes it into the query that asks.
  as $$
    with own as (
      select coalesce(verdicts ->> (step ->> 'key'), case
        when verdicts is null or jsonb_typeof(step -> 'conditions') = 'object' then 'sometimes'
        else 'always' end) as runs
    ), cases as (
      select c.value ->> 'name' as name, c.position, case
          when jsonb_typeof(c.value -> 'conditions') = 'object'
          then verdicts ->> concat_ws('/', step ->> 'key', c.value ->> 'name')
          when verdicts is not null then 'always' end as verdict
      from jsonb_array_elements(case jsonb_typeof(step -> 'cases')
        when 'array' then step -> 'cases' else '[]' end) with ordinality as c (value, position)
    ), branches as (
      select b.key as name, coalesce(b.value, step ->> 'next') as target
      from jsonb_each_text(case jsonb_typeof(step -> 'branches')
        when 'object' then step -> 'branches' else '{}' end) as b
      where not exists (
        select from cases as c
        where c.name = b.key and c.verdict = 'never'
          or c.verdict = 'always' and (
            b.key = 'else' or c.position < (select d.position from cases as d where d.name = b.key)))
    )
    select b.target from branches as b, own as o
    where o.runs <> 'never' and b.target is not null
    union
    select step ->> 'next' from own as o
    where step ->> 'next' is not null
      and (o.runs <> 'always'
        or not coalesce(step -> 'branches' <> '{}', false) and not exists (
          select from automation.step_types as t where t.name = step ->> 'type' and t.ends_run)
        or step ? 'cases' and not step -> 'branches' ? 'else'
          and not exists (select from cases as c where c.verdict = 'always'))
  $$;

comment on function automation.step_exits(jsonb, jsonb) is
  'The keys of the steps that can come right after this one.';

-- Steps lead only to steps that are written after them: one pass in that order finds all.
create or replace function automation.reachable_steps(plan jsonb, verdicts jsonb) returns setof text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  keys constant text[] := array(
    select s.key from jsonb_each(plan -> 'steps') as s order by (s.value ->> 'place')::integer[]);
  numbers constant jsonb := (
    select coalesce(jsonb_object_agg(k.key, k.number), '{}') from unnest(keys) with ordinality as k (key, number));
  reached boolean[] := array_fill(false, array[cardinality(keys)]);
  way record;
begin
  if plan ->> 'first' is null then
    return;
  end if;
  reached[(numbers ->> (plan ->> 'first'))::integer] := true;
  for way in
    select (numbers ->> s.key)::integer as number, (numbers ->> e.target)::integer as target
    from jsonb_each(plan -> 'steps') as s
    cross join lateral automation.step_exits(s.value, verdicts) as e (target)
    where numbers ? e.target
    order by 1
  loop
    if reached[way.number] then
      reached[way.target] := true;
    end if;
  end loop;
  return query select keys[n] from generate_series(1, cardinality(keys)) as n where reached[n];
end;
$$;

-- Of what is not reached, only where it begins.
create or replace function automation.check_flow(plan jsonb, verdicts jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with reached as materialized (
      select r.key from automation.reachable_steps(plan, verdicts) as r (key)
    ), lost as materialized (
      select s.key, s.value as step from jsonb_each(plan -> 'steps') as s
      where s.key not in (select r.key from reached as r)
    ), ways as materialized (
      select s.key as origin, automation.step_path(s.value) as at, s.value ->> 'type' as type, e as target
      from jsonb_each(plan -> 'steps') as s, automation.step_exits(s.value, null) as e
      where exists (select from lost)
    ), nearest as (
      select distinct on (w.target) w.target, case
          when t.ends_run then format('%s ends the run before it', w.at)
          else format('the conditions of %s never lead here', w.at) end as why
      from ways as w join automation.step_types as t on t.name = w.type
      order by w.target, not t.ends_run, w.at
    )
    select coalesce(jsonb_agg(automation.problem(
        automation.step_path(l.step), 'unreachable',
        'no run reaches this step: ' || coalesce(n.why, 'nothing leads to it'),
        'Remove it, or mend the conditions that keep runs away from it.', 'warning')
      order by automation.step_path(l.step)), '[]')
    from lost as l
    left join nearest as n on n.target = l.key
    where l.key not in (
      select w.target from ways as w where w.origin in (select o.key from lost as o))
  $$;

-- What is doubtful about how runs begin.
create or replace function automation.check_entry(
  workflow ridgeline.workflows, listener automation.compiled_trigger, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem), '[]')
    from (
      select automation.problem('settings.reentry', 'never_restarts',
        format('each %s is a record of its own, so that no run is ever begun anew',
          coalesce(replace(nullif(listener.entity, ''), '_', ' '), 'run of the schedule')),
        'Say in dedupe_key what makes two of them the same, such as "{{contact.id}}".', 'warning') as problem
      from automation.trigger_types as t
      where t.name = workflow.trigger_type and plan #>> '{lifecycle,reentry,policy}' = 'restart'
        and not plan -> 'lifecycle' ? 'key'
        and (t.kind = 'created' or t.name = 'scheduled' and not workflow.trigger_config ? 'for_each' or exists (
          select from automation.entities as e where e.name = listener.entity and e.is_log))
      union all
      select automation.problem('trigger_config.on_insert', 'imports_start_it',
        format('every %s that is inserted so starts a run, those of an import too', replace(listener.entity, '_', ' ')),
        format('Give what is imported something that the trigger leaves out (a source), or pause the workflow '
          'meanwhile. More than %s within an hour are held until somebody looks.',
          automation.setting('workflow_fuse_per_hour')), 'warning')
      where automation.hears_inserts(workflow.trigger_type, workflow.trigger_config)
    ) as p
  $$;

create or replace function automation.check_needs(
  workflow ridgeline.workflows, plan jsonb, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from (
      select n.problem
      from jsonb_each(plan -> 'steps') as s
      cross join lateral jsonb_array_elements(
        automation.step_needs(coalesce(s.value ->> 'as', s.value ->> 'type'), workflow, s.value,
          -- What a step brings, those before it do not have.
          case when scope ? 'at_first' and (s.value ->> 'place')::integer[] <= (scope ->> 'brought_at')::integer[]
            then scope || jsonb_build_object('records', scope -> 'at_first') else scope end)) as n (problem)
      union all
      select automation.sender_problem(workflow, plan)
      union all
      select automation.purpose_problem(plan)
      union all
      select automation.postal_problem(workflow, plan)
      union all
      select automation.missing_sender_problem(workflow, plan, c.channel)
      from unnest('{sms,email}'::text[]) as c (channel)
      union all
      select automation.consent_problem(workflow, plan)
      union all
      select t.problem from automation.text_problems(plan) as t (problem)
    ) as p
    where p.problem is not null
  $$;

-- US carriers block text messages from numbers that are not registered (10DLC).
create or replace function automation.sender_problem(workflow ridgeline.workflows, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value), 'no_registered_sender',
      'text messages may not arrive: no number of yours is registered',
      'Register for 10DLC, and have the number or the messaging service added to senders.',
      'warning')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' = 'sms'
      and not exists (
        select from ridgeline.senders as n
        where n.tenant_id = workflow.tenant_id and n.channel = 'sms' and n.is_active
          and n.verified_at is not null and n.registration in ('registered', 'exempt'))
    order by automation.step_path(s.value)
    limit 1
  $$;

-- It would wait for a sender, without a date.
create or replace function automation.missing_sender_problem(workflow ridgeline.workflows, plan jsonb, channel text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value), 'no_sender',
      format('there is no sender for %s: what it sends waits until there is one', missing_sender_problem.channel),
      'Have a number or an address of yours added to senders.', 'warning')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' = missing_sender_problem.channel
      and coalesce(
        s.value #>> '{config,base,from}', s.value #>> '{config,base,messaging_service_sid}', '') = ''
      and (automation.default_sender(workflow.tenant_id, missing_sender_problem.channel)).id is null
      and not automation.environment_serves(workflow.tenant_id, missing_sender_problem.channel)
    order by automation.step_path(s.value)
    limit 1
  $$;

-- Marketing of an office that has not said whom it may go to waits until it has.
create or replace function automation.consent_problem(workflow ridgeline.workflows, plan jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value), 'consent_unsaid',
      'it is marketing, and nobody has said who may get it: it waits until somebody does',
      'ridgeline.decide_consent(''required'') sends it to whoever agreed, ''recorded_optout_only'' to whoever has not '
      'opted out.', 'warning')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' in ('sms', 'email')
      and coalesce(s.value #>> '{sending,purpose}', 'marketing') = 'marketing'
      and exists (
        select from automation.read_tenants(array[workflow.tenant_id]) as t
        where automation.consent_policy(t.id, t.settings) is null)
    order by automation.step_path(s.value)
    limit 1
  $$;

-- What a text costs before it is filled in: one character turns 160 a segment into 70.
create or replace function automation.text_problems(plan jsonb) returns setof jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select p.problem
    from (
      select automation.step_path(s.value) || '.step_config.body' as at,
        regexp_replace(s.value #>> '{config,base,body}', '\{{2,3}[^}]*\}{2,3}', '', 'g') as written
      from jsonb_each(plan -> 'steps') as s
      where s.value ->> 'lane' = 'sms' and s.value #>> '{config,base,body}' <> ''
    ) as t
    cross join lateral (
      select automation.unicode_characters(t.written) as strange, automation.sms_segments(t.written) as segments) as m
    cross join lateral (values
      (case when m.strange <> '{}' then automation.problem(t.at, 'text_is_unicode', format(
          'body: %s makes it Unicode, with 70 characters a segment instead of 160', (
            select string_agg(format('"%s"', c), ', ') from unnest(m.strange) as c)),
        'Write a plain character instead, such as '' for a curly quote, or leave it if it is worth the price.',
        'warning') end),
      (case when m.segments > 3 then automation.problem(t.at, 'many_segments', format(
          'body: it is sent, and paid for, as %s segments at least', m.segments),
        'Shorten it to three, or send it as an email.', 'warning') end)) as p (problem)
    where p.problem is not null
  $$;

-- Told once a workflow: what nobody said the purpose of is taken for the kind that needs most care.
create or replace function automation.purpose_problem(plan jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value) || '.step_config.purpose', 'purpose_unsaid',
      format('%s does not say its purpose, and counts as marketing: it waits for hours when marketing is allowed and '
        'is not sent after three days', automation.step_path(s.value)),
      'Write "purpose": "transactional" where it serves what somebody asked for, or "marketing".', 'warning')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' in ('sms', 'email') and s.value #>> '{sending,purpose}' is null
    order by automation.step_path(s.value)
    limit 1
  $$;

-- CAN-SPAM: a commercial email says where its sender can be reached by post.
create or replace function automation.postal_problem(workflow ridgeline.workflows, plan jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value), 'no_postal_address',
      'a marketing email carries the postal address of the office, and there is none',
      'Write it into the address of the tenant (ridgeline.tenant_settings, or the column that is mapped to it).')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'lane' = 'email' and s.value #>> '{sending,purpose}' = 'marketing'
      and not exists (
        select from automation.read_tenants(array[workflow.tenant_id]) as t where btrim(t.address) <> '')
    order by automation.step_path(s.value)
    limit 1
  $$;
