-- ERASING A PERSON
--
-- At once: nothing is sent to their addresses any more, and their runs in flight end. Then every table of the engine
-- that holds a tenant's rows is walked along its primary key, a portion a transaction, and what is the person's is
-- deleted. Where a row is somebody else's and only names them, their addresses are blanked. A walk is repeated
-- until it finds nothing, for meanwhile a dispatcher may report, or somebody hold a row.
--
-- The tables come from the catalog, so that one that is added is walked as well. Definitions are the office's own
-- words and stay.

create table ridgeline.erasures (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  digest bytea not null,
  status text not null default 'running'
    constraint erasures_status_known check (status in ('running', 'completed')),
  requested_by uuid,
  requested_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  erased jsonb not null default '{}',
  changed_at timestamptz not null default automation.now(),
  constraint erasures_pkey primary key (tenant_id, id),
  constraint erasures_finished_matches_status check ((finished_at is not null) = (status = 'completed'))
);

select automation.keep_changed_at('ridgeline.erasures');

comment on table ridgeline.erasures is
  'That somebody was erased: who asked for it, when, and how many rows that took. Not who it was.';
comment on column ridgeline.erasures.digest is
  'Keyed HMAC of what was asked for; ridgeline.erasures_of() finds it for whoever asks about the same person.';
comment on column ridgeline.erasures.erased is '{table: rows deleted or blanked}.';

create table automation.erasures_under_way (
  tenant_id uuid not null,
  erasure_id uuid not null,
  contact_ids text[] not null,
  phones text[] not null,
  emails text[] not null,
  phone_pattern text not null,
  word_pattern text not null,
  relation text,
  after text[],
  is_clean boolean not null default true,
  next_at timestamptz not null default clock_timestamp(),
  portion integer not null default 500,
  constraint erasures_under_way_pkey primary key (tenant_id, erasure_id),
  constraint erasures_under_way_erasure_fk foreign key (tenant_id, erasure_id)
    references ridgeline.erasures (tenant_id, id) on delete cascade
);

comment on table automation.erasures_under_way is
  'Whom to look for, and where that stands; goes when the erasure is complete. Nobody but the owner reads it.';

create index erasures_under_way_next on automation.erasures_under_way (next_at);

-- In any notation: its digits with a little between them, the country before them or not.
create or replace function automation.phone_pattern(phones text[]) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(
      regexp_replace(right(d.digits, greatest(length(d.digits) - case when d.digits like '1%' then 1 else 3 end, 6)),
        '(\d)(?=\d)', '\1[ ().+/-]{0,3}', 'g') || '(?!\d)', '|'), '(?!)')
    from (select distinct regexp_replace(p, '\D', '', 'g') as digits from unnest(phones) as p) as d
    where length(d.digits) >= 7
  $$;

-- Email addresses, and ids that are long enough to be nothing else.
create or replace function automation.word_pattern(emails text[], contact_ids text[]) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(w.word, '|'), '(?!)')
    from (
      select regexp_replace(u, '([.*+?^${}()|\[\]\\])', '\\\1', 'g') from unnest(emails) as u
      union
      select case when length(u) >= 16 then u else '\mcontact ' || u || '\M' end
      from (select regexp_replace(c, '([.*+?^${}()|\[\]\\])', '\\\1', 'g') from unnest(contact_ids) as c) as i (u)
    ) as w (word)
  $$;

-- What else a contact is reached at: by its record, and by what came from it.
create or replace function automation.addresses_of(tenant_id uuid, contact_id text, kind text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(a.address), '{}')
    from (
      -- Each once, however much it has written: whose it is besides is asked of each.
      select automation.normal_address(addresses_of.tenant_id, kind, r.record ->> n.name)
      from automation.entities as e
      cross join lateral (select automation.read_record('contact', addresses_of.tenant_id, contact_id) as record) as r
      cross join lateral (
        select m.column_name from automation.mapped_columns(e, case kind when 'sms' then 'phone' else 'email' end) as m
        union select case kind when 'sms' then 'phone' else 'email' end) as n (name)
      where e.name = 'contact'
      union
      select m.from_number from ridgeline.messages as m
      where kind = 'sms' and m.contact_id = addresses_of.contact_id and m.tenant_id = addresses_of.tenant_id
        and m.direction = 'inbound' and m.provider <> 'manual'
      union
      select automation.normal_address(addresses_of.tenant_id, 'email', w.address)
      from (
        select distinct m.from_address as address from ridgeline.emails as m
        where kind = 'email' and m.contact_id = addresses_of.contact_id and m.tenant_id = addresses_of.tenant_id
          and m.direction = 'inbound' and m.provider <> 'manual') as w
    ) as a (address)
    where a.address is not null
      -- A number that they share stays what it is for the others.
      and not exists (
        select from automation.contacts_at(addresses_of.tenant_id, a.address) as c (id)
        where c.id <> addresses_of.contact_id)
  $$;

create or replace function automation.erasure_digest(tenant_id uuid, contact_id text, phone text, email text)
  returns bytea
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.erased_digest(tenant_id, 'person', jsonb_build_array(contact_id, phone, email)::text)
  $$;

create or replace function automation.may_erase(tenant_id uuid) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and not coalesce(tenant_id = any (automation.admin_tenants()), false) then
    raise exception 'tenant_id: only owners and admins erase a person' using errcode = 'insufficient_privilege';
  end if;
end;
$$;

-- A person as somebody names them: by the id of a contact, a number or an address, in their usual notation.
create or replace function automation.named_person(
  tenant_id uuid, contact_id text, phone text, email text, out contact text, out number text, out mailbox text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  contact := nullif(btrim(contact_id), '');
  number := automation.normal_address(tenant_id, 'sms', nullif(btrim(phone), ''));
  mailbox := automation.normal_address(tenant_id, 'email', nullif(btrim(email), ''));
  if nullif(btrim(phone), '') is not null and number is null then
    raise exception 'phone: "%" is not a phone number', left(phone, 40) using errcode = 'invalid_parameter_value',
      hint = 'Write it with its country code, such as +1 512 555 0100.';
  elsif nullif(btrim(email), '') is not null and mailbox is null then
    raise exception 'email: "%" is not an email address', left(email, 80) using errcode = 'invalid_parameter_value',
      hint = 'One address, such as ann@example.com.';
  elsif coalesce(contact, number, mailbox) is null then
    raise exception 'contact_id: a contact, a phone number or an email address is needed'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.erase_person(tenant_id uuid, contact_id text, phone text, email text)
  returns ridgeline.erasures
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact text;
  number text;
  mailbox text;
  phones text[];
  emails text[];
  contacts text[];
  erasure ridgeline.erasures;
begin
  perform automation.may_erase(tenant_id);
  select p.contact, p.number, p.mailbox into contact, number, mailbox
  from automation.named_person(tenant_id, contact_id, phone, email) as p;
  perform automation.make_erasure_key();
  -- Asked for twice: the one that is under way is the answer.
  select e.* into erasure from ridgeline.erasures as e
  where e.tenant_id = erase_person.tenant_id and e.status = 'running'
    and e.digest = automation.erasure_digest(erase_person.tenant_id, contact, number, mailbox);
  if found then
    return erasure;
  end if;
  contacts := case when contact is not null then array[contact] else array(
    select distinct c.id from unnest(array[number, mailbox]) as a (address),
      automation.contacts_at(erase_person.tenant_id, a.address) as c (id)
    where a.address is not null) end;
  phones := array(select distinct p from (
    select number union all
    select unnest(automation.addresses_of(erase_person.tenant_id, c, 'sms')) from unnest(contacts) as c) as a (p)
    where p is not null);
  emails := array(select distinct p from (
    select mailbox union all
    select unnest(automation.addresses_of(erase_person.tenant_id, c, 'email')) from unnest(contacts) as c) as a (p)
    where p is not null);
  perform automation.seal_suppressions(tenant_id, 'sms', phones);
  perform automation.seal_suppressions(tenant_id, 'email', emails);
  insert into ridgeline.erasures (tenant_id, digest, requested_by)
  values (tenant_id, automation.erasure_digest(tenant_id, contact, number, mailbox), automation.current_user_id())
  returning * into erasure;
  insert into automation.erasures_under_way (
    tenant_id, erasure_id, contact_ids, phones, emails, phone_pattern, word_pattern)
  values (tenant_id, erasure.id, contacts, phones, emails, automation.phone_pattern(phones),
    automation.word_pattern(emails, contacts));
  perform automation.end_runs_of(tenant_id, contacts);
  return erasure;
end;
$$;

-- What said that an address gets nothing more goes on saying it, without the address.
create or replace function automation.seal_suppressions(tenant_id uuid, channel text, addresses text[]) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.erased_addresses (tenant_id, channel, digest, reason)
    select seal_suppressions.tenant_id, seal_suppressions.channel,
      automation.erased_digest(seal_suppressions.tenant_id, seal_suppressions.channel, a.address),
      coalesce((
        select s.reason from ridgeline.suppressions as s
        where s.tenant_id = seal_suppressions.tenant_id and s.channel = seal_suppressions.channel
          and s.address = a.address and s.reason <> 'landline'), 'erased')
    from unnest(addresses) as a (address)
    on conflict on constraint erased_addresses_pkey do nothing;
    delete from ridgeline.suppressions as s
    where s.tenant_id = seal_suppressions.tenant_id and s.channel = seal_suppressions.channel
      and s.address = any (addresses);
  $$;

-- Those that are being worked on are left to the walk: whoever works on them finds the address suppressed. So are those
-- above a thousand: who asks waits for this, in the time of one statement.
create or replace function automation.end_runs_of(tenant_id uuid, contact_ids text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
begin
  for execution in
    select e.* from ridgeline.workflow_executions as e
    where e.tenant_id = end_runs_of.tenant_id and e.finished_at is null
      and (e.contact_id = any (contact_ids) and e.entity <> 'contact'
        or e.record_id = any (contact_ids) and e.entity = 'contact')
    limit 1000
    for no key update skip locked
  loop
    perform automation.stop_execution(execution, 'cancelled', automation.erased_reason());
  end loop;
end;
$$;

create or replace function automation.erased_reason() returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{"code": "person_erased", "message": "the person it was about was erased"}'::jsonb $$;

-- THE WALK

-- Runs first. What holds no person's rows, or the office's own words, is left out.
create or replace function automation.walked_tables() returns setof regclass
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.relation from automation.tenant_tables() as t
    where t.relation::text <> all ('{
      ridgeline.workflows,ridgeline.workflow_steps,ridgeline.workflow_versions,ridgeline.workflow_schedules,
      ridgeline.workflow_holds,ridgeline.sending_pauses,ridgeline.forms,ridgeline.senders,
      ridgeline.email_addresses,ridgeline.tenant_settings,ridgeline.changes,ridgeline.erasures,
      automation.erasures_under_way,automation.erased_addresses,automation.active_triggers,
      automation.timer_listeners,automation.activations,automation.statistics,automation.statistic_changes,
      automation.retention_places,automation.rotations,automation.undecided,automation.sender_days,
      automation.workflow_fuses,automation.gone_versions}'::text[])
    order by t.relation::text = 'ridgeline.workflow_executions' desc, t.relation::text collate "C"
  $$;

create or replace function automation.key_columns(relation regclass, out names text[], out types text[])
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(a.attname::text order by k.place), array_agg(format_type(a.atttypid, a.atttypmod) order by k.place)
    from pg_catalog.pg_index as i
    cross join lateral unnest(i.indkey::smallint[]) with ordinality as k (attnum, place)
    join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = key_columns.relation and i.indisprimary and a.attname <> 'tenant_id'
  $$;

-- The next rows of a table: how many were looked at, the key of the last one, and those that name the person.
create or replace function automation.walk(
  work automation.erasures_under_way, relation regclass, at_most integer,
  out looked integer, out last text[], out hits jsonb)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  key constant record := automation.key_columns(relation);
  names text;
  above text;
begin
  select string_agg(format('r.%I', n.name), ', ' order by n.place),
      string_agg(format('$2[%s]::%s', n.place, n.type), ', ' order by n.place)
    into names, above
  from unnest(key.names, key.types) with ordinality as n (name, type, place);
  execute format(
    'select count(*), (array_agg(w.key::text order by w.place desc))[1]::text[], '
    'coalesce(jsonb_agg(w.record) filter (where w.record::text ~* $3 or w.record ->> ''contact_id'' = any ($4) '
    'or w.record ->> ''record_id'' = any ($4)), ''[]'') '
    'from (select array[%1$s]::text[] as key, to_jsonb(r.*) as record, row_number() over (order by %2$s) as place '
    'from (select * from %3$s as r where r.tenant_id = $1 and ($2 is null or (%2$s) > (%4$s)) '
    'order by r.tenant_id, %2$s limit $5) as r) as w',
    (select string_agg(format('r.%I::text', n), ', ') from unnest(key.names) as n), names, relation, above)
    into looked, last, hits
    using work.tenant_id, work.after, concat_ws('|', work.phone_pattern, work.word_pattern), work.contact_ids, at_most;
end;
$$;

-- Is it the person's own, and not only somebody else's that names them?
create or replace function automation.is_own(work automation.erasures_under_way, relation text, record jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when record ->> 'contact_id' = any (work.contact_ids) then true
      when record ->> 'record_id' = any (work.contact_ids) then case
        when record ? 'entity' then record ->> 'entity' = 'contact'
        when relation = 'ridgeline.workflow_timers' then exists (
          select from automation.timer_listeners as l
          where l.tenant_id = work.tenant_id and l.workflow_id = (record ->> 'workflow_id')::uuid
            and l.entity = 'contact')
        else false end
      when record ? 'contact_id' and record ->> 'contact_id' is not null and record ->> 'contact_id' <> ''
        then not automation.has_record('contact', work.tenant_id, record ->> 'contact_id')
          and relation in ('ridgeline.messages', 'ridgeline.emails', 'ridgeline.calls', 'ridgeline.form_submissions')
      -- What nobody else's is.
      when record ? 'contact_id' then true
      else relation in (
        'automation.entries', 'automation.split_assignments', 'automation.notices', 'ridgeline.held_submissions',
        'ridgeline.suppressions', 'automation.inbox_waiting', 'automation.signals', 'automation.doubtful_stops',
        'automation.unsubscribe_tokens', 'automation.marketing_sent', 'automation.sender_blocks')
    end
  $$;

create or replace function automation.key_test(relation regclass, record jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('r.tenant_id = %L and ', record ->> 'tenant_id')
      || string_agg(format('r.%I = %L::%s', n.name, record ->> n.name, n.type), ' and ')
    from automation.key_columns(relation) as k, unnest(k.names, k.types) as n (name, type)
  $$;

-- Rows that somebody holds are met again.
create or replace function automation.delete_rows(relation regclass, records jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set jit = off
  as $$
declare
  key constant record := automation.key_columns(relation);
  deleted integer;
begin
  execute format(
    'delete from %1$s as t where t.ctid = any (array('
    'select r.ctid from jsonb_to_recordset($1) as h (tenant_id uuid, %2$s) '
    'join %1$s as r on r.tenant_id = h.tenant_id and %3$s for update of r skip locked))',
    relation,
    (select string_agg(format('%I %s', n.name, n.type), ', ') from unnest(key.names, key.types) as n (name, type)),
    (select string_agg(format('r.%1$I = h.%1$I', n), ' and ') from unnest(key.names) as n))
    using records;
  get diagnostics deleted = row_count;
  return deleted;
end;
$$;

create or replace function automation.blank_row(
  work automation.erasures_under_way, relation regclass, record jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  blanked integer;
  changes text;
begin
  select string_agg(format(
      '%1$I = regexp_replace(regexp_replace(t.%1$I::text, %2$L, %3$L, ''gi''), %4$L, %5$L, ''g'')::%6$s',
      a.attname, work.word_pattern, 'erased', work.phone_pattern, '0', format_type(a.atttypid, a.atttypmod)), ', ')
    into changes
  from pg_catalog.pg_attribute as a
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.atttypid in ('text'::regtype, 'jsonb'::regtype, 'text[]'::regtype, 'varchar'::regtype)
    and record ->> a.attname ~* concat_ws('|', work.phone_pattern, work.word_pattern);
  if changes is null then
    return false;
  end if;
  execute format('update %1$s as t set %2$s where t.ctid = any (array(select r.ctid from %1$s as r where %3$s '
    'for update skip locked))', relation, changes, automation.key_test(relation, record));
  get diagnostics blanked = row_count;
  return blanked > 0;
exception
  -- A column that will not be blanked: rather nothing than their address.
  when check_violation or unique_violation or foreign_key_violation or data_exception then
    return automation.delete_rows(relation, jsonb_build_array(record)) > 0;
end;
$$;

-- Nothing of a run is left, nor that it entered.
create or replace function automation.erase_run(tenant_id uuid, execution_id uuid) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
begin
  perform from ridgeline.scheduled_steps as q
  where q.execution_id = erase_run.execution_id and q.tenant_id = erase_run.tenant_id
  for update nowait;
  select e.* into execution from ridgeline.workflow_executions as e
  where e.tenant_id = erase_run.tenant_id and e.id = erase_run.execution_id
  for update nowait;
  if execution.finished_at is null then
    perform automation.stop_execution(execution, 'cancelled', automation.erased_reason());
  end if;
  -- A dispatcher has it: what it reports is erased with the rest.
  if exists (
    select from ridgeline.scheduled_steps as q
    where q.execution_id = erase_run.execution_id and q.tenant_id = erase_run.tenant_id) then
    return false;
  end if;
  delete from automation.entries as n
  where n.execution_id = erase_run.execution_id and n.tenant_id = erase_run.tenant_id;
  delete from ridgeline.workflow_executions as e
  where e.tenant_id = erase_run.tenant_id and e.id = erase_run.execution_id;
  return found;
exception when lock_not_available then
  return false;
end;
$$;

-- A step of somebody else's run that would write to them. One that a dispatcher has is met again when it has reported;
-- another is rendered anew at its next attempt, from what is blanked by then.
create or replace function automation.blank_open_step(work automation.erasures_under_way, record jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if record ->> 'status' = 'running' then
    return false;
  end if;
  update ridgeline.workflow_step_executions as t set changed_at = automation.now(), input = null
  where t.ctid = any (array(
    select r.ctid from ridgeline.workflow_step_executions as r
    where r.tenant_id = work.tenant_id and r.id = (record ->> 'id')::uuid and r.status in ('waiting', 'pending')
    for update skip locked));
  return automation.blank_row(work, 'ridgeline.workflow_step_executions', record) or found;
end;
$$;

-- Evidence of what was agreed to or taken back outlives the person, without their words: the address becomes its
-- digest.
create or replace function automation.blank_consent(record jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  update ridgeline.consents as c
  set address = 'erased', contact_id = null, evidence = jsonb_strip_nulls(jsonb_build_object(
    'digest', encode(automation.erased_digest(c.tenant_id, c.channel, c.address), 'hex'),
    'wording', c.evidence -> 'wording', 'form_id', c.evidence -> 'form_id'))
  where c.ctid = any (array(
    select r.ctid from ridgeline.consents as r
    where r.tenant_id = (record ->> 'tenant_id')::uuid and r.id = (record ->> 'id')::uuid
    for update skip locked));
  return found;
end;
$$;

-- Deleted as it is, with others of its kind: it is the person's, and nothing else hangs on it.
create or replace function automation.goes_whole(
  work automation.erasures_under_way, relation regclass, record jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return relation::text <> all (
      '{ridgeline.workflow_executions,ridgeline.consents,ridgeline.workflow_step_executions}'::text[])
    and automation.is_own(work, relation::text, record);
end;
$$;

create or replace function automation.erase_found(
  work automation.erasures_under_way, relation regclass, record jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_own constant boolean := automation.is_own(work, relation::text, record);
begin
  if is_own and relation = 'ridgeline.workflow_executions'::regclass then
    return automation.erase_run(work.tenant_id, (record ->> 'id')::uuid);
  elsif is_own and relation = 'ridgeline.consents'::regclass then
    return automation.blank_consent(record);
  elsif relation = 'ridgeline.workflow_step_executions'::regclass and record ->> 'finished_at' is null then
    return automation.blank_open_step(work, record);
  end if;
  return automation.blank_row(work, relation, record);
end;
$$;

create or replace function automation.erase_all_found(
  work automation.erasures_under_way, relation regclass, hits jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  hit record;
  whole jsonb[] := '{}'::jsonb[];
  gone integer := 0;
begin
  for hit in select h.value as record from jsonb_array_elements(hits) as h loop
    if automation.goes_whole(work, relation, hit.record) then
      whole := whole || hit.record;
    else
      gone := gone + automation.erase_found(work, relation, hit.record)::integer;
    end if;
  end loop;
  if whole <> '{}' then
    gone := gone + automation.delete_rows(relation, to_jsonb(whole));
  end if;
  if gone > 0 then
    update ridgeline.erasures as e
    set erased = e.erased || jsonb_build_object(
      relation::text, coalesce((e.erased ->> relation::text)::bigint, 0) + gone)
    where e.tenant_id = work.tenant_id and e.id = work.erasure_id;
  end if;
  return gone;
end;
$$;

-- What belongs to no tenant, or is a digest of an address.
create or replace function automation.erase_elsewhere(work automation.erasures_under_way) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.idempotency_keys as k
    where k.key || k.answer::text ~* concat_ws('|', work.phone_pattern, work.word_pattern);
    delete from automation.early_events as e
    where e.event::text ~* concat_ws('|', work.phone_pattern, work.word_pattern);
    delete from automation.form_reach as r
    where r.tenant_id = work.tenant_id and r.scope in (
      select sha256(convert_to('with this phone number ' || p, 'UTF8')) from unnest(work.phones) as p
      union all
      select sha256(convert_to('with this email address ' || automation.mailbox_of(m), 'UTF8'))
      from unnest(work.emails) as m);
  $$;

create or replace function automation.begin_erasure() returns automation.erasures_under_way
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.erasures_under_way;
begin
  -- Materialized: as in begin_retention().
  with first as materialized (
    select q.tenant_id, q.erasure_id from automation.erasures_under_way as q
    where q.next_at <= clock_timestamp()
    order by q.next_at
    limit 1
    for update skip locked
  )
  update automation.erasures_under_way as u
  set next_at = clock_timestamp() + interval '1 minute', portion = greatest(1, u.portion / 2)
  from first as d
  where u.tenant_id = d.tenant_id and u.erasure_id = d.erasure_id
  returning u.* into work;
  return work;
end;
$$;

-- Table after table, until so many rows have been looked at. A walk that met nothing is the last one.
create or replace function automation.run_erasure(work automation.erasures_under_way) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  tables constant regclass[] := array(select automation.walked_tables());
  at_most constant integer := least(2000, work.portion * 2);
  left_to_look integer := at_most;
  here regclass := coalesce(to_regclass(work.relation), tables[1]);
  walked record;
  gone integer := 0;
begin
  while here is not null and left_to_look > 0 loop
    walked := automation.walk(work, here, left_to_look);
    gone := gone + automation.erase_all_found(work, here, walked.hits);
    work.is_clean := work.is_clean and walked.hits = '[]';
    if walked.looked = left_to_look then
      work.after := walked.last;
    else
      here := tables[array_position(tables, here) + 1];
      work.after := null;
    end if;
    left_to_look := left_to_look - walked.looked;
  end loop;
  if here is null then
    perform automation.erase_elsewhere(work);
  end if;
  if here is null and work.is_clean then
    update ridgeline.erasures as e set status = 'completed', finished_at = automation.now()
    where e.tenant_id = work.tenant_id and e.id = work.erasure_id;
    delete from automation.erasures_under_way as u
    where u.tenant_id = work.tenant_id and u.erasure_id = work.erasure_id;
    return gone;
  end if;
  update automation.erasures_under_way as u
  set relation = here::text, after = work.after, is_clean = work.is_clean or here is null,
    portion = case when clock_timestamp() > began + interval '200 milliseconds' then greatest(10, at_most / 2)
      else least(2000, at_most + at_most / 4 + 1) end,
    next_at = clock_timestamp() + case when here is null then interval '2 seconds' else interval '0' end
  where u.tenant_id = work.tenant_id and u.erasure_id = work.erasure_id;
  return gone;
exception
  when lock_not_available then
    return 0;
  when others then
    raise warning 'automation: an erasure of tenant % could not go on: %', work.tenant_id, sqlerrm;
    return 0;
end;
$$;

-- As prune_history(): a portion a transaction.
create or replace procedure automation.erase_people(duration interval, inout erased integer default 0)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  work automation.erasures_under_way;
begin
  erased := 0;
  loop
    work := automation.begin_erasure();
    commit;
    exit when work.tenant_id is null;
    erased := erased + automation.run_erasure(work);
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
  end loop;
end;
$$;

comment on procedure automation.erase_people(interval, integer) is
  'Goes on with erasures for so long (half of statement_timeout at most); erased: how many rows.';

create or replace function ridgeline.erase_person(
  contact_id text default null, phone text default null, email text default null, tenant_id uuid default null)
  returns ridgeline.erasures
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.erase_person(automation.own_tenant(tenant_id), contact_id, phone, email) $$;

comment on function ridgeline.erase_person(text, text, text, uuid) is
  'Forgets a person: by their contact, or else by phone (any notation) and email. Nothing is sent to them from the '
  'moment this commits, their runs end, and the tick deletes what the engine has of them. Delete or blank the contact '
  'in the CRM first: it is the CRM''s. Owners and admins.';

create or replace function automation.erasures_of(tenant_id uuid, contact_id text, phone text, email text)
  returns setof ridgeline.erasures
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.may_erase(tenant_id);
  return query
    select e.* from ridgeline.erasures as e
    where e.tenant_id = erasures_of.tenant_id and e.digest = automation.erasure_digest(
      erasures_of.tenant_id, nullif(btrim(contact_id), ''),
      automation.normal_address(erasures_of.tenant_id, 'sms', nullif(btrim(phone), '')),
      automation.normal_address(erasures_of.tenant_id, 'email', nullif(btrim(email), '')));
end;
$$;

create or replace function ridgeline.erasures_of(
  contact_id text default null, phone text default null, email text default null, tenant_id uuid default null)
  returns setof ridgeline.erasures
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select * from automation.erasures_of(automation.own_tenant(tenant_id), contact_id, phone, email) $$;

comment on function ridgeline.erasures_of(text, text, text, uuid) is
  'Was this person erased? With the same contact, phone and email as then. Owners and admins.';
