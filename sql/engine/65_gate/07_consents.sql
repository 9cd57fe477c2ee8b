-- CONSENT
--
-- What somebody agreed to, and what they took back: a ledger to which rows are only added. Evidence outlives the
-- contact it was of. ridgeline.suppressions is its hot projection, read in every claim.

create table ridgeline.consents (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  channel text not null
    constraint consents_channel_known check (channel in ('sms', 'email')),
  address text not null constraint consents_address_not_blank check (btrim(address) <> ''),
  contact_id text,
  purpose text not null default 'all'
    constraint consents_purpose_known check (purpose in ('marketing', 'all')),
  status text not null
    constraint consents_status_known check (status in ('granted', 'pending', 'revoked')),
  method text not null
    constraint consents_method_known check (method in (
      'form', 'keyword', 'message', 'verbal', 'written', 'import', 'provider', 'complaint', 'unsubscribe', 'silence',
      'lifted', 'merge')),
  evidence jsonb not null default '{}'
    constraint consents_evidence_is_object check (jsonb_typeof(evidence) = 'object')
    constraint consents_evidence_at_most_64_kb check (octet_length(evidence::text) <= 65536),
  recorded_by uuid,
  created_at timestamptz not null default automation.now(),
  seq bigint not null default nextval('automation.write_order'),
  constraint consents_pkey primary key (tenant_id, id)
);

comment on table ridgeline.consents is
  'Who agreed to be written to, who took it back, how, when and on what evidence (the wording that was shown, the '
  'message, the note of whoever was told). Rows are added and never changed; the last of an address counts.';
comment on column ridgeline.consents.status is
  'pending: asked for and not confirmed yet (double opt-in), which is no consent.';
comment on column ridgeline.consents.recorded_by is 'The member who recorded it; null: it came in by itself.';

create index consents_by_address on ridgeline.consents (address, tenant_id, channel, seq);

-- A person who said stop is left alone at every number, those they get later included: whose texts their contact gets.
create table automation.revoked_people (
  tenant_id uuid not null,
  contact_id text not null,
  channel text not null,
  address text not null,
  constraint revoked_people_pkey primary key (tenant_id, contact_id, channel, address)
);

comment on table automation.revoked_people is
  'Contacts whose person revoked, and from which address: nothing goes to them at any other either.';

create index revoked_people_by_address on automation.revoked_people (address, tenant_id, channel);

create or replace function automation.projected_reason(method text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when method in ('provider', 'complaint') then method
      when method in ('verbal', 'written', 'import') then 'manual'
      else 'opt_out' end
  $$;

create or replace function automation.is_role_address(address text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select split_part(address, '@', 1) ~ ('^(info|office|admin|contact|hello|sales|support|service|accounts?|billing|'
      'mail|post|team|home|family|reception|enquir(y|ies)|inquir(y|ies)|no-?reply)$')
  $$;

-- The contacts that are the one person at an address: its own rows, and those that share the email or a number with
-- them. None when it is a family's or an office's: then nobody can tell who it was.
create or replace function automation.person_at(
  tenant_id uuid, address text, out contact_ids text[], out is_shared boolean)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  first_name constant text := coalesce(automation.mapped_column('contact', 'first_name'), 'first_name');
  email constant text := automation.mapped_column('contact', 'email');
  names text[];
  mailboxes text[];
begin
  contact_ids := array(select distinct c from automation.contacts_at(person_at.tenant_id, address) as c);
  select array_agg(distinct n.name) filter (where n.name <> ''),
      array_agg(distinct n.mailbox) filter (where not automation.is_role_address(n.mailbox))
    into names, mailboxes
  from (
    select lower(btrim(coalesce(r.record ->> first_name, ''))) as name,
      automation.normalize_email(r.record ->> email) as mailbox
    from unnest(contact_ids) as c (id)
    cross join lateral automation.read_record('contact', person_at.tenant_id, c.id) as r (record)
  ) as n;
  is_shared := cardinality(names) > 1 or address like '%@%' and automation.is_role_address(address);
  if is_shared then
    contact_ids := '{}';
    return;
  end if;
  contact_ids := array(
    select distinct c.id
    from (
      select unnest(contact_ids) as id
      union
      select o.id
      from unnest(mailboxes) as m (mailbox)
      cross join lateral automation.contacts_at(person_at.tenant_id, m.mailbox) as o (id)
      cross join lateral automation.read_record('contact', person_at.tenant_id, o.id) as r (record)
      where lower(btrim(coalesce(r.record ->> first_name, ''))) = any (names || ''::text)
    ) as c);
end;
$$;

comment on function automation.person_at(uuid, text) is
  'Which contacts are the person at an address. is_shared: several people are, or an office.';

-- Writes down what was agreed to or taken back, and makes it count.
create or replace function automation.record_consent(
  tenant_id uuid, channel text, address text, status text, purpose text, method text,
  evidence jsonb default '{}', contact_id text default null, detail jsonb default null)
  returns ridgeline.consents
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  normal constant text := automation.normal_address(record_consent.tenant_id, channel, address);
  said ridgeline.consents;
  person record;
begin
  if normal is null then
    raise exception 'address: "%" is not %', left(address, 80),
      case channel when 'sms' then 'a phone number' else 'an email address' end
      using errcode = 'invalid_parameter_value';
  end if;
  insert into ridgeline.consents (
    tenant_id, channel, address, contact_id, purpose, status, method, evidence, recorded_by)
  values (record_consent.tenant_id, record_consent.channel, normal, record_consent.contact_id, record_consent.purpose,
    record_consent.status, record_consent.method, coalesce(record_consent.evidence, '{}'), automation.current_user_id())
  returning * into said;
  if status = 'revoked' then
    perform automation.suppress(said.tenant_id, said.channel, normal, automation.projected_reason(method),
      coalesce(detail, '{}') || jsonb_build_object('consent_id', said.id), said.purpose);
    if said.channel = 'sms' and said.purpose = 'all' then
      person := automation.person_at(said.tenant_id, normal);
      insert into automation.revoked_people (tenant_id, contact_id, channel, address)
      select said.tenant_id, c, said.channel, normal from unnest(person.contact_ids) as c
      on conflict on constraint revoked_people_pkey do nothing;
      if person.is_shared then
        perform automation.tell_office(said.tenant_id, 'shared_stop', normal, interval '1 day', null,
          format('Who said stop at %s?', normal),
          'Several people have this number. It gets nothing more; if whoever it was has other numbers, record the '
          'revocation for those as well.');
      end if;
    end if;
  elsif status = 'granted' then
    delete from ridgeline.suppressions as s
    where s.tenant_id = said.tenant_id and s.channel = said.channel and s.address = normal
      and (method = 'lifted' or s.reason = 'opt_out'
        or s.reason = 'provider' and said.evidence ->> 'told_by' is distinct from 'account')
      and (said.purpose = 'all' or s.purpose = 'marketing');
    delete from automation.revoked_people as p
    where p.tenant_id = said.tenant_id and p.channel = said.channel and p.address = normal and said.purpose = 'all'
      and not exists (
        select from ridgeline.suppressions as s
        where s.tenant_id = said.tenant_id and s.channel = said.channel and s.address = normal
          and s.reason = 'provider');
    if method = 'lifted' and automation.erasure_of(said.tenant_id, said.channel, normal) is not null then
      delete from automation.erased_addresses as a
      where a.tenant_id = said.tenant_id and a.channel = said.channel
        and a.digest = automation.erased_digest(said.tenant_id, said.channel, normal);
    end if;
  end if;
  return said;
end;
$$;

comment on function automation.record_consent(uuid, text, text, text, text, text, jsonb, text, jsonb) is
  'Adds a row to ridgeline.consents and projects it: a revocation suppresses, for the person at every number; a grant '
  'lifts what was revoked, and no bounce or complaint. Raises when it is no address.';

-- What providers tell of again and again is one revocation: of an address that nothing goes to already there is no
-- news.
create or replace function automation.revoke_once(
  tenant_id uuid, channel text, address text, method text, evidence jsonb, detail jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (
    select from ridgeline.suppressions as s
    where s.tenant_id = revoke_once.tenant_id and s.channel = revoke_once.channel
      and s.address = automation.normal_address(revoke_once.tenant_id, revoke_once.channel, revoke_once.address)
      and s.purpose = 'all' and s.reason <> 'landline') then
    perform automation.record_consent(
      tenant_id, channel, address, 'revoked', 'all', method, evidence, null, detail);
  end if;
end;
$$;

-- Of an email to several nobody can say whom its provider refuses.
create or replace function automation.suppress_recipient(
  due ridgeline.scheduled_steps, step_type text, reason text, detail jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel constant text := automation.channel_of(step_type);
  recipient constant text := (
    select s.recipient from ridgeline.workflow_step_executions as s
    where s.tenant_id = due.tenant_id and s.id = due.id);
begin
  if automation.normal_address(due.tenant_id, channel, recipient) is null then
    return;
  elsif reason = 'provider' then
    -- Who has unsubscribed from marketing is refused where it goes, and the provider does not say that it was only
    -- that: their receipts go on. Of whom nothing is known, all stops.
    if channel = 'email' and exists (
      select from ridgeline.suppressions as s
      where s.tenant_id = due.tenant_id and s.channel = 'email' and s.purpose = 'marketing'
        and s.address = automation.normal_address(due.tenant_id, 'email', recipient)) then
      return;
    end if;
    perform automation.revoke_once(
      due.tenant_id, channel, recipient, 'provider', jsonb_build_object('step_id', due.id, 'said', detail), detail);
  else
    perform automation.suppress(due.tenant_id, channel, recipient, reason, detail);
  end if;
end;
$$;

-- For somebody who said so to a member, on the telephone or at the door: whoever works there writes it down.
create or replace function automation.record_revocation(
  tenant_id uuid, channel text, address text, note text, purpose text)
  returns ridgeline.consents
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and automation.role_in(tenant_id) is null then
    raise exception 'tenant_id: only members record what they were told' using errcode = 'insufficient_privilege';
  elsif coalesce(channel, '') not in ('sms', 'email') then
    raise exception 'channel: sms or email is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(purpose, '') not in ('marketing', 'all') then
    raise exception 'purpose: marketing or all is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(btrim(note), '') = '' then
    raise exception 'note: how and when it was said is needed' using errcode = 'invalid_parameter_value',
      hint = 'Such as "on the phone, 3 June".';
  end if;
  return automation.record_consent(tenant_id, channel, address, 'revoked', purpose, 'verbal',
    jsonb_build_object('note', left(note, 2000)));
end;
$$;

-- A suppression is lifted by somebody who says why, and both stay on record.
create or replace function automation.lift_revocation(tenant_id uuid, channel text, address text, reason text)
  returns ridgeline.consents
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and coalesce(automation.role_in(tenant_id), 'viewer') not in ('owner', 'admin') then
    raise exception 'tenant_id: only owners and admins lift a revocation' using errcode = 'insufficient_privilege';
  elsif coalesce(channel, '') not in ('sms', 'email') then
    raise exception 'channel: sms or email is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(btrim(reason), '') = '' then
    raise exception 'reason: why they may be written to again is needed' using errcode = 'invalid_parameter_value',
      hint = 'Such as "asked for it in writing, 3 June".';
  end if;
  return automation.record_consent(tenant_id, channel, address, 'granted', 'all', 'lifted',
    jsonb_build_object('reason', left(reason, 2000)));
end;
$$;

-- What somebody agreed to elsewhere: on paper, in another system.
create or replace function automation.grant_consent(
  tenant_id uuid, channel text, address text, wording text, purpose text, method text)
  returns ridgeline.consents
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_editor(tenant_id, 'recording consent');
  perform automation.check_not_forgotten(tenant_id);
  if coalesce(channel, '') not in ('sms', 'email') then
    raise exception 'channel: sms or email is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(purpose, '') not in ('marketing', 'all') then
    raise exception 'purpose: marketing or all is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(method, '') not in ('written', 'verbal', 'import') then
    raise exception 'method: written, verbal or import is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(btrim(wording), '') = '' then
    raise exception 'wording: what they agreed to, in its words, is needed' using errcode = 'invalid_parameter_value';
  elsif automation.suppression_of(
    tenant_id, channel, automation.normal_address(tenant_id, channel, address)) is not null then
    raise exception 'address: they have said stop, and that counts until they say otherwise'
      using errcode = 'PT409', hint = 'An owner or an admin lifts it with ridgeline.lift_revocation(), and says why.';
  end if;
  return automation.record_consent(tenant_id, channel, address, 'granted', purpose, method,
    jsonb_build_object('wording', left(wording, 8000)));
end;
$$;

create or replace function ridgeline.record_revocation(
  channel text, address text, note text, purpose text default 'all', tenant_id uuid default null)
  returns ridgeline.consents
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.record_revocation(automation.own_tenant(tenant_id), channel, address, note, purpose)
  $$;

comment on function ridgeline.record_revocation(text, text, text, text, uuid) is
  'Somebody told a member to stop: sends nothing more to this number (sms) or address (email), or no marketing. note: '
  'how and when it was said. Any member; the row of ridgeline.consents says who.';

create or replace function ridgeline.lift_revocation(
  channel text, address text, reason text, tenant_id uuid default null)
  returns ridgeline.consents
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.lift_revocation(automation.own_tenant(tenant_id), channel, address, reason) $$;

comment on function ridgeline.lift_revocation(text, text, text, uuid) is
  'Lets this number or address be written to again, whatever stopped it, for a reason that is kept with who gave it. '
  'Owners and admins.';

create or replace function ridgeline.grant_consent(
  channel text, address text, wording text, purpose text default 'marketing', method text default 'written',
  tenant_id uuid default null)
  returns ridgeline.consents
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.grant_consent(automation.own_tenant(tenant_id), channel, address, wording, purpose, method)
  $$;

comment on function ridgeline.grant_consent(text, text, text, text, text, uuid) is
  'Records consent that was given elsewhere (written, verbal, import), with the words that were agreed to. Editors. '
  'Refused for an address that has said stop.';

-- WORDS THAT MAY MEAN STOP
--
-- A person decides. Until they have, marketing to that number waits; who has heard nothing for a day counts it as a
-- stop.

create table automation.doubtful_stops (
  tenant_id uuid not null,
  address text not null,
  message_id uuid not null,
  asked_at timestamptz not null,
  constraint doubtful_stops_pkey primary key (tenant_id, address)
);

comment on table automation.doubtful_stops is 'Numbers that may have said stop, until somebody says whether they did.';

-- Those that nobody answered for a day are a stop.
create or replace function automation.settle_doubt(tenant_id uuid, address text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  doubt automation.doubtful_stops;
begin
  delete from automation.doubtful_stops as d
  where d.tenant_id = settle_doubt.tenant_id and d.address = settle_doubt.address
    and d.asked_at <= automation.now() - interval '1 day'
  returning * into doubt;
  if found then
    perform automation.record_consent(doubt.tenant_id, 'sms', doubt.address, 'revoked', 'all', 'silence',
      jsonb_build_object('message_id', doubt.message_id), null, jsonb_build_object('message_id', doubt.message_id));
  end if;
end;
$$;

create or replace function automation.answer_doubt(tenant_id uuid, phone text, is_stop boolean)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  doubt automation.doubtful_stops;
  released integer;
begin
  perform automation.check_editor(tenant_id, 'saying what somebody meant');
  if is_stop is null then
    raise exception 'is_stop: true or false is needed' using errcode = 'invalid_parameter_value';
  elsif not is_stop then
    perform automation.check_not_forgotten(tenant_id);
  end if;
  delete from automation.doubtful_stops as d
  where d.tenant_id = answer_doubt.tenant_id
    and d.address = automation.normal_address(answer_doubt.tenant_id, 'sms', phone)
  returning * into doubt;
  if not found then
    raise exception 'phone: nobody is asked about this number' using errcode = 'PT404';
  end if;
  if is_stop then
    perform automation.record_consent(doubt.tenant_id, 'sms', doubt.address, 'revoked', 'all', 'message',
      jsonb_build_object('message_id', doubt.message_id), null, jsonb_build_object('message_id', doubt.message_id));
  end if;
  update ridgeline.scheduled_steps as s
  set run_at = automation.now(), held = jsonb_build_object('since', s.held -> 'since')
  where s.tenant_id = doubt.tenant_id and s.lane = 'sms' and s.lease_expires_at is null
    and s.run_at > automation.now() and s.held ->> 'code' = 'doubtful_stop' and s.held ->> 'address' = doubt.address;
  get diagnostics released = row_count;
  perform automation.ring_once();
  return released;
end;
$$;

create or replace function ridgeline.answer_doubt(phone text, is_stop boolean, tenant_id uuid default null)
  returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.answer_doubt(automation.own_tenant(tenant_id), phone, is_stop) $$;

comment on function ridgeline.answer_doubt(text, boolean, uuid) is
  'Says whether a text that may have meant stop did. Marketing that waited for it goes on, or is not sent. Editors. '
  'Returns how many texts had waited.';

-- Doubts that have had their day, whether anything is sent to those numbers or not.
create or replace function automation.settle_doubts(at_most integer default 200) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  doubt record;
  settled integer := 0;
begin
  for doubt in
    select d.tenant_id, d.address from automation.doubtful_stops as d
    where d.asked_at <= automation.now() - interval '1 day'
    order by d.asked_at
    limit at_most
    for update skip locked
  loop
    perform automation.settle_doubt(doubt.tenant_id, doubt.address);
    settled := settled + 1;
  end loop;
  return settled;
end;
$$;

comment on function automation.settle_doubts(integer) is
  'Records what may have meant stop, and nobody said did not within a day, as a stop. Returns how many.';

-- WHAT MARKETING NEEDS
--
-- A tenant's setting says it. One that says nothing is asked, and till then its marketing waits; but whoever had a
-- workflow on before there was the question goes on as they did, so that nothing falls silent.

create or replace function automation.consent_policy(tenant_id uuid, settings jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked_since timestamptz;
begin
  if settings ->> 'consent' = 'recorded_optout_only' then
    return 'recorded_optout_only';
  elsif settings ->> 'consent' <> '' then
    return 'required';
  end if;
  asked_since := automation.setting('consent_asked_since')::timestamptz;
  return case when asked_since = 'infinity' or exists (
      select from ridgeline.workflow_versions as v
      where v.tenant_id = consent_policy.tenant_id and v.published_at < asked_since)
    then 'recorded_optout_only' end;
end;
$$;

comment on function automation.consent_policy(uuid, jsonb) is
  'What marketing of a tenant with these settings needs: required, recorded_optout_only; null: nobody has said.';

-- Of those that have said it since, in settings of the CRM too.
create or replace function automation.release_decided() returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  decided uuid;
  released integer := 0;
begin
  for decided in
    select u.tenant_id from automation.undecided as u
    left join automation.read_tenants(array(select d.tenant_id from automation.undecided as d)) as t
      on t.id = u.tenant_id
    where t.id is null or automation.consent_policy(t.id, t.settings) is not null
    order by 1
    limit 20
  loop
    delete from automation.undecided as u where u.tenant_id = decided;
    released := released + automation.release_held(decided, '{consent_unsaid}');
  end loop;
  return released;
end;
$$;

comment on function automation.release_decided() is
  'Lets marketing go on of tenants that have said what it needs. Returns how many messages had waited.';

create or replace function automation.decide_consent(tenant_id uuid, policy text) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and coalesce(automation.role_in(tenant_id), 'viewer') not in ('owner', 'admin') then
    raise exception 'tenant_id: only owners and admins say what marketing needs'
      using errcode = 'insufficient_privilege';
  elsif coalesce(policy, '') not in ('required', 'recorded_optout_only') then
    raise exception 'policy: required or recorded_optout_only is needed' using errcode = 'invalid_parameter_value',
      hint = 'required: marketing goes to whoever agreed to it; recorded_optout_only: to whoever has not opted out.';
  end if;
  insert into ridgeline.tenant_settings as s (tenant_id, settings)
  values (decide_consent.tenant_id, jsonb_build_object('consent', policy))
  on conflict on constraint tenant_settings_pkey do update set settings = s.settings || excluded.settings;
  delete from automation.undecided as u where u.tenant_id = decide_consent.tenant_id;
  return automation.release_held(tenant_id, '{consent_unsaid}');
end;
$$;

create or replace function ridgeline.decide_consent(policy text, tenant_id uuid default null) returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.decide_consent(automation.own_tenant(tenant_id), policy) $$;

comment on function ridgeline.decide_consent(text, uuid) is
  'Says what marketing needs: required (it goes to whoever agreed to it) or recorded_optout_only (to whoever has not '
  'opted out). Marketing that waited for the answer goes on. Owners and admins. Returns how many messages had waited.';

-- WHAT THE GATE ASKS

create type automation.revoked as (place integer, reason text, addresses text[]);

-- Who must not be written to, of all messages at once: why, and at which of their addresses. A person who said stop is
-- left alone at every number of theirs. An address of somebody who was erased is known by its digest alone, which costs
-- a calculation, so only tenants that have any are asked.
create or replace function automation.revoked_of(tickets automation.ticket[]) returns automation.revoked[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
#variable_conflict use_column
declare
  found automation.revoked[];
begin
  select array_agg(row(r.place, r.reason, r.addresses)::automation.revoked) into found
  from (
    select a.place, min(a.reason) as reason, array_agg(a.address) as addresses
    from (
      select t.place, i.address, coalesce(
        -- In the order of the index that has them whole: the primary key would read all of the tenant's.
        (select s.reason from ridgeline.suppressions as s
         where s.tenant_id = t.tenant_id and s.channel = t.channel and s.address between i.address and i.address
           and (s.purpose = 'all' or t.purpose = 'marketing')
         order by s.channel, s.address
         limit 1),
        case when t.channel = 'sms' and t.purpose <> 'internal' then (
          select 'opt_out' from automation.revoked_people as p
          where p.tenant_id = t.tenant_id and p.contact_id = t.contact_id and p.channel = t.channel
          limit 1) end,
        (select automation.erasure_of(t.tenant_id, t.channel, i.address)
         from automation.erased_addresses as x
         where x.tenant_id = t.tenant_id and x.channel = t.channel
         limit 1)) as reason
      from unnest(tickets) as t
      cross join lateral unnest(t.recipients) as i (address)
      where t.channel in ('sms', 'email') and i.address is not null
      offset 0
    ) as a
    where a.reason is not null
    group by a.place
  ) as r;
  return coalesce(found, '{}');
end;
$$;

-- Marketing waits for the answer; when a day has brought none, it was a stop, of which everything else is asked too.
create or replace function automation.hold_doubtful(tickets automation.ticket[], now timestamptz)
  returns table (place integer, tenant_id uuid, address text, until timestamptz, expires_at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  return query
    select t.place, d.tenant_id, d.address, d.asked_at + interval '1 day', t.expires_at
    from unnest(tickets) as t
    join automation.doubtful_stops as d on d.tenant_id = t.tenant_id and d.address = t.recipients[1]
    where t.channel = 'sms'
      and (t.purpose = 'marketing'
        or t.purpose = 'transactional' and d.asked_at + interval '1 day' <= hold_doubtful.now);
end;
$$;

-- Marketing of a tenant that asks for consent goes to whoever gave it last; of one that has not said whether it does,
-- to nobody. tenants: those of the tickets.
create or replace function automation.unconsented(tickets automation.ticket[], tenants automation.tenant[])
  returns table (place integer, address text, is_unsaid boolean, expires_at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
declare
  tenant automation.tenant;
  policy text;
  asking uuid[] := '{}'::uuid[];
  unsaid uuid[] := '{}'::uuid[];
begin
  foreach tenant in array case when cardinality(tickets) > 0 then tenants else '{}' end loop
    policy := automation.consent_policy(tenant.id, tenant.settings);
    if policy is null then
      unsaid := unsaid || tenant.id;
    elsif policy <> 'recorded_optout_only' then
      asking := asking || tenant.id;
    end if;
  end loop;
  if asking = '{}' and unsaid = '{}' then
    return;
  end if;
  return query
    select distinct on (t.place) t.place, a.address, t.tenant_id = any (unsaid), t.expires_at
    from unnest(tickets) as t
    cross join lateral unnest(t.recipients) as a (address)
    left join lateral (
      select c.status from ridgeline.consents as c
      where c.address = a.address and c.tenant_id = t.tenant_id and c.channel = t.channel
      order by c.seq desc
      limit 1
    ) as c on true
    where t.purpose = 'marketing' and (t.tenant_id = any (unsaid)
      or t.tenant_id = any (asking) and c.status is distinct from 'granted')
    order by t.place;
end;
$$;
