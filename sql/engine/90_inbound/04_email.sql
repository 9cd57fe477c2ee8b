-- Events of emails. Opens and clicks of machines (scanners that follow links before the mail is
-- shown, proxies that fetch images ahead) are kept as events and change nothing else; they start the
-- workflows that ask for them with include_machine, and no other.
--
-- email_event_created fires for every event of an email; is_machine is a field of it like any other.
select automation.attach(
  'ridgeline.email_events', 'email_event', '{"related": {"contact": "contact_id", "email": "email_id"}}',
  authors => 'members');

create or replace function automation.machine_haste() returns interval
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select interval '10 seconds' $$;

comment on function automation.machine_haste() is 'Nobody reads an email this soon after its delivery.';

create or replace function automation.machine_reason(
  type text, occurred_at timestamptz, delivered_at timestamptz, user_agent text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when type not in ('opened', 'clicked') then null
      when user_agent ~* (
          '(bot|crawl|spider|scan|preview|headless|phantom|curl|wget|python|java/|go-http|okhttp|'
          'barracuda|mimecast|proofpoint|symantec|messagelabs|trend ?micro|fortinet|sophos|ironport|'
          'forcepoint|zscaler|safelinks|urldefense|cloudmark|vade|facebookexternalhit|whatsapp/|google-pagerenderer)')
        or (type = 'opened' and user_agent = 'Mozilla/5.0')
        then 'known_agent'
      when occurred_at < delivered_at + automation.machine_haste() then 'soon_after_delivery'
    end
  $$;

comment on function automation.machine_reason(text, timestamptz, timestamptz, text) is
  'Why an open or a click is taken for a machine''s; null: it is taken for a person''s. A bare '
  'Mozilla/5.0 is Apple''s Mail Privacy Protection, which fetches images of mail nobody has read.';

create or replace function automation.includes_machine(version ridgeline.workflow_versions)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select version.trigger_config @> '{"include_machine": true}' $$;

-- The first open or click of machines, for the workflows that ask for it. The email itself is not
-- touched, so that a person's is still the first for everybody, these included.
create or replace function automation.start_for_machine(
  email ridgeline.emails, event ridgeline.email_events)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  trigger constant text := 'email_' || event.type;
  version ridgeline.workflow_versions;
begin
  for version in
    select v.*
    from automation.active_triggers as t
    join ridgeline.workflow_versions as v
      on v.tenant_id = t.tenant_id and v.workflow_id = t.workflow_id and v.version = t.version
    where t.tenant_id = email.tenant_id and t.entity = 'email' and t.event = trigger
      and t.role = 'enrol'
      and automation.includes_machine(v)
      and automation.matches(to_jsonb(email), t.match, t.match_any)
      and not exists (
        select from ridgeline.email_events as e
        where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = event.type
          and e.is_machine and e.id <> event.id)
  loop
    perform automation.enrol_if_met(version, trigger, automation.snapshot(
      'email', email.tenant_id, to_jsonb(email), jsonb_build_object('email_event', to_jsonb(event))));
  end loop;
end;
$$;

-- "Every link at once" shows at the second link. What the first click started is cancelled as far
-- as it has not run, and a person's click later on counts as the first one.
create or replace function automation.withdraw_clicks(email ridgeline.emails, event ridgeline.email_events)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began timestamptz;
begin
  select min(e.occurred_at) into began from ridgeline.email_events as e
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = 'clicked'
    and e.link <> event.link
    and e.occurred_at between event.occurred_at - interval '2 seconds'
      and event.occurred_at + interval '2 seconds';
  if began is null then
    return false;
  end if;
  perform automation.cancel_run(x.tenant_id, x.id)
  from ridgeline.workflow_executions as x
  join ridgeline.workflow_versions as v
    on v.tenant_id = x.tenant_id and v.workflow_id = x.workflow_id and v.version = x.version
  where x.tenant_id = email.tenant_id and x.record_id = email.id::text
    and x.trigger_type = 'email_clicked' and x.finished_at is null
    and not automation.includes_machine(v);
  update ridgeline.email_events as e
  set is_machine = true, machine_reason = coalesce(e.machine_reason, 'every_link_at_once')
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = 'clicked'
    and e.occurred_at between began and event.occurred_at + interval '2 seconds';
  update ridgeline.emails as m
  set clicked_at = null
  where m.tenant_id = email.tenant_id and m.id = email.id and m.clicked_at >= began
    and m.clicked_at <= event.occurred_at + interval '2 seconds';
  return true;
end;
$$;

-- The news of a delivery may come after that of an open seconds later, which was taken for a person's
-- till then. What it started is cancelled as far as it has not run.
create or replace function automation.withdraw_quick_events(email ridgeline.emails, delivered timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  first_opened timestamptz;
  first_clicked timestamptz;
begin
  update ridgeline.email_events as e
  set is_machine = true, machine_reason = 'soon_after_delivery'
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type in ('opened', 'clicked')
    and not e.is_machine and e.occurred_at < delivered + automation.machine_haste();
  if not found then
    return;
  end if;
  select min(e.occurred_at), min(e.occurred_at) filter (where e.type = 'clicked')
    into first_opened, first_clicked
  from ridgeline.email_events as e
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type in ('opened', 'clicked')
    and not e.is_machine;
  perform automation.cancel_run(x.tenant_id, x.id)
  from ridgeline.workflow_executions as x
  join ridgeline.workflow_versions as v
    on v.tenant_id = x.tenant_id and v.workflow_id = x.workflow_id and v.version = x.version
  where x.tenant_id = email.tenant_id and x.record_id = email.id::text and x.finished_at is null
    and (x.trigger_type = 'email_opened' and first_opened is null
      or x.trigger_type = 'email_clicked' and first_clicked is null)
    and not automation.includes_machine(v);
  update ridgeline.emails as m
  set opened_at = first_opened, clicked_at = first_clicked
  where m.tenant_id = email.tenant_id and m.id = email.id;
end;
$$;

create or replace function automation.record_engagement(email ridgeline.emails, event ridgeline.email_events)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  event.machine_reason := automation.machine_reason(
    event.type, event.occurred_at, coalesce(email.delivered_at, email.created_at), event.user_agent);
  if event.type = 'clicked' and automation.withdraw_clicks(email, event) then
    event.machine_reason := coalesce(event.machine_reason, 'every_link_at_once');
  end if;
  event.is_machine := event.machine_reason is not null;
  insert into ridgeline.email_events select event.*;
  if event.is_machine then
    perform automation.start_for_machine(email, event);
  end if;
  if event.is_machine or event.type not in ('opened', 'clicked') then
    return;
  end if;
  -- Who clicks has opened, even where images are off.
  update ridgeline.emails as m
  set opened_at = coalesce(m.opened_at, event.occurred_at),
    clicked_at = case when event.type = 'clicked'
      then coalesce(m.clicked_at, event.occurred_at) else m.clicked_at end
  where m.tenant_id = email.tenant_id and m.id = email.id
    and (m.opened_at is null or (event.type = 'clicked' and m.clicked_at is null));
end;
$$;

-- What the provider itself suppresses is left alone here too. Whoever unsubscribes with the provider's own link gets no
-- more marketing, as with ours; receipts go on.
-- A hard bounce of a mail to one address is that address's; of a mail to several nobody can say
-- whose. A complaint stops all of them.
create or replace function automation.suppress_email(email ridgeline.emails, event jsonb) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select case event ->> 'type'
      when 'bounced' then automation.suppress(email.tenant_id, 'email', a.bare, 'bounce', a.detail)
      when 'unsubscribed' then automation.unsubscribe_address(email.tenant_id, a.bare, 'marketing', a.detail)
      else automation.revoke_once(email.tenant_id, 'email', a.bare,
        case event ->> 'type' when 'suppressed' then 'provider' else 'complaint' end, a.detail, a.detail) end
    from (
      select t.address, automation.bare_address(t.address) as bare, count(*) over () as addresses,
        jsonb_strip_nulls(jsonb_build_object('email_id', email.id, 'detail', event -> 'detail')) as detail
      from (
        select e.address from jsonb_array_elements_text(event -> 'to') as e (address)
        union
        select s.address from string_to_table(email.to_address, ', ') as s (address)
        where coalesce(jsonb_array_length(event -> 'to'), 0) = 0
      ) as t
      where coalesce(btrim(t.address), '') <> ''
    ) as a
    where automation.normalize_email(automation.bare_address(a.address)) is not null
      and (event ->> 'type' = 'complained'
        or a.addresses = 1 and (event ->> 'type' in ('suppressed', 'unsubscribed')
          or event ->> 'type' = 'bounced' and (event ->> 'permanent')::boolean))
  $$;

create or replace function automation.record_delivery_of_email(email ridgeline.emails, event jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.suppress_email(email, event);
  update ridgeline.emails as m
  set status = event ->> 'type', error_code = event ->> 'error_code'
  where m.tenant_id = email.tenant_id and m.id = email.id
    and automation.delivery_rank(event ->> 'type') > automation.delivery_rank(m.status);
  if event ->> 'type' = 'delivered' then
    update ridgeline.emails as m
    set delivered_at = (event ->> 'occurred_at')::timestamptz
    where m.tenant_id = email.tenant_id and m.id = email.id and m.delivered_at is null;
    if found then
      perform automation.withdraw_quick_events(email, (event ->> 'occurred_at')::timestamptz);
    end if;
  end if;
end;
$$;

create or replace function automation.email_event_of(email ridgeline.emails, event jsonb)
  returns ridgeline.email_events
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select row(
      email.tenant_id, automation.new_id(), email.id, email.contact_id, event ->> 'type', false,
      null, event ->> 'link', event ->> 'user_agent', event -> 'detail',
      (event ->> 'occurred_at')::timestamptz, automation.now())::ridgeline.email_events
  $$;

create or replace function automation.apply_email_event(event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_engagement constant boolean := event ->> 'type' in ('opened', 'clicked');
  carrier constant text := automation.teller(event, 'email');
  sender constant uuid := automation.sent_by('ridgeline.emails', carrier, event ->> 'email_id');
  email ridgeline.emails;
  outcome text := 'early';
begin
  if sender is not null and not automation.may_tell(event, sender) then
    return 'unknown_message';
  end if;
  if not is_engagement and automation.record_delivery_of_step(sender, event ->> 'email_id',
    event ->> 'type', event ->> 'error_code', null, (event ->> 'occurred_at')::timestamptz) then
    outcome := 'stored';
  end if;
  for email in
    select m.* from ridgeline.emails as m
    where m.provider_id = event ->> 'email_id' and m.provider = carrier
      and m.direction = 'outbound' and m.tenant_id = sender
  loop
    if not is_engagement then
      perform automation.record_delivery_of_email(email, event);
    end if;
    perform automation.record_engagement(email, automation.email_event_of(email, event));
    outcome := 'stored';
  end loop;
  return outcome;
end;
$$;

-- Whose an address is: by itself, else by its domain.
create or replace function automation.tenant_of_address(address text) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select a.tenant_id
    from (select automation.bare_address(tenant_of_address.address) as whole) as g
    join ridgeline.email_addresses as a on a.address in (
      g.whole, regexp_replace(split_part(g.whole, '@', 1), '\+.*$', '') || '@' || split_part(g.whole, '@', 2),
      split_part(g.whole, '@', 2))
    order by length(a.address) desc
    limit 1
  $$;

create or replace function automation.contact_of_writer(tenant_id uuid, address text, written text)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact text;
  name constant text := btrim(split_part(written, '<', 1), ' "');
begin
  perform automation.lock_inbound(tenant_id || address);
  contact := automation.contact_by_email(tenant_id, address, null);
  if contact is null and automation.creates_contacts(tenant_id)
    and address !~ '^(mailer-daemon|postmaster|bounces?|no-?reply|do-?not-?reply)([+@-])' then
    contact := automation.create_contact(tenant_id,
      case when written like '%<%' and automation.is_usable_name(name) then automation.split_name(name)
        else '{}' end
      || jsonb_build_object('email', address, 'source', 'inbound_email'));
  end if;
  return contact;
end;
$$;

-- Did a machine write it? RFC 3834 and its forerunners say so in a header, which names are compared in lower
-- case; the subject is asked because they may not be to be had. A list is no sign: groups forward what customers write.
create or replace function automation.is_automatic_email(sender text, subject text, headers jsonb)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    select sender ~ '^(mailer-daemon|postmaster|bounces?)([+@-])'
      or coalesce(subject ~* ('^\s*(auto(matic|matische|mated)?[ -]?(reply|response|antwort)|out of (the )?office|'
        'abwesenheitsnotiz|respuesta autom[aá]tica|fuera de (la )?oficina|r[eé]ponse automatique)\s*(:|$)'), false)
      or exists (
        select from jsonb_each_text(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h
        cross join lateral (select lower(btrim(h.value)) as said) as v
        where case lower(h.key)
          when 'auto-submitted' then split_part(v.said, ';', 1) not in ('', 'no')
          when 'precedence' then v.said in ('bulk', 'junk', 'auto_reply', 'auto-reply')
          when 'x-autoreply' then v.said not in ('no', 'false', '0')
          when 'x-autorespond' then v.said not in ('no', 'false', '0')
          when 'return-path' then v.said = '<>'
          else false end)
  $$;

comment on function automation.is_automatic_email(text, text, jsonb) is
  'Was an email written by a machine: out of office, a bounce? headers: {name: value}; null: unknown.';

-- Does whoever took the email in say that it is not from whom it names? Only a verdict that fails says so: none, or one
-- of a domain that asks for nothing, is no sign, and a signature outlives being forwarded where SPF does not.
create or replace function automation.is_forged(headers jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    select case
      when v.results ~ ';\s*dmarc=fail' then true
      when v.results ~ ';\s*(dmarc|dkim)=pass' or v.tests ~ '(^|,)dkim_valid' then false
      else coalesce(v.results ~ ';\s*spf=fail' or v.spf ~ '(^|;)\s*fail\M', false) end
    from (
      select string_agg(lower(h.value), '; ') filter (where lower(h.key) = 'authentication-results') as results,
        string_agg(lower(h.value), '; ') filter (where lower(h.key) = 'received-spf') as spf,
        string_agg(lower(h.value), ',') filter (where lower(h.key) = 'x-spam-tests') as tests
      from jsonb_each_text(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h
    ) as v
  $$;

comment on function automation.is_forged(jsonb) is
  'Does the verdict of the provider fail: DMARC, or SPF where no signature holds? headers: {name: value}, of which '
  'Authentication-Results, Received-SPF and X-Spam-Tests are read.';

-- What somebody wrote, without what they were answering to.
create or replace function automation.without_quotation(body text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select btrim(regexp_replace(left(body, 20000),
      '(^|\n)[ \t]*(>|-{2,} ?original message|_{10,}|on [^\n]{6,200}(\n[^\n]{0,100})?wrote:|'
      'el [^\n]{6,200}(\n[^\n]{0,100})?escribi[oó]:|le [^\n]{6,200}(\n[^\n]{0,100})?a [eé]crit ?:|'
      'am [^\n]{6,200}(\n[^\n]{0,100})?schrieb[^\n]*:|(from|de|von): [^\n]+\n).*$', '', 'i'), E' \t\r\n')
  $$;

-- An email that a tenant got, at one of its addresses. Who asks to be left alone is, by subject too: that is all
-- that a click on "unsubscribe" in a mail program may send. A reply goes on with the chain of what it answers,
-- as a text does. What is forged is no reply, but its STOP counts, and says so: silence harms nobody.
create or replace function automation.keep_email(owner uuid, address text, carrier text, event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sender constant text := automation.normalize_email(automation.bare_address(event ->> 'from'));
  is_stop constant boolean := automation.is_stop_request(event ->> 'subject')
    or automation.is_stop_request(automation.without_quotation(event ->> 'text'));
  is_forged constant boolean := automation.is_forged(event -> 'headers');
  is_automatic constant boolean := is_forged
    or automation.is_automatic_email(sender, event ->> 'subject', event -> 'headers');
  doubt constant jsonb := jsonb_strip_nulls(jsonb_build_object('unauthenticated', nullif(is_forged, false)));
  is_new boolean;
begin
  if sender is null then
    return 'unknown_sender';
  end if;
  perform automation.continue_chain(owner, sender);
  insert into ridgeline.emails (tenant_id, contact_id, direction, from_address, to_address, subject, text, html,
    status, provider, provider_id, is_automatic)
  values (owner,
    case when is_stop or is_automatic then automation.contact_by_email(owner, sender, null)
      else automation.contact_of_writer(owner, sender, event ->> 'from') end,
    'inbound', sender, automation.bare_address(address), event ->> 'subject', event ->> 'text',
    event ->> 'html', 'received', carrier, event ->> 'email_id', is_automatic)
  on conflict (provider_id, tenant_id, provider) do nothing;
  is_new := found;
  perform automation.clear_cause();
  if is_stop then
    perform automation.revoke_once(owner, 'email', sender, 'message',
      jsonb_build_object('email_id', event ->> 'email_id', 'said', left(event ->> 'subject', 200)) || doubt,
      jsonb_build_object('email_id', event ->> 'email_id') || doubt);
  end if;
  return case when is_new then 'stored' else 'duplicate' end;
end;
$$;

-- One row for each tenant that it was written to, and that whoever tells it may speak for.
create or replace function automation.receive_email(event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'email');
  addressed record;
  became text;
  outcome text := 'unknown_address';
begin
  if automation.normalize_email(automation.bare_address(event ->> 'from')) is null then
    return 'unknown_sender';
  end if;
  for addressed in
    select t.tenant_id, min(r.address) as address
    from jsonb_array_elements_text(coalesce(event -> 'to', '[]') || coalesce(event -> 'cc', '[]')) as r (address)
    cross join lateral (select automation.tenant_of_address(r.address) as tenant_id) as t
    where t.tenant_id is not null and automation.may_tell(event, t.tenant_id)
    group by t.tenant_id
  loop
    became := automation.keep_email(addressed.tenant_id, addressed.address, carrier, event);
    outcome := case when 'stored' in (became, outcome) then 'stored' else 'duplicate' end;
  end loop;
  return outcome;
end;
$$;

-- Those of a tenant's own account beyond the last known_events: providers repeat an event for some hours.
create or replace function automation.forget_events(teller uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
  set jit = off
  as $$
declare
  -- Counted without a lock: what is kept is nobody's to wait for.
  surplus constant integer := (
    select count(*) from (
      select from automation.provider_events as e
      where e.account_of = teller
      limit automation.at_most('known_events') + 1000) as k) - automation.at_most('known_events');
begin
  if surplus > 0 then
    delete from automation.provider_events as e
    where e.ctid = any (array(
      select o.ctid from automation.provider_events as o
      where o.account_of = teller
      order by o.received_at limit surplus for update skip locked));
  end if;
end;
$$;

-- An id is its teller's own: one tenant's account uses up none of another's.
create or replace function automation.record_email_event(event_id text, event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'email');
  teller constant uuid := automation.as_uuid(event ->> 'tenant_id');
  id constant text := coalesce(teller || ' ', '') || event_id;
  outcome text;
begin
  insert into automation.provider_events (provider, event_id, received_at, account_of)
  values (carrier, id, automation.now(), teller)
  on conflict on constraint provider_events_pkey do nothing;
  if not found then
    return 'duplicate';
  end if;
  -- Now and then, and then more than came meanwhile.
  if teller is not null and random() < 0.01 then
    perform automation.forget_events(teller);
  end if;
  perform automation.lock_inbound(carrier || ' ' || (event ->> 'email_id'));
  if event ->> 'type' = 'received' then
    return automation.receive_email(event);
  end if;
  outcome := automation.apply_email_event(event);
  if outcome = 'early' then
    perform automation.keep_early_event(carrier, event ->> 'email_id', event);
  end if;
  return outcome;
end;
$$;

comment on function automation.record_email_event(text, jsonb) is
  'What became of an email, once for each event_id: {provider?, email_id, type, occurred_at, to?, link?, '
  'user_agent?, permanent?, error_code?, detail?, tenant_id?}; type: delivered, delivery_delayed, bounced, '
  'complained, failed, suppressed, unsubscribed, opened or clicked; or received, with from, to, cc?, subject?, text?, '
  'html? and headers?; tenant_id: whose own account says so. Returns stored, duplicate, early (kept until the email is '
  'recorded), unknown_message (of another tenant''s than the account''s that says so) or, of one that came in, '
  'unknown_address or unknown_sender.';
