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

create or replace procedure automation.exchange_steps(
  inout answer jsonb, results jsonb, wanted jsonb, worker text, lease interval default '60 seconds',
  functions text default null)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until pg_catalog.timestamptz;
  left_as pg_catalog.text[];
  channel ridgeline.automation_lane;
  room pg_catalog.jsonb;
  part pg_catalog.jsonb;
  claimed pg_catalog.jsonb := '[]'::pg_catalog.jsonb;
  dry pg_catalog.text[] := '{}'::pg_catalog.text[];
begin
  lease := automation.check_lease(lease);
  answer := '{}'::pg_catalog.jsonb;
  if pg_catalog.jsonb_array_length(results) > 0 then
    left_as := automation.finish_reported(results);
    answer := pg_catalog.jsonb_build_object('finished', automation.finished_rows(results, left_as));
    commit;
  end if;
  until := pg_catalog.clock_timestamp() + automation.allowed_time('1 second');
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
  '{finished: rows of finish_steps() without due_now, claimed: rows of claim_steps(), dry: channels of which nothing '
  'more is due that nobody holds, due: lanes with due work, where there were results, error: {code, message} of a '
  'portion that could not be claimed}. A bad result or lease is an error, and nothing has happened.';
