-- TWO CONTACTS ARE ONE PERSON
--
-- What the engine keeps of the one that goes moves to the one that stays: runs in flight, who has entered what, what
-- was said, what was taken back, what was counted.
--
-- Lock order: the queue's rows, then the executions, in the order of their ids, as everybody does. Whoever calls may
-- hold rows of the CRM; steps never wait for those for longer than 100 ms, and give way.

-- The runs in flight of contacts that are about them or about something of theirs, locked, in their order.
create or replace function automation.lock_runs_of(tenant_id uuid, contact_ids text[])
  returns setof ridgeline.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  open_runs constant uuid[] := array(
    select e.id from unnest(contact_ids) as c (id)
    join ridgeline.workflow_executions as e on e.record_id = c.id and e.tenant_id = lock_runs_of.tenant_id
    where e.entity = 'contact' and e.finished_at is null
    union
    select e.id from unnest(contact_ids) as c (id)
    join ridgeline.workflow_executions as e on e.contact_id = c.id and e.tenant_id = lock_runs_of.tenant_id
    where e.entity <> 'contact' and e.finished_at is null);
begin
  perform from ridgeline.scheduled_steps as s
  where s.tenant_id = lock_runs_of.tenant_id and s.execution_id = any (open_runs)
  order by s.id
  for update;
  return query
    select e.* from ridgeline.workflow_executions as e
    where e.tenant_id = lock_runs_of.tenant_id and e.id = any (open_runs) and e.finished_at is null
    order by e.id
    for no key update;
end;
$$;

-- What makes two runs of a workflow the same once their contacts are: that they are about the contact itself, or the
-- workflow's own key. Null: about something else of theirs, which stays two things.
create or replace function automation.merge_key(execution ridgeline.workflow_executions) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  lifecycle constant jsonb := automation.plan_of(execution) -> 'lifecycle';
begin
  if lifecycle ? 'key' then
    return automation.entry_key(execution, lifecycle);
  elsif execution.entity = 'contact' then
    return automation.entry_key_in(execution.mode, automation.record_key('contact', execution.record_id));
  end if;
  return null;
-- What cannot be told apart by its key stays apart.
exception when others then
  return null;
end;
$$;

-- Of two runs of one workflow the one that began first goes on, for it has come further: nobody hears a thing twice.
create or replace function automation.end_doubles(tenant_id uuid, contact_id text) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  double record;
  ended integer := 0;
begin
  for double in
    with open_runs as materialized (
      select e.id, e.workflow_id, e.seq, e.mode, automation.merge_key(e) as key
      from automation.lock_runs_of(end_doubles.tenant_id, array[end_doubles.contact_id]) as e
    )
    select r.id, f.id as kept
    from open_runs as r
    join lateral (
      select o.id from open_runs as o
      where o.workflow_id = r.workflow_id and o.key = r.key and o.seq < r.seq
      order by o.seq limit 1) as f on true
    order by r.id
  loop
    perform automation.stop_execution(e, 'cancelled', jsonb_build_object(
      'code', 'merged', 'message', 'its contact was merged with one who is in the workflow already',
      'execution_id', double.kept))
    from ridgeline.workflow_executions as e
    where e.tenant_id = end_doubles.tenant_id and e.id = double.id;
    update automation.entries as n set execution_id = double.kept
    where n.tenant_id = end_doubles.tenant_id and n.execution_id = double.id;
    ended := ended + 1;
  end loop;
  return ended;
end;
$$;

create or replace function automation.move_runs(tenant_id uuid, from_id text, into_id text) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  moved integer;
  ids constant uuid[] := array(select e.id from automation.lock_runs_of(tenant_id, array[from_id, into_id]) as e);
begin
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), contact_id = into_id,
    record_id = case when e.entity = 'contact' and e.record_id = from_id then into_id else e.record_id end,
    trigger_data = e.trigger_data || jsonb_build_object('contact_id', into_id)
  where e.tenant_id = move_runs.tenant_id and e.id = any (ids)
    and (e.entity = 'contact' and e.record_id = from_id or e.contact_id = from_id);
  get diagnostics moved = row_count;
  -- What is over is where it is looked for: the person's history, and the rules of who may enter again.
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), record_id = into_id, contact_id = into_id
  where e.tenant_id = move_runs.tenant_id and e.record_id = from_id and e.entity = 'contact'
    and e.finished_at is not null;
  update ridgeline.workflow_executions as e set changed_at = automation.now(), contact_id = into_id
  where e.tenant_id = move_runs.tenant_id and e.contact_id = from_id and e.entity <> 'contact'
    and e.finished_at is not null;
  return moved;
end;
$$;

-- Who entered what: of two the later counts, which keeps them out for longer.
create or replace function automation.move_entries(tenant_id uuid, from_id text, into_id text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    with keys as (
      select p.prefix || k.was as was, p.prefix || k.is_now as is_now
      from (values (''), ('shadow ')) as p (prefix), (values
        (automation.record_key('contact', from_id), automation.record_key('contact', into_id)),
        ('key ' || automation.fold(from_id), 'key ' || automation.fold(into_id))) as k (was, is_now)
    ), gone as (
      delete from automation.entries as e using keys as k
      where e.tenant_id = move_entries.tenant_id and e.key = k.was
      returning e.workflow_id, k.is_now, e.execution_id, e.entered_at
    )
    insert into automation.entries as n (tenant_id, workflow_id, key, execution_id, entered_at)
    select move_entries.tenant_id, g.workflow_id, g.is_now, g.execution_id, g.entered_at from gone as g
    on conflict on constraint entries_pkey do update
      set execution_id = excluded.execution_id, entered_at = excluded.entered_at
      where n.entered_at < excluded.entered_at
  $$;

-- Events on their way to runs of the one that goes concern those of the one that stays; that it is deleted does not.
create or replace function automation.move_signals(tenant_id uuid, from_id text, into_id text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.signals as s
    where s.tenant_id = move_signals.tenant_id and s.id in (
      select q.id from automation.signals as q
      where q.tenant_id = move_signals.tenant_id and q.record_id = from_id and q.entity = 'contact'
        and q.role = 'deleted'
      for update skip locked);
    update automation.signals as s
    set contact_id = into_id,
      record_id = case when s.entity = 'contact' and s.record_id = from_id then into_id else s.record_id end
    where s.tenant_id = move_signals.tenant_id and s.id in (
      select q.id from automation.signals as q
      where q.tenant_id = move_signals.tenant_id and q.contact_id = from_id
      for update skip locked);
  $$;

-- What was said, filled in, given away and counted.
create or replace function automation.move_traces(tenant_id uuid, from_id text, into_id text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.messages as m set contact_id = into_id
    where m.contact_id = from_id and m.tenant_id = move_traces.tenant_id;
    update ridgeline.emails as m set contact_id = into_id
    where m.contact_id = from_id and m.tenant_id = move_traces.tenant_id;
    update ridgeline.email_events as m set contact_id = into_id
    where m.contact_id = from_id and m.tenant_id = move_traces.tenant_id;
    update ridgeline.calls as m set contact_id = into_id
    where m.contact_id = from_id and m.tenant_id = move_traces.tenant_id;
    update ridgeline.form_submissions as m set contact_id = into_id
    where m.contact_id = from_id and m.tenant_id = move_traces.tenant_id;
    insert into automation.marketing_sent (tenant_id, person, step_id, at)
    select m.tenant_id, p.prefix || into_id, m.step_id, m.at
    from (values (''), ('shadow ')) as p (prefix)
    join automation.marketing_sent as m on m.tenant_id = move_traces.tenant_id and m.person = p.prefix || from_id
    on conflict on constraint marketing_sent_pkey do nothing;
    delete from automation.marketing_sent as m
    where m.tenant_id = move_traces.tenant_id and m.person in (from_id, 'shadow ' || from_id);
    insert into automation.created_projects (tenant_id, contact_id, key, project_id)
    select p.tenant_id, into_id, p.key, p.project_id from automation.created_projects as p
    where p.tenant_id = move_traces.tenant_id and p.contact_id = from_id
    on conflict on constraint created_projects_pkey do nothing;
    delete from automation.created_projects as p where p.tenant_id = move_traces.tenant_id and p.contact_id = from_id;
    insert into automation.split_assignments (tenant_id, workflow_id, step_key, subject, branch)
    select a.tenant_id, a.workflow_id, a.step_key, k.is_now, a.branch
    from (values
      ('contact ' || from_id, 'contact ' || into_id), ('shadow contact ' || from_id, 'shadow contact ' || into_id))
      as k (was, is_now)
    join automation.split_assignments as a on a.tenant_id = move_traces.tenant_id and a.subject = k.was
    on conflict on constraint split_assignments_pkey do nothing;
    delete from automation.split_assignments as a
    where a.tenant_id = move_traces.tenant_id and a.subject in ('contact ' || from_id, 'shadow contact ' || from_id);
    delete from ridgeline.stage_changes as s
    where s.tenant_id = move_traces.tenant_id and s.entity = 'contact' and s.record_id = from_id;
  $$;

-- Where somebody was written to and wrote from: the numbers or addresses of a contact.
create or replace function automation.reached_at(tenant_id uuid, contact_id text, channel text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(distinct a.address), '{}')
    from (
      select automation.normal_address(reached_at.tenant_id, reached_at.channel, r.record ->> n.name) as address
      from automation.entities as e
      cross join lateral (select case channel when 'sms' then 'phone' else 'email' end as kind) as k
      cross join lateral (
        select automation.read_record('contact', reached_at.tenant_id, reached_at.contact_id) as record) as r
      cross join lateral (
        select m.column_name from automation.mapped_columns(e, k.kind) as m union select k.kind) as n (name)
      where e.name = 'contact'
      union all
      select m.from_number from ridgeline.messages as m
      where channel = 'sms' and m.contact_id = reached_at.contact_id and m.tenant_id = reached_at.tenant_id
        and m.direction = 'inbound'
      union all
      select automation.normal_address(reached_at.tenant_id, 'email', m.from_address) from ridgeline.emails as m
      where channel = 'email' and m.contact_id = reached_at.contact_id and m.tenant_id = reached_at.tenant_id
        and m.direction = 'inbound'
      union all
      select p.address from automation.revoked_people as p
      where p.tenant_id = reached_at.tenant_id and p.contact_id = reached_at.contact_id
        and p.channel = reached_at.channel
    ) as a
    where a.address is not null
  $$;

-- Who took back their consent under the one name has taken it back under the other. A number that others have too says
-- nothing about who it was, and a mailbox of an office is nobody's.
create or replace function automation.move_revocations(tenant_id uuid, from_id text, into_id text) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  revoked record;
  theirs text;
  recorded integer := 0;
begin
  for revoked in
    select c.channel, case when bool_or(s.purpose = 'all') then 'all' else 'marketing' end as purpose,
      array_agg(s.address order by s.address) as addresses
    from (values ('sms'), ('email')) as c (channel)
    cross join lateral unnest(automation.reached_at(move_revocations.tenant_id, from_id, c.channel)) as a (address)
    join ridgeline.suppressions as s
      on s.tenant_id = move_revocations.tenant_id and s.channel = c.channel and s.address = a.address
    where s.reason in ('opt_out', 'complaint', 'manual', 'provider') and not automation.is_role_address(a.address)
      and not exists (
        select from automation.contacts_at(move_revocations.tenant_id, a.address) as o (id)
        where o.id::text not in (from_id, into_id))
    group by c.channel
  loop
    foreach theirs in array automation.reached_at(tenant_id, into_id, revoked.channel) loop
      continue when automation.is_role_address(theirs) or exists (
          select from ridgeline.suppressions as s
          where s.tenant_id = move_revocations.tenant_id and s.channel = revoked.channel and s.address = theirs
            and s.purpose in ('all', revoked.purpose) and s.reason <> 'landline')
        or exists (
          select from automation.contacts_at(move_revocations.tenant_id, theirs) as o (id)
          where o.id::text not in (from_id, into_id));
      perform automation.record_consent(tenant_id, revoked.channel, theirs, 'revoked', revoked.purpose, 'merge',
        jsonb_build_object('merged', from_id, 'into', into_id, 'addresses', revoked.addresses), into_id);
      recorded := recorded + 1;
    end loop;
  end loop;
  insert into automation.revoked_people (tenant_id, contact_id, channel, address)
  select p.tenant_id, into_id, p.channel, p.address from automation.revoked_people as p
  where p.tenant_id = move_revocations.tenant_id and p.contact_id = from_id
  on conflict on constraint revoked_people_pkey do nothing;
  delete from automation.revoked_people as p
  where p.tenant_id = move_revocations.tenant_id and p.contact_id = from_id;
  return recorded;
end;
$$;

create or replace function automation.make_one(tenant_id uuid, from_id text, into_id text) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  moved integer;
  revoked integer;
begin
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', make_one.tenant_id, c.id), 14))
  from (
    select least(from_id, into_id) as id, 1 as place union all select greatest(from_id, into_id), 2 order by 2) as c;
  moved := automation.move_runs(tenant_id, from_id, into_id);
  -- After the runs: whoever holds one may be about to say that its number is no good.
  revoked := automation.move_revocations(tenant_id, from_id, into_id);
  perform automation.move_entries(tenant_id, from_id, into_id);
  perform automation.move_signals(tenant_id, from_id, into_id);
  perform automation.move_traces(tenant_id, from_id, into_id);
  perform automation.drop_timers('contact', tenant_id, from_id);
  delete from automation.merged_contacts as m
  where m.tenant_id = make_one.tenant_id and m.contact_id = into_id;
  update automation.merged_contacts as m set into_contact_id = into_id
  where m.tenant_id = make_one.tenant_id and m.into_contact_id = from_id;
  insert into automation.merged_contacts (tenant_id, contact_id, into_contact_id)
  values (make_one.tenant_id, from_id, into_id)
  on conflict on constraint merged_contacts_pkey do update
    set into_contact_id = excluded.into_contact_id, merged_at = excluded.merged_at;
  return jsonb_build_object('merged', from_id, 'into', into_id, 'moved_runs', moved,
    'ended_runs', automation.end_doubles(tenant_id, into_id), 'revocations', revoked);
end;
$$;

-- BY A COLUMN OF THE CRM
--
-- A CRM that marks the row of the one that goes (merged_into, mapped in attach()) writes as ever: a trigger notes it,
-- and here it is done. Until then no step of either contact runs (70_dispatch), and that the one was deleted is not
-- acted on.

-- Null: nobody, somebody of another tenant, who is deleted, or who became the one that goes. One who is deleted because
-- they are about to be merged themselves stands for whom they are merged into.
create or replace function automation.who_stays(tenant_id uuid, from_id text, into_id text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  stays text := coalesce(automation.merged_into(tenant_id, into_id), into_id);
begin
  for hop in 1 .. 20 loop
    if stays is null or stays = from_id then
      return null;
    elsif automation.has_record('contact', tenant_id, stays) then
      return stays;
    end if;
    stays := (
      select m.into_contact_id from automation.merges_due as m
      where m.tenant_id = who_stays.tenant_id and m.contact_id = stays
      order by m.seq desc limit 1);
  end loop;
  return null;
end;
$$;

create or replace function automation.do_merge(due automation.merges_due) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  stays text;
begin
  -- Nobody's any more: what moved stays where it is, and what comes from now on is about itself.
  if due.into_contact_id is null then
    delete from automation.merged_contacts as m
    where m.tenant_id = due.tenant_id and m.contact_id = due.contact_id;
    return;
  end if;
  stays := automation.who_stays(due.tenant_id, due.contact_id, due.into_contact_id);
  if stays is null then
    raise warning 'automation: contact % of tenant % is marked as merged into %, which is not there: nothing is moved',
      left(due.contact_id, 60), due.tenant_id, left(due.into_contact_id, 60);
  else
    perform automation.make_one(due.tenant_id, due.contact_id, stays);
  end if;
end;
$$;

-- In the order in which they were written, one worker at a time: a chain of merges ends at its end.
create or replace function automation.run_merges(at_most integer default 100) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  due automation.merges_due;
  did integer := 0;
begin
  if not exists (select from automation.merges_due)
    or not pg_try_advisory_xact_lock(hashtextextended('automation.merges_due', 16)) then
    return 0;
  end if;
  for due in
    select m.* from automation.merges_due as m
    where m.next_try_at <= clock_timestamp() and not exists (
      select from automation.merges_due as o
      where o.tenant_id = m.tenant_id and o.seq < m.seq and o.next_try_at > clock_timestamp())
    order by m.seq limit at_most
  loop
    begin
      perform automation.do_merge(due);
      delete from automation.merges_due as m where m.tenant_id = due.tenant_id and m.id = due.id;
      did := did + 1;
      exit when automation.is_over(began);
    exception when others then
      if sqlstate <> '55P03' then
        raise warning 'automation: contact % of tenant % could not be merged: %',
          due.contact_id, due.tenant_id, sqlerrm;
      end if;
      update automation.merges_due as m
      set tries = m.tries + (sqlstate <> '55P03')::integer,
        next_try_at = clock_timestamp() + interval '1 second' * power(2, least(m.tries, 9))
      where m.tenant_id = due.tenant_id and m.id = due.id;
      -- What comes after it in this tenant waits for it.
      exit;
    end;
  end loop;
  return did;
end;
$$;

comment on function automation.run_merges(integer) is
  'Moves what the engine keeps of contacts whose CRM marked them as merged into others, for as long as a portion may. '
  'Returns how many.';
