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

-- What is asked at all, where it is asked of everybody: mostly nobody is in doubt, no carrier says no, and no CRM keeps
-- consent of its own. One look tells.
create type automation.gate_interests as (doubts boolean, blocks boolean, records boolean);

create or replace function automation.interests() returns automation.gate_interests
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found automation.gate_interests;
begin
  select exists (select from automation.doubtful_stops), exists (select from automation.sender_blocks),
      exists (
        select from automation.entities as e
        where e.name = 'contact' and e.mapped ?| '{sms_opt_out,email_opt_out,sms_consent,email_consent}')
    into found;
  return found;
end;
$$;

create or replace function automation.verdict_of_doubt(
  question automation.send_question, address text, until timestamptz, expires_at timestamptz)
  returns automation.send_verdict
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.verdict_on(question, 'hold', null, jsonb_build_object(
    'code', 'doubtful_stop', 'address', address,
    'why', 'something that came from this number may mean stop; answer_doubt() says whether it did'),
    until, expires_at);
end;
$$;

create or replace function automation.verdict_without_consent(
  question automation.send_question, address text, is_unsaid boolean, expires_at timestamptz)
  returns automation.send_verdict
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if is_unsaid then
    return automation.verdict_on(question, 'hold', null, jsonb_build_object(
      'code', 'consent_unsaid', 'why', 'nobody has said yet who may get marketing: decide_consent() says it'),
      'infinity', expires_at);
  end if;
  return automation.verdict_on(question, 'skip', automation.skip_unaddressed(
    question.prepared, 'no_consent', format('%s has not agreed to marketing', address)));
end;
$$;

-- What may not go out at this hour: held until it may, or skipped where that is too late.
create or replace function automation.verdict_at_closed_hours(
  question automation.send_question, hours automation.text_hours)
  returns automation.send_verdict
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if hours.opens_at >= hours.expires_at then
    return automation.verdict_on(question, 'skip', automation.skip_unaddressed(
      question.prepared, 'expired', format('it may not go out before %s and is of use until %s',
        automation.date_text((question.due).tenant_id, hours.opens_at),
        automation.date_text((question.due).tenant_id, hours.expires_at))));
  end if;
  return automation.verdict_on(question, 'hold', null, automation.quiet_reason(hours.opens_at, hours.zones),
    coalesce(hours.opens_at, 'infinity'), hours.expires_at);
end;
$$;

create or replace function automation.verdict_over_cap(
  question automation.send_question, over_cap text, cap integer, until timestamptz, expires_at timestamptz)
  returns automation.send_verdict
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  why constant text := format('%s marketing messages went to this person within a day', cap);
begin
  if over_cap = 'skip' then
    return automation.verdict_on(question, 'skip', automation.skip_unaddressed(question.prepared, 'over_cap', why));
  end if;
  return automation.verdict_on(question, 'hold', null, jsonb_build_object(
    'code', 'cap', 'why', case when cap is null then 'another message to this person is being counted' else why end),
    until, expires_at);
end;
$$;

-- Volatile on purpose: a volatile function sees what has committed up to now, not up to the start of the statement
-- that claims. Each question is one statement for the whole batch, and what concerns none of it is not asked: mostly a
-- batch is of one.

-- Of one from which people were left out: it goes to the others, if there are any.
create or replace function automation.verdict_on_rest(
  question automation.send_question, prepared automation.prepared_step)
  returns automation.send_verdict
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.verdict_on(question, case when prepared.verdict = 'run' then 'send' else 'skip' end, prepared);
end;
$$;

-- May these people be written to at all: a stop that is in doubt, revoked, refused in the records of the CRM, consent.
-- Verdicts on those that may not; "send" of one that goes to fewer than it was addressed to, with what is left of it.
create or replace function automation.ask_persons(
  questions automation.send_question[], tickets automation.ticket[], decided integer[], now timestamptz,
  is_trial boolean, tenants automation.tenant[], interests automation.gate_interests, some_marketing boolean)
  returns automation.send_verdict[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found record;
  revoked automation.revoked;
  prepared automation.prepared_step;
  verdict automation.send_verdict;
  verdicts automation.send_verdict[] := '{}'::automation.send_verdict[];
begin
  if interests.doubts then
    for found in select d.* from automation.hold_doubtful(tickets, now) as d loop
      if found.until > now then
        decided := decided || found.place;
        verdicts := verdicts || automation.verdict_of_doubt(
          questions[found.place], found.address, found.until, found.expires_at);
      elsif not is_trial then
        perform automation.settle_doubt(found.tenant_id, found.address);
      end if;
    end loop;
    tickets := automation.still_open(tickets, decided);
  end if;
  foreach revoked in array automation.revoked_of(tickets) loop
    prepared := automation.leave_out_revoked(questions[revoked.place], revoked.reason, revoked.addresses);
    questions[revoked.place].prepared := prepared;
    verdict := automation.verdict_on_rest(questions[revoked.place], prepared);
    verdicts := verdicts || verdict;
    if verdict.verdict = 'skip' then
      decided := decided || verdict.place;
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  if interests.records then
    for found in
      select r.place, array_agg(r.address) as addresses, max(r.says) as says
      from automation.refused_in_records(tickets) as r group by 1
    loop
      prepared := automation.leave_out_refused(questions[found.place], found.addresses, found.says);
      verdict := automation.verdict_on_rest(questions[found.place], prepared);
      verdicts := verdicts || verdict;
      if verdict.verdict = 'skip' then
        decided := decided || verdict.place;
      end if;
    end loop;
  end if;
  if some_marketing then
    for found in select u.* from automation.unconsented(tickets, tenants) as u where u.place <> all (decided) loop
      verdicts := verdicts || automation.verdict_without_consent(
        questions[found.place], found.address, found.is_unsaid, found.expires_at);
    end loop;
  end if;
  return verdicts;
end;
$$;

-- Is there room: the cap of a person, what a carrier takes today, the rate of a sender. Those for whom there is none.
create or replace function automation.ask_room(
  questions automation.send_question[], tickets automation.ticket[], now timestamptz, tenants automation.tenant[],
  interests automation.gate_interests, regions automation.place_regions[], some_text boolean, some_marketing boolean)
  returns automation.send_verdict[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found record;
  late automation.late_text;
  decided integer[] := '{}'::integer[];
  verdicts automation.send_verdict[] := '{}'::automation.send_verdict[];
begin
  if some_marketing then
    for found in select c.* from automation.ask_cap(tickets, tenants, now, regions) as c loop
      decided := decided || found.place;
      verdicts := verdicts || automation.verdict_over_cap(
        questions[found.place], found.over_cap, found.cap, found.until, found.expires_at);
    end loop;
    if cardinality(decided) > 0 then
      tickets := automation.still_open(tickets, decided);
    end if;
  end if;
  if some_text then
    if interests.blocks then
      foreach late in array automation.ask_blocks(tickets, now) loop
        decided := decided || late.place;
        verdicts := verdicts || automation.verdict_on(
          questions[late.place], 'hold', null, late.held, late.until, late.expires_at);
      end loop;
      tickets := automation.still_open(tickets, decided);
    end if;
    foreach late in array automation.ask_rate(tickets, now) loop
      verdicts := verdicts || automation.verdict_on(
        questions[late.place], 'hold', null, late.held, late.until, late.expires_at);
    end loop;
  end if;
  return verdicts;
end;
$$;

-- What is asked about texts and emails alone. decided: those that were decided before.
create or replace function automation.gate_of_messages(
  questions automation.send_question[], tickets automation.ticket[], decided integer[], now timestamptz,
  is_trial boolean, tenants automation.tenant[])
  returns automation.send_verdict[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ticket automation.ticket;
  found record;
  question automation.send_question;
  prepared automation.prepared_step;
  hours automation.text_hours;
  verdict automation.send_verdict;
  place integer;
  some_text boolean := false;
  some_email boolean := false;
  some_marketing boolean := false;
  interests automation.gate_interests := automation.interests();
  regions automation.place_regions[] := '{}'::automation.place_regions[];
  verdicts automation.send_verdict[] := '{}'::automation.send_verdict[];
begin
  foreach ticket in array tickets loop
    some_text := some_text or ticket.channel = 'sms';
    some_email := some_email or ticket.channel = 'email';
    some_marketing := some_marketing or coalesce(ticket.purpose = 'marketing', false);
  end loop;
  interests.doubts := interests.doubts and some_text;
  foreach verdict in array automation.ask_persons(
    questions, tickets, decided, now, is_trial, tenants, interests, some_marketing) loop
    if verdict.verdict = 'send' then
      questions[verdict.place].prepared := verdict.prepared;
    else
      decided := decided || verdict.place;
      verdicts := verdicts || verdict;
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  foreach hours in array case when some_text then automation.ask_hours(tickets, tenants, now) else '{}' end loop
    place := hours.place;
    if hours.opens_at = now then
      if cardinality(hours.regions) > 0 then
        regions := regions || row(place, hours.regions)::automation.place_regions;
      end if;
      -- Not in one expression: an array that is read in what is assigned to it is copied whole, each time.
      prepared := automation.limit_validity(
        questions[place].prepared, least(hours.closes_at, hours.expires_at), now);
      questions[place].prepared := prepared;
    else
      decided := decided || place;
      verdicts := verdicts || automation.verdict_at_closed_hours(questions[place], hours);
    end if;
  end loop;
  foreach place in array case when some_text and not is_trial then automation.answering(questions) else '{}' end loop
    continue when place = any (decided);
    question := questions[place];
    questions[place].prepared := automation.brake_conversation(
      question.execution, (question.due).id, question.prepared);
    if (questions[place].prepared).verdict <> 'run' then
      decided := decided || place;
      verdicts := verdicts || automation.verdict_on(questions[place], 'skip', questions[place].prepared);
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  if not is_trial and (some_text or some_marketing) then
    foreach verdict in array automation.ask_room(
      questions, tickets, now, tenants, interests, regions, some_text, some_marketing) loop
      decided := decided || verdict.place;
      verdicts := verdicts || verdict;
    end loop;
  end if;
  if some_email and some_marketing then
    for found in
      select f.* from automation.add_footers(questions, tickets, tenants) as f where f.place <> all (decided)
    loop
      prepared := questions[found.place].prepared;
      prepared.input := prepared.input || jsonb_build_object('unsubscribe', found.unsubscribe);
      questions[found.place].prepared := prepared;
    end loop;
  end if;
  foreach question in array questions loop
    if question.place <> all (decided) then
      verdicts := verdicts || automation.verdict_on(question, 'send', question.prepared);
    end if;
  end loop;
  return verdicts;
end;
$$;

create or replace function automation.tenants_asked(questions automation.send_question[])
  returns automation.tenant[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select t from automation.read_offices(array(select distinct (q.due).tenant_id from unnest(questions) as q)) as t);
end;
$$;

-- may_send: that nobody has paused or held them was asked in this transaction already (70_dispatch/00_work).
create or replace function automation.gate(
  questions automation.send_question[], now timestamptz default automation.now(), is_trial boolean default false,
  tenants automation.tenant[] default null, may_send boolean default false)
  returns automation.send_verdict[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tickets automation.ticket[];
  ticket automation.ticket;
  decided integer[] := '{}'::integer[];
  question automation.send_question;
  prepared automation.prepared_step;
  some_message boolean := false;
  some_webhook boolean := false;
  found record;
  workflow text;
  asked text[] := '{}'::text[];
  pauses jsonb[] := '{}'::jsonb[];
  held jsonb;
  verdicts automation.send_verdict[] := '{}'::automation.send_verdict[];
begin
  if cardinality(questions) = 0 then
    return verdicts;
  end if;
  tickets := automation.make_tickets(questions);
  foreach question in array questions loop
    prepared := question.prepared;
    if coalesce(automation.channel_of(question.step ->> 'type'), 'database') = 'database' then
      decided := decided || question.place;
      verdicts := verdicts || automation.verdict_on(question, 'skip', automation.skip_unaddressed(prepared,
        'no_consent_rule', format('step_type: whether "%s" may be sent to somebody is not known',
          left(question.step ->> 'type', 60))));
    elsif btrim(prepared.input ->> 'expires_at') <> ''
      and automation.is_date(prepared.input ->> 'expires_at') is not true then
      decided := decided || question.place;
      verdicts := verdicts || automation.verdict_on(question, 'skip', automation.fail_unaddressed(prepared,
        'invalid_date', format('expires_at: "%s" is not a time', left(prepared.input ->> 'expires_at', 60))));
    end if;
  end loop;
  foreach ticket in array tickets loop
    continue when ticket.place = any (decided);
    if ticket.expires_at <= now then
      decided := decided || ticket.place;
      question := questions[ticket.place];
      verdicts := verdicts || automation.verdict_on(question, 'skip', automation.skip_unaddressed(
        question.prepared, 'expired', format('it was of use until %s, and is not sent after it',
          automation.date_text((question.due).tenant_id, ticket.expires_at))));
    else
      some_message := some_message or ticket.channel is distinct from 'webhook';
      some_webhook := some_webhook or ticket.channel = 'webhook';
    end if;
  end loop;
  if cardinality(decided) > 0 then
    tickets := automation.still_open(tickets, decided);
  end if;
  if not is_trial and not may_send then
    -- Somebody has to let it go on: of each tenant and workflow it is asked once.
    foreach ticket in array tickets loop
      workflow := ticket.tenant_id || '/' || ticket.workflow_id;
      if workflow <> all (asked) then
        asked := asked || workflow;
        pauses := pauses || automation.pause_of(ticket.tenant_id, ticket.workflow_id, true);
      end if;
      held := pauses[array_position(asked, workflow)];
      if held is not null then
        decided := decided || ticket.place;
        verdicts := verdicts || automation.verdict_on(
          questions[ticket.place], 'hold', null, held, 'infinity', ticket.expires_at);
      end if;
    end loop;
    if cardinality(decided) > 0 then
      tickets := automation.still_open(tickets, decided);
    end if;
  end if;
  if some_webhook and not is_trial and automation.some_receiver_says(tickets, tenants, now) then
    for found in select r.* from automation.ask_receivers(questions, tickets, now) as r loop
      decided := decided || found.place;
      verdicts := verdicts || automation.verdict_on(
        questions[found.place], 'hold', null, found.held, found.until, found.expires_at);
    end loop;
  end if;
  if some_message then
    return verdicts || automation.gate_of_messages(questions, tickets, decided, now, is_trial,
      coalesce(tenants, automation.tenants_asked(questions)));
  end if;
  foreach question in array questions loop
    if question.place <> all (decided) then
      verdicts := verdicts || automation.verdict_on(question, 'send', question.prepared);
    end if;
  end loop;
  return verdicts;
end;
$$;

comment on function automation.gate(automation.send_question[], timestamptz, boolean, automation.tenant[], boolean) is
  'May these go out now? place is the place in the array; one verdict for each. Given in the transaction that claims: '
  'a hold is put off by hold_sends(), a skip is closed. is_trial: a dry run asks, at a time of its own: what is paused '
  'or counted is not asked then, and nothing is written. tenants: those of the questions, where they are read already.';

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
  verdict := (automation.gate(array[
    row(1, due, execution, step, prepared, null, null)::automation.send_question], at, true))[1];
  verdict.prepared := coalesce(verdict.prepared, prepared);
  return verdict;
end;
$$;
