-- THE GATE
--
-- One gate before every send, asked in the transaction that claims it, on every attempt, failing closed: what no
-- rule is written for is not sent. Its questions in their order: expired, paused, sender, reachable, revoked,
-- consent, quiet hours, cap, rate. Sender and reachable are asked while a message is addressed (60_steps), as they
-- are of its words too. What one question holds or refuses, those after it are not asked of. Nothing in it waits
-- for a lock.

create or replace function automation.verdict_on(
  question automation.send_question, verdict text, prepared automation.prepared_step,
  held jsonb default null, until timestamptz default null, expires_at timestamptz default null)
  returns automation.send_verdict
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(question.place, (question.due).tenant_id, (question.due).id, (question.due).execution_id,
    verdict, prepared, held, until, expires_at)::automation.send_verdict;
end;
$$;

-- Whoever may still be written to of those whom a message would go to; where nobody is left it is skipped.
create or replace function automation.leave_out_revoked(
  question automation.send_question, reason text, addresses text[])
  returns automation.prepared_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  allowed automation.prepared_step;
begin
  if (question.due).lane = 'email' then
    allowed := automation.leave_out_of_email(question.prepared, addresses);
    if allowed.input -> 'to' <> '[]' then
      return allowed;
    end if;
  elsif reason = 'landline' then
    return automation.skip_unaddressed(question.prepared, 'not_textable',
      'to: the number is a landline, no text reaches it', (question.prepared).input ->> 'to');
  end if;
  return automation.skip_unaddressed(
    question.prepared, 'suppressed', 'the recipient has opted out of this channel');
end;
$$;

-- What a provider queues by itself must not arrive after closing time or when it is of no use: it is told how many
-- seconds it has, where they are less than it would take anyway.
create or replace function automation.limit_validity(
  prepared automation.prepared_step, until timestamptz, now timestamptz)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.input := prepared.input - 'validity_seconds';
  if until < now + interval '10 hours' then
    prepared.input := prepared.input || jsonb_build_object(
      'validity_seconds', greatest(1, floor(extract(epoch from until - now))::integer));
  end if;
  return prepared;
end;
$$;

create or replace function automation.quiet_reason(opens_at timestamptz, zones text[]) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when opens_at is null then jsonb_build_object(
        'code', 'no_open_hour', 'why', 'there is no hour in two weeks at which it may go out', 'zones', to_jsonb(zones))
      else jsonb_build_object('code', 'quiet_hours', 'zones', to_jsonb(zones), 'why', format(
        'it is quiet where it goes (%s) until %s there', array_to_string(zones, ', '),
        to_char(opens_at at time zone zones[1], 'HH24:MI'))) end
  $$;

-- Volatile on purpose: a volatile function sees what has committed up to now, not up to the start of the statement
-- that claims. Each question is one statement for the whole batch.
create or replace function automation.gate(
  questions automation.send_question[], now timestamptz default automation.now(), is_trial boolean default false)
  returns setof automation.send_verdict
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tickets automation.ticket[] := array(select t from automation.make_tickets(questions) as t);
  decided integer[] := '{}'::integer[];
  found record;
  question automation.send_question;
  prepared automation.prepared_step;
  regions automation.place_regions[] := '{}'::automation.place_regions[];
begin
  for question in
    select q.* from unnest(questions) as q
    where not exists (
      select from automation.step_types as t
      where t.name = q.step ->> 'type' and t.lane in ('sms', 'email', 'webhook'))
  loop
    decided := decided || question.place;
    return next automation.verdict_on(question, 'skip', automation.skip_unaddressed(question.prepared,
      'no_consent_rule', format('step_type: whether "%s" may be sent to somebody is not known',
        left(question.step ->> 'type', 60))));
  end loop;
  for question in
    select q.* from unnest(questions) as q
    where btrim((q.prepared).input ->> 'expires_at') <> '' and q.place <> all (decided)
      and automation.is_date((q.prepared).input ->> 'expires_at') is not true
  loop
    decided := decided || question.place;
    return next automation.verdict_on(question, 'skip', automation.fail_unaddressed(question.prepared,
      'invalid_date', format('expires_at: "%s" is not a time', left((question.prepared).input ->> 'expires_at', 60))));
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select e.* from automation.refuse_expired(tickets, now) as e loop
    decided := decided || found.place;
    question := questions[found.place];
    return next automation.verdict_on(question, 'skip', automation.skip_unaddressed(
      question.prepared, 'expired', format('it was of use until %s, and is not sent after it',
        automation.date_text((question.due).tenant_id, found.at))));
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select p.* from automation.hold_paused(tickets) as p where not is_trial loop
    decided := decided || found.place;
    return next automation.verdict_on(questions[found.place], 'hold', null, found.held, 'infinity',
      found.expires_at);
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select d.* from automation.hold_doubtful(tickets, now) as d loop
    if found.until > now then
      decided := decided || found.place;
      return next automation.verdict_on(questions[found.place], 'hold', null, jsonb_build_object(
        'code', 'doubtful_stop', 'address', found.address,
        'why', 'something that came from this number may mean stop; answer_doubt() says whether it did'),
        found.until, found.expires_at);
    elsif not is_trial then
      perform automation.settle_doubt(found.tenant_id, found.address);
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in
    select r.place, min(r.reason) as reason, array_agg(r.address) as addresses
    from automation.revoked_of(tickets) as r group by 1
  loop
    questions[found.place].prepared := automation.leave_out_revoked(
      questions[found.place], found.reason, found.addresses);
    if (questions[found.place].prepared).verdict <> 'run' then
      decided := decided || found.place;
      return next automation.verdict_on(
        questions[found.place], 'skip', questions[found.place].prepared);
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in
    select r.place, array_agg(r.address) as addresses, max(r.says) as says
    from automation.refused_in_records(tickets) as r group by 1
  loop
    questions[found.place].prepared := automation.leave_out_refused(
      questions[found.place], found.addresses, found.says);
    if (questions[found.place].prepared).verdict <> 'run' then
      decided := decided || found.place;
      return next automation.verdict_on(
        questions[found.place], 'skip', questions[found.place].prepared);
    end if;
  end loop;
  for found in select u.* from automation.unconsented(tickets) as u where u.place <> all (decided) loop
    decided := decided || found.place;
    if found.is_unsaid then
      return next automation.verdict_on(questions[found.place], 'hold', null, jsonb_build_object(
        'code', 'consent_unsaid', 'why', 'nobody has said yet who may get marketing: decide_consent() says it'),
        'infinity', found.expires_at);
      continue;
    end if;
    return next automation.verdict_on(questions[found.place], 'skip', automation.skip_unaddressed(
      questions[found.place].prepared, 'no_consent', format('%s has not agreed to marketing', found.address)));
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select h.* from automation.ask_hours(tickets, now) as h loop
    if found.opens_at = now then
      regions := regions || row(found.place, found.regions)::automation.place_regions;
      questions[found.place].prepared := automation.limit_validity(
        questions[found.place].prepared, least(found.closes_at, found.expires_at), now);
    elsif found.opens_at >= found.expires_at then
      decided := decided || found.place;
      return next automation.verdict_on(questions[found.place], 'skip', automation.skip_unaddressed(
        questions[found.place].prepared, 'expired', format('it may not go out before %s and is of use until %s',
          automation.date_text((questions[found.place].due).tenant_id, found.opens_at),
          automation.date_text((questions[found.place].due).tenant_id, found.expires_at))));
    else
      decided := decided || found.place;
      return next automation.verdict_on(questions[found.place], 'hold', null, automation.quiet_reason(
        found.opens_at, found.zones), coalesce(found.opens_at, 'infinity'), found.expires_at);
    end if;
  end loop;
  for found in
    select a.place from automation.answering(questions) as a (place)
    where not is_trial and a.place <> all (decided)
  loop
    question := questions[found.place];
    questions[found.place].prepared := automation.brake_conversation(
      question.execution, (question.due).id, question.prepared);
    if (questions[found.place].prepared).verdict <> 'run' then
      decided := decided || found.place;
      return next automation.verdict_on(
        questions[found.place], 'skip', questions[found.place].prepared);
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select c.* from automation.ask_cap(case when not is_trial then tickets end, now, regions) as c loop
    decided := decided || found.place;
    if found.over_cap = 'skip' then
      return next automation.verdict_on(questions[found.place], 'skip', automation.skip_unaddressed(
        questions[found.place].prepared, 'over_cap',
        format('%s marketing messages went to this person within a day', found.cap)));
    else
      return next automation.verdict_on(questions[found.place], 'hold', null, jsonb_build_object('code', 'cap',
        'why', coalesce(format('%s marketing messages went to this person within a day', found.cap),
          'another message to this person is being counted')), found.until, found.expires_at);
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  for found in select r.* from automation.ask_rate(questions, case when not is_trial then tickets end, now) as r loop
    decided := decided || found.place;
    return next automation.verdict_on(questions[found.place], 'hold', null, found.held, found.until, found.expires_at);
  end loop;
  for found in select f.* from automation.add_footers(questions, tickets) as f where f.place <> all (decided) loop
    prepared := questions[found.place].prepared;
    prepared.input := prepared.input || jsonb_build_object('unsubscribe', found.unsubscribe);
    questions[found.place].prepared := prepared;
  end loop;
  return query
    select v.* from unnest(questions) as q
    cross join lateral automation.verdict_on(q, 'send', q.prepared) as v
    where q.place <> all (decided);
end;
$$;

comment on function automation.gate(automation.send_question[], timestamptz, boolean) is
  'May these go out now? place is the place in the array; one verdict for each. Given in the transaction that claims: '
  'a hold is put off by hold_sends(), a skip is closed. is_trial: a dry run asks, at a time of its own: what is paused '
  'or counted is not asked then, and nothing is written.';

-- One message of a dry run.
create or replace function automation.foresee(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step, at timestamptz)
  returns automation.send_verdict
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  verdict automation.send_verdict;
begin
  due.tenant_id := execution.tenant_id;
  due.id := automation.new_id();
  due.execution_id := execution.id;
  due.step_key := step ->> 'key';
  due.lane := (step ->> 'lane')::ridgeline.automation_lane;
  due.run_at := at;
  due.attempt := 0;
  select g.* into verdict from automation.gate(array[
    row(1, due, execution, step, prepared, null)::automation.send_question], at, true) as g;
  verdict.prepared := coalesce(verdict.prepared, prepared);
  return verdict;
end;
$$;
