-- SHADOWS
--
-- A run in mode shadow waits, branches, exits and renders like any other, and no step of it has an effect. The one
-- place that sees to it is automation.prepare_step (70_dispatch), where both lanes come by: what would be done ends
-- as skipped with code "shadow", the rendered input and the recipient stay in the ledger, and "would" says what it
-- comes to. What the live step would refuse fails here with the same words. What a later step of the same run
-- reads is what it would read had the effect happened (automation.as_if in 50_executions).

-- What one step comes to. A type of step that says nothing of itself is skipped all the same.
create or replace function automation.would_do(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('action', step -> 'type')
    || automation.step_would(step ->> 'type', execution, prepared);
end;
$$;

comment on function automation.would_do(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'What a step of a shadow would have done: {action, ...}. Raises what the step itself would raise. Writes nothing.';

create or replace function automation.skip_in_shadow(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gated automation.send_verdict;
begin
  if prepared.verdict = 'run' and step ->> 'lane' <> 'database' then
    gated := automation.foresee(execution, step, prepared, automation.now());
    prepared := gated.prepared;
    -- What follows is as much later as it would be live.
    if gated.verdict = 'hold' then
      prepared.verdict := 'hold';
      prepared.reason := to_jsonb(gated) - 'prepared';
      return prepared;
    end if;
  end if;
  if prepared.verdict = 'run' and automation.has_effect(step ->> 'type') then
    prepared.verdict := 'skip';
    prepared.reason := jsonb_build_object(
      'code', 'shadow', 'message', 'a shadow has no effect; "would" says what was left out',
      'would', automation.would_do(execution, step, prepared));
  end if;
  return prepared;
end;
$$;

comment on function automation.skip_in_shadow(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'Turns whatever has an effect outside its own run into a skip that says what would have been done; verdict hold: it '
  'would have to wait now (reason: the send_verdict).';

-- WHAT IS COUNTED
--
-- How much marketing a person gets and how fast a number may send count within a mode: in the tables of the live ones,
-- under names and ids that no live one has, so that these have nothing more to look at.

create or replace function automation.shadow_of(sender_id uuid) returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select md5('shadow ' || sender_id)::uuid $$;

create or replace function automation.shadow_tickets(tickets automation.ticket[]) returns automation.ticket[]
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  for i in 1 .. cardinality(tickets) loop
    tickets[i].contact_id := 'shadow ' || (tickets[i]).contact_id;
    tickets[i].recipients := array(select 'shadow ' || r from unnest((tickets[i]).recipients) as r);
  end loop;
  return tickets;
end;
$$;

-- As automation.ask_rate().
create or replace function automation.ask_rate_of_shadows(tickets automation.ticket[], now timestamptz)
  returns automation.late_text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  all_of_them constant uuid := automation.shadow_of(automation.no_sender_id());
  sender automation.text_sender;
  id uuid;
  room bigint;
  fitting bigint;
  full_day automation.late_text[];
  late automation.late_text[] := '{}'::automation.late_text[];
begin
  foreach sender in array automation.senders_of(tickets) loop
    id := automation.shadow_of(sender.id);
    if not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', sender.tenant_id, id), 14))
      or sender.tenant_per_day is not null and not pg_try_advisory_xact_lock(
        hashtextextended(concat_ws('/', sender.tenant_id, all_of_them), 14)) then
      late := late || automation.late_by_a_second(sender, now);
      continue;
    end if;
    if coalesce(sender.per_day, sender.tenant_per_day) is not null then
      room := least(
        automation.room_today(sender.tenant_id, id, sender.per_day, null, sender.is_marketing, now),
        automation.room_today(sender.tenant_id, all_of_them, sender.tenant_per_day, null, sender.is_marketing, now));
      fitting := (select max(t.upto) from unnest(sender.texts) as t where t.upto <= room);
      perform automation.count_today(sender.tenant_id, id, sender.per_day, null, fitting, now);
      perform automation.count_today(sender.tenant_id, all_of_them, sender.tenant_per_day, null, fitting, now);
      full_day := automation.late_today(sender, room, now);
      late := late || full_day;
      sender.texts := sender.texts[:cardinality(sender.texts) - cardinality(full_day)];
    end if;
    if sender.per_second is not null and cardinality(sender.texts) > 0 then
      late := late || automation.give_places(
        sender.tenant_id, id, sender.per_second, sender.is_marketing, sender.texts, now,
        'its sender has as much to send as it may');
    end if;
  end loop;
  return late;
end;
$$;

create or replace function automation.ask_room_of_shadows(
  questions automation.send_question[], now timestamptz, tenants automation.tenant[])
  returns automation.send_verdict[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked constant automation.tenant[] := coalesce(tenants, automation.tenants_asked(questions));
  tickets automation.ticket[] := automation.make_tickets(questions);
  hours automation.text_hours;
  regions automation.place_regions[] := '{}'::automation.place_regions[];
  found record;
  late automation.late_text;
  decided integer[] := '{}'::integer[];
  verdicts automation.send_verdict[] := '{}'::automation.send_verdict[];
begin
  -- The law where they are, for the cap.
  foreach hours in array automation.ask_hours(tickets, asked, now) loop
    if cardinality(hours.regions) > 0 then
      regions := regions || row(hours.place, hours.regions)::automation.place_regions;
    end if;
  end loop;
  for found in select c.* from automation.ask_cap(automation.shadow_tickets(tickets), asked, now, regions) as c loop
    decided := decided || found.place;
    verdicts := verdicts || automation.verdict_over_cap(
      questions[found.place], found.over_cap, found.cap, found.until, found.expires_at);
  end loop;
  tickets := automation.still_open(tickets, decided);
  foreach late in array automation.ask_blocks(tickets, now) loop
    decided := decided || late.place;
    verdicts := verdicts || automation.verdict_on(
      questions[late.place], 'hold', null, late.held, late.until, late.expires_at);
  end loop;
  tickets := automation.still_open(tickets, decided);
  foreach late in array automation.ask_rate_of_shadows(tickets, now) loop
    verdicts := verdicts || automation.verdict_on(
      questions[late.place], 'hold', null, late.held, late.until, late.expires_at);
  end loop;
  return verdicts;
end;
$$;

comment on function automation.ask_room_of_shadows(automation.send_question[], timestamptz, automation.tenant[]) is
  'Texts and emails of shadows for which there would be no room, were shadows all there is; the others are counted.';
