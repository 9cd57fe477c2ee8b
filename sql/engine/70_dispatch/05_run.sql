-- Running database steps. The effect and its ledger row are one transaction: a crash undoes both,
-- and the step is run again as if it had never been tried.

create or replace function automation.run_database_steps(max_steps integer default 200)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- Shorter than deadlock_timeout (1 s by default): should a user's transaction and this one ever
  -- wait for each other, this one gives way before Postgres picks a victim.
  set lock_timeout = '100ms'
  as $$
declare
  dues ridgeline.scheduled_steps[];
  report automation.batch_report;
  ran integer := 0;
  place integer := 1;
  size integer := automation.first_size();
  began timestamptz;
begin
  while automation.run_merges() > 0 loop
    exit when automation.time_is_up();
  end loop;
  perform automation.run_signals();
  if automation.time_is_up() then
    return 0;
  end if;
  dues := automation.lock_due('database', max_steps);
  -- As portions, though nothing is committed between them: what one of them loses the others keep.
  while place <= cardinality(dues) loop
    began := clock_timestamp();
    report := automation.run_batch(dues[place:place + size - 1]);
    ran := ran + report.ran;
    exit when report.cut_off;
    place := place + size;
    size := automation.grown(size, clock_timestamp() - began);
  end loop;
  -- What cut others off is tried when there is nothing else.
  if cardinality(dues) = 0 then
    began := clock_timestamp();
    dues := automation.lock_trial('database');
    report := automation.run_batch(dues);
    ran := report.ran;
    if not report.cut_off then
      perform automation.clear_suspects(dues, began);
    end if;
  end if;
  perform automation.clear_cause();
  return ran;
end;
$$;

comment on function automation.run_database_steps(integer) is
  'Runs due database steps, those of up to max_steps executions, each exactly once, in one transaction, which '
  'holds what they wrote to until it ends: work_database_steps() commits in portions. Returns how many ran.';

-- From due steps to the first one of each run that has to wait or to leave Postgres, or whose turn comes when the
-- portion has had its time: the first step of all, then the second of those that go on, and so forth. apart: the caller
-- commits, so that what there is no time for is left to the next portion, and what changes records of users to
-- transactions of its own, where there is more than one.
create or replace function automation.run_waves(dues ridgeline.scheduled_steps[], apart boolean)
  returns automation.batch_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  until constant timestamptz := case when apart then began + automation.portion_length() else 'infinity' end;
  report automation.batch_report := row(0, false, '{}'::uuid[]);
  taken record;
  going automation.work[];
  plans automation.running_plan[];
  ended automation.work[] := '{}'::automation.work[];
  done automation.work[];
  rest integer[];
  is_over boolean;
  holds boolean[];
begin
  taken := automation.take_work(dues);
  going := taken.works;
  plans := taken.plans;
  apart := apart and cardinality(dues) > 1;
  if apart then
    holds := automation.holding(going);
    if true = any (holds) then
      report.alone := array(select ((going[i]).due).id from generate_subscripts(going, 1) as i where holds[i]);
      going := array(select going[i] from generate_subscripts(going, 1) as i where not holds[i]);
    end if;
  end if;
  while cardinality(going) > 0 loop
    done := automation.run_wave(going, plans, until);
    going := '{}'::automation.work[];
    rest := '{}'::integer[];
    for i in 1 .. cardinality(done) loop
      report.ran := report.ran + ((done[i]).outcome not in ('busy', 'short', 'left', 'cut off', 'untried'))::integer;
      report.cut_off := report.cut_off or (done[i]).outcome = 'cut off';
      if (done[i]).outcome = 'go on' then
        going := going || automation.next_of(done[i]);
      else
        rest := rest || i;
      end if;
    end loop;
    -- Mostly all of them have ended, or none has: a set is not put together anew then.
    if cardinality(going) > 0 and cardinality(rest) > 0 then
      done := array(select done[p] from unnest(rest) as p);
    end if;
    if cardinality(rest) > 0 then
      ended := case cardinality(ended) when 0 then done else ended || done end;
    end if;
    is_over := report.cut_off or automation.is_over(began);
    if is_over then
      ended := ended || going;
      going := '{}'::automation.work[];
    end if;
    if apart then
      holds := automation.holding(going);
      if true = any (holds) then
        ended := ended || array(select going[i] from generate_subscripts(going, 1) as i where holds[i]);
        going := array(select going[i] from generate_subscripts(going, 1) as i where not holds[i]);
      end if;
    end if;
  end loop;
  -- A wave around what somebody holds waits for moments only, which here would cost the portion.
  if current_setting('lock_timeout') <> '100ms' then
    perform set_config('lock_timeout', '100ms', true);
  end if;
  report.cut_off := automation.leave_batch(ended, began) or report.cut_off;
  return report;
end;
$$;

-- The same, whatever becomes of it. What stands in the way of a batch as a whole (somebody's trigger on the history, as
-- its runs go on) undoes all of it: each step is tried alone then. That is not the work of the one that is alone, which
-- is left; where it was in its way for a day, it fails.
create or replace function automation.run_batch(dues ridgeline.scheduled_steps[], apart boolean default false)
  returns automation.batch_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  became text;
  why jsonb;
begin
  if cardinality(dues) = 0 then
    return row(0, false, '{}'::uuid[]);
  end if;
  begin
    return automation.run_waves(dues, apart);
  exception
    when query_canceled then
      became := 'cut off';
    when others then
      became := coalesce(automation.passing(sqlstate), 'left');
      why := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  if became = 'cut off' or cardinality(dues) > 1 then
    perform automation.note_cut_offs(dues, began);
  else
    became := automation.wait_out(dues, became, why, began);
  end if;
  return row((became = 'ended')::integer, became = 'cut off', '{}'::uuid[]);
end;
$$;

-- A run before its next step.
create or replace function automation.next_of(work automation.work) returns automation.work
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions := work.execution;
begin
  execution.started_at := coalesce(execution.started_at, automation.now());
  return row(work.due, execution, work.plan, null, null, work.next_step, automation.new_id(), null, null, null, null,
    null, 'go on', work.ran, null, null)::automation.work;
end;
$$;

-- One of a type that nobody knows holds nothing: it fails when it is run.
create or replace function automation.holds_record(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.channel_of(step ->> 'type') is null then
    return false;
  end if;
  return automation.step_holds(step ->> 'type', step);
end;
$$;

-- The same of each step of a batch, asked once for those of a plan that are at one step.
create or replace function automation.holding(works automation.work[]) returns boolean[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  holds boolean[] := '{}'::boolean[];
  asked text[] := '{}'::text[];
  said boolean[] := '{}'::boolean[];
  plan integer;
  key text;
begin
  for i in 1 .. cardinality(works) loop
    plan := (works[i]).plan;
    key := (works[i]).step ->> 'key';
    if asked[plan] is distinct from key then
      asked[plan] := key;
      said[plan] := automation.holds_record((works[i]).step);
    end if;
    holds := holds || said[plan];
  end loop;
  return holds;
end;
$$;

-- What becomes of the queue's rows of a batch that began then, each by its outcome. Says whether that was cut off.
create or replace function automation.leave_batch(works automation.work[], began timestamptz) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  due ridgeline.scheduled_steps;
  outcome text;
  transition automation.transition;
  at constant timestamptz := automation.now();
  transitions automation.transition[] := '{}'::automation.transition[];
  leaving ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  busy ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  waiting automation.work[] := '{}'::automation.work[];
  was_cut_off boolean := false;
  cut_off ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
begin
  for i in 1 .. cardinality(works) loop
    outcome := (works[i]).outcome;
    -- Most have, and are not copied to be looked at.
    if outcome = 'done' then
      transitions := transitions || automation.transition_after(works[i]);
      leaving := leaving || (works[i]).due;
      continue;
    end if;
    work := works[i];
    due := work.due;
    if work.ran > 0 and work.outcome in ('go on', 'busy', 'short', 'left', 'cut off', 'untried') then
      transition := automation.transition_to(work.execution, work.step,
        at + coalesce(automation.pause_of(work.outcome), '0'),
        (work.execution).expires_at);
      transitions := transitions || transition;
      due.id := transition.queue_id;
      due.step_key := work.step ->> 'key';
    elsif work.outcome = 'busy' and work.error is null then
      busy := busy || due;
    elsif work.outcome in ('busy', 'short', 'left') then
      waiting := waiting || work;
    end if;
    if work.outcome = 'put off' or work.ran > 0 then
      leaving := leaving || work.due;
    end if;
    if work.outcome = 'cut off' then
      cut_off := cut_off || due;
    end if;
  end loop;
  perform automation.unschedule(leaving);
  perform automation.go_on(transitions);
  if cardinality(busy) > 0 then
    was_cut_off := automation.wait_out(busy, 'busy', automation.engine_error(
      'step_failed', '55P03', 'somebody held what the step needs'), began) = 'cut off';
  end if;
  foreach work in array waiting loop
    was_cut_off := automation.wait_out(array[work.due], work.outcome, work.error, began) = 'cut off' or was_cut_off;
  end loop;
  perform automation.note_cut_offs(cut_off, began);
  return was_cut_off;
end;
$$;

-- One step of each run. What it says in outcome:
--   go on     the next step is a database step and due now
--   done      the step has ended, and with it its turn
--   put off   it stays open and comes back
--   stopped   the run has ended before it
--   busy      something it needs is locked by somebody else, nothing happened
--   short     the server lacks something, nothing happened
--   left      what raised is not its own work (somebody's trigger on the history), nothing happened
--   cut off   the statement was cancelled during it, nothing happened
--   untried   neither, for want of time
-- until: what is not begun by then is left, but for the first.
create or replace function automation.run_wave(
  works automation.work[], plans automation.running_plan[], until timestamptz)
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  tried automation.work[] := works;
  performed record;
  is_own boolean := true;
  caught text;
  why jsonb;
  middle constant integer := cardinality(works) / 2;
begin
  begin
    tried := automation.find_obstacles(tried, plans, until);
    tried := automation.prepare_works(tried, plans, until);
    performed := automation.perform_works(tried, plans, until);
    is_own := false;
    return automation.conclude_works(tried, performed.did, performed.results, plans, began);
  exception
    when query_canceled then
      caught := 'cut off';
    when others then
      caught := coalesce(automation.passing(sqlstate), case when is_own then 'failed' else 'left' end);
      why := case
        when is_own and sqlstate = '23503' then automation.engine_error(
          'record_deleted', sqlstate, 'the record that the step is about was deleted')
        else automation.engine_error('step_failed', sqlstate, sqlerrm) end;
  end;
  if caught = 'cut off' or caught <> 'failed' and middle = 0 then
    return automation.with_outcome(works, caught, why);
  elsif middle = 0 then
    return automation.conclude_works(automation.with_failure(tried, why), null, null, plans, began);
  elsif caught = 'busy' then
    return automation.run_around(works, plans, until);
  end if;
  return automation.run_halves(works, plans, until);
end;
$$;

comment on function automation.run_wave(automation.work[], automation.running_plan[], timestamptz) is
  'Runs one step of each of several locked runs as a whole, or, where that fails, as halves, down to the one step '
  'that fails.';

create or replace function automation.run_halves(
  works automation.work[], plans automation.running_plan[], until timestamptz)
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  middle constant integer := cardinality(works) / 2;
  tried constant automation.work[] := automation.run_wave(works[:middle], plans, until);
begin
  if clock_timestamp() >= until or exists (select from unnest(tried) as t where t.outcome = 'cut off') then
    return tried || automation.with_outcome(works[middle + 1:], 'untried');
  end if;
  return tried || automation.run_wave(works[middle + 1:], plans, until);
end;
$$;

-- Around what somebody holds. Whose records are held is asked at once; where that is not what was waited for (a trigger
-- wanted another row), it is looked for by halves, which wait for a moment only. All of them have waited together
-- already: where the time is over, they come again together, and the next set is smaller.
create or replace function automation.run_around(
  works automation.work[], plans automation.running_plan[], until timestamptz)
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  held boolean[];
  places integer[] := '{}'::integer[];
begin
  perform set_config('lock_timeout', '10ms', true);
  held := automation.held_works(works);
  if true = any (held) then
    for i in 1 .. cardinality(works) loop
      if not held[i] then
        places := places || i;
      end if;
    end loop;
    return automation.with_outcome(
        array(select works[i] from generate_subscripts(works, 1) as i where held[i]), 'busy')
      || case when cardinality(places) > 0 then automation.run_wave(
        array(select works[p] from unnest(places) as p), plans, until) end;
  elsif clock_timestamp() >= until then
    return automation.with_outcome(works, 'busy');
  end if;
  return automation.run_halves(works, plans, until);
end;
$$;

-- Which records of an entity somebody has locked, or is changing: all are locked at once, but for those, and let go.
create or replace function automation.held_records(entity text, tenant_ids uuid[], ids text[]) returns boolean[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  attached automation.entities;
  found_at text;
  there integer[];
  free integer[];
begin
  select e.* into attached from automation.entities as e where e.name = held_records.entity;
  -- Detached since its runs began, it is nobody's to hold.
  if not found then
    return array_fill(false, array[cardinality(ids)]);
  end if;
  found_at := format(
    'select array_agg(k.place) from unnest($1, $2) with ordinality as k (tenant_id, id, place) '
    'cross join lateral (select from %s as r where %s = k.tenant_id and r.%I = k.id::%s',
    attached.relation, automation.tenant_expression(attached, 'r'), attached.id_column, automation.key_type(attached));
  begin
    execute found_at || ') as r' into there using tenant_ids, ids;
    execute found_at || ' for no key update skip locked) as r' into free using tenant_ids, ids;
    raise exception 'let go';
  exception when others then
    -- What could not be asked, nobody holds.
    free := coalesce(free, case when sqlstate = 'P0001' then '{}'::integer[] else there end);
  end;
  return array(
    select coalesce(i = any (there) and i <> all (free), false) from generate_subscripts(ids, 1) as i order by i);
end;
$$;

create or replace function automation.held_works(works automation.work[]) returns boolean[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind text;
  tenant_ids uuid[] := array(select (w.execution).tenant_id from unnest(works) as w);
  held boolean[] := array_fill(false, array[cardinality(works)]);
  theirs boolean[];
begin
  for kind in
    select (w.execution).entity from unnest(works) as w where (w.execution).record_id is not null
    union select 'contact' from unnest(works) as w where (w.execution).contact_id is not null
  loop
    theirs := automation.held_records(kind, tenant_ids, array(
      select case (w.execution).entity when kind then (w.execution).record_id else case kind when 'contact'
        then (w.execution).contact_id end end
      from unnest(works) as w));
    for i in 1 .. cardinality(works) loop
      held[i] := held[i] or theirs[i];
    end loop;
  end loop;
  return held;
end;
$$;

create or replace function automation.with_outcome(works automation.work[], outcome text, why jsonb default null)
  returns automation.work[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    work.outcome := with_outcome.outcome;
    work.error := coalesce(why, work.error);
    works[i] := work;
  end loop;
  return works;
end;
$$;

create or replace function automation.with_failure(works automation.work[], why jsonb) returns automation.work[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    work.obstacle := null;
    work.status := 'failed';
    work.result := null;
    work.error := why;
    work.seq := coalesce(work.seq, nextval('automation.write_order'));
    works[i] := work;
  end loop;
  return works;
end;
$$;

create or replace function automation.prepare_works(
  works automation.work[], plans automation.running_plan[], until timestamptz)
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  prepared automation.prepared_step;
  input jsonb;
  at constant timestamptz := automation.now();
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    continue when work.outcome = 'untried';
    if i > 1 and clock_timestamp() >= until then
      return works[:i - 1] || automation.with_outcome(works[i:], 'untried');
    end if;
    work.seq := nextval('automation.write_order');
    if (work.obstacle).status is null then
      input := automation.plain_input(work.step, work.execution, work.known);
      if input is not null then
        prepared := row('run', input, null, null, null, null);
        work.prepared := prepared;
      else
        if (work.known).others is null and work.step -> 'roots' ?| '{user,tenant}' then
          works := automation.read_others(works, plans);
          work.known := (works[i]).known;
        end if;
        prepared := automation.prepare_step(work.execution, work.step, at, (plans[work.plan]).options, work.known);
        work.prepared := prepared;
        work.status := case prepared.verdict
          when 'run' then null when 'skip' then 'skipped' else 'failed' end::ridgeline.automation_status;
        work.error := prepared.reason;
      end if;
    end if;
    works[i] := work;
  end loop;
  return works;
end;
$$;

-- What the steps of a batch do, those of one type together, in sets of a size that follows what that type last cost: a
-- statement cannot be ended early, but what is done one by one asks the clock itself. By the places of the works:
-- whether each was done (null: it has nothing to do), and what came of it.
create or replace function automation.perform_works(
  works automation.work[], plans automation.running_plan[], until timestamptz, out did boolean[], out results jsonb[])
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kinds text[] := '{}'::text[];
  types text[] := '{}'::text[];
  type text;
  zones text[] := '{}'::text[];
  places integer[];
  alike automation.work[];
  theirs text[];
  answers jsonb[];
  many integer;
  place integer;
  size integer;
  count integer;
  set_began timestamptz;
  is_begun boolean := false;
begin
  did := array_fill(null::boolean, array[cardinality(works)]);
  results := array_fill(null::jsonb, array[cardinality(works)]);
  for i in 1 .. cardinality(works) loop
    type := case when ((works[i]).obstacle).status is null and (works[i]).status is null
      and (works[i]).outcome is distinct from 'untried' then (works[i]).step ->> 'type' end;
    kinds := kinds || type;
    zones := zones || ((plans[(works[i]).plan]).options ->> 'zone');
    -- Null is unlike all of none.
    if type is not null and type <> all (types) then
      types := types || type;
    end if;
  end loop;
  foreach type in array types loop
    -- Mostly all are alike, and a set is not put together anew.
    if type = all (kinds) then
      places := array(select generate_series(1, cardinality(works)));
      alike := works;
      theirs := zones;
    else
      places := array(
        select k.place::integer from unnest(kinds) with ordinality as k (kind, place)
        where k.kind = type order by k.place);
      alike := array(select works[p] from unnest(places) as p);
      theirs := array(select zones[p] from unnest(places) as p);
    end if;
    many := cardinality(places);
    place := 1;
    size := case many when 1 then 1 else automation.known_size(type) end;
    while place <= many loop
      set_began := clock_timestamp();
      exit when is_begun and set_began >= until;
      is_begun := true;
      count := least(size, many - place + 1);
      answers := case count when many then automation.step_perform_all(type, alike, theirs)
        else automation.step_perform_all(type, alike[place:place + count - 1], theirs[place:place + count - 1]) end;
      count := cardinality(answers);
      for n in 1 .. count loop
        did[places[place + n - 1]] := true;
        results[places[place + n - 1]] := answers[n];
      end loop;
      place := place + count;
      size := automation.grown(size, count, clock_timestamp() - set_began);
    end loop;
    for n in place .. many loop
      did[places[n]] := false;
    end loop;
    if many > 1 then
      perform automation.keep_size(type, size);
    end if;
  end loop;
end;
$$;

-- What came of each: where its run goes, and its row of the ledger.
create or replace function automation.conclude_works(
  works automation.work[], did boolean[], results jsonb[], plans automation.running_plan[], began timestamptz)
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  said jsonb;
  tried integer := 0;
  recorded integer[] := '{}'::integer[];
begin
  for i in 1 .. cardinality(works) loop
    continue when (works[i]).outcome = 'untried';
    work := works[i];
    if did[i] then
      work.result := results[i];
      work.status := 'completed';
    elsif not did[i] then
      work.outcome := 'untried';
      works[i] := work;
      continue;
    end if;
    tried := tried + 1;
    work.ran := work.ran + 1;
    said := coalesce(work.result, work.error #> '{would,result}');
    if (said ->> 'adopted')::boolean and (work.obstacle).status is null then
      work.execution := automation.adopt_contact(
        work.execution, said ->> 'contact_id', work.error #> '{would,contact}');
    end if;
    if (work.obstacle).status is not null then
      perform automation.stop_execution(work.execution, (work.obstacle).status, (work.obstacle).reason);
      work.outcome := 'stopped';
    elsif work.result ? 'waiting' or work.status = 'failed' and automation.may_try_again(work.execution, work.step) then
      perform automation.put_off(
        work.execution, work.step, work.step_id, work.prepared, work.result, work.error, work.seq);
      work.outcome := 'put off';
    else
      work.next_step := (plans[work.plan]).steps -> automation.next_key(work.step, work.result);
      work.outcome := case when work.next_step is not null
        and automation.goes_on(work.status, work.result, work.next_step) then 'go on' else 'done' end;
      recorded := recorded || i;
    end if;
    works[i] := work;
  end loop;
  if cardinality(recorded) > 0 then
    -- They were worked on together: what each took is its share.
    perform automation.record_ends(
      case cardinality(recorded) when cardinality(works) then works
        else array(select works[p] from unnest(recorded) as p) end,
      ceil(extract(epoch from clock_timestamp() - began) * 1000 / tried)::integer);
  end if;
  return works;
end;
$$;

create or replace function automation.goes_on(
  status ridgeline.automation_status, result jsonb, next_step jsonb)
  returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    status <> 'failed' and not coalesce(result ?| '{wait_until,stop}', false)
    and next_step ->> 'lane' = 'database' and (next_step ->> 'delay_seconds')::numeric = 0,
    false);
end;
$$;

comment on function automation.goes_on(ridgeline.automation_status, jsonb, jsonb) is
  'May the next step run at once, in the same transaction?';

-- Steps inside Postgres fail for reasons that time alone seldom mends: they are tried again only where
-- the step says how often.
create or replace function automation.may_try_again(
  execution ridgeline.workflow_executions, step jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((step #>> '{retry,max_attempts}')::integer, 1) > 1 + coalesce((
      select jsonb_array_length(s.attempts)
      from ridgeline.workflow_step_executions as s
      where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
        and s.step_key = step ->> 'key'), 0)
  $$;

-- The step stays open and comes back: when what it waits for may be there, or to be tried again.
create or replace function automation.put_off(
  execution ridgeline.workflow_executions, step jsonb, step_id uuid,
  prepared automation.prepared_step, result jsonb, error jsonb, seq bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  attempt constant jsonb := case when error is not null then jsonb_build_array(jsonb_build_object(
    'at', automation.now(), 'outcome', 'retry', 'error', error)) else '[]' end;
  tried integer;
begin
  insert into ridgeline.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, result_data, error, warnings,
    attempts, started_at, seq)
  values (
    execution.tenant_id, step_id, execution.id, step ->> 'key', step ->> 'type', 'waiting',
    prepared.input, result, error, prepared.warnings, attempt, automation.now(), put_off.seq)
  on conflict on constraint workflow_step_executions_once do update
    set changed_at = automation.now(), status = 'waiting', input = excluded.input, result_data = excluded.result_data,
      error = excluded.error, warnings = excluded.warnings, attempts = s.attempts || attempt,
      finished_at = null
  returning jsonb_array_length(s.attempts) into tried;
  perform automation.schedule_step(execution, step, coalesce(
    (result ->> 'wait_until')::timestamptz,
    automation.now() + automation.backoff(tried, null, false, step -> 'retry')));
end;
$$;
