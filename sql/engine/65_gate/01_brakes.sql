-- 65 GATE
--
-- What may go out: asked in the transaction that claims a send, on every attempt.

-- The fuse of a workflow. Within a chain the number of effects is bounded, but strangers can begin chains without
-- end (a machine that answers ours, a flood of forms), and so can a workflow that comes round to itself in each of
-- them. Above so many such runs in an hour or a day the workflow is held: its runs wait where they are, nothing is
-- lost, somebody is told, and a person lets it go on. Bulk enrolments, imports and what people write never count.
--
-- Counted where a run begins and not where it is captured, in an index of those runs alone and no further than the
-- limit, so that no row is written by all of them and no writer pays.

create table ridgeline.workflow_holds (
  tenant_id uuid not null,
  workflow_id uuid not null,
  reason jsonb not null,
  held_at timestamptz not null,
  released_at timestamptz,
  released_by uuid,
  changed_at timestamptz not null default automation.now(),
  constraint workflow_holds_pkey primary key (tenant_id, workflow_id),
  constraint workflow_holds_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

select automation.keep_changed_at('ridgeline.workflow_holds');

comment on table ridgeline.workflow_holds is
  'Workflows whose runs wait because they had become too many; release_workflow() lets them go on.';

create or replace function automation.fused_runs(
  tenant_id uuid, workflow_id uuid, since timestamptz, upto bigint, at_most integer)
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    select count(*)::integer
    from (
      select from ridgeline.workflow_executions as e
      where e.workflow_id = fused_runs.workflow_id and e.tenant_id = fused_runs.tenant_id and e.fused
        and e.created_at > since and e.seq <= upto
      order by e.created_at
      limit at_most
    ) as e
  $$;

-- What a workflow may do in a day is learned from what it did: five times its busiest day of the last four weeks, and
-- never less than what a new one has. Looked up when that is exceeded, and once a day.
create table automation.workflow_fuses (
  tenant_id uuid not null,
  workflow_id uuid not null,
  learned_on date not null,
  per_day integer not null,
  constraint workflow_fuses_pkey primary key (tenant_id, workflow_id),
  constraint workflow_fuses_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

comment on table automation.workflow_fuses is
  'How many runs a day of a workflow may be set off by others or by itself, by what it did before; of those alone that '
  'came to the question.';

-- Of runs that began: those that the fuse holds are no custom of it.
create or replace function automation.busiest_day(tenant_id uuid, workflow_id uuid, before timestamptz, at_most integer)
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    select coalesce(max(r.runs), 0)::integer
    from generate_series(1, 28) as d (day)
    cross join lateral (
      select count(*) as runs
      from (
        select from ridgeline.workflow_executions as e
        where e.workflow_id = busiest_day.workflow_id and e.tenant_id = busiest_day.tenant_id and e.fused
          and e.created_at > before - d.day * interval '1 day'
          and e.created_at <= before - (d.day - 1) * interval '1 day' and e.started_at is not null
        limit at_most
      ) as e
    ) as r
  $$;

-- Up to so many nothing is looked up.
create or replace function automation.fuse_floor() returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select least(100, automation.setting('workflow_fuse_at_least')::integer,
      automation.setting('workflow_fuse_per_day')::integer)
  $$;

-- An office that knows better says it: settings {"workflow_fuse": {"per_day": 3000}}, for each of its workflows.
create or replace function automation.daily_fuse(tenant_id uuid, workflow_id uuid) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  most constant integer := automation.setting('workflow_fuse_per_day')::integer;
  least_allowed constant integer := least(automation.setting('workflow_fuse_at_least')::integer, most);
  said constant text := automation.tenant_setting(tenant_id, 'workflow_fuse', 'per_day') #>> '{}';
  today constant date := (automation.now() at time zone 'UTC')::date;
  learned integer;
begin
  if said ~ '^\d{1,7}$' then
    return said::integer;
  end if;
  select f.per_day into learned from automation.workflow_fuses as f
  where f.tenant_id = daily_fuse.tenant_id and f.workflow_id = daily_fuse.workflow_id and f.learned_on = today;
  if not found then
    learned := 5 * automation.busiest_day(tenant_id, workflow_id, automation.now() - interval '1 day', most);
    -- Two who learn it at once do not wait for each other.
    if pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', tenant_id, workflow_id), 15)) then
      insert into automation.workflow_fuses as f (tenant_id, workflow_id, learned_on, per_day)
      values (daily_fuse.tenant_id, daily_fuse.workflow_id, today, learned)
      on conflict on constraint workflow_fuses_pkey do update
        set learned_on = excluded.learned_on, per_day = excluded.per_day;
    end if;
  end if;
  return least(greatest(learned, least_allowed), most);
end;
$$;

comment on function automation.daily_fuse(uuid, uuid) is
  'How many runs of a workflow may be set off in a day by others or by itself before it is held.';

-- Old records that are loaded, of which a workflow counts what they are inserted with (on_insert): a hundred and eighty
-- roofs that were won years ago must not be a hundred and eighty texts. So many at once as the workflow never had in a
-- day are held as a whole, before the first of them has done anything.
create or replace function automation.came_by_import(execution ridgeline.workflow_executions) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return execution.entity is not null and not execution.trigger_data ? 'old' and exists (
    select from automation.trigger_types as t
    join automation.entities as e on e.name = execution.entity
    where t.name = execution.trigger_type and t.kind in ('changed', 'becomes') and not e.is_log);
end;
$$;

create or replace function automation.import_fuse(tenant_id uuid, workflow_id uuid) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  said constant text := automation.tenant_setting(tenant_id, 'workflow_fuse', 'per_day') #>> '{}';
begin
  if said ~ '^\d{1,7}$' then
    return said::integer;
  end if;
  return greatest(automation.setting('workflow_fuse_at_once')::integer,
    5 * automation.busiest_day(tenant_id, workflow_id, automation.now() - interval '1 day',
      automation.setting('workflow_fuse_per_day')::integer));
end;
$$;

comment on function automation.import_fuse(uuid, uuid) is
  'How many records that are inserted within a second a workflow takes as having become what they are.';

create or replace function automation.blown_import(execution ridgeline.workflow_executions, released_at timestamptz)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  least_allowed constant integer := automation.setting('workflow_fuse_at_once')::integer;
  allowed integer;
  at_once integer;
begin
  if not automation.came_by_import(execution) then
    return null;
  end if;
  at_once := (
    select count(*)
    from (
      select from ridgeline.workflow_executions as e
      where e.workflow_id = execution.workflow_id and e.tenant_id = execution.tenant_id and e.fused
        and e.created_at between execution.created_at - interval '1 second'
          and execution.created_at + interval '1 second'
        and e.created_at > coalesce(released_at, '-infinity')
      limit 10000
    ) as e);
  if at_once <= least_allowed then
    return null;
  end if;
  allowed := automation.import_fuse(execution.tenant_id, execution.workflow_id);
  return case when at_once > allowed then jsonb_build_object(
    'code', 'workflow_held', 'limit', allowed, 'per', 'import', 'message', format(
      '%s records were inserted at once that it takes as having just become what they are: they wait until '
      'release_workflow() lets them go on; cancel those that should not', at_once)) end;
end;
$$;

-- Why a workflow has to be held; null: it need not be.
create or replace function automation.blown_fuse(execution ridgeline.workflow_executions, released_at timestamptz)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  imported constant jsonb := automation.blown_import(execution, released_at);
  span record;
  allowed integer;
begin
  if imported is not null then
    return imported;
  end if;
  for span in select * from (values ('hour', interval '1 hour'), ('day', interval '1 day')) as s (name, length) loop
    if span.name = 'hour' then
      allowed := automation.setting('workflow_fuse_per_hour')::integer;
    elsif automation.fused_runs(execution.tenant_id, execution.workflow_id,
      greatest(automation.now() - span.length, released_at), execution.seq, automation.fuse_floor() + 1)
        <= automation.fuse_floor() then
      return null;
    else
      allowed := automation.daily_fuse(execution.tenant_id, execution.workflow_id);
    end if;
    if automation.fused_runs(execution.tenant_id, execution.workflow_id,
      greatest(automation.now() - span.length, released_at), execution.seq, allowed + 1) > allowed then
      return jsonb_build_object(
        'code', 'workflow_held', 'limit', allowed, 'per', span.name,
        'message', format('more than %s runs of it were set off by others or by itself within a %s: they wait until '
          'release_workflow() lets them go on', allowed, span.name));
    end if;
  end loop;
  return null;
end;
$$;

-- What the office is told once, however often it happens: as a task.
create table automation.notices (
  tenant_id uuid not null,
  kind text not null,
  subject text not null,
  at timestamptz not null,
  constraint notices_pkey primary key (tenant_id, kind, subject)
);

comment on table automation.notices is 'What the office was told, and when last.';

-- Who gets such tasks, where the tenant names a member: settings {"notices": {"to": "<user id>"}}.
create or replace function automation.told_member(tenant_id uuid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.as_key(n.who)
    from (
      select automation.tenant_setting(told_member.tenant_id, 'notices', 'to') #>> '{}' as who) as n
    where automation.is_member_key(n.who) and automation.is_member(told_member.tenant_id, n.who)
  $$;

create or replace function automation.tell_office(
  tenant_id uuid, kind text, subject text, at_most_every interval, contact_id text, title text, description text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Two who want to say the same at once do not wait for each other.
  if automation.is_tenant_gone(tenant_id)
    or not pg_try_advisory_xact_lock(hashtextextended(concat_ws('/', tenant_id, kind, subject), 12)) then
    return;
  end if;
  insert into automation.notices as n (tenant_id, kind, subject, at)
  values (tell_office.tenant_id, tell_office.kind, tell_office.subject, automation.now())
  on conflict on constraint notices_pkey do update set at = excluded.at
    where n.at + at_most_every <= excluded.at;
  if found then
    perform automation.check_target('task', 'a word to the office');
    perform automation.write_task(jsonb_build_object(
        'tenant', tenant_id, 'contact', contact_id, 'title', left(title, 200), 'description', description,
        'status', 'open', 'priority', 'high', 'due', automation.now(),
        'assigned_to', automation.told_member(tenant_id)),
      automation.tenant_zone(tenant_id));
  end if;
exception when others then
  raise warning 'automation: the office could not be told "%": %', title, sqlerrm;
end;
$$;

comment on function automation.tell_office(uuid, text, text, interval, text, text, text) is
  'Leaves a task for the office; the same kind and subject again only after a while.';

-- THE BRAKE OF A CONVERSATION
--
-- Two machines that answer each other never stop by themselves. So texts that answer somebody are counted by number
-- since the first thing that came from it within ten minutes, and within a day: above the limit they are skipped and
-- the office is told. What is sent for other reasons (a reminder) is not held up.

create or replace function automation.brake_setting(tenant_id uuid, name text, otherwise integer) returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when s.value = 'false' then null
      when (s.value ->> name) ~ '^\d{1,6}$' then (s.value ->> name)::integer
      else otherwise
    end
    from (
      select automation.tenant_setting(brake_setting.tenant_id, 'conversation_brake') as value) as s
  $$;

comment on function automation.brake_setting(uuid, text, integer) is
  'Settings of a tenant: {"conversation_brake": {"texts": 3, "minutes": 10, "texts_per_day": 10}}; false: none.';

-- Texts to a number since the first that came from it, or call, within a time.
create or replace function automation.texts_in_answer(
  tenant_id uuid, phone text, within interval, but uuid, at_most integer)
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select count(*)::integer
    from (
      select from ridgeline.workflow_step_executions as s
      where s.recipient = phone and s.tenant_id = texts_in_answer.tenant_id
        and s.step_type = any ((select automation.types_on('sms'))::text[])
        and s.status in ('running', 'waiting', 'completed') and s.id <> but
        and s.started_at >= (
          select min(i.created_at)
          from (
            (select m.created_at from ridgeline.messages as m
             where m.from_number = phone and m.tenant_id = texts_in_answer.tenant_id and m.direction = 'inbound'
               and m.created_at > automation.now() - within
             order by m.created_at limit 1)
            union all
            (select c.created_at from ridgeline.calls as c
             where c.from_number = phone and c.tenant_id = texts_in_answer.tenant_id and c.direction = 'inbound'
               and c.created_at > automation.now() - within
             order by c.created_at limit 1)
          ) as i)
      limit at_most
    ) as s
  $$;

-- Was a run begun by somebody from outside, or did it go on because of them?
create or replace function automation.answers_somebody(execution ridgeline.workflow_executions) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return execution.fused or exists (
    select from automation.run_events as e
    where e.tenant_id = execution.tenant_id and e.execution_id = execution.id);
end;
$$;

create or replace function automation.brake_conversation(
  execution ridgeline.workflow_executions, step_id uuid, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  minutes integer;
  span record;
begin
  if not automation.answers_somebody(execution) then
    return prepared;
  end if;
  minutes := automation.brake_setting(execution.tenant_id, 'minutes', 10);
  for span in
    select * from (values
      (automation.brake_setting(execution.tenant_id, 'texts', 3), make_interval(mins => minutes),
        format('%s minutes', minutes)),
      (automation.brake_setting(execution.tenant_id, 'texts_per_day', 10), interval '1 day', 'a day'))
      as s (allowed, length, name)
    where s.allowed is not null and s.length is not null
  loop
    if automation.texts_in_answer(
      execution.tenant_id, prepared.recipient, span.length, step_id, span.allowed) >= span.allowed then
      perform automation.tell_office(
        execution.tenant_id, 'conversation_brake', prepared.recipient, interval '1 day',
        automation.existing_contact(execution), format('Automatic answers to %s were stopped', prepared.recipient),
        format('%s texts went to this number within %s in answer to what came from it. Is it a machine?',
          span.allowed, span.name));
      return automation.skip_unaddressed(prepared, 'conversation_brake', format(
        '%s texts were sent to this number within %s in answer to what came from it', span.allowed, span.name));
    end if;
  end loop;
  return prepared;
end;
$$;
