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
        or step ->> 'type' <> 'stop' and not coalesce(step -> 'branches' <> '{}', false)
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
      select distinct on (w.target) w.target, case w.type
          when 'stop' then format('%s ends the run before it', w.at)
          else format('the conditions of %s never lead here', w.at) end as why
      from ways as w
      order by w.target, w.type <> 'stop', w.at
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

-- Whom assign_user makes responsible when it does not say for what: see automation.assigned_entity().
create or replace function automation.assignable(fired text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.mapped_column(fired, 'assigned_to') is not null and not exists (
        select from automation.entities as e
        where e.name = assignable.fired and (e.name = 'contact' or e.related ?| '{contact,project}'))
      then fired else 'contact' end
  $$;

-- What a step writes to: the entity, whether it makes a new record, and the fields with what they
-- are set to, [value], or [] when that is known only when the step runs.
create or replace function automation.step_writes(step jsonb, fired text)
  returns table (entity text, is_insert boolean, fields jsonb)
  language sql stable
  -- No search_path of its own, so that Postgres writes it into the query that asks.
  as $$
    with given as (
      select step ->> 'type' as type, step -> 'config' -> 'base' as config
    ), target as (
      select g.type, g.config,
        regexp_replace(g.config ->> 'field', '^(contact|project|job)\.', '') as field, case g.type
          when 'update_contact' then 'contact'
          when 'update_project' then 'project'
          when 'update_field' then coalesce(g.config ->> 'entity',
            substring(g.config ->> 'field' from '^(contact|project|job)\.'), 'contact')
          when 'change_stage' then coalesce(g.config ->> 'entity',
            case when automation.stage_column(fired) is not null then fired else 'contact' end)
          when 'assign_user' then coalesce(g.config ->> 'entity', automation.assignable(fired))
        end as entity
      from given as g
    )
    select t.entity, false, case t.type
        when 'update_field' then jsonb_build_object(split_part(t.field, '.', 1), case
          when t.field like '%.%' or coalesce(t.config ->> 'operator', 'set') <> 'set' then '[]'
          else automation.written_value(t.config -> 'value') end)
        when 'change_stage' then jsonb_build_object(
          coalesce(automation.stage_column(t.entity), 'stage'),
          automation.written_value(t.config -> 'stage'))
        when 'assign_user' then jsonb_build_object(
          coalesce(automation.mapped_column(t.entity, 'assigned_to'), 'assigned_to'),
          automation.written_value(t.config -> 'user_id'))
        else (
          select coalesce(jsonb_object_agg(split_part(f.key, '.', 1), case
            when f.key like '%.%' then '[]' else automation.written_value(f.value) end), '{}')
          from jsonb_each(case jsonb_typeof(t.config -> 'fields')
            when 'object' then t.config -> 'fields' else '{}' end) as f)
      end
    from target as t
    where t.entity is not null and (t.type <> 'update_field' or t.field is not null)
    union all
    select e.name, true, i.fields
    from (
      select case g.type
          when 'create_project' then (select t.relation from automation.targets as t where t.name = 'project')
          when 'create_task' then (select t.relation from automation.targets as t where t.name = 'task')
          when 'send_sms' then 'ridgeline.messages' when 'send_email' then 'ridgeline.emails' end as relation,
        case g.type
          when 'create_project' then automation.target_fields('project',
            '{"status": ["open"], "stage": ["new"]}'::jsonb || (
              select coalesce(jsonb_object_agg(case f.key when 'project_type' then 'type'
                when 'pipeline_stage' then 'stage' else f.key end, automation.written_value(f.value)), '{}')
              from jsonb_each(g.config) as f where f.key <> 'key'))
          when 'create_task' then automation.target_fields('task', '{"status": ["open"]}')
          else '{"direction": ["outbound"], "status": ["sent"]}'
        end as fields
      from given as g
    ) as i
    join automation.entities as e on e.relation = i.relation
  $$;

create or replace function automation.written_value(value jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when value is null or jsonb_typeof(value) in ('object', 'array')
        or value #>> '{}' like '%{{%' then '[]'
      else jsonb_build_array(value)
    end
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
      cross join lateral (
        select automation.record_problem(s.value, scope)
        union all select automation.recipient_problem(s.value, scope)
        union all select automation.written_number_problem(workflow, s.value)
        union all select automation.written_sender_problem(workflow, s.value)
        union all select automation.foreign_sender_problem(workflow, s.value)
        union all select automation.date_policy_problem(s.value)
      ) as n (problem)
      union all
      select automation.sender_problem(workflow, plan)
      union all
      select automation.purpose_problem(plan)
    ) as p
    where p.problem is not null
  $$;

-- A step that changes a record needs one, with the column it changes.
create or replace function automation.record_problem(step jsonb, scope jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case
      when not (scope ->> 'lenient')::boolean and not scope -> 'records' ? t.entity
        then automation.problem(
          automation.step_path(step) || '.step_config', 'no_record',
          format('%s has no %s to work on: this trigger brings none', step ->> 'type', t.entity),
          automation.records_hint(scope))
      when step ->> 'type' in ('change_stage', 'assign_user') then (
        select automation.problem(
          automation.step_path(step) || '.step_config.entity', 'unknown_field',
          format('%s has no field "%s" to write', e.name, f),
          format('Use update_field with one of: %s', array_to_string(e.writable_columns, ', ')))
        from automation.entities as e, jsonb_object_keys(t.fields) as f
        where e.name = t.entity and not f = any (e.writable_columns)
        limit 1)
    end
    from (
      select w.entity, w.fields from automation.step_writes(step, scope ->> 'entity') as w
      where not w.is_insert
      union all
      select 'contact', '{}' where step ->> 'type' in ('add_tag', 'remove_tag')
    ) as t
    where t.entity not like '%{{%'
      and exists (select from automation.entities as e where e.name = t.entity)
    limit 1);
end;
$$;

create or replace function automation.recipient_problem(step jsonb, scope jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.mapped_column(scope ->> 'entity', c.name) is not null then null
      when automation.mapped_column('contact', c.name) is null then automation.problem(
        automation.step_path(step) || '.step_config.to', 'no_recipient',
        format('%s has nobody to go to: contacts have no field "%s"', step ->> 'type', c.name),
        format('Write the field that holds the %s into "to", such as "{{contact.mobile}}".', c.noun),
        case when (scope ->> 'lenient')::boolean then 'warning' else 'error' end)
      when not (scope ->> 'lenient')::boolean and not scope -> 'records' ? 'contact'
        then automation.problem(
          automation.step_path(step) || '.step_config.to', 'no_recipient',
          format('%s has nobody to go to: this trigger brings no contact', step ->> 'type'),
          'Write who it goes to into "to". ' || automation.records_hint(scope))
    end
    from (values ('send_sms', 'phone', 'phone number'), ('send_email', 'email', 'address'))
      as c (type, name, noun)
    where c.type = step ->> 'type'
      and automation.is_blank(step -> 'config' -> 'base' -> 'to')
  $$;

-- A date that comes from a record may not be there.
create or replace function automation.date_policy_problem(step jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.until', 'no_date_policy',
      'the date may be missing when the step runs, and the step then fails',
      'Say what happens then with if_missing, or give the date a default: '
      '"{{job.scheduled_at | default: today}}".', 'warning')
    from (select step -> 'config' -> 'base' as config) as c
    where step ->> 'type' = 'wait' and not c.config ? 'if_missing'
      and (jsonb_typeof(c.config -> 'until') = 'object'
        or c.config ->> 'until' like '%{{%' and not exists (
          select from jsonb_array_elements(step -> 'config' -> 'slots') as slot
          where (slot ->> 'at')::text[] = '{until}'
            and jsonb_path_exists(slot, 'strict $.**.f[*] ? (@.n == "default")', '{}', true)))
  $$;

-- A number that is written out goes to the same telephone in every run: what would be skipped then is told now.
-- Whose number the record that fires will have is not known yet, hence no more than a warning.
create or replace function automation.written_number_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (p.phone).number is null then automation.problem(
        g.at, 'invalid_phone', format('to: "%s" is not a phone number', left(g.written, 40)),
        'Write it with its country code, such as "+15125550142", or a field: "{{contact.phone}}".')
      when f.forbidden is not null then automation.problem(
        g.at, 'country_not_allowed', f.forbidden || '; every such text will be skipped',
        'Add the country to tenants.text_countries, or name another number.', 'warning')
      when not t.text_strangers
        and not exists (select from automation.contacts_by_phone(workflow.tenant_id, (p.phone).number))
        and not automation.is_office_number(workflow.tenant_id, (p.phone).number, c.country)
        then automation.problem(
          g.at, 'stranger_not_allowed', format(
            'to: %s is no contact''s and not the office''s; texts to it will be skipped', (p.phone).number),
          'Add the contact, write the number into the phone of the tenant or of a member if it is the office''s, or '
          'allow it with text_strangers of the tenant.', 'warning')
    end
    from (
      select automation.step_path(step) || '.step_config.to' as at,
        btrim(step #>> '{config,base,to}') as written
    ) as g
    cross join lateral (select automation.country_of(workflow.tenant_id) as country) as c
    cross join lateral (select automation.read_phone(g.written, c.country) as phone) as p
    cross join lateral (select automation.forbidden_destination(workflow.tenant_id, p.phone) as forbidden) as f
    left join automation.read_tenants(array[workflow.tenant_id]) as t on true
    where step ->> 'type' = 'send_sms' and g.written <> '' and g.written not like '%{{%'
  $$;

create or replace function automation.written_sender_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.from', 'invalid_phone', format(
        'from: "%s" is neither a phone number nor a name of up to 11 letters and digits', left(g.written, 40)),
      'Write one of your senders'' numbers, such as "+15125550142", or leave it out.')
    from (select automation.visible_text(step #>> '{config,base,from}') as written) as g
    where step ->> 'type' = 'send_sms' and g.written <> '' and g.written not like '%{{%'
      and automation.sms_sender(g.written, automation.country_of(workflow.tenant_id)) is null
  $$;

-- What is written out is known to be nobody's of the tenant; what a variable gives is looked at when it
-- is sent.
create or replace function automation.foreign_sender_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.' || g.field, 'sender_not_yours',
      format('%s: "%s" is not a sender of yours', g.field, left(g.named, 80)),
      'Name one of your active senders, or leave it out.')
    from (
      -- A mailbox is kept in parts, {name?, address}.
      select f as field, btrim(coalesce(b.given #>> '{0,address}', b.given #>> '{}')) as named,
        b.given #> '{1}' is not null as several
      from unnest('{from,messaging_service_sid}'::text[]) as f
      cross join lateral (select step -> 'config' -> 'base' -> f as given) as b
    ) as g
    where step ->> 'type' in ('send_sms', 'send_email') and g.named <> '' and g.named not like '%{{%'
      -- What is no number or address, or more than one, is told elsewhere.
      and (g.field <> 'from' or step ->> 'type' <> 'send_sms'
        or automation.written_sender_problem(workflow, step) is null)
      and (step ->> 'type' = 'send_sms' or automation.normalize_email(g.named) is not null and g.several is not true)
      and not exists (
        select from automation.named_sender(
          workflow.tenant_id, case step ->> 'type' when 'send_sms' then 'sms' else 'email' end, g.named) as s
        where s.id is not null)
    order by g.field
    limit 1
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
    where s.value ->> 'type' = 'send_sms'
      and not exists (
        select from ridgeline.senders as n
        where n.tenant_id = workflow.tenant_id and n.channel = 'sms' and n.is_active
          and n.verified_at is not null and n.registration in ('registered', 'exempt'))
    order by automation.step_path(s.value)
    limit 1
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
    where s.value ->> 'type' in ('send_sms', 'send_email') and s.value #>> '{sending,purpose}' is null
    order by automation.step_path(s.value)
    limit 1
  $$;
