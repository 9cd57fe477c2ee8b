-- Who is told when runs fail or nothing happens any more, and how: ridgeline.tenant_settings.settings
-- {"notices": {"by": "task" | "email" | "webhook", "to": "<user id>" | "<address>" | "<url>", "failures": true,
-- "every": "1 hour", "silence_after": "2 days", "overdue_after": "15 minutes", "held_after": "1 day"}}. Told by a task,
-- or through the engine's own steps and gate; what is told of is never a notice itself, and the same trouble is told
-- once a day at most. Whoever looks after the installation is told by a call to the URL that the Vault has for it,
-- which needs neither of them.

create or replace function automation.notice_problem(setting jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown constant text := (
    select k from jsonb_object_keys(case jsonb_typeof(setting) when 'object' then setting else '{}' end) as k
    where k not in ('by', 'to', 'failures', 'every', 'silence_after', 'overdue_after', 'held_after') limit 1);
begin
  return case
    when jsonb_typeof(setting) <> 'object' then ': an object is needed'
    when unknown is not null then format('.%s: there is no such setting', unknown)
    when setting ? 'by' and coalesce(setting ->> 'by', '') not in ('task', 'email', 'webhook')
      then '.by: task, email or webhook'
    when setting ? 'failures' and jsonb_typeof(setting -> 'failures') <> 'boolean' then '.failures: true or false'
    when setting ? 'every' and coalesce(automation.duration_in(setting -> 'every') < interval '5 minutes', true)
      then '.every: a length of time of at least 5 minutes'
    when setting ? 'silence_after'
      and coalesce(automation.duration_in(setting -> 'silence_after') < interval '1 hour', true)
      then '.silence_after: a length of time of at least an hour'
    when setting ? 'overdue_after' and setting -> 'overdue_after' <> 'false'
      and coalesce(automation.duration_in(setting -> 'overdue_after') < interval '5 minutes', true)
      then '.overdue_after: a length of time of at least 5 minutes, or false'
    when setting ? 'held_after' and setting -> 'held_after' <> 'false'
      and coalesce(automation.duration_in(setting -> 'held_after') < interval '1 hour', true)
      then '.held_after: a length of time of at least an hour, or false'
    when setting ->> 'by' = 'webhook' and coalesce(setting ->> 'to', '') !~* '^https?://[^[:space:]]+$'
      then '.to: the URL that is told'
    when setting ->> 'by' = 'email' and automation.normalize_email(coalesce(setting ->> 'to', '')) is null
      then '.to: the email address that is told'
    when coalesce(setting ->> 'by', 'task') = 'task' and setting ? 'to'
      and not automation.is_member_key(setting ->> 'to') then '.to: the id of the member who is told'
  end;
end;
$$;

create or replace function automation.check_notices() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong constant text := automation.notice_problem(new.settings -> 'notices');
begin
  if wrong is not null then
    raise exception 'settings.notices%', wrong using errcode = 'invalid_parameter_value',
      hint = 'Such as {"notices": {"by": "email", "to": "office@example.com", "silence_after": "2 days"}}.';
  end if;
  return new;
end;
$$;

create trigger tenant_settings_check_notices
  before insert or update of settings on ridgeline.tenant_settings
  for each row when (new.settings ? 'notices')
  execute function automation.check_notices();

create or replace function automation.is_notice_workflow(metadata jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(metadata ->> 'ridgeline' = 'notices', false) $$;

-- The mark is the engine's to give: failures of what bears it are told to nobody, and notices go out by it. What a
-- member writes leaves it as it was, so that the workflow can still be changed as a whole, and a copy of it has none.
create or replace function automation.keep_mark() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- What is no object the table refuses by itself, and says so.
  if not automation.is_service() and jsonb_typeof(new.metadata) = 'object' then
    new.metadata := new.metadata - 'ridgeline';
    if tg_op = 'UPDATE' and old.metadata ? 'ridgeline' then
      new.metadata := new.metadata
        || jsonb_build_object('ridgeline', old.metadata -> 'ridgeline', 'by', old.metadata -> 'by');
    end if;
  end if;
  return new;
end;
$$;

create trigger workflows_keep_mark
  before insert or update of metadata on ridgeline.workflows
  for each row execute function automation.keep_mark();

-- The workflow by which a tenant is told by email or webhook: made when it is first needed, and like any other to be
-- seen, changed and switched off.
create or replace function automation.notice_workflow(tenant_id uuid, by text) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_id uuid := (
    select w.id from ridgeline.workflows as w
    where w.tenant_id = notice_workflow.tenant_id and automation.is_notice_workflow(w.metadata)
      and coalesce(w.metadata ->> 'by', 'email') = notice_workflow.by and w.status <> 'archived'
    order by w.created_at limit 1);
begin
  if found_id is not null then
    return found_id;
  end if;
  insert into ridgeline.workflows (tenant_id, name, description, trigger_type, metadata)
  values (notice_workflow.tenant_id, 'Notices of Ridgeline',
    'Tells the office of failures and of silence, as the setting "notices" asks.', 'manual',
    jsonb_build_object('ridgeline', 'notices', 'by', notice_workflow.by))
  returning id into found_id;
  insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type, step_config)
  select notice_workflow.tenant_id, found_id, 1, 'tell', t.step_type, t.step_config
  from (values
    ('email', 'send_email', '{"to": "{{trigger.notice.to}}", "subject": "{{trigger.notice.title}}",
      "text": "{{trigger.notice.text}}", "purpose": "internal"}'::jsonb),
    ('webhook', 'webhook', '{"url": "{{trigger.notice.to}}", "body": {"kind": "{{trigger.notice.kind}}",
      "title": "{{trigger.notice.title}}", "text": "{{trigger.notice.text}}"}}')
  ) as t (by, step_type, step_config)
  where t.by = notice_workflow.by;
  perform automation.publish(notice_workflow.tenant_id, found_id, 'publish');
  return found_id;
end;
$$;

-- Would it get through now? Not while sending is paused, or what goes out by that channel is late itself.
create or replace function automation.can_tell(tenant_id uuid, by text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return by in ('email', 'webhook')
    and not exists (select from ridgeline.sending_pauses as p where p.tenant_id = can_tell.tenant_id)
    and not by = any (automation.late_lanes(tenant_id, interval '5 minutes'));
end;
$$;

-- Lanes of which something was due so long ago that nobody works on them any more.
create or replace function automation.late_lanes(tenant_id uuid, patience interval) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return array(
    select l.lane::text
    from unnest(automation.channels() || 'database'::ridgeline.automation_lane) as l (lane)
    cross join lateral (
      select s.run_at from ridgeline.scheduled_steps as s
      where s.lane = l.lane and s.tenant_id = late_lanes.tenant_id and s.lease_expires_at is null
      order by s.run_at limit 1
    ) as o
    where o.run_at <= automation.now() - patience
    order by l.lane);
end;
$$;

-- Once for a kind and subject within a time. What cannot go out by email or webhook is a task.
create or replace function automation.tell(
  tenant_id uuid, kind text, subject text, at_most_every interval, title text, description text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  setting constant jsonb := (
    select s.settings -> 'notices' from ridgeline.tenant_settings as s where s.tenant_id = tell.tenant_id);
  workflow_id uuid;
begin
  if exists (
    select from automation.notices as n
    where n.tenant_id = tell.tenant_id and n.kind = tell.kind and n.subject = tell.subject
      and n.at + at_most_every > automation.now()) then
    return;
  end if;
  if automation.can_tell(tenant_id, setting ->> 'by') then
    begin
      workflow_id := automation.notice_workflow(tenant_id, setting ->> 'by');
      perform ridgeline.execute_workflow(workflow_id, jsonb_build_object('notice', jsonb_build_object(
        'to', setting ->> 'to', 'kind', kind, 'title', title, 'text', description)), tenant_id => tell.tenant_id);
      insert into automation.notices as n (tenant_id, kind, subject, at)
      values (tell.tenant_id, tell.kind, tell.subject, automation.now())
      on conflict on constraint notices_pkey do update set at = excluded.at;
      return;
    exception when others then
      raise warning 'automation: "%" could not be sent to the office: %', title, sqlerrm;
    end;
  end if;
  perform automation.tell_office(tenant_id, kind, subject, at_most_every, null, title, description);
end;
$$;

create or replace function automation.failure_text(tenant_id uuid, workflow_ids uuid[]) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(format('%s: %s since %s', w.name, t.failed, automation.date_text(t.tenant_id, t.since)), E'\n'
      order by t.failed desc, w.name) || E'\n\nridgeline.automation_failures says why.'
    from automation.troubles as t
    join ridgeline.workflows as w on w.tenant_id = t.tenant_id and w.id = t.workflow_id
    where t.tenant_id = failure_text.tenant_id and t.workflow_id = any (workflow_ids)
  $$;

-- Runs that failed, a tenant at a time.
create or replace function automation.tell_of_failures() returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  troubled record;
  told integer := 0;
begin
  delete from automation.troubles as t
  using ridgeline.workflows as w
  where w.tenant_id = t.tenant_id and w.id = t.workflow_id and automation.is_notice_workflow(w.metadata);
  for troubled in
    select t.tenant_id, array_agg(t.workflow_id order by t.workflow_id) as workflow_ids, sum(t.failed) as failed,
      s.settings -> 'notices' as setting
    from automation.troubles as t
    left join ridgeline.tenant_settings as s on s.tenant_id = t.tenant_id
    group by t.tenant_id, s.settings
    having not coalesce(automation.was_told(
      t.tenant_id, 'failures', coalesce(automation.duration_in(s.settings #> '{notices,every}'), interval '1 hour')),
      false)
    order by t.tenant_id limit 100
  loop
    if troubled.setting is not null and coalesce((troubled.setting ->> 'failures')::boolean, true) then
      perform automation.tell(troubled.tenant_id, 'failures', md5(troubled.workflow_ids::text), interval '1 day',
        format('%s automations failed', troubled.failed),
        automation.failure_text(troubled.tenant_id, troubled.workflow_ids));
      told := told + 1;
    end if;
    delete from automation.troubles as t
    where t.tenant_id = troubled.tenant_id and t.workflow_id = any (troubled.workflow_ids);
  end loop;
  return told;
end;
$$;

create or replace function automation.was_told(tenant_id uuid, kind text, within interval) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from automation.notices as n
      where n.tenant_id = was_told.tenant_id and n.kind = was_told.kind and n.at + within > automation.now())
  $$;

-- A tenant whose workflows have been on for so long and have started nothing: a form that broke, a table that was
-- detached. Told once for each silence.
create or replace function automation.tell_of_silence() returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  silent record;
  told integer := 0;
begin
  for silent in
    select s.tenant_id, automation.duration_in(s.settings #> '{notices,silence_after}') as after, l.id, l.at
    from ridgeline.tenant_settings as s
    left join lateral (
      select e.id, e.created_at as at
      from ridgeline.workflow_executions as e
      join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
      where e.tenant_id = s.tenant_id and e.mode = 'live' and not automation.is_notice_workflow(w.metadata)
      order by e.id desc limit 1
    ) as l on true
    where s.settings -> 'notices' ? 'silence_after' and s.unified_engine = 'on'
  loop
    continue when silent.after is null or silent.at > automation.now() - silent.after or not exists (
      select from automation.activations as a
      join ridgeline.workflows as w on w.tenant_id = a.tenant_id and w.id = a.workflow_id
      where a.tenant_id = silent.tenant_id and a.active_until is null
          and a.active_from <= automation.now() - silent.after
        and w.is_active and not automation.is_notice_workflow(w.metadata));
    continue when automation.was_told(
      silent.tenant_id, 'silence ' || coalesce(silent.id::text, ''), interval '1000 years');
    perform automation.tell(
      silent.tenant_id, 'silence ' || coalesce(silent.id::text, ''), '', interval '1000 years',
      'No automation has begun for a while',
      format('The last run began %s. Are forms, numbers and tables still connected? ridgeline.engine_status() and '
        'explain_enrollment() say more.', coalesce(automation.date_text(silent.tenant_id, silent.at), 'never')));
    told := told + 1;
  end loop;
  return told;
end;
$$;

create type automation.trouble as (kind text, subject text, every interval, title text, description text);

comment on type automation.trouble is
  'What an office is to be told; null kind: nothing. every: how soon the same subject may be told again.';

-- Work that is due and that nobody does: the dispatcher, or the tick, stands still.
create or replace function automation.overdue_trouble(tenant_id uuid, setting jsonb) returns automation.trouble
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  patience constant interval := case when setting -> 'overdue_after' = 'false' then null
    else coalesce(automation.duration_in(setting -> 'overdue_after'), interval '15 minutes') end;
  lanes constant text[] := automation.late_lanes(tenant_id, patience);
begin
  if coalesce(cardinality(lanes), 0) = 0 then
    return null;
  end if;
  return row('overdue', array_to_string(lanes, ' '), interval '1 day', 'Automations stand still', format(
    'What was due more than %s ago has not been done (%s). Nothing is lost: it goes on as soon as whoever looks after '
    'Ridgeline has started it again. ridgeline.engine_status() and automation_queue say more.',
    patience, array_to_string(lanes, ', ')))::automation.trouble;
end;
$$;

-- What waits until a person lets it go: a pause, a fuse, hours that never open.
create or replace function automation.held_trouble(tenant_id uuid, setting jsonb) returns automation.trouble
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  patience constant interval := case when setting -> 'held_after' = 'false' then null
    else coalesce(automation.duration_in(setting -> 'held_after'), interval '1 day') end;
  held record;
begin
  select sum(h.steps) as steps, string_agg(h.code, ' ' order by h.code) as codes,
      string_agg(format('%s: %s since %s. %s', h.code, h.steps,
        automation.date_text(held_trouble.tenant_id, h.since), h.why), E'\n' order by h.code) as said
    into held
  from (
    select w.held ->> 'code' as code, count(*) as steps, min((w.held ->> 'since')::timestamptz) as since,
      min(w.held ->> 'why') as why
    from unnest(automation.channels() || 'database'::ridgeline.automation_lane) as l (lane)
    cross join lateral (
      select s.held from ridgeline.scheduled_steps as s
      where s.lane = l.lane and s.tenant_id = held_trouble.tenant_id and s.lease_expires_at is null
        and s.run_at = 'infinity'
      limit 1000
    ) as w
    group by 1
    having min((w.held ->> 'since')::timestamptz) <= automation.now() - patience
  ) as h;
  if held.steps is null then
    return null;
  end if;
  return row('held', held.codes, interval '1 day', case held.steps when 1 then 'A step waits until somebody lets it go'
      else format('%s steps wait until somebody lets them go', held.steps) end,
    held.said || E'\n\nridgeline.resume_sending() and release_workflow() let them go on.')::automation.trouble;
end;
$$;

-- What time starts, and has been given up or breaks again and again.
create or replace function automation.start_trouble(tenant_id uuid, setting jsonb) returns automation.trouble
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  found_broken record;
begin
  if setting -> 'failures' = 'false' then
    return null;
  end if;
  select string_agg(b.id::text, ' ' order by b.id) as ids, string_agg(b.said, E'\n' order by b.id) as said,
      count(*) as many into found_broken
  from (
    select b.id, format('%s: the enrolment of many was given up: %s', w.name, b.error ->> 'message') as said
    from ridgeline.bulk_enrollments as b
    join ridgeline.workflows as w on w.tenant_id = b.tenant_id and w.id = b.workflow_id
    where b.tenant_id = start_trouble.tenant_id and b.status = 'failed'
      and b.changed_at > automation.now() - interval '2 days'
    union all
    select s.workflow_id, format('%s: its schedule breaks: %s', w.name, s.error ->> 'message')
    from ridgeline.workflow_schedules as s
    join ridgeline.workflows as w on w.tenant_id = s.tenant_id and w.id = s.workflow_id
    where s.tenant_id = start_trouble.tenant_id and s.error is not null
  ) as b;
  if found_broken.many = 0 then
    return null;
  end if;
  return row('start', md5(found_broken.ids), interval '2 days',
    case found_broken.many when 1 then 'An automation could not be started'
      else format('%s automations could not be started', found_broken.many) end, found_broken.said)::automation.trouble;
end;
$$;

-- A tenant at a time; one whose settings or rows break is told of in the log and keeps nobody else from being told.
create or replace function automation.tell_of_standstill() returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked record;
  trouble automation.trouble;
  told integer := 0;
begin
  for asked in
    select s.tenant_id, s.settings -> 'notices' as setting from ridgeline.tenant_settings as s
    where s.settings ? 'notices' and s.unified_engine = 'on'
  loop
    foreach trouble in array array[
      automation.overdue_trouble(asked.tenant_id, asked.setting),
      automation.held_trouble(asked.tenant_id, asked.setting),
      automation.start_trouble(asked.tenant_id, asked.setting)]
    loop
      continue when trouble.kind is null;
      perform automation.tell(
        asked.tenant_id, trouble.kind, trouble.subject, trouble.every, trouble.title, trouble.description);
      told := told + 1;
    end loop;
  end loop;
  return told;
end;
$$;

-- WHOEVER LOOKS AFTER THE INSTALLATION
--
-- Called by pg_net, where it is installed, at the URL that the Vault has as ridgeline_notice_url: neither the
-- dispatcher nor a task of a tenant's is needed for it. Whatever happens, it stands in the server's log.
create or replace function automation.post_notice(said jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  url text;
begin
  url := automation.vault_secret('ridgeline_notice_url');
  if url is not null then
    execute 'select net.http_post(url => $1, body => $2, headers => $3, timeout_milliseconds => 5000)'
      using url, said, '{"content-type": "application/json"}'::jsonb;
  end if;
exception when others then
  raise warning 'automation: whoever looks after it could not be told: %', sqlerrm;
end;
$$;

create or replace function automation.tell_operator(kind text, text text, state jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  nobody constant uuid := '00000000-0000-0000-0000-000000000000'::uuid;
begin
  insert into automation.notices as n (tenant_id, kind, subject, at)
  values (nobody, tell_operator.kind, '', clock_timestamp())
  on conflict on constraint notices_pkey do update set at = excluded.at where n.at < excluded.at - interval '1 hour';
  if not found then
    return;
  end if;
  raise warning 'ridgeline: %', text;
  perform automation.post_notice(jsonb_build_object('text', text, 'kind', kind, 'status', state));
end;
$$;

comment on function automation.tell_operator(text, text, jsonb) is
  'Tells whoever looks after the installation, once an hour for a kind: POST {text, kind, status: engine_status()}.';

-- Rows of an inbox that no tick takes any more, as many as there may be: beside whatever else stands still, for one of
-- them may be a STOP.
create or replace function automation.tell_of_inboxes(state jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  left_over record;
begin
  select count(*) as rows, min(w.created_at) as since into left_over
  from (
    select i.created_at from automation.inbox_waiting as i
    where i.event ? 'unread' or i.tries >= 10
    limit 10000
  ) as w;
  if left_over.rows = 0 then
    return 0;
  end if;
  perform automation.tell_operator('inbox', format('rows of inboxes wait for somebody to say what they are (%s, since '
    '%s): a STOP may be among them. automation.inbox_waiting has them, and why.', left_over.rows,
    left_over.since), state);
  return 1;
end;
$$;

create or replace function automation.tell_of_engine() returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  state constant jsonb := automation.engine_state(null);
  told integer := 1;
begin
  if coalesce((state ->> 'last_tick')::timestamptz < clock_timestamp() - interval '5 minutes', true) then
    perform automation.tell_operator('no_tick', format('the last tick was %s: delays, schedules and timers stand '
      'still. Is the job ridgeline-tick of pg_cron running?', coalesce(state ->> 'last_tick', 'never')), state);
  elsif not (state ->> 'is_alive')::boolean then
    perform automation.tell_operator('overdue', format('steps are due since %s and nobody does them (%s). Is the '
      'dispatcher called, and does it answer?', state ->> 'oldest_due', state ->> 'due'), state);
  elsif (state ->> 'left_since')::timestamptz < automation.now() - interval '5 minutes' then
    perform automation.tell_operator('left', format('%s steps wait since %s for what stands in their way: somebody''s '
      'trigger on what the engine keeps, mostly. held_why in automation_queue says what. After a day of it they fail.',
      state ->> 'left', state ->> 'left_since'), state);
  elsif state -> 'deaf' <> '[]' then
    perform automation.tell_operator('deaf', (
      select format('what is written to %s starts nothing (%s). Call automation.attach() again, or detach() it.',
        string_agg(d ->> 'relation', ', '), string_agg((d ->> 'entity') || ': ' || (d ->> 'why'), '; '))
      from jsonb_array_elements(state -> 'deaf') as d), state);
  else
    told := 0;
  end if;
  return told + automation.tell_of_inboxes(state);
end;
$$;

create or replace function automation.tell_troubles() returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.tell_of_failures() + automation.tell_of_silence() + automation.tell_of_standstill()
      + automation.tell_of_engine()
  $$;

comment on function automation.tell_troubles() is
  'Tells offices that asked for it of failures, of silence, of what stands still or waits for them and of what could '
  'not be started, and whoever looks after the installation of an engine that stands still and of rows of inboxes '
  'that nobody can read; how many of them there are.';

-- Once a minute of real time, by whichever tick comes first, or by a dispatcher where there is none. Never raises: who
-- calls it has done other work.
create or replace function automation.tell_when_due() returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  update automation.heartbeats as h set at = clock_timestamp()
  where h.ctid = (
    select b.ctid from automation.heartbeats as b
    where b.name = 'notices' and b.at < clock_timestamp() - interval '1 minute'
    for update skip locked);
  if not found then
    return 0;
  end if;
  perform automation.take_waiting();
  return automation.tell_troubles();
exception when others then
  raise warning 'automation: nobody could be told of troubles: %', sqlerrm;
  return 0;
end;
$$;
