-- The dispatcher's round trip: results in, due steps out. Where something went wrong before, what is about to be
-- claimed is committed before work on it begins; the dispatcher does not have to come back for that.

create or replace function automation.due_lanes() returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
begin
  return to_jsonb(array(
    select l.lane
    from unnest(automation.channels() || 'database'::ridgeline.automation_lane) as l (lane)
    where (
      select s.run_at from ridgeline.scheduled_steps as s
      where s.lane = l.lane and s.lease_expires_at is null
      order by s.run_at
      limit 1) <= automation.now()));
end;
$$;

comment on function automation.due_lanes() is 'Lanes with work that is due and nobody''s.';

-- One portion, as claim_portion(). An error is told and not raised: what other portions brought is the caller's
-- already, and must reach it.
create or replace function automation.try_portion(portion_id uuid, worker text, lease interval, functions text)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  report automation.portion_report;
begin
  functions := set_config('automation.functions_address', functions, true);
  report := automation.claim_of_portion(portion_id, worker, lease);
  return jsonb_build_object('claimed', to_jsonb(report.claimed), 'done', report.done);
exception
  when query_canceled or others then
    return jsonb_build_object('claimed', '[]'::jsonb, 'done', false,
      'error', jsonb_build_object('code', sqlstate, 'message', sqlerrm));
end;
$$;

-- What is due of a channel is claimed, or, where something went wrong before, written down as a portion to be claimed
-- next: {steps, claimed, done, error?} or {steps, portion}; null: nothing is. room: {"most": 10, "but": [tenants]}.
-- After until it is left.
create or replace function automation.claim_next(
  channel ridgeline.automation_lane, room jsonb, worker text, lease interval, functions text, until timestamptz)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  but uuid[] := '{}'::uuid[];
  mark regclass;
  next record;
  ended bigint;
  portion automation.portions;
  report automation.portion_report;
  answer jsonb;
begin
  for i in 0 .. coalesce(jsonb_array_length(room -> 'but'), 0) - 1 loop
    but := but || (room -> 'but' ->> i)::uuid;
  end loop;
  next := automation.lock_next(channel, least((room ->> 'most')::integer, 1000), but);
  if next.dues = '{}' then
    return null;
  end if;
  answer := jsonb_build_object('steps', cardinality(next.dues));
  if clock_timestamp() >= until then
    return answer || '{"claimed": [], "done": false}';
  end if;
  mark := automation.claim_mark(channel);
  if not next.is_calm or automation.begin_unwritten(mark) is not true then
    portion := automation.write_down(channel, next.dues);
    return answer || jsonb_build_object('portion', portion.id);
  end if;
  begin
    functions := set_config('automation.functions_address', functions, true);
    report := automation.claim_dues(next.dues, worker, lease);
    answer := answer || jsonb_build_object('claimed', to_jsonb(report.claimed), 'done', report.done);
  exception
    when query_canceled or others then
      -- As if it had been written down.
      perform automation.write_down(channel, next.dues);
      answer := answer || jsonb_build_object('claimed', '[]'::jsonb, 'done', false,
        'error', jsonb_build_object('code', sqlstate, 'message', sqlerrm));
  end;
  ended := setval(mark, 1);
  return case ended when 1 then answer end;
end;
$$;

-- What became of results, as finish_reported() says it. Made at once: a list that grows is copied for each of them.
create or replace function automation.finished_rows(results jsonb, left_as text[]) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select jsonb_agg(jsonb_build_object('step_id', r.value -> 'step_id', 'accepted', left_as[r.place] is not null,
      'status', left_as[r.place]) order by r.place)
    from jsonb_array_elements(results) with ordinality as r (value, place));
end;
$$;

-- Results are recorded in slices, each its own transaction, so that nobody waits long for what they lock. How many at
-- once follows what they cost (a CRM's timeline may have triggers): three, until the session has seen it.
create or replace function automation.first_slice() returns integer
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.kept_size('automation.slice_size', 3);
end;
$$;

-- A few that took long tell as much as many do.
create or replace function automation.keep_slice(count integer, took interval) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if took > automation.portion_length() / 2 then
    perform automation.keep_in_mind('automation.slice_size', automation.grown(count, took));
  end if;
end;
$$;

-- Each of them, if all are results.
create or replace function automation.check_reports(results jsonb) returns jsonb[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  report jsonb;
  checked constant jsonb[] := array(
    select e.value from jsonb_array_elements(results) with ordinality as e (value, place) order by e.place);
begin
  foreach report in array checked loop
    perform automation.check_report(report);
  end loop;
  return checked;
end;
$$;

-- A slice of results that were checked, as finish_reported(): all of it or nothing. An error is told and not raised,
-- since what the slices before brought must reach the caller; a lock that somebody keeps is one.
create or replace function automation.record_slice(results jsonb, out left_as text[], out error jsonb)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '500ms'
  as $$
declare
  work automation.work;
begin
  left_as := array_fill(null::text, array[jsonb_array_length(results)]);
  foreach work in array automation.finish_works(results) loop
    left_as[work.plan] := work.outcome;
  end loop;
exception
  when query_canceled or others then
    left_as := null;
    error := jsonb_build_object('code', sqlstate, 'message', sqlerrm);
end;
$$;

-- Adds to answer what became of those that there was time for, and the error that the next ones met.
create or replace procedure automation.record_in_slices(inout answer jsonb, results jsonb)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time('5 seconds');
  reports constant pg_catalog.jsonb[] := automation.check_reports(results);
  size pg_catalog.int4 := automation.first_slice();
  place pg_catalog.int4 := 1;
  count pg_catalog.int4;
  slice pg_catalog.jsonb;
  began timestamptz;
  recorded record;
  finished pg_catalog.jsonb := '[]'::pg_catalog.jsonb;
begin
  loop
    began := pg_catalog.clock_timestamp();
    count := least(size, pg_catalog.cardinality(reports) - place + 1);
    slice := pg_catalog.to_jsonb(reports[place:place + count - 1]);
    recorded := automation.record_slice(slice);
    if recorded.error is not null then
      answer := answer || pg_catalog.jsonb_build_object('error', recorded.error);
      size := 3;
      exit;
    end if;
    commit;
    finished := finished || automation.finished_rows(slice, recorded.left_as);
    place := place + count;
    -- A small slice says nothing of a large one, unless it took long.
    if count = size or pg_catalog.clock_timestamp() > began + automation.portion_length() / 2 then
      size := automation.grown(count, pg_catalog.clock_timestamp() - began);
    end if;
    exit when place > pg_catalog.cardinality(reports) or pg_catalog.clock_timestamp() >= until;
  end loop;
  perform automation.keep_in_mind('automation.slice_size', size);
  commit;
  answer := answer || pg_catalog.jsonb_build_object('finished', finished);
end;
$$;

create or replace procedure automation.exchange_steps(
  inout answer jsonb, results jsonb, wanted jsonb, worker text, lease interval default '60 seconds',
  functions text default null)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until pg_catalog.timestamptz;
  many constant pg_catalog.int4 := pg_catalog.jsonb_array_length(results);
  left_as pg_catalog.text[];
  channel ridgeline.automation_lane;
  room pg_catalog.jsonb;
  part pg_catalog.jsonb;
  claimed pg_catalog.jsonb := '[]'::pg_catalog.jsonb;
  dry pg_catalog.text[] := '{}'::pg_catalog.text[];
begin
  lease := automation.check_lease(lease);
  answer := '{}'::pg_catalog.jsonb;
  -- So few are recorded in one transaction, if the session has not seen that they take long.
  if many > least(10, automation.first_slice()) then
    call automation.record_in_slices(answer, results);
    if pg_catalog.jsonb_array_length(answer -> 'finished') < many then
      wanted := '{}';
    end if;
  elsif many > 0 then
    until := pg_catalog.clock_timestamp();
    -- An assignment, which costs less than a statement.
    left_as := array[pg_catalog.set_config('lock_timeout', '500ms', true)];
    left_as := automation.finish_reported(results);
    answer := pg_catalog.jsonb_build_object('finished', automation.finished_rows(results, left_as));
    perform automation.keep_slice(many, pg_catalog.clock_timestamp() - until);
    commit;
  end if;
  -- Of the whole statement half the time at most, results included: a claim that is begun then has the other half.
  until := least(pg_catalog.clock_timestamp() + interval '1 second',
    pg_catalog.statement_timestamp() + automation.allowed_time('1 day'));
  while wanted ?| automation.channels()::pg_catalog.text[] loop
    foreach channel in array automation.channels() loop
      room := wanted -> channel::pg_catalog.text;
      continue when room is null;
      exit when answer ? 'error';
      part := automation.claim_next(channel, room, worker, lease, functions, until);
      if part is not null then
        commit;
        if part ? 'portion' then
          part := part || automation.try_portion((part ->> 'portion')::pg_catalog.uuid, worker, lease, functions);
          commit;
        end if;
        claimed := claimed || (part -> 'claimed');
        if part ? 'error' then
          answer := answer || pg_catalog.jsonb_build_object('error', part -> 'error');
        end if;
      end if;
      -- Nothing more of it is due that nobody holds.
      if part is null or (part ->> 'done')::pg_catalog.bool
        and (part ->> 'steps')::pg_catalog.int4 < least((room ->> 'most')::pg_catalog.int4, 1000) then
        dry := pg_catalog.array_append(dry, channel::pg_catalog.text);
        wanted := wanted - channel::pg_catalog.text;
      end if;
    end loop;
    -- Where all were closed unsent, there may be others behind them.
    exit when claimed <> '[]' or answer ? 'error' or pg_catalog.clock_timestamp() >= until;
  end loop;
  answer := answer || pg_catalog.jsonb_build_object('claimed', claimed, 'dry', pg_catalog.to_jsonb(dry));
  if answer ? 'finished' then
    answer := answer || pg_catalog.jsonb_build_object('due', automation.due_lanes());
  end if;
end;
$$;

comment on procedure automation.exchange_steps(jsonb, jsonb, jsonb, text, interval, text) is
  'One round trip of a dispatcher. results: as of finish_steps(), may be empty. wanted: how many steps of a channel, '
  'and the tenants that have enough of them: {"sms": {"most": 10, "but": []}, ...}, may be empty. functions: the '
  'address under which the outside finds them, for links in what is sent. answer (give null): '
  '{finished: rows of finish_steps() without due_now, of the first results and in their order, claimed: rows of '
  'claim_steps(), dry: channels of which nothing more is due that nobody holds, due: lanes with due work, where there '
  'were results, error: {code, message} of a portion that could not be claimed, or of results that could not be '
  'recorded}. Results of which finished says nothing were not recorded (there was no time for them, or error says '
  'why), and then nothing is claimed. A bad '
  'result or lease is an error, and nothing has happened.';
