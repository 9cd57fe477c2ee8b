-- Claiming: a dispatcher takes due steps of a channel under a lease. The gate is asked here, in the
-- transaction that claims: once a STOP has committed, nothing unclaimed goes out.

create type automation.claimed_step as (
  tenant_id uuid,
  step_id uuid,
  attempt_token uuid,
  attempt integer,
  step_type text,
  payload jsonb,
  idempotency_key text,
  lease_expires_at timestamptz,
  reconcile_since timestamptz,
  known_provider_ids text[],
  channel text
);

-- The same, if it is one that may be asked for: an expression costs a tenth of a statement that is performed.
create or replace function automation.check_lease(lease interval) returns interval
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if lease is null or lease < interval '1 second' or lease > interval '1 hour' then
    raise exception 'lease: an interval from 1 second to 1 hour is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  return lease;
end;
$$;

-- Two workflows may send the same words to the same person, and two tenants with one account: what another step sent is
-- not ours.
create or replace function automation.known_provider_ids(tenant_id uuid, step_id uuid, recipient text)
  returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(s.provider_id), '{}')
    from ridgeline.workflow_step_executions as s
    where s.recipient = known_provider_ids.recipient and s.provider_id is not null
      and (s.id <> step_id or s.tenant_id <> known_provider_ids.tenant_id)
  $$;

create type automation.claim_report as (
  claimed automation.claimed_step[],
  cut_off boolean
);

create or replace function automation.claim_steps(
  worker text, max_steps integer, lease interval default '60 seconds')
  returns setof automation.claimed_step
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  channel ridgeline.automation_lane;
  channels ridgeline.automation_lane[];
  dues ridgeline.scheduled_steps[];
  report automation.claim_report;
  found_any boolean := false;
  some_more boolean;
  asked integer;
  taken integer := 0;
  closed integer;
  rounds integer := 0;
begin
  if max_steps is null or max_steps not between 1 and 1000 then
    raise exception 'max_steps: a number from 1 to 1000 is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.check_lease(lease);
  -- An equal share for each channel first. Steps that are closed unsent (an opt-out, a cancelled run) make
  -- room for others.
  loop
    channels := array(
      select c from unnest(automation.channels()) as c where automation.next_due_at(c) <= automation.now());
    closed := 0;
    some_more := false;
    foreach channel in array channels loop
      asked := case rounds
        when 0 then least(greatest(max_steps / cardinality(channels), 1), max_steps - taken) else max_steps - taken end;
      dues := automation.lock_due(channel, asked);
      continue when cardinality(dues) = 0;
      found_any := true;
      some_more := some_more or cardinality(dues) = asked;
      report := automation.claim_batch(dues, worker, lease);
      taken := taken + cardinality(report.claimed);
      closed := closed + cardinality(dues) - cardinality(report.claimed);
      return query select * from unnest(report.claimed);
      if report.cut_off then
        return;
      end if;
      exit when taken = max_steps;
    end loop;
    rounds := rounds + 1;
    exit when taken = max_steps or rounds = 10 or not some_more and closed = 0;
  end loop;
  -- What cut others off is tried when there is nothing else.
  if not found_any then
    foreach channel in array automation.channels() loop
      dues := automation.lock_trial(channel);
      continue when cardinality(dues) = 0;
      report := automation.claim_batch(dues, worker, lease);
      return query select * from unnest(report.claimed);
      exit when report.cut_off;
      if cardinality(report.claimed) = 0 then
        perform automation.clear_suspects(dues, began);
      end if;
    end loop;
  end if;
end;
$$;

comment on function automation.claim_steps(text, integer, interval) is
  'Claims up to max_steps due sends and webhooks, fairly between tenants, rendered and ready to '
  'go. lease (1 second to 1 hour): how long the caller has to report with finish_steps. Fewer than '
  'asked for: nothing more is due that nobody holds.';

create or replace function automation.claim_batch(dues ridgeline.scheduled_steps[], worker text, lease interval)
  returns automation.claim_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  taken constant record := automation.take_work(dues);
begin
  if cardinality(taken.works) = 0 then
    return row('{}'::automation.claimed_step[], false);
  end if;
  return automation.claim_works(taken.works, taken.plans, worker, lease);
end;
$$;

-- Claimed, or closed unsent: as a whole, or, where that fails, as halves. One that is broken must not keep the others
-- from being claimed, and fails. What is not its own work (the gate, somebody's trigger on the queue or the history)
-- leaves it to be claimed later.
create or replace function automation.claim_works(
  works automation.work[], plans automation.running_plan[], worker text, lease interval)
  returns automation.claim_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  dues ridgeline.scheduled_steps[];
  middle constant integer := cardinality(works) / 2;
  tried automation.work[];
  sending automation.work[] := '{}'::automation.work[];
  work automation.work;
  is_own boolean := true;
  caught text;
  why jsonb;
  report automation.claim_report;
  rest automation.claim_report;
begin
  begin
    tried := automation.find_obstacles(works, plans, null);
    tried := automation.prepare_sends(tried, plans);
    is_own := false;
    tried := automation.ask_gate(tried, plans);
    foreach work in array tried loop
      if work.outcome = 'send' then
        sending := sending || work;
      end if;
    end loop;
    if cardinality(sending) < cardinality(tried) then
      perform automation.close_unsent(tried, plans);
    end if;
    return row(automation.lease_steps(sending, worker, lease), false);
  exception
    when query_canceled then
      caught := 'cut off';
    when others then
      caught := coalesce(automation.passing(sqlstate), case when is_own then 'failed' else 'left' end);
      why := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  dues := array(select (w.due) from unnest(works) as w);
  if caught = 'cut off' then
    perform automation.note_cut_offs(dues, began);
    return row('{}'::automation.claimed_step[], true);
  elsif middle > 0 then
    report := automation.claim_works(works[:middle], plans, worker, lease);
    if not report.cut_off then
      rest := automation.claim_works(works[middle + 1:], plans, worker, lease);
      report := row(report.claimed || rest.claimed, rest.cut_off);
    end if;
    return report;
  elsif caught = 'failed' then
    caught := automation.end_step(dues[1], why, began);
  else
    caught := automation.wait_out(dues, caught, why, began);
  end if;
  return row('{}'::automation.claimed_step[], caught = 'cut off');
end;
$$;

-- Each tenant of some plans once; null: they were not read with them.
create or replace function automation.tenants_in(plans automation.running_plan[]) returns automation.tenant[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants automation.tenant[];
begin
  -- They are in the order of their tenants.
  for i in 1 .. cardinality(plans) loop
    if ((plans[i]).tenant).id is not null and (i = 1 or (plans[i]).tenant_id <> (plans[i - 1]).tenant_id) then
      tenants := tenants || (plans[i]).tenant;
    end if;
  end loop;
  return tenants;
end;
$$;

-- What is among some words more than once.
create or replace function automation.doubled(words text[]) returns text[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(words) < 2 then
    return '{}'::text[];
  end if;
  return array(select w from unnest(words) as w group by w having count(*) > 1);
end;
$$;

-- Renders what is going to be sent: outcome is null (the gate is to be asked), close (unsent), hold or stopped.
create or replace function automation.prepare_sends(works automation.work[], plans automation.running_plan[])
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  prepared automation.prepared_step;
  ledgers constant ridgeline.workflow_step_executions[] := automation.lock_ledgers(works);
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    work.seq := nextval('automation.write_order');
    work.began := (ledgers[i]).started_at;
    if (work.obstacle).status is not null then
      work.outcome := 'stopped';
    else
      if (work.known).others is null and work.step -> 'roots' ?| '{user,tenant}' then
        works := automation.read_others(works, plans);
        work.known := (works[i]).known;
      end if;
      prepared := automation.prepare_send(work, ledgers[i], (plans[work.plan]).options);
      work.prepared := prepared;
      if prepared.verdict = 'hold' then
        -- A shadow, which asked what it may ask as it was prepared.
        work.outcome := 'hold';
      elsif prepared.verdict is distinct from 'run' then
        work := automation.unsent(work, prepared);
      end if;
    end if;
    works[i] := work;
  end loop;
  return works;
end;
$$;

-- Asks the gate about all of them at once, and puts off what it holds: outcome is send, close (unsent), hold, stopped
-- or later. Answers to one number are counted by what has been claimed: two of them are not claimed together.
create or replace function automation.ask_gate(works automation.work[], plans automation.running_plan[])
  returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  prepared automation.prepared_step;
  question automation.send_question;
  questions automation.send_question[] := '{}'::automation.send_question[];
  places integer[] := '{}'::integer[];
  verdict automation.send_verdict;
  held automation.send_verdict[] := '{}'::automation.send_verdict[];
  shadows automation.send_question[] := '{}'::automation.send_question[];
  shadow_places integer[] := '{}'::integer[];
  recipients text[] := '{}'::text[];
  several text[];
  answered text[] := '{}'::text[];
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    prepared := work.prepared;
    if work.outcome is null then
      places := places || i;
      question := row(cardinality(places), work.due, work.execution, work.step, prepared, work.began,
        case when (work.known).contact_id = (work.execution).contact_id then (work.known).contact end);
      questions := questions || question;
      recipients := recipients || prepared.recipient;
    elsif work.outcome = 'hold' then
      held := held || row(i, (work.due).tenant_id, (work.due).id, (work.due).execution_id, 'hold', null,
        prepared.reason -> 'held', (prepared.reason ->> 'until')::timestamptz,
        (prepared.reason ->> 'expires_at')::timestamptz)::automation.send_verdict;
    elsif work.outcome = 'close' and (work.execution).mode = 'shadow' and prepared.reason ->> 'code' = 'shadow'
      and (work.due).lane in ('sms', 'email') then
      shadow_places := shadow_places || i;
      question := row(cardinality(shadow_places), work.due, work.execution, work.step, prepared, work.began, null);
      shadows := shadows || question;
    end if;
  end loop;
  if cardinality(shadows) > 0 then
    foreach verdict in array automation.ask_room_of_shadows(
      shadows, automation.now(), automation.tenants_in(plans)) loop
      work := works[shadow_places[verdict.place]];
      if verdict.verdict = 'hold' then
        work.outcome := 'hold';
        held := held || verdict;
      else
        work := automation.unsent(work, verdict.prepared);
      end if;
      works[shadow_places[verdict.place]] := work;
    end loop;
  end if;
  several := automation.doubled(recipients);
  foreach verdict in array automation.gate(
    questions, automation.now(), false, automation.tenants_in(plans), true) loop
    work := works[places[verdict.place]];
    prepared := verdict.prepared;
    if verdict.verdict = 'hold' then
      work.outcome := 'hold';
      held := held || verdict;
    elsif prepared.verdict is distinct from 'run' then
      work := automation.unsent(work, prepared);
    else
      work.prepared := prepared;
      work.outcome := 'send';
      if prepared.recipient = any (several) and work.step ->> 'lane' = 'sms'
        and automation.answers_somebody(work.execution) then
        if prepared.recipient = any (answered) then
          work.outcome := 'later';
        end if;
        answered := answered || prepared.recipient;
      end if;
    end if;
    works[places[verdict.place]] := work;
  end loop;
  if cardinality(held) > 0 then
    perform automation.hold_sends(held);
  end if;
  return works;
end;
$$;

create or replace function automation.unsent(work automation.work, prepared automation.prepared_step)
  returns automation.work
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  work.prepared := prepared;
  work.outcome := 'close';
  work.status := case prepared.verdict when 'skip' then 'skipped' else 'failed' end::ridgeline.automation_status;
  work.error := prepared.reason;
  return work;
end;
$$;

-- Those of steps that were begun before, in the order of the works.
create or replace function automation.lock_ledgers(works automation.work[])
  returns ridgeline.workflow_step_executions[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return array(
    select l.ledger
    from unnest(works) as w
    left join lateral (
      select s as ledger from ridgeline.workflow_step_executions as s
      where s.tenant_id = (w.due).tenant_id and s.id between (w.due).id and (w.due).id
      order by s.id
      limit 1
      for update
    ) as l on true);
end;
$$;

-- Rendered on the first attempt, and anew after one that was certainly refused; what may have been accepted is sent
-- again as it was.
create or replace function automation.prepare_send(
  work automation.work, ledger ridgeline.workflow_step_executions, options jsonb)
  returns automation.prepared_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due constant ridgeline.scheduled_steps := work.due;
  execution constant ridgeline.workflow_executions := work.execution;
  prepared automation.prepared_step;
  input jsonb;
begin
  if due.expires_at <= automation.now() then
    return automation.skip_unaddressed(prepared, 'expired', format(
      'it was planned before %s, and is not sent after it', automation.date_text(due.tenant_id, due.expires_at)));
  elsif ledger.input is not null and not ledger.render_again then
    return automation.recheck_recipient(execution, work.step, automation.recheck_sender(
      due.tenant_id, work.step ->> 'type', row('run', ledger.input, null, ledger.warnings, ledger.recipient,
        ledger.country)));
  end if;
  input := automation.plain_input(work.step, execution, work.known);
  if input is not null then
    prepared := row('run', input, null, null, null, null);
    return prepared;
  end if;
  return automation.prepare_step(execution, work.step, automation.now(), options, work.known);
end;
$$;

-- Runs that end before the step, and steps that are not sent.
create or replace function automation.close_unsent(works automation.work[], plans automation.running_plan[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  closed automation.work[] := '{}'::automation.work[];
  stopped ridgeline.workflow_executions[] := '{}'::ridgeline.workflow_executions[];
  statuses ridgeline.automation_status[] := '{}'::ridgeline.automation_status[];
  reasons jsonb[] := '{}'::jsonb[];
begin
  foreach work in array works loop
    if work.outcome = 'stopped' then
      stopped := stopped || work.execution;
      statuses := statuses || (work.obstacle).status;
      reasons := reasons || (work.obstacle).reason;
    elsif work.outcome = 'close' then
      work.next_step := (plans[work.plan]).steps -> (work.step ->> 'next');
      closed := closed || work;
    end if;
  end loop;
  if cardinality(stopped) > 0 then
    perform automation.stop_executions(stopped, statuses, reasons);
  end if;
  if cardinality(closed) > 0 then
    perform automation.unschedule(array(select (c.due) from unnest(closed) as c));
    perform automation.record_ends(closed);
    perform automation.advance(closed);
  end if;
end;
$$;

-- A marketing email gets the token of its link, which no row holds, when it is handed out; a text's links are opened.
create or replace function automation.add_tokens(claimed automation.claimed_step[]) returns automation.claimed_step[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  step automation.claimed_step;
  tracked automation.claimed_step[] := '{}'::automation.claimed_step[];
  secret bytea;
  token text;
  marketing automation.claimed_step[] := '{}'::automation.claimed_step[];
begin
  -- They are of one channel.
  if (claimed[1]).channel = 'webhook' then
    return claimed;
  end if;
  for i in 1 .. coalesce(cardinality(claimed), 0) loop
    step := claimed[i];
    if step.payload ? 'tracked_links' then
      tracked := tracked || step;
      step.payload := step.payload - 'tracked_links';
      claimed[i] := step;
    end if;
    continue when not step.payload ? 'unsubscribe';
    secret := coalesce(secret, automation.unsubscribe_secret());
    token := automation.unsubscribe_token(step.tenant_id, step.idempotency_key, secret);
    step.payload := jsonb_set(step.payload, '{unsubscribe,token}', to_jsonb(token));
    claimed[i] := step;
    marketing := marketing || step;
  end loop;
  if cardinality(marketing) > 0 then
    insert into automation.unsubscribe_tokens (digest, tenant_id, step_id, addresses)
    select sha256(convert_to(c.payload #>> '{unsubscribe,token}', 'UTF8')), c.tenant_id, c.step_id, array(
      select automation.normalize_email(automation.bare_address(m.mailbox))
      from jsonb_array_elements_text(c.payload -> 'to') as m (mailbox))
    from unnest(marketing) as c
    on conflict on constraint unsubscribe_tokens_pkey do nothing;
  end if;
  if cardinality(tracked) > 0 then
    perform automation.open_links(tracked);
  end if;
  return claimed;
end;
$$;

-- Where the links of texts lead is known before they are out.
create or replace function automation.open_links(claimed automation.claimed_step[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  insert into automation.links (tenant_id, code, step_id, contact_id, recipient, url)
  select c.tenant_id, l.code, c.step_id, e.contact_id, c.payload ->> 'to', l.url
  from unnest(claimed) as c
  cross join lateral (
    select x.execution_id from ridgeline.workflow_step_executions as x
    where x.tenant_id = c.tenant_id and x.id between c.step_id and c.step_id order by x.id limit 1) as s
  left join lateral (
    select x.contact_id from ridgeline.workflow_executions as x
    where x.tenant_id = c.tenant_id and x.id between s.execution_id and s.execution_id order by x.id limit 1
  ) as e on true
  cross join lateral jsonb_to_recordset(c.payload -> 'tracked_links') as l (code text, url text)
  on conflict on constraint links_pkey do nothing;
end;
$$;

-- The rows of the ledger of steps that were begun before, for another attempt.
create or replace function automation.open_again(works automation.work[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(),
    status = 'running', input = (w.prepared).input, warnings = (w.prepared).warnings,
    recipient = (w.prepared).recipient, country = (w.prepared).country, error = null, finished_at = null,
    rendition = s.rendition + s.render_again::integer, render_again = false
  from (
    select u.prepared, q.ctid as place
    from unnest(works) as u
    cross join lateral (
      select x.ctid from ridgeline.workflow_step_executions as x
      where x.tenant_id = (u.due).tenant_id and x.id between (u.due).id and (u.due).id order by x.id limit 1) as q
    where u.began is not null
  ) as w
  where s.ctid = w.place;
end;
$$;

-- Opens the ledger, and the leases. Run and queue are locked, and so is the ledger of those that were begun before
-- (lock_ledgers): what is changed is where it was found. One statement takes the set apart once.
create or replace function automation.lease_steps(works automation.work[], worker text, lease interval)
  returns automation.claimed_step[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
  work automation.work;
  again integer := 0;
  opened integer;
  begun integer;
  claimed automation.claimed_step[];
begin
  if cardinality(works) = 0 then
    return '{}'::automation.claimed_step[];
  end if;
  foreach work in array works loop
    again := again + (work.began is not null)::integer;
  end loop;
  if again > 0 then
    perform automation.open_again(works);
  end if;
  with works as materialized (
    select w.due, w.prepared, w.step ->> 'type' as step_type, w.seq, w.began, q.ctid as queued, e.ctid as run,
      coalesce(l.rendition, 0) as rendition
    from unnest(lease_steps.works) as w
    cross join lateral (
      select x.ctid from ridgeline.scheduled_steps as x
      where x.tenant_id = (w.due).tenant_id and x.id between (w.due).id and (w.due).id order by x.id limit 1) as q
    cross join lateral (
      select x.ctid from ridgeline.workflow_executions as x
      where x.tenant_id = (w.due).tenant_id and x.id between (w.due).execution_id and (w.due).execution_id
      order by x.id limit 1) as e
    left join lateral (
      select x.rendition from ridgeline.workflow_step_executions as x
      where w.began is not null and x.tenant_id = (w.due).tenant_id and x.id between (w.due).id and (w.due).id
      order by x.id limit 1) as l on true
  ), opened as (
    insert into ridgeline.workflow_step_executions (
      tenant_id, id, execution_id, step_key, step_type, status, input, warnings, recipient, started_at, seq,
      country)
    select (w.due).tenant_id, (w.due).id, (w.due).execution_id, (w.due).step_key, w.step_type, 'running',
      (w.prepared).input, (w.prepared).warnings, (w.prepared).recipient, at, w.seq, (w.prepared).country
    from works as w
    where w.began is null
    returning id
  ), running as (
    update ridgeline.workflow_executions as e
    set changed_at = at, status = 'running', current_step = (w.due).step_key, started_at = coalesce(e.started_at, at)
    from works as w
    where e.ctid = w.run and (e.status <> 'running' or e.current_step is distinct from (w.due).step_key)
    returning e.id
  ), leased as (
    update ridgeline.scheduled_steps as s
    set attempt = s.attempt + 1, attempt_token = gen_random_uuid(), leased_by = left(worker, 200),
      leased_at = clock_timestamp(), lease_expires_at = clock_timestamp() + lease, held = null
    from works as w
    where s.ctid = w.queued
    returning s.tenant_id, s.id, s.attempt_token, s.attempt, s.lease_expires_at, s.reconcile_since, s.lane,
      w.step_type, (w.prepared).input as input, (w.prepared).recipient as recipient, w.rendition
  )
  select array_agg(row(l.tenant_id, l.id, l.attempt_token, l.attempt, l.step_type, l.input,
    l.id || case when l.rendition > 0 then '-' || l.rendition else '' end, l.lease_expires_at, l.reconcile_since,
    case when l.reconcile_since is not null
      then automation.known_provider_ids(l.tenant_id, l.id, l.recipient) end, l.lane)::automation.claimed_step),
    (select count(*) from opened), (select count(*) from running)
    into claimed, opened, begun
  from leased as l;
  if opened + again <> cardinality(claimed) or begun > cardinality(claimed) then
    raise exception '% steps were leased, and % are in the ledger', cardinality(claimed), opened + again;
  end if;
  return automation.add_tokens(claimed);
end;
$$;
