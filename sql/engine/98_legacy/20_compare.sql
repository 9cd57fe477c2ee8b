-- SIDE BY SIDE
--
-- What the old engine did, beside what a shadow of the same workflow would have done. Its runs are paired with shadows
-- by workflow, record and time, their steps by the step that each of ours came from; what differs is written down, a
-- row a difference. The old tables are read and never written here, and their engine goes on.

create table automation.legacy_pairs (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  source text not null,
  workflow_id uuid not null,
  legacy_id text,
  execution_id uuid,
  record_id text,
  contact_id text,
  began_at timestamptz not null,
  verdict text not null
    constraint legacy_pairs_verdict_known check (verdict in ('identical', 'differs', 'missing', 'extra', 'open')),
  compared_at timestamptz not null default automation.now(),
  constraint legacy_pairs_pkey primary key (tenant_id, id),
  constraint legacy_pairs_old_once unique (tenant_id, source, legacy_id),
  constraint legacy_pairs_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade,
  constraint legacy_pairs_has_a_side check (legacy_id is not null or execution_id is not null)
);

create index legacy_pairs_by_time on automation.legacy_pairs (began_at, tenant_id);
create index legacy_pairs_by_execution on automation.legacy_pairs (execution_id, tenant_id);
create index legacy_pairs_by_workflow on automation.legacy_pairs (workflow_id, tenant_id);

comment on table automation.legacy_pairs is
  'A run of the old engine and the shadow beside it. missing: there is no shadow; extra: no old run; open: one of them '
  'has not ended, and will be looked at again.';

create table ridgeline.legacy_discrepancies (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  pair_id uuid not null,
  kind text not null
    constraint legacy_discrepancies_kind_known
    check (kind in ('missing', 'extra', 'text', 'recipient', 'time', 'order')),
  workflow_id uuid not null,
  step_key text,
  step_type text,
  record_id text,
  contact_id text,
  legacy_id text,
  execution_id uuid,
  old jsonb,
  shadow jsonb,
  at timestamptz not null,
  constraint legacy_discrepancies_pkey primary key (tenant_id, id),
  constraint legacy_discrepancies_pair_fk foreign key (tenant_id, pair_id)
    references automation.legacy_pairs (tenant_id, id) on delete cascade
);

create index legacy_discrepancies_by_pair on ridgeline.legacy_discrepancies (pair_id, tenant_id);

comment on table ridgeline.legacy_discrepancies is
  'What the shadow of a workflow would have done otherwise than the old engine did. missing: the old engine did it, '
  'the shadow would not have; extra: the other way round (step_key null: a whole run); text, recipient, time: the same '
  'step with another; order: the same steps in another order.';

create view ridgeline.legacy_discrepancies_by_kind with (security_invoker = true) as
  select d.tenant_id, d.kind, d.workflow_id, w.name as workflow_name, d.step_key, d.step_type,
    count(*) as discrepancies, count(distinct d.pair_id) as runs, min(d.at) as first_at, max(d.at) as last_at,
    (array_agg(jsonb_build_object('old', d.old, 'shadow', d.shadow) order by d.at desc))[1] as latest
  from ridgeline.legacy_discrepancies as d
  join ridgeline.workflows as w on w.tenant_id = d.tenant_id and w.id = d.workflow_id
  group by 1, 2, 3, 4, 5, 6;

comment on view ridgeline.legacy_discrepancies_by_kind is
  'Discrepancies by kind, workflow and step: how many, in how many runs, since and until when, and the latest of them.';

-- What differed goes with the shadow that it is about: pruned, or erased with its person.
create or replace function automation.forget_pair() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.legacy_pairs as p where p.execution_id = old.id and p.tenant_id = old.tenant_id;
  return null;
end;
$$;

create trigger workflow_executions_forget_pair
  after delete on ridgeline.workflow_executions
  for each row when (old.mode = 'shadow')
  execute function automation.forget_pair();

-- WHAT EITHER DID

-- As the old engines put values into texts: what is not there leaves the braces, null is "null".
create or replace function automation.legacy_render(template text, data jsonb) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part text[];
  rendered text := '';
  last integer := 1;
  at integer;
begin
  if template is null or strpos(template, '{{') = 0 then
    return template;
  end if;
  for part in select m from regexp_matches(template, '(\{\{([^}]+)\}\})', 'g') as m loop
    at := last + strpos(substr(template, last), part[1]) - 1;
    rendered := rendered || substr(template, last, at - last) || case
      when btrim(part[2]) = '' or data #> string_to_array(btrim(part[2]), '.') is null then part[1]
      else automation.javascript_text(data #> string_to_array(btrim(part[2]), '.')) end;
    last := at + length(part[1]);
  end loop;
  return rendered || substr(template, last);
end;
$$;

comment on function automation.legacy_render(text, jsonb) is
  'A text of the old engines with its variables replaced as they did; data: {trigger: ...}.';

create type automation.effect as (
  step_key text,
  step_type text,
  at timestamptz,
  recipients text[],
  texts jsonb,
  done boolean,
  note jsonb
);

comment on type automation.effect is
  'What a step did, or would have: when, to whom, in which words. done: false, it did not; note says why.';

-- Addresses as everything compares them, in order.
create or replace function automation.compared_addresses(tenant_id uuid, step_type text, given jsonb) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(array_agg(distinct a.address order by a.address), '{}')
    from jsonb_array_elements_text(case jsonb_typeof(given)
      when 'array' then given when 'string' then jsonb_build_array(given) else '[]' end) as g (one)
    cross join lateral regexp_split_to_table(
      g.one, case step_type when 'send_email' then '\s*,\s*' else '$.^' end) as p (part)
    cross join lateral (
      select coalesce(automation.normal_address(
        tenant_id, case step_type when 'send_sms' then 'sms' else 'email' end, p.part), btrim(p.part)) as address) as a
    where btrim(p.part) <> ''
  $$;

-- What the old engine put into a step: as its result says, or as its configuration reads with the data of the run.
create or replace function automation.old_texts(step_type text, config jsonb, result jsonb, data jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(case
      when step_type = 'send_sms' then jsonb_build_object('body', coalesce(result ->> 'body', automation.legacy_render(
        coalesce(config ->> 'body', config ->> 'message'), data)))
      when step_type = 'send_email' then jsonb_build_object(
        'subject', coalesce(result ->> 'subject', automation.legacy_render(config ->> 'subject', data)),
        'body', coalesce(result ->> 'body', automation.legacy_render(
          coalesce(config ->> 'html', config ->> 'text', config ->> 'body'), data)))
      when step_type = 'create_task' then jsonb_build_object(
        'title', coalesce(result ->> 'title', automation.legacy_render(config ->> 'title', data)))
      when step_type in ('update_contact', 'update_project') then (
        select jsonb_object_agg(u.key, case jsonb_typeof(u.value)
          when 'string' then automation.legacy_render(u.value #>> '{}', data) else u.value #>> '{}' end)
        from jsonb_each(case jsonb_typeof(config -> 'updates') when 'object' then config -> 'updates' else '{}' end)
          as u)
      when step_type = 'webhook' then jsonb_build_object(
        'url', automation.legacy_render(config ->> 'url', data))
      else '{}'
    end)
  $$;

create or replace function automation.new_texts(step_type text, input jsonb, error jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(case
      when step_type = 'send_sms' then jsonb_build_object('body', input -> 'body')
      when step_type = 'send_email' then jsonb_build_object(
        'subject', input -> 'subject', 'body', coalesce(input -> 'html', input -> 'text'))
      when step_type = 'create_task' then jsonb_build_object('title', input -> 'title')
      when step_type in ('update_contact', 'update_project') then (
        select jsonb_object_agg(f.key, f.value #>> '{}') from jsonb_each(error #> '{would,fields}') as f)
      when step_type = 'webhook' then jsonb_build_object('url', input -> 'url')
      else '{}'
    end)
  $$;

create type automation.old_run as (
  run jsonb,
  began_at timestamptz
);

-- What came of the steps of old runs, with their definitions: {run: [{row, definition}]}. One look for all of them, as
-- nothing says that there is an index by run.
create or replace function automation.old_steps(source text, runs automation.old_run[]) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  is_campaign constant boolean := source = 'campaigns';
  steps constant regclass := automation.legacy_table(
    case when is_campaign then 'campaign_step_executions' else 'workflow_step_executions' end);
  definitions constant regclass := automation.legacy_table(
    case when is_campaign then 'campaign_steps' else 'workflow_steps' end);
  run_id constant text := case when is_campaign then 'enrollment_id' else 'execution_id' end;
  found jsonb;
begin
  -- A CRM that never had the old engine has none of its tables.
  if cardinality(runs) = 0 or steps is null or definitions is null then
    return '{}'::jsonb;
  end if;
  execute format($query$
    select jsonb_object_agg(s.run, s.steps) from (
      select x.%3$I::text as run,
        jsonb_agg(jsonb_build_object('row', to_jsonb(x), 'definition', to_jsonb(y))) as steps
      from %1$s as x
      join %2$s as y on y.id = x.step_id
      where x.%3$I = any ($1::%4$s[]) and x.status in ('completed', 'failed', 'skipped')
      group by 1
    ) as s $query$,
    steps, definitions, run_id, automation.legacy_type(steps, run_id))
    into found using array(select r.run ->> 'id' from unnest(runs) as r);
  return coalesce(found, '{}');
end;
$$;

-- The steps of an old run that reach outside of it, by the key that each has here.
create or replace function automation.old_effects(import automation.legacy_imports, run jsonb, steps jsonb)
  returns automation.effect[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select row(
      import.step_keys ->> (s.row ->> 'step_id'), s.type,
      coalesce(automation.legacy_moment(s.row ->> 'completed_at'), automation.legacy_moment(s.row ->> 'started_at')),
      case when s.type in ('send_sms', 'send_email') then automation.compared_addresses(
        import.tenant_id, s.type, coalesce(s.row #> '{result_data,to}', to_jsonb(automation.legacy_render(
          s.definition #>> '{step_config,to}', d.data)))) end,
      automation.old_texts(s.type, s.definition -> 'step_config', s.row -> 'result_data', d.data),
      s.row ->> 'status' = 'completed',
      jsonb_strip_nulls(jsonb_build_object('status', s.row -> 'status', 'error', s.row -> 'error_message'))
      )::automation.effect
    from (
      select e -> 'row' as row, e -> 'definition' as definition, e #>> '{definition,step_type}' as type
      from jsonb_array_elements(steps) as e
    ) as s
    cross join lateral (
      select case import.source
        when 'campaigns' then coalesce(s.definition #> '{step_config,personalization}', '{}')
        else jsonb_build_object('trigger', run -> 'trigger_data') end as data) as d
    where automation.has_effect(s.type)
    order by coalesce(automation.legacy_moment(s.row ->> 'completed_at'),
      automation.legacy_moment(s.row ->> 'started_at')), s.row ->> 'id');
end;
$$;

create or replace function automation.shadow_effects(tenant_id uuid, execution_id uuid) returns setof automation.effect
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.step_key, s.step_type, s.finished_at,
      case when s.step_type in ('send_sms', 'send_email') then automation.compared_addresses(
        s.tenant_id, s.step_type, coalesce(s.input -> 'to', to_jsonb(s.recipient))) end,
      automation.new_texts(s.step_type, s.input, s.error),
      s.error ->> 'code' = 'shadow' or s.status = 'completed',
      jsonb_strip_nulls(jsonb_build_object(
        'status', s.status, 'code', s.error -> 'code', 'message', s.error -> 'message'))
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = shadow_effects.tenant_id and s.execution_id = shadow_effects.execution_id
      and automation.has_effect(s.step_type) and s.finished_at is not null
    order by s.finished_at, s.seq
  $$;

-- COMPARING

-- How the effects of two runs differ. is_over: a step that is not there will not come any more.
create or replace function automation.differences(
  old automation.effect[], shadow automation.effect[], tolerance interval, is_over boolean)
  returns table (kind text, step_key text, step_type text, was jsonb, would jsonb, at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  -- Planned once a session: planning it took longer than comparing.
  as $$
#variable_conflict use_column
begin
  return query
    with paired as (
      select o.step_key is not null and o.done as old_did, s.step_key is not null and s.done as shadow_did,
        coalesce(o.step_key, s.step_key) as step_key, coalesce(s.step_type, o.step_type) as step_type,
        o, s, coalesce(o.at, s.at) as at, o.place as old_place, s.place as new_place
      from unnest(old) with ordinality as o (
        step_key, step_type, at, recipients, texts, done, note, place)
      full join unnest(shadow) with ordinality as s (
        step_key, step_type, at, recipients, texts, done, note, place) on s.step_key = o.step_key
    )
    select f.kind, p.step_key, p.step_type, case when (p.o).step_key is not null then
        to_jsonb(p.o) - '{step_key,step_type,place}'::text[] end,
      case when (p.s).step_key is not null then to_jsonb(p.s) - '{step_key,step_type,place}'::text[] end, p.at
    from paired as p
    cross join lateral (
      select 'missing' as kind where p.old_did and not p.shadow_did and (is_over or (p.s).step_key is not null)
      union all
      select 'extra' where p.shadow_did and not p.old_did and (is_over or (p.o).step_key is not null)
      union all
      select 'recipient' where p.old_did and p.shadow_did
        and (p.o).recipients is not null and (p.o).recipients is distinct from (p.s).recipients
      union all
      select 'text' where p.old_did and p.shadow_did and exists (
        select from jsonb_each_text((p.o).texts) as t
        where (p.s).texts ? t.key and (p.s).texts ->> t.key is distinct from t.value)
      union all
      select 'time' where p.old_did and p.shadow_did
        and greatest((p.o).at, (p.s).at) - least((p.o).at, (p.s).at) > tolerance
    ) as f
    union all
    -- Said once for a run, and only of what differs by more than moments.
    select 'order', null, null, to_jsonb(w.old_order), to_jsonb(w.new_order), w.at
    from (
      select array_agg(p.step_key order by p.old_place) as old_order,
        array_agg(p.step_key order by p.new_place) as new_order, min(p.at) as at
      from paired as p
      where p.old_did and p.shadow_did
    ) as w
    where w.old_order is distinct from w.new_order
      and exists (
        select from paired as a join paired as b on a.old_place < b.old_place and a.new_place > b.new_place
        where a.old_did and a.shadow_did and b.old_did and b.shadow_did
          and (b.o).at - (a.o).at > interval '1 second' and (a.s).at - (b.s).at > interval '1 second');
end;
$$;

create or replace function automation.compare_pair(
  pair automation.legacy_pairs, import automation.legacy_imports, run jsonb, steps jsonb, tolerance interval)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
  is_over boolean;
  found integer;
begin
  select e.* into execution from ridgeline.workflow_executions as e
  where e.tenant_id = pair.tenant_id and e.id = pair.execution_id;
  -- One whose workflow is switched off does not go on, and the old engine's did.
  is_over := not automation.is_open_there(run ->> 'status') and (execution.finished_at is not null or exists (
    select from ridgeline.scheduled_steps as s
    where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
      and s.held ->> 'code' = 'workflow_paused'));
  insert into ridgeline.legacy_discrepancies (
    tenant_id, pair_id, kind, workflow_id, step_key, step_type, record_id, contact_id, legacy_id, execution_id, old,
    shadow, at)
  select pair.tenant_id, pair.id, d.kind, pair.workflow_id, d.step_key, d.step_type, pair.record_id, pair.contact_id,
    pair.legacy_id, pair.execution_id, d.was, d.would, coalesce(d.at, pair.began_at)
  from automation.differences(
    automation.old_effects(import, run, steps),
    array(select e from automation.shadow_effects(pair.tenant_id, pair.execution_id) as e), tolerance, is_over) as d;
  get diagnostics found = row_count;
  return case when found > 0 then 'differs' when is_over then 'identical' else 'open' end;
end;
$$;

-- The shadow that stands beside an old run: of the same workflow and record, the nearest in time that nobody has; of
-- several at once the first, for the application calls in the order in which it writes.
create or replace function automation.shadow_beside(
  tenant_id uuid, workflow_ids uuid[], record_id text, contact_id text, at timestamptz, within interval)
  returns ridgeline.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return (
    select e::ridgeline.workflow_executions from (
      select r.* from ridgeline.workflow_executions as r
      where r.record_id = shadow_beside.record_id and r.tenant_id = shadow_beside.tenant_id
      union all
      select c.* from ridgeline.workflow_executions as c
      where c.contact_id = shadow_beside.contact_id and c.tenant_id = shadow_beside.tenant_id
        and c.entity <> 'contact'
        and (shadow_beside.record_id is null or shadow_beside.record_id = shadow_beside.contact_id)
    ) as e
    where e.workflow_id = any (workflow_ids) and e.mode = 'shadow' and e.created_at between at - within and at + within
      and not exists (
        select from automation.legacy_pairs as p
        where p.execution_id = e.id and p.tenant_id = e.tenant_id)
    order by floor(abs(extract(epoch from e.created_at - at)) / 5), e.created_at, e.id
    limit 1);
end;
$$;

-- The old runs of a time.
create or replace function automation.old_runs(
  tenant_id uuid, source text, since timestamptz, until timestamptz)
  returns setof automation.old_run
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  runs constant regclass := automation.legacy_table(
    case source when 'campaigns' then 'campaign_enrollments' else 'workflow_executions' end);
begin
  if runs is null then
    return;
  end if;
  return query execute format(
    'select to_jsonb(r), r.%2$I::timestamptz from %1$s as r '
    'where r.tenant_id::text = $1::text and r.%2$I >= $2 and r.%2$I < $3 order by r.%2$I, r.id',
    runs, case source when 'campaigns' then 'enrolled_at' else 'created_at' end)
    using tenant_id, since, until;
end;
$$;

-- A handful of old runs, each beside its shadow. False: the time was up.
create or replace function automation.compare_runs(
  tenant_id uuid, source text, runs automation.old_run[], tolerance interval, deadline timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  steps constant jsonb := automation.old_steps(source, runs);
  old automation.old_run;
  import automation.legacy_imports;
  parts uuid[];
  shadow ridgeline.workflow_executions;
  subject record;
  pair automation.legacy_pairs;
begin
  foreach old in array runs loop
    if clock_timestamp() > deadline then
      return false;
    end if;
    select i.* into import from automation.legacy_imports as i
    where i.tenant_id = compare_runs.tenant_id and i.source = compare_runs.source and i.part = 0
      and i.legacy_id = coalesce(old.run ->> 'workflow_id', old.run ->> 'campaign_id');
    continue when import.workflow_id is null;
    parts := array(
      select i.workflow_id from automation.legacy_imports as i
      where i.tenant_id = import.tenant_id and i.source = import.source and i.legacy_id = import.legacy_id);
    -- What was the same stays; the rest is looked at anew, as it may have gone on or been mended.
    delete from automation.legacy_pairs as p
    where p.tenant_id = compare_runs.tenant_id and p.source = compare_runs.source
      and p.legacy_id = old.run ->> 'id';
    select s.* into subject from ridgeline.workflows as w
    cross join lateral automation.legacy_subject(w.trigger_type, case source
      when 'campaigns' then jsonb_build_object('contact_id', old.run -> 'contact_id')
      else coalesce(old.run -> 'trigger_data', '{}') end) as s
    where w.tenant_id = import.tenant_id and w.id = import.workflow_id;
    shadow := automation.shadow_beside(
      tenant_id, parts, case source when 'campaigns' then subject.contact_id else subject.record_id end,
      subject.contact_id, old.began_at, greatest(tolerance, interval '10 minutes'));
    insert into automation.legacy_pairs (
      tenant_id, source, workflow_id, legacy_id, execution_id, record_id, contact_id, began_at, verdict)
    values (tenant_id, source, coalesce(shadow.workflow_id, import.workflow_id), old.run ->> 'id', shadow.id,
      coalesce(subject.record_id, subject.contact_id), coalesce(subject.contact_id, shadow.contact_id), old.began_at,
      case when shadow.id is null then 'missing' else 'open' end)
    returning * into pair;
    if shadow.id is null then
      insert into ridgeline.legacy_discrepancies (
        tenant_id, pair_id, kind, workflow_id, record_id, contact_id, legacy_id, old, at)
      values (tenant_id, pair.id, 'missing', pair.workflow_id, pair.record_id, pair.contact_id, pair.legacy_id,
        jsonb_build_object('status', old.run -> 'status', 'error', old.run -> 'error_message'), pair.began_at);
    else
      pair.verdict := automation.compare_pair(
        pair, import, old.run, coalesce(steps -> (old.run ->> 'id'), '[]'), tolerance);
      update automation.legacy_pairs as p set verdict = pair.verdict
      where p.tenant_id = pair.tenant_id and p.id = pair.id and p.verdict <> pair.verdict;
    end if;
  end loop;
  return true;
end;
$$;

-- Those that nobody has looked at come first, then those that were looked at longest ago. False: the time was up.
create or replace function automation.compare_source(
  tenant_id uuid, source text, since timestamptz, until timestamptz, tolerance interval,
  deadline timestamptz default 'infinity')
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  old automation.old_run;
  runs automation.old_run[] := '{}'::automation.old_run[];
begin
  for old in
    select o.* from automation.old_runs(tenant_id, source, since, until) as o
    left join automation.legacy_pairs as p
      on p.tenant_id = compare_source.tenant_id and p.source = compare_source.source and p.legacy_id = o.run ->> 'id'
    where p.verdict is distinct from 'identical'
      and (p.id is null or deadline = 'infinity' or p.compared_at < automation.now() - interval '30 minutes')
    order by p.compared_at nulls first, o.began_at, o.run ->> 'id'
  loop
    runs := runs || old;
    continue when cardinality(runs) < 200;
    if not automation.compare_runs(tenant_id, source, runs, tolerance, deadline) then
      return false;
    end if;
    runs := '{}'::automation.old_run[];
  end loop;
  return automation.compare_runs(tenant_id, source, runs, tolerance, deadline);
end;
$$;

-- Shadows that no old run stands beside. One whose conditions were not met did nothing, as one that never began.
create or replace function automation.note_extra_runs(
  tenant_id uuid, since timestamptz, until timestamptz)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.legacy_pairs as p
    where p.tenant_id = note_extra_runs.tenant_id and p.verdict = 'extra'
      and p.began_at >= since and p.began_at < until;

    with alone as (
      insert into automation.legacy_pairs (
        tenant_id, source, workflow_id, execution_id, record_id, contact_id, began_at, verdict)
      select e.tenant_id, i.source, e.workflow_id, e.id, e.record_id, coalesce(
        e.contact_id, case when e.entity = 'contact' then e.record_id end), e.created_at, 'extra'
      from automation.legacy_imports as i
      join ridgeline.workflow_executions as e on e.workflow_id = i.workflow_id and e.tenant_id = i.tenant_id
      where i.tenant_id = note_extra_runs.tenant_id and e.mode = 'shadow'
        and e.created_at >= since and e.created_at < until and e.status not in ('skipped')
        and (e.error ->> 'code') is distinct from 'switched_on'
        and not exists (
          select from automation.legacy_pairs as p where p.execution_id = e.id and p.tenant_id = e.tenant_id)
      returning *
    )
    insert into ridgeline.legacy_discrepancies (
      tenant_id, pair_id, kind, workflow_id, record_id, contact_id, execution_id, shadow, at)
    select a.tenant_id, a.id, 'extra', a.workflow_id, a.record_id, a.contact_id, a.execution_id,
      jsonb_build_object('status', e.status, 'error', e.error), a.began_at
    from alone as a
    join ridgeline.workflow_executions as e on e.tenant_id = a.tenant_id and e.id = a.execution_id
  $$;

-- THE REPORT

create or replace function automation.comparison_report(tenant_id uuid, since timestamptz, until timestamptz)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with pair as materialized (
      select p.* from automation.legacy_pairs as p
      where p.tenant_id = comparison_report.tenant_id and p.began_at >= since and p.began_at < until
    ), kind as (
      select d.kind, count(*) as found, count(distinct d.pair_id) as runs
      from ridgeline.legacy_discrepancies as d
      join pair as p on p.tenant_id = d.tenant_id and p.id = d.pair_id
      group by d.kind
    ), total as (
      select count(*) as runs, count(*) filter (where p.verdict = 'identical') as identical,
        count(*) filter (where p.verdict = 'open') as open,
        count(*) filter (where p.verdict in ('differs', 'missing', 'extra')) as differ
      from pair as p
    )
    select jsonb_build_object(
      'since', since, 'until', until, 'runs', t.runs, 'identical', t.identical, 'differ', t.differ, 'open', t.open,
      'kinds', (select coalesce(jsonb_object_agg(k.kind, k.found), '{}') from kind as k),
      'workflows', (
        select coalesce(jsonb_agg(jsonb_build_object(
          'workflow_id', v.workflow_id, 'name', v.name, 'runs', v.runs, 'identical', v.identical, 'differ', v.differ)
          order by v.differ desc, v.name), '[]')
        from (
          select p.workflow_id, w.name, count(*) as runs, count(*) filter (where p.verdict = 'identical') as identical,
            count(*) filter (where p.verdict in ('differs', 'missing', 'extra')) as differ
          from pair as p
          join ridgeline.workflows as w on w.tenant_id = p.tenant_id and w.id = p.workflow_id
          group by p.workflow_id, w.name
        ) as v),
      'text', format('%s run%s, %s identical, %s differ%s%s%s', t.runs, case when t.runs = 1 then '' else 's' end,
        t.identical, t.differ, case when t.differ = 1 then 's' else '' end,
        coalesce(': ' || (
          select string_agg(format('%s %s', k.found, case k.kind
            when 'text' then 'with other text' when 'recipient' then 'to another recipient'
            when 'time' then 'at another time' when 'order' then 'in another order' else k.kind end), ', '
            order by array_position('{missing,extra,text,recipient,time,order}'::text[], k.kind))
          from kind as k), ''),
        case when t.open > 0 then format('; %s not over yet', t.open) else '' end))
    from total as t
  $$;

create or replace function automation.compare_window(
  tenant_id uuid, since timestamptz, until timestamptz, tolerance interval, deadline timestamptz default 'infinity')
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  source text;
begin
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', tenant_id, 'compare'), 98));
  foreach source in array array['server', 'campaigns'] loop
    if not automation.compare_source(tenant_id, source, since, until, tolerance, deadline) then
      return false;
    end if;
  end loop;
  perform automation.note_extra_runs(tenant_id, since, until);
  return true;
end;
$$;

-- The job. Of tenants in the shadow of their old engine each day of the last eight is compared once an hour, no more
-- than a day and 300 ms a call, so that no tick is held up for long.
create table automation.comparison_turns (
  tenant_id uuid not null,
  span text not null default 'days',
  turn integer not null default 0,
  next_at timestamptz not null,
  error jsonb,
  constraint comparison_turns_pkey primary key (tenant_id, span)
);

comment on table automation.comparison_turns is
  'Where the comparison of a tenant''s two engines stands, and when it goes on.';

create or replace function automation.compare_next() returns uuid
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant uuid;
  day integer;
  failure jsonb;
  is_done boolean := true;
begin
  select s.tenant_id, coalesce(c.turn, 0) % 8 into tenant, day
  from ridgeline.tenant_settings as s
  left join automation.comparison_turns as c on c.tenant_id = s.tenant_id
  where s.unified_engine = 'shadow' and coalesce(c.next_at, '-infinity') <= automation.now()
    and exists (select from automation.legacy_imports as i where i.tenant_id = s.tenant_id)
  order by c.next_at nulls first
  limit 1;
  if tenant is null or not pg_try_advisory_xact_lock(hashtextextended('ridgeline compare', 98)) then
    return null;
  end if;
  begin
    select automation.compare_window(tenant, w.since, least(w.since + interval '1 day', automation.now()), coalesce(
        automation.signed_duration(automation.tenant_setting(tenant, 'compare_tolerance')), interval '5 minutes'),
        clock_timestamp() + interval '300 milliseconds') into is_done
    from (select date_trunc('day', automation.now()) - make_interval(days => day) as since) as w
    where w.since < automation.now();
  exception when others then
    failure := automation.engine_error('comparison_failed', sqlstate, sqlerrm);
    raise warning 'the engines of tenant % could not be compared: %', tenant, sqlerrm;
  end;
  insert into automation.comparison_turns as c (tenant_id, turn, next_at, error)
  values (tenant, (is_done is not false)::integer,
    automation.now() + case when is_done is false then interval '0' else interval '1 minute' end, failure)
  on conflict on constraint comparison_turns_pkey do update set
    turn = c.turn + excluded.turn, error = excluded.error,
    next_at = case when excluded.turn = 1 and c.turn % 8 = 7 then automation.now() + interval '1 hour'
      else excluded.next_at end;
  return tenant;
end;
$$;

comment on function automation.compare_next() is
  'Compares the two engines of the next tenant whose turn it is, a day of it; the tick calls it. Setting of a tenant: '
  '{"compare_tolerance": "1 hour"}.';

create or replace function automation.compare_engines(
  tenant_id uuid, since timestamptz, until timestamptz, tolerance interval)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.own_tenant(tenant_id);
begin
  perform automation.check_publisher(tenant, 'comparing the engines');
  if tolerance is null or tolerance < interval '0' or tolerance > interval '7 days' then
    raise exception 'tolerance: from 0 to 7 days' using errcode = 'invalid_parameter_value';
  elsif since is null or until is null or since >= until then
    raise exception 'since: a time before until is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform automation.compare_window(tenant, since, until, tolerance);
  return automation.comparison_report(tenant, since, until);
end;
$$;

create or replace function ridgeline.compare_engines(
  since timestamptz default automation.now() - interval '7 days', until timestamptz default automation.now(),
  tolerance interval default '5 minutes', tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.compare_engines(tenant_id, since, until, tolerance) $$;

comment on function ridgeline.compare_engines(timestamptz, timestamptz, interval, uuid) is
  'Pairs the runs that the old engine began in a time with the shadows beside them, writes down what differs '
  '(ridgeline.legacy_discrepancies) and answers {runs, identical, differ, open, kinds, workflows, text: "142 runs, '
  '139 identical, 3 differ: ..."}. tolerance: how far apart in time the same step may be. Called again it '
  'looks at what was not over yet, and at what differed.';
