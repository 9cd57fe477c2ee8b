-- Every address that would get it, as suppressions have it. How long a message is of use where its step does not say:
-- a reminder until what it reminds of, marketing for three days from when its turn had come. What was held must not
-- come out of nowhere a week later.
create or replace function automation.make_tickets(questions automation.send_question[])
  returns automation.ticket[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  return array(
    select row(q.place, (q.due).tenant_id, (q.due).id, (q.due).execution_id, (q.execution).workflow_id,
      (q.execution).contact_id, (q.due).lane::text,
      case when (q.due).lane in ('sms', 'email') then coalesce(s.sending ->> 'purpose', 'marketing') end,
      coalesce((s.sending ->> 'urgent')::boolean, false), coalesce(s.sending ->> 'over_cap', 'hold'),
      case (q.due).lane
        when 'sms' then array[(q.prepared).input ->> 'to']
        when 'email' then array(
          select automation.normalize_email(automation.bare_address(m.mailbox))
          from unnest('{to,cc,bcc}'::text[]) as k (key)
          cross join lateral jsonb_array_elements_text(
            automation.as_list((q.prepared).input -> k.key)) as m (mailbox))
      end,
      automation.as_uuid((q.prepared).input #>> '{sender,id}'),
      coalesce(
        least((q.due).expires_at, case when (q.prepared).input ? 'expires_at'
            and automation.is_date((q.prepared).input ->> 'expires_at') then
          automation.instant_in((q.prepared).input ->> 'expires_at', automation.tenant_zone((q.due).tenant_id)) end),
        least((q.due).run_at, case when (q.due).attempt > 0 then q.begun_at end,
            ((q.due).held ->> 'since')::timestamptz)
          + coalesce((s.sending ->> 'expires_after')::interval, case
            when (q.due).lane <> 'webhook' and coalesce(s.sending ->> 'purpose', 'marketing') = 'marketing'
            then interval '3 days' end)),
      (q.due).held,
      case (q.due).lane when 'sms' then automation.sms_segments(coalesce((q.prepared).input ->> 'body', '')) end,
      q.contact)::automation.ticket
    from unnest(questions) as q
    cross join lateral (select q.step -> 'sending' as sending) as s
    order by q.place);
end;
$$;

create or replace function automation.date_text(tenant_id uuid, at timestamptz) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select to_char(at at time zone coalesce(automation.tenant_zone(date_text.tenant_id), 'UTC'), 'YYYY-MM-DD HH24:MI')
  $$;

create or replace function automation.still_open(tickets automation.ticket[], decided integer[])
  returns automation.ticket[]
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$ select array(select t from unnest(tickets) as t where t.place <> all (decided) order by t.place) $$;

-- Runs that go on because somebody called or wrote, whose texts the brake of a conversation counts.
create or replace function automation.answering(questions automation.send_question[]) returns integer[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
begin
  return array(
    select q.place from unnest(questions) as q
    where (q.due).lane = 'sms' and q.step #>> '{sending,purpose}' is distinct from 'internal'
      and ((q.execution).fused or exists (
      select from automation.run_events as e
      where e.tenant_id = (q.due).tenant_id and e.execution_id = (q.due).execution_id)));
end;
$$;
