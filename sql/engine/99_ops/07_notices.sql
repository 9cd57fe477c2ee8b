-- Who is told when runs fail or nothing happens any more, and how: ridgeline.tenant_settings.settings
-- {"notices": {"by": "task" | "email", "to": "<user id>" | "<address>", "failures": true, "every": "1 hour",
-- "silence_after": "2 days"}}. Told by a task, or by an email through the engine's own steps and gate; what is told of
-- is never a notice itself, and the same trouble is told once a day at most.

create or replace function automation.notice_problem(setting jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown constant text := (
    select k from jsonb_object_keys(case jsonb_typeof(setting) when 'object' then setting else '{}' end) as k
    where k not in ('by', 'to', 'failures', 'every', 'silence_after') limit 1);
begin
  return case
    when jsonb_typeof(setting) <> 'object' then ': an object is needed'
    when unknown is not null then format('.%s: there is no such setting', unknown)
    when setting ? 'by' and coalesce(setting ->> 'by', '') not in ('task', 'email') then '.by: task or email'
    when setting ? 'failures' and jsonb_typeof(setting -> 'failures') <> 'boolean' then '.failures: true or false'
    when setting ? 'every' and coalesce(automation.duration_in(setting -> 'every') < interval '5 minutes', true)
      then '.every: a length of time of at least 5 minutes'
    when setting ? 'silence_after'
      and coalesce(automation.duration_in(setting -> 'silence_after') < interval '1 hour', true)
      then '.silence_after: a length of time of at least an hour'
    when setting ->> 'by' = 'email' and automation.normalize_email(coalesce(setting ->> 'to', '')) is null
      then '.to: the email address that is told'
    when coalesce(setting ->> 'by', 'task') = 'task' and setting ? 'to'
      and automation.as_uuid(setting ->> 'to') is null then '.to: the id of the member who is told'
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

-- The workflow by which a tenant is told by email: made when it is first needed, and like any other to be seen,
-- changed and switched off.
create or replace function automation.notice_workflow(tenant_id uuid) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_id uuid := (
    select w.id from ridgeline.workflows as w
    where w.tenant_id = notice_workflow.tenant_id and automation.is_notice_workflow(w.metadata)
      and w.status <> 'archived'
    order by w.created_at limit 1);
begin
  if found_id is not null then
    return found_id;
  end if;
  insert into ridgeline.workflows (tenant_id, name, description, trigger_type, metadata)
  values (notice_workflow.tenant_id, 'Notices of Ridgeline',
    'Tells the office of failures and of silence, as the setting "notices" asks.', 'manual',
    '{"ridgeline": "notices"}')
  returning id into found_id;
  insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type, step_config)
  values (notice_workflow.tenant_id, found_id, 1, 'tell', 'send_email', jsonb_build_object(
    'to', '{{trigger.notice.to}}', 'subject', '{{trigger.notice.title}}', 'text', '{{trigger.notice.text}}',
    'purpose', 'internal'));
  perform automation.publish(notice_workflow.tenant_id, found_id, 'publish');
  return found_id;
end;
$$;

-- Once for a kind and subject within a time. What cannot go out as an email is a task.
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
  if setting ->> 'by' = 'email' then
    begin
      workflow_id := automation.notice_workflow(tenant_id);
      perform ridgeline.execute_workflow(workflow_id, jsonb_build_object('notice', jsonb_build_object(
        'to', setting ->> 'to', 'title', title, 'text', description)), tenant_id => tell.tenant_id);
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

create or replace function automation.tell_troubles() returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.tell_of_failures() + automation.tell_of_silence() $$;

comment on function automation.tell_troubles() is
  'Tells offices that asked for it of failures and of silence; how many that was. Called once a minute by the tick.';

-- Once a minute of real time, by whichever tick comes first.
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
end;
$$;
