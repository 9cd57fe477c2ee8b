-- HOLDING
--
-- What may not go out now stays where it is: without a lease, without an attempt that counts, without a rendered
-- text. Its row in the queue says why and until when. What time mends comes back by itself; what it does not mend
-- (somebody paused it, a fuse) lies at infinity until it is let go, as a set, spread so that it does not arrive as
-- one.

create table ridgeline.sending_pauses (
  tenant_id uuid not null constraint sending_pauses_pkey primary key,
  reason text not null
    constraint sending_pauses_reason_length check (length(reason) between 1 and 1000),
  paused_at timestamptz not null default automation.now(),
  paused_by uuid,
  changed_at timestamptz not null default automation.now()
);

select automation.keep_changed_at('ridgeline.sending_pauses');

comment on table ridgeline.sending_pauses is
  'Tenants that send nothing until ridgeline.resume_sending(): texts, emails and webhooks wait, and what is done in '
  'the database goes on.';

-- Why the runs of workflows have to wait, each in its place; null: they need not. is_send: may the tenant send at all?
create or replace function automation.pauses_of(tenant_ids uuid[], workflow_ids uuid[], is_send boolean)
  returns jsonb[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  -- Else every call would be planned anew: a set of one looks dearer without its length.
  set plan_cache_mode = force_generic_plan
  as $$
begin
  return array(
    select coalesce(
      (select jsonb_build_object('code', 'sending_paused', 'why', p.reason)
       from ridgeline.sending_pauses as p
       where is_send and p.tenant_id = k.tenant_id),
      (select jsonb_build_object('code', 'workflow_paused', 'why', format('the workflow is %s', w.status))
       from ridgeline.workflows as w
       where w.tenant_id = k.tenant_id and w.id = k.workflow_id and not w.is_active
         and w.published_version is not null),
      (select jsonb_build_object('code', 'workflow_held', 'why', h.reason ->> 'message')
       from ridgeline.workflow_holds as h
       where h.tenant_id = k.tenant_id and h.workflow_id = k.workflow_id and h.released_at is null))
    from unnest(tenant_ids, workflow_ids) with ordinality as k (tenant_id, workflow_id, place)
    order by k.place);
end;
$$;

create or replace function automation.pause_of(tenant_id uuid, workflow_id uuid, is_send boolean) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (automation.pauses_of(array[tenant_id], array[workflow_id], is_send))[1];
end;
$$;

-- What holds a shadow as well: it does what the workflow would do, and that waits until it is switched on again.
create or replace function automation.is_switched_off(tenant_id uuid, workflow_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from ridgeline.workflows as w
      where w.tenant_id = is_switched_off.tenant_id and w.id = is_switched_off.workflow_id and not w.is_active)
  $$;

create or replace function automation.is_held(
  execution ridgeline.workflow_executions, is_send boolean default false)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  hold ridgeline.workflow_holds;
  reason jsonb;
begin
  -- A shadow sets nothing off that would have to be stopped, and sends nothing.
  if execution.mode = 'shadow' then
    return false;
  elsif automation.pause_of(execution.tenant_id, execution.workflow_id, is_send) is not null then
    return true;
  elsif not execution.fused or execution.started_at is not null then
    return false;
  end if;
  select h.* into hold from ridgeline.workflow_holds as h
  where h.tenant_id = execution.tenant_id and h.workflow_id = execution.workflow_id;
  reason := automation.blown_fuse(execution, hold.released_at);
  if reason is null then
    return false;
  end if;
  insert into ridgeline.workflow_holds (tenant_id, workflow_id, reason, held_at)
  values (execution.tenant_id, execution.workflow_id, reason, automation.now())
  on conflict on constraint workflow_holds_pkey do update
    set reason = excluded.reason, held_at = excluded.held_at, released_at = null, released_by = null;
  perform automation.tell_office(
    execution.tenant_id, 'workflow_held', execution.workflow_id::text, interval '0', null,
    format('Workflow "%s" was stopped', (
      select w.name from ridgeline.workflows as w
      where w.tenant_id = execution.tenant_id and w.id = execution.workflow_id)),
    reason ->> 'message');
  return true;
end;
$$;

comment on function automation.is_held(ridgeline.workflow_executions, boolean) is
  'Does a run have to wait because its workflow, or with is_send all its tenant sends, is held or paused? Asked before '
  'each of its steps; the first run too many blows the fuse.';

-- Out of the way of what is due, until it is let go.
create or replace function automation.hold_steps(dues ridgeline.scheduled_steps[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set jit = off
  as $$
begin
  update ridgeline.scheduled_steps as s
  set run_at = 'infinity', held = coalesce(
      automation.pause_of(k.tenant_id, k.workflow_id, s.lane <> 'database' and k.mode <> 'shadow'),
      '{"code": "workflow_held"}') || jsonb_build_object(
        'since', coalesce(s.held -> 'since', to_jsonb(automation.now())))
  from (
    select d.tenant_id, d.id, e.workflow_id, e.mode
    from unnest(dues) as d
    join ridgeline.workflow_executions as e on e.tenant_id = d.tenant_id and e.id = d.execution_id
  ) as k
  where s.tenant_id = k.tenant_id and s.id = k.id;
end;
$$;

create table automation.undecided (
  tenant_id uuid not null constraint undecided_pkey primary key,
  since timestamptz not null default automation.now()
);

comment on table automation.undecided is 'Tenants whose marketing waits until they say what it needs.';

-- What waits for somebody at the office is told them, once a day.
create or replace function automation.tell_what_waits(verdicts automation.send_verdict[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting record;
begin
  for waiting in
    select distinct v.tenant_id, v.held ->> 'code' as code, v.held ->> 'channel' as channel
    from unnest(verdicts) as v
    where v.verdict = 'hold' and v.held ->> 'code' in ('no_sender', 'consent_unsaid')
    order by 1, 2, 3
  loop
    if waiting.code = 'no_sender' then
      perform automation.tell_office(waiting.tenant_id, 'no_sender', waiting.channel, interval '1 day', null,
        format('Messages wait: there is no sender for %s', waiting.channel),
        'Nothing is lost. Have a number or an address added to senders, and they go out.');
    else
      insert into automation.undecided (tenant_id) values (waiting.tenant_id)
      on conflict on constraint undecided_pkey do nothing;
      perform automation.tell_office(waiting.tenant_id, 'consent_unsaid', '', interval '1 day', null,
        'Offers wait: who may get them?',
        'Nobody has said yet whether marketing goes to whoever agreed to it (required) or to whoever has not opted out '
        '(recorded_optout_only). decide_consent() says it, and what waits goes on.');
    end if;
  end loop;
end;
$$;

-- A text that may have been accepted is kept to be looked for; any other is written anew when it goes. A webhook that
-- was tried keeps its id and what it says, since its receiver may have acted on what it did not acknowledge.
create or replace function automation.hold_sends(verdicts automation.send_verdict[]) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.scheduled_steps as s
    set run_at = v.until, expires_at = coalesce(s.expires_at, v.expires_at),
      held = v.held || jsonb_build_object('until', nullif(v.until, 'infinity'),
        'since', coalesce(s.held -> 'since', to_jsonb(automation.now())))
    from unnest(verdicts) as v
    where v.verdict = 'hold' and s.tenant_id = v.tenant_id and s.id = v.step_id;

    update ridgeline.workflow_step_executions as l
    set changed_at = automation.now(),
      status = 'waiting',
      input = case when s.reconcile_since is null and s.lane <> 'webhook' then null else l.input end,
      render_again = s.reconcile_since is null and s.lane <> 'webhook' and (l.render_again or l.input is not null)
    from unnest(verdicts) as v
    join ridgeline.scheduled_steps as s on s.tenant_id = v.tenant_id and s.id = v.step_id
    where v.verdict = 'hold' and l.tenant_id = v.tenant_id and l.id = v.step_id;

    update ridgeline.workflow_executions as e
    set changed_at = automation.now(), status = 'waiting'
    from unnest(verdicts) as v
    where v.verdict = 'hold' and e.tenant_id = v.tenant_id and e.id = v.execution_id and e.status <> 'waiting'
      and e.finished_at is null;

    select automation.tell_what_waits(verdicts)
  $$;

comment on function automation.hold_sends(automation.send_verdict[]) is
  'Puts off what the gate holds: until its time or without a date, with the reason, and without an attempt.';

-- A second apart at first and never longer than half an hour in all: what waited does not arrive as one.
create or replace function automation.release_spread(place bigint, number bigint) returns interval
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select (place - 1) * least(interval '1 second', interval '30 minutes' / greatest(number, 1)) $$;

create or replace function automation.release_held(tenant_id uuid, codes text[], workflow_id uuid default null)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  released integer;
begin
  with waiting as (
    select s.id, s.lane from ridgeline.scheduled_steps as s
    where s.tenant_id = release_held.tenant_id and s.run_at = 'infinity' and s.lease_expires_at is null
      and coalesce(s.held ->> 'code', 'workflow_held') = any (codes)
      and (release_held.workflow_id is null or exists (
        select from ridgeline.workflow_executions as e
        where e.tenant_id = s.tenant_id and e.id = s.execution_id and e.workflow_id = release_held.workflow_id))
    order by s.id
    for update skip locked
  ), placed as (
    select w.id, case when w.lane = 'database' then interval '0' else automation.release_spread(
      row_number() over (partition by w.lane = 'database' order by w.id),
      count(*) over (partition by w.lane = 'database')) end as after
    from waiting as w
  )
  update ridgeline.scheduled_steps as s
  set run_at = automation.now() + p.after, held = jsonb_build_object('since', s.held -> 'since')
  from placed as p
  where s.tenant_id = release_held.tenant_id and s.id = p.id;
  get diagnostics released = row_count;
  perform automation.ring_once();
  return released;
end;
$$;

comment on function automation.release_held(uuid, text[], uuid) is
  'Lets go on what waited without a date for one of these reasons, a second apart; what is in the database at once. '
  'Every question is asked of it again.';

-- A sender that is there now: what waited for one goes on.
create or replace function automation.release_unsent() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if new.is_active and new.verified_at is not null then
    perform automation.release_held(new.tenant_id, '{no_sender}');
  end if;
  return null;
end;
$$;

create trigger senders_release_unsent
  after insert or update of is_active, verified_at, kind, channel on ridgeline.senders
  for each row execute function automation.release_unsent();

-- The environment's sender serves others than before.
create or replace function automation.release_all_unsent() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.release_held(n.tenant_id, '{no_sender}')
  from (select distinct n.tenant_id from automation.notices as n where n.kind = 'no_sender') as n;
  return null;
end;
$$;

create trigger settings_release_unsent
  after update of value on automation.settings
  for each row when (new.name = 'environment_serves' and new.value <> old.value)
  execute function automation.release_all_unsent();

-- What waited for one reason may have to wait for another: it is asked.
create or replace function automation.pause_sending(tenant_id uuid, reason text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_publisher(tenant_id, 'pausing what is sent');
  if coalesce(btrim(reason), '') = '' then
    raise exception 'reason: why nothing is sent is needed' using errcode = 'invalid_parameter_value',
      hint = 'Whoever finds messages waiting reads it.';
  end if;
  insert into ridgeline.sending_pauses as p (tenant_id, reason, paused_by)
  values (pause_sending.tenant_id, left(btrim(pause_sending.reason), 1000), automation.current_user_id())
  on conflict on constraint sending_pauses_pkey do update set reason = excluded.reason;
end;
$$;

create or replace function automation.resume_sending(tenant_id uuid) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_publisher(tenant_id, 'letting what is sent go on');
  delete from ridgeline.sending_pauses as p where p.tenant_id = resume_sending.tenant_id;
  return automation.release_held(tenant_id, '{sending_paused}');
end;
$$;

create or replace function ridgeline.pause_sending(reason text, tenant_id uuid default null) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.pause_sending(automation.own_tenant(tenant_id), reason) $$;

comment on function ridgeline.pause_sending(text, uuid) is
  'Sends nothing more, by text, email or webhook, until resume_sending(): what is due waits, and says why. What a '
  'dispatcher holds already is let finish. Whoever may publish.';

create or replace function ridgeline.resume_sending(tenant_id uuid default null) returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.resume_sending(automation.own_tenant(tenant_id)) $$;

comment on function ridgeline.resume_sending(uuid) is
  'Ends pause_sending(): what waited goes on, spread over up to half an hour, and says how many that were. What has '
  'expired meanwhile is not sent.';
