-- Re-entry: may this record start this workflow again? Decided where the first step is about to run, and
-- not where a write is captured: of two writes at once neither sees the other, and neither may wait.
-- Here the one that comes first is written down, and the other ends as skipped and says why.

create table automation.entries (
  tenant_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  execution_id uuid not null,
  entered_at timestamptz not null,
  constraint entries_pkey primary key (tenant_id, workflow_id, key),
  constraint entries_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

comment on table automation.entries is
  'Who entered a workflow that does not let everybody in again: by its dedupe_key, or by record.';

-- Asked when the run is pruned or its person erased.
create index entries_by_execution on automation.entries (execution_id, tenant_id);

create or replace function automation.record_key(entity text, record_id text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select format('record %s %s', entity, record_id) where record_id is not null $$;

-- Shadows enter beside the others: neither keeps the other out.
create or replace function automation.entry_key_in(mode ridgeline.execution_mode, key text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select case mode when 'shadow' then 'shadow ' else '' end || key $$;

-- A dedupe_key that renders to nothing (no phone number) says nothing about who it is. known, options: where they are
-- read already.
create or replace function automation.entry_key(
  execution ridgeline.workflow_executions, lifecycle jsonb, known automation.known_records default null,
  options jsonb default null)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  if lifecycle ? 'key' then
    select btrim(automation.fold(automation.text_of(r.rendered))) into key
    from automation.render(
      lifecycle -> 'key', automation.execution_context(execution, lifecycle #> '{key,roots}', known),
      coalesce(options, automation.render_options(execution.tenant_id))) as r;
  end if;
  return automation.entry_key_in(execution.mode, coalesce(
    'key ' || case
      when length(key) > 200 then encode(sha256(convert_to(key, 'UTF8')), 'hex') else nullif(key, '') end,
    automation.record_key(execution.entity, execution.record_id)));
end;
$$;

-- Switched to live, a workflow has its shadow runs end, and who entered as a shadow may enter.
create or replace function automation.end_shadows(tenant_id uuid, workflow_ids uuid[], reason jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  open_runs uuid[];
begin
  open_runs := array(
    select e.id from unnest(workflow_ids) as w (id)
    join ridgeline.workflow_executions as e on e.workflow_id = w.id and e.tenant_id = end_shadows.tenant_id
    where e.mode = 'shadow' and e.finished_at is null);
  delete from ridgeline.scheduled_steps as s
  where s.tenant_id = end_shadows.tenant_id and s.execution_id = any (open_runs);
  perform from ridgeline.workflow_executions as e
  where e.tenant_id = end_shadows.tenant_id and e.id = any (open_runs)
  order by e.id
  for no key update;
  -- What another step of them has queued while this one waited.
  delete from ridgeline.scheduled_steps as s
  where s.tenant_id = end_shadows.tenant_id and s.execution_id = any (open_runs);
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(), status = 'cancelled', finished_at = automation.now()
  where s.tenant_id = end_shadows.tenant_id and s.execution_id = any (open_runs) and s.finished_at is null;
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), status = 'cancelled', error = reason, current_step = null,
    started_at = coalesce(e.started_at, automation.now()), finished_at = automation.now()
  where e.tenant_id = end_shadows.tenant_id and e.id = any (open_runs) and e.finished_at is null;
  delete from automation.entries as n
  where n.tenant_id = end_shadows.tenant_id and n.workflow_id = any (workflow_ids) and n.key like 'shadow %';
  return cardinality(open_runs);
end;
$$;

comment on function automation.end_shadows(uuid, uuid[], jsonb) is
  'Cancels the shadow runs of workflows and forgets who entered them; says how many were open.';

-- After the mode of workflows, or of their tenant, has changed: listeners begin runs of the new one, and where that is
-- live the shadows end.
create or replace function automation.apply_mode(tenant_id uuid, workflow_ids uuid[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now_live uuid[];
begin
  update automation.active_triggers as t set mode = automation.mode_of(t.tenant_id, t.workflow_id)
  where t.tenant_id = apply_mode.tenant_id and t.workflow_id = any (workflow_ids) and t.role = 'enrol';
  now_live := array(
    select w.id from unnest(workflow_ids) as w (id)
    where automation.mode_of(apply_mode.tenant_id, w.id) = 'live');
  return automation.end_shadows(tenant_id, now_live, jsonb_build_object(
    'code', 'switched_on', 'message', 'the workflow was switched to live, which begins runs of its own'));
end;
$$;

-- A run that was cancelled or failed before it had done anything for anybody keeps nobody out: waiting and
-- choosing a way are nothing yet. One that is still open may yet, and one that history has forgotten did.
create or replace function automation.has_done_nothing(tenant_id uuid, execution_id uuid) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = has_done_nothing.tenant_id and e.id = has_done_nothing.execution_id
        and e.status in ('failed', 'cancelled', 'skipped'))
    and not exists (
      select from ridgeline.workflow_step_executions as s
      where s.tenant_id = has_done_nothing.tenant_id and s.execution_id = has_done_nothing.execution_id
        and automation.has_effect(s.step_type)
        and (s.status = 'completed' or s.error ->> 'code' = 'shadow' or (s.error ->> 'may_have_been_sent')::boolean));
end;
$$;

-- The last one that was let in and has done something, or still may. Runs from before there was a rule count
-- as well, where they can be found by their record.
create or replace function automation.last_entries(
  tenant_ids uuid[], workflow_ids uuid[], keys text[], record_ids text[], but uuid[])
  returns automation.entries[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return array(
    select case when (n.entry).execution_id is not null then n.entry else x.entry end
    from unnest(tenant_ids, workflow_ids, keys, record_ids, but) with ordinality
      as k (tenant_id, workflow_id, key, record_id, but, place)
    left join lateral (
      select e as entry from automation.entries as e
      where e.tenant_id = k.tenant_id and e.workflow_id = k.workflow_id and e.key = k.key
        and e.execution_id is distinct from k.but and not automation.has_done_nothing(e.tenant_id, e.execution_id)
      limit 1
    ) as n on true
    left join lateral (
      select row(o.tenant_id, o.workflow_id, k.key, o.id, o.created_at)::automation.entries as entry
      from ridgeline.workflow_executions as o
      where (n.entry).execution_id is null and k.key like 'record %'
        and o.tenant_id = k.tenant_id and o.record_id = k.record_id
        and o.workflow_id = k.workflow_id and o.id is distinct from k.but
        and o.started_at is not null and o.mode <> 'shadow' and not automation.has_done_nothing(o.tenant_id, o.id)
      order by o.created_at desc
      limit 1
    ) as x on true
    order by k.place);
end;
$$;

create or replace function automation.last_entry(
  tenant_id uuid, workflow_id uuid, key text, record_id text, but uuid default null)
  returns automation.entries
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (automation.last_entries(
    array[tenant_id], array[workflow_id], array[key], array[record_id], array[but]))[1];
end;
$$;

create or replace function automation.may_enter(reentry jsonb, entry automation.entries) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if entry.execution_id is null or reentry is null or reentry ->> 'policy' = 'restart' then
    return true;
  elsif reentry ->> 'policy' = 'once_in' then
    return entry.entered_at + (reentry ->> 'within')::interval <= automation.now();
  elsif reentry ->> 'policy' = 'not_while_open' then
    return not exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = entry.tenant_id and e.id = entry.execution_id and e.finished_at is null);
  end if;
  return false;
end;
$$;

comment on function automation.may_enter(jsonb, automation.entries) is
  'Does the rule let somebody in who was let in before, then?';

-- Asked by capture of a record that changed, so that a nightly import does not fill the history with
-- refusals; what it lets through is asked again, for good, before the first step.
create or replace function automation.may_enter_again(
  listener automation.active_triggers, record_id text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.may_enter(listener.reentry, automation.last_entry(
      listener.tenant_id, listener.workflow_id,
      automation.entry_key_in(
        listener.mode, automation.record_key(listener.entity, may_enter_again.record_id)),
      may_enter_again.record_id))
  $$;

-- The key of one that comes next. One that cannot be told is told where its own run begins, and is nobody's rival.
create or replace function automation.rival_key(execution ridgeline.workflow_executions, lifecycle jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.entry_key(execution, lifecycle);
exception when others then
  if automation.passing(sqlstate) is not null then
    raise;
  end if;
  return null;
end;
$$;

-- Of those that come next and have not begun, one with the same key. Who come next to a set are mostly the same: the
-- key of each is rendered once.
create or replace function automation.next_with_key(
  executions ridgeline.workflow_executions[], lifecycles jsonb[], keys text[])
  returns uuid[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  as $$
declare
  execution ridgeline.workflow_executions;
  run ridgeline.workflow_executions;
  mark text;
  rendered jsonb := '{}'::jsonb;
  found_ones uuid[] := array_fill(null::uuid, array[cardinality(keys)]);
begin
  for i in 1 .. cardinality(keys) loop
    continue when not lifecycles[i] ? 'key' or lifecycles[i] #>> '{reentry,policy}' is distinct from 'restart';
    execution := executions[i];
    for run in
      select e.* from ridgeline.workflow_executions as e
      where e.workflow_id = execution.workflow_id and e.tenant_id = execution.tenant_id
        and e.version = execution.version and e.created_at >= execution.created_at and e.seq > execution.seq
        and e.finished_at is null and e.started_at is null and e.mode = execution.mode
      order by e.created_at
      limit 50
    loop
      mark := concat_ws('/', run.tenant_id, run.id);
      if not rendered ? mark then
        rendered := rendered || jsonb_build_object(mark, automation.rival_key(run, lifecycles[i]));
      end if;
      if rendered ->> mark = keys[i] then
        found_ones[i] := run.id;
        exit;
      end if;
    end loop;
  end loop;
  return found_ones;
end;
$$;

-- Whom each meets that is to take another's place: a run that was written later (of the same record, or, of those that
-- come next and have not begun, with the same key), and the open one that was let in before, with its number.
create or replace function automation.rivals_of(
  executions ridgeline.workflow_executions[], lifecycles jsonb[], keys text[], entries automation.entries[],
  out laters uuid[], out others uuid[], out seqs bigint[])
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  as $$
declare
  nexts constant uuid[] := automation.next_with_key(executions, lifecycles, keys);
begin
  select array_agg(coalesce(l.id, nexts[x.ordinality]) order by x.ordinality), array_agg(o.id order by x.ordinality),
    array_agg(o.seq order by x.ordinality)
  into laters, others, seqs
  from unnest(executions) with ordinality as x
  left join lateral (
    select e.id from ridgeline.workflow_executions as e
    where not lifecycles[x.ordinality] ? 'key'
      and e.record_id = x.record_id and e.tenant_id = x.tenant_id and e.workflow_id = x.workflow_id
      and e.created_at >= x.created_at and e.seq > x.seq and e.finished_at is null and e.mode = x.mode
      and e.entity = x.entity
    limit 1
  ) as l on true
  left join lateral (
    select e.id, e.seq from ridgeline.workflow_executions as e
    where e.tenant_id = x.tenant_id and e.finished_at is null
      and e.id between (entries[x.ordinality]).execution_id and (entries[x.ordinality]).execution_id
    order by e.id
    limit 1
  ) as o on true;
end;
$$;

-- Tells open runs that others have taken their places. One about the same record may have been told by the write, and
-- somebody holds it.
create or replace function automation.tell_rivals(
  executions ridgeline.workflow_executions[], others uuid[], lifecycles jsonb[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  as $$
begin
  insert into automation.signals (
    tenant_id, role, workflow_id, version, listener, event, entity, record_id, contact_id, record, seq)
  select o.tenant_id, 'restart', x.workflow_id, x.version, x.id, x.trigger_type, coalesce(o.entity, ''), o.record_id,
    o.contact_id, jsonb_build_object('run', o.id), x.seq
  from unnest(executions) with ordinality as x
  cross join lateral (
    select e.* from ridgeline.workflow_executions as e
    where e.tenant_id = x.tenant_id and e.id between others[x.ordinality] and others[x.ordinality]
    order by e.id
    limit 1
  ) as o
  where lifecycles[x.ordinality] ? 'key' or not exists (
    select from automation.signals as s
    where s.record_id = x.record_id and s.tenant_id = x.tenant_id and s.role = 'restart' and s.listener = x.id::text);
  if found then
    perform automation.ring_once('database');
  end if;
end;
$$;

create or replace function automation.restarted_reason(event text, by_run uuid) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'restarted', 'message', format('it began anew at %s', event), 'event', event, 'execution_id', by_run)
  $$;

create or replace function automation.entry_lock(execution ridgeline.workflow_executions, key text) returns bigint
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select hashtextextended(concat_ws('/', execution.tenant_id, execution.workflow_id, key), 11)
  $$;

create or replace function automation.note_entries(
  executions ridgeline.workflow_executions[], keys text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.entries (tenant_id, workflow_id, key, execution_id, entered_at)
  select (executions[i]).tenant_id, (executions[i]).workflow_id, keys[i], (executions[i]).id, automation.now()
  from generate_subscripts(keys, 1) as i
  on conflict on constraint entries_pkey do update
    set execution_id = excluded.execution_id, entered_at = excluded.entered_at;
end;
$$;

-- Two runs of one key are asked one after the other: while the other's transaction is open this one is put off.
create or replace function automation.lock_entry(execution ridgeline.workflow_executions, key text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not pg_try_advisory_xact_lock(automation.entry_lock(execution, key)) then
    raise exception 'somebody with the same key is entering right now' using errcode = 'lock_not_available';
  end if;
end;
$$;

create or replace function automation.refused_reason(lifecycle jsonb, entry automation.entries) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'already_entered', 'policy', lifecycle #> '{reentry,policy}',
      'message', format('entered on %s already; re-entry: %s',
        to_char(entry.entered_at, 'YYYY-MM-DD HH24:MI'), concat_ws(' ',
          lifecycle #>> '{reentry,policy}', lifecycle #>> '{reentry,within}')),
      'execution_id', entry.execution_id)
  $$;

-- Lets runs in and remembers them, or says why not, in their order: of several with one key those that are let in
-- are known to the next. Of several that are to take each other's place the one that was written last stays. Runs about
-- the same record know that by their signals before they come here; those that could not see each other, and those that
-- a dedupe_key makes the same, meet here.
create or replace function automation.let_in(
  executions ridgeline.workflow_executions[], lifecycles jsonb[], keys text[])
  returns jsonb[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
  entries automation.entries[] := automation.last_entries(
    array(select e.tenant_id from unnest(executions) as e), array(select e.workflow_id from unnest(executions) as e),
    keys, array(select e.record_id from unnest(executions) as e), array(select e.id from unnest(executions) as e));
  restarts constant boolean[] := array(
    select coalesce(l #>> '{reentry,policy}' = 'restart', false) from unnest(lifecycles) as l);
  rivals record;
  mark text;
  marks text[] := '{}'::text[];
  place integer;
  entered ridgeline.workflow_executions[] := '{}'::ridgeline.workflow_executions[];
  entered_as text[] := '{}'::text[];
  taking ridgeline.workflow_executions[] := '{}'::ridgeline.workflow_executions[];
  taken uuid[] := '{}'::uuid[];
  by_rule jsonb[] := '{}'::jsonb[];
  refusals jsonb[] := array_fill(null::jsonb, array[cardinality(keys)]);
begin
  if true = any (restarts) then
    rivals := automation.rivals_of(executions, lifecycles, keys, entries);
  end if;
  for i in 1 .. cardinality(keys) loop
    execution := executions[i];
    mark := concat_ws('/', execution.tenant_id, execution.workflow_id, keys[i]);
    place := array_position(marks, mark);
    if place is not null then
      entries[i] := row(execution.tenant_id, execution.workflow_id, keys[i], (entered[place]).id, automation.now());
    end if;
    if not restarts[i] then
      if (entries[i]).execution_id is not null
        and automation.may_enter(lifecycles[i] -> 'reentry', entries[i]) is false then
        refusals[i] := automation.refused_reason(lifecycles[i], entries[i]);
      end if;
    elsif rivals.laters[i] is not null then
      refusals[i] := automation.restarted_reason(execution.trigger_type, rivals.laters[i]);
    elsif place is not null or rivals.others[i] is not null then
      if coalesce((entered[place]).seq, rivals.seqs[i]) > execution.seq then
        refusals[i] := automation.restarted_reason(execution.trigger_type, (entries[i]).execution_id);
      else
        taking := taking || execution;
        taken := taken || (entries[i]).execution_id;
        by_rule := by_rule || lifecycles[i];
      end if;
    end if;
    if refusals[i] is null then
      place := coalesce(place, cardinality(marks) + 1);
      marks[place] := mark;
      entered[place] := execution;
      entered_as[place] := keys[i];
    end if;
  end loop;
  if cardinality(taking) > 0 then
    perform automation.tell_rivals(taking, taken, by_rule);
  end if;
  if cardinality(entered) > 0 then
    perform automation.note_entries(entered, entered_as);
  end if;
  return refusals;
end;
$$;

comment on function automation.let_in(ridgeline.workflow_executions[], jsonb[], text[]) is
  'Asked once, before the first step of runs: null lets one in, otherwise the reason it is skipped. keys: entry_key() '
  'of each.';

-- The same of those of a batch at some places.
create or replace function automation.refuse_entries(
  works automation.work[], plans automation.running_plan[], places integer[])
  returns jsonb[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  plan automation.running_plan;
  key text;
  asked integer[] := '{}'::integer[];
  asking ridgeline.workflow_executions[] := '{}'::ridgeline.workflow_executions[];
  lifecycles jsonb[] := '{}'::jsonb[];
  keys text[] := '{}'::text[];
  answers jsonb[];
  refusals jsonb[] := array_fill(null::jsonb, array[cardinality(places)]);
begin
  for n in 1 .. cardinality(places) loop
    work := works[places[n]];
    plan := plans[work.plan];
    key := automation.entry_key(work.execution, plan.lifecycle, work.known, plan.options);
    continue when key is null;
    perform automation.lock_entry(work.execution, key);
    asked := asked || n;
    asking := asking || work.execution;
    lifecycles := lifecycles || plan.lifecycle;
    keys := keys || key;
  end loop;
  answers := automation.let_in(asking, lifecycles, keys);
  for i in 1 .. cardinality(asked) loop
    refusals[asked[i]] := answers[i];
  end loop;
  return refusals;
end;
$$;

-- A run that failed halfway comes back. Where two may not be in at once it must not stand beside the one that has
-- entered meanwhile; whoever comes after it finds it in. One that had done nothing is asked like any other, when it
-- begins.
create or replace function automation.come_back(execution ridgeline.workflow_executions, lifecycle jsonb)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  entry automation.entries;
begin
  if coalesce(lifecycle #>> '{reentry,policy}', '') not in ('not_while_open', 'restart') then
    return null;
  end if;
  key := automation.entry_key(execution, lifecycle);
  if key is null then
    return null;
  end if;
  -- Waited for: whoever asks is a person, and nobody who holds it waits for a run that has failed.
  perform pg_advisory_xact_lock(automation.entry_lock(execution, key));
  entry := automation.last_entry(
    execution.tenant_id, execution.workflow_id, key, execution.record_id, execution.id);
  if not automation.may_enter('{"policy": "not_while_open"}', entry) then
    return entry.execution_id;
  end if;
  perform automation.note_entries(array[execution], array[key]);
  return null;
end;
$$;

comment on function automation.come_back(ridgeline.workflow_executions, jsonb) is
  'Lets a run that has ended go on, or names the open one that is in its place.';
