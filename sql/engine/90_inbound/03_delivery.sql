-- What became of a message after the provider took it: on its row in the CRM, and on the step that
-- sent it (result_data.delivery).

-- A report never takes anything back that a later one said. Delivered is proof, whatever was
-- feared before; a bounce or a complaint can still follow.
create or replace function automation.delivery_rank(status text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when status in ('accepted', 'scheduled', 'queued') then 1
      when status = 'sending' then 2
      when status = 'sent' then 3
      when status = 'delivery_delayed' then 4
      when status in ('failed', 'undelivered', 'canceled') then 5
      when status = 'delivered' then 6
      when status = 'read' then 7
      when status in ('bounced', 'suppressed') then 8
      when status = 'complained' then 9
      else 0
    end
  $$;

-- News of a message is the news of whoever sent it. The step that sent it knows; a row that the office's
-- own server wrote counts where no step did, and only while no two tenants claim the same message.
create or replace function automation.sent_by(relation regclass, provider text, provider_id text)
  returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel constant text := case relation when 'ridgeline.messages'::regclass then 'sms' else 'email' end;
  senders uuid[] := array(
    select s.tenant_id from ridgeline.workflow_step_executions as s
    where s.provider_id = sent_by.provider_id and automation.channel_of(s.step_type) = channel
      and coalesce(s.input #>> '{sender,provider}', automation.setting(channel || '_provider')) = sent_by.provider
    limit 2);
begin
  if senders = '{}' then
    execute format('select array(select distinct m.tenant_id from %s as m '
      'where m.provider_id = $1 and m.provider = $2 and m.direction = ''outbound'' limit 2)', relation)
      into senders using provider_id, provider;
  end if;
  return case cardinality(senders) when 1 then senders[1] end;
end;
$$;

create or replace function automation.record_delivery_of_step(
  tenant_id uuid, provider_id text, status text, error_code text, error_class text, at timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sent record;
begin
  select s.tenant_id, s.id into sent
  from ridgeline.workflow_step_executions as s
  where s.provider_id = record_delivery_of_step.provider_id
    and s.tenant_id = record_delivery_of_step.tenant_id;
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(),
    result_data = case jsonb_typeof(s.result_data) when 'object' then s.result_data else '{}' end
    || jsonb_build_object('delivery', jsonb_strip_nulls(jsonb_build_object(
      'status', record_delivery_of_step.status, 'at', at,
      'error_code', record_delivery_of_step.error_code,
      'error_class', record_delivery_of_step.error_class))),
    delivered_at = case when record_delivery_of_step.status in ('delivered', 'read')
      then coalesce(s.delivered_at, at) else s.delivered_at end
  where s.tenant_id = sent.tenant_id and s.id = sent.id
    and automation.delivery_rank(record_delivery_of_step.status)
      > automation.delivery_rank(s.result_data #>> '{delivery,status}');
  return sent.id is not null;
end;
$$;

-- A text that the provider took and a carrier then refused for the day is sent again when that is over: as a run of
-- its own, since the one that sent it has gone on, which has that step alone and ends as the other would (a reply, a
-- deletion). Three times at most.
create or replace function automation.send_again(tenant_id uuid, step_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
  sent ridgeline.workflow_step_executions;
  execution ridgeline.workflow_executions;
  again ridgeline.scheduled_steps;
  times integer;
begin
  select s.* into sent from ridgeline.workflow_step_executions as s
  where s.tenant_id = send_again.tenant_id and s.id = step_id
  for update;
  select e.* into execution from ridgeline.workflow_executions as e
  where e.tenant_id = sent.tenant_id and e.id = sent.execution_id;
  times := coalesce((execution.trigger_data ->> 'sent_again_times')::integer, 0) + 1;
  if sent.status is distinct from 'completed' or sent.result_data ? 'sent_again' or times > 3
    or execution.status = 'cancelled' or automation.plan_step(execution, sent.step_key) is null then
    return;
  end if;
  again.id := automation.new_id();
  again.run_at := automation.carrier_reopens(again.id, at);
  again.execution_id := automation.new_id();
  insert into ridgeline.workflow_executions (
    tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id, contact_id, depth,
    root_id, current_step, started_at, expires_at)
  select execution.tenant_id, again.execution_id, execution.workflow_id, execution.version, 'waiting',
    execution.trigger_type, execution.trigger_data || jsonb_build_object(
      'steps', coalesce(execution.trigger_data -> 'steps', '{}')
        || automation.step_results(execution.tenant_id, execution.id),
      'sent_again_for', coalesce(execution.trigger_data -> 'sent_again_for', to_jsonb(execution.id)),
      'sent_again_times', times),
    execution.entity, execution.record_id, execution.contact_id, execution.depth, execution.root_id, sent.step_key,
    at, execution.expires_at;
  insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at, expires_at, held)
  values (sent.tenant_id, again.id, again.execution_id, sent.step_key,
    automation.channel_of(sent.step_type)::ridgeline.automation_lane, again.run_at, execution.expires_at,
    automation.carrier_hold(sent.started_at, again.run_at));
  update ridgeline.workflow_step_executions as s
  set changed_at = at, result_data = s.result_data || jsonb_build_object('sent_again', again.execution_id)
  where s.tenant_id = sent.tenant_id and s.id = sent.id;
  -- It has reached nobody, and counts for no cap.
  delete from automation.marketing_sent as m where m.tenant_id = sent.tenant_id and m.step_id = sent.id;
end;
$$;

comment on function automation.send_again(uuid, uuid) is
  'Sends a text that a carrier refused for the day once more when its day is over.';

create or replace function automation.refused_for_the_day(message ridgeline.messages) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sent ridgeline.workflow_step_executions;
begin
  select s.* into sent from ridgeline.workflow_step_executions as s
  where s.provider_id = message.provider_id and s.tenant_id = message.tenant_id;
  perform automation.block_senders(array[message.tenant_id], array[case
      when sent.id is not null then automation.as_uuid(sent.input #>> '{sender,id}')
      else (automation.named_sender(message.tenant_id, 'sms', message.from_number)).id end], array[message.to_number]);
  if sent.id is not null then
    perform automation.send_again(message.tenant_id, sent.id);
  end if;
end;
$$;

-- What a provider's code means, in the words that all of them have here. The Edge Function says it; what it has no
-- word for, and what one of the release before says, may stand in the setting error_classes.
create or replace function automation.error_class(provider text, event jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(event ->> 'error_class',
      automation.setting('error_classes')::jsonb #>> array[error_class.provider, event ->> 'error_code'])
  $$;

comment on function automation.error_class(text, jsonb) is
  'Why a text was not delivered. opted_out: the provider knows that the number wants none; landline: none reaches it; '
  'daily_limit: a carrier takes no more today. Others (unknown_number, unreachable, filtered, throttled, account) are '
  'kept with the step and change nothing. Null: unknown.';

create or replace function automation.record_delivery_of_sms(
  message ridgeline.messages, status text, error_code text, error_class text)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if error_class = 'opted_out' and automation.normal_number(message.to_number) is not null then
    perform automation.revoke_once(message.tenant_id, 'sms', message.to_number, 'provider',
      jsonb_build_object('code', error_code, 'message_id', message.id),
      jsonb_build_object('code', error_code, 'message_id', message.id));
  elsif error_class = 'landline' and automation.normal_number(message.to_number) is not null then
    perform automation.suppress(message.tenant_id, 'sms', message.to_number, 'landline',
      jsonb_build_object('code', error_code, 'message_id', message.id));
  elsif error_class = 'daily_limit' then
    perform automation.refused_for_the_day(message);
  end if;
  update ridgeline.messages as m
  set status = record_delivery_of_sms.status, error_code = record_delivery_of_sms.error_code
  where m.tenant_id = message.tenant_id and m.id = message.id
    and automation.delivery_rank(record_delivery_of_sms.status)
      > automation.delivery_rank(m.status);
  return case when found then 'updated' else 'duplicate' end;
end;
$$;

-- The installation's own account signs only what its provider says; a tenant's own says what the tenant likes. Of that
-- the last are kept: what is matched is matched within moments, and nobody but the tenant loses by it.
create or replace function automation.keep_early_event(
  provider text, provider_id text, event jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
  set jit = off
  as $$
declare
  teller constant uuid := automation.as_uuid(event ->> 'tenant_id');
  surplus integer;
begin
  insert into automation.early_events (provider, provider_id, event, received_at, account_of)
  values (keep_early_event.provider, keep_early_event.provider_id, keep_early_event.event, automation.now(), teller);
  if teller is null then
    return;
  end if;
  -- Counted without a lock: the dispatcher that records the message of one that is kept waits for none.
  select count(*) - automation.at_most('early_events') into surplus from (
    select from automation.early_events as e
    where e.account_of = teller
    limit automation.at_most('early_events') + 20) as k;
  if surplus > 0 then
    delete from automation.early_events as e
    where e.ctid = any (array(
      select o.ctid from automation.early_events as o
      where o.account_of = teller
      order by o.received_at limit surplus for update skip locked));
  end if;
end;
$$;

create or replace function automation.record_message_status(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'sms');
  class constant text := automation.error_class(carrier, event);
  sid constant text := event ->> 'message_sid';
  message ridgeline.messages;
  sender uuid;
  outcome text;
begin
  if automation.delivery_rank(event ->> 'status') = 0 then
    return 'unknown_status';
  end if;
  perform automation.lock_inbound(carrier || ' ' || sid);
  sender := automation.sent_by('ridgeline.messages', carrier, sid);
  if sender is not null and not automation.may_tell(event, sender) then
    return 'unknown_message';
  end if;
  if automation.record_delivery_of_step(
    sender, sid, event ->> 'status', event ->> 'error_code', class, automation.now()) then
    outcome := 'duplicate';
  end if;
  for message in
    select m.* from ridgeline.messages as m
    where m.provider_id = sid and m.provider = carrier and m.direction = 'outbound'
      and m.tenant_id = sender
  loop
    outcome := automation.record_delivery_of_sms(
      message, event ->> 'status', event ->> 'error_code', class);
  end loop;
  if outcome is null then
    perform automation.keep_early_event(carrier, sid, event);
    return 'early';
  end if;
  return outcome;
end;
$$;

comment on function automation.record_message_status(jsonb) is
  'What became of a text message: {provider?, message_sid, status, error_code?, error_class?, tenant_id?}; status: '
  'accepted, queued, sending, sent, failed, undelivered, canceled, delivered or read; error_class: error_class(). '
  'Returns updated, duplicate (nothing new, or older news), early (kept until the message is recorded), '
  'unknown_status or, of another tenant''s than the account''s that says so, unknown_message.';

-- The row of a message that was sent is written by the dispatcher's report, which may come after the first news of
-- it. Asked once for all rows of a statement, which may have been written under the cause of one of them: what comes of
-- the news has that of its own run.
create or replace function automation.apply_early_events() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set jit = off
  as $$
declare
  early record;
  depth constant text := current_setting('automation.depth', true);
  root constant text := current_setting('automation.root', true);
  fused constant text := current_setting('automation.fused', true);
begin
  -- In one order, whoever writes them in which.
  perform pg_advisory_xact_lock(k.key)
  from (
    select distinct automation.inbound_key(a.provider || ' ' || a.provider_id) as key from added as a
    where a.direction = 'outbound' and a.provider_id is not null
    order by 1
  ) as k;
  -- Mostly nothing came early, and this is all that is asked.
  if not exists (select from automation.early_events) then
    return null;
  end if;
  for early in
    with taken as (
      delete from automation.early_events as e
      using added as a
      where e.provider_id = a.provider_id and e.provider = a.provider and a.direction = 'outbound'
      returning e.id, e.event, e.provider, a.tenant_id, a.execution_id
    )
    select t.event || jsonb_build_object('provider', t.provider) as event, x as execution
    from taken as t
    left join ridgeline.workflow_executions as x on x.tenant_id = t.tenant_id and x.id = t.execution_id
    order by (t.event ->> 'occurred_at')::timestamptz, t.id
  loop
    if (early.execution).id is not null then
      perform automation.cause_of(early.execution);
    end if;
    if tg_table_name = 'messages' then
      perform automation.record_message_status(early.event);
    else
      perform automation.apply_email_event(early.event);
    end if;
    perform set_config('automation.depth', coalesce(depth, ''), true),
      set_config('automation.root', coalesce(root, ''), true),
      set_config('automation.fused', coalesce(fused, ''), true);
  end loop;
  return null;
end;
$$;

create trigger messages_apply_early_events
  after insert on ridgeline.messages
  referencing new table as added
  for each statement execute function automation.apply_early_events();

create trigger emails_apply_early_events
  after insert on ridgeline.emails
  referencing new table as added
  for each statement execute function automation.apply_early_events();
