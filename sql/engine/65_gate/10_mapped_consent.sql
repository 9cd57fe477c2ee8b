-- What the CRM itself knows of consent, in columns of its contacts that attach() maps: sms_opt_out and email_opt_out
-- stop a channel like a suppression, sms_consent and email_consent that say no stop its marketing. Read live, of every
-- contact that has the address: what was ticked a moment ago counts. What says nothing leaves the other rules alone.

-- true, false and their words, or since when; null: it says nothing.
create or replace function automation.word_of_consent(value jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  word constant text := replace(automation.plain_words(value #>> '{}'), ' ', '_');
begin
  return case
    when value is null or automation.is_blank(value) then null
    when automation.means_true(value) or automation.is_date(value #>> '{}')
      or word in ('opted_in', 'opt_in', 'subscribed', 'granted', 'given', 'consented', 'allowed') then true
    when automation.means_false(value)
      or word in ('opted_out', 'opt_out', 'unsubscribed', 'revoked', 'withdrawn', 'denied', 'refused', 'none', 'stop')
      then false
  end;
end;
$$;

create or replace function automation.mapped_field(record jsonb, name text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(record -> (e.mapped ->> mapped_field.name), record -> mapped_field.name)
    from automation.entities as e where e.name = 'contact' and e.mapped ? mapped_field.name
  $$;

create or replace function automation.consent_in_record(record jsonb, channel text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  stopped constant jsonb := automation.mapped_field(record, channel || '_opt_out');
  agreed constant boolean := automation.word_of_consent(automation.mapped_field(record, channel || '_consent'));
begin
  return case
    -- What an office wrote there without saying no is taken for the stop that it stands under.
    when coalesce(automation.word_of_consent(stopped), not automation.is_blank(stopped), false) then 'revoked'
    when not agreed then 'no'
    when agreed then 'yes'
  end;
end;
$$;

comment on function automation.consent_in_record(jsonb, text) is
  'What the record of a contact says of a channel (sms, email): revoked (nothing may be sent), no (no marketing), yes; '
  'null: nothing.';

-- Of all contacts that have an address, in its normal form, the one that forbids most.
create or replace function automation.mapped_consent(tenant_id uuid, channel text, address text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.says
    from automation.contacts_at(mapped_consent.tenant_id, address) as c (id)
    cross join lateral (
      select automation.consent_in_record(
        automation.read_record('contact', mapped_consent.tenant_id, c.id), channel) as says) as s
    where s.says is not null
    order by array_position('{revoked,no,yes}'::text[], s.says)
    limit 1
  $$;

comment on function automation.mapped_consent(uuid, text, text) is
  'What the contacts of the CRM that have this address say of a channel: revoked, no, yes; null: nothing.';

-- Whom the CRM forbids to write to.
create or replace function automation.refused_in_records(tickets automation.ticket[])
  returns table (place integer, address text, says text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
#variable_conflict use_column
declare
  -- Most CRMs have no such column, and no contact is read for it.
  channels constant text[] := array(
    select c from unnest('{sms,email}'::text[]) as c
    where exists (
      select from automation.entities as e
      where e.name = 'contact' and e.mapped ?| array[c || '_opt_out', c || '_consent']));
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  if channels = '{}' then
    return;
  end if;
  return query
    select t.place, a.address, m.says
    from unnest(tickets) as t
    cross join lateral unnest(t.recipients) as a (address)
    cross join lateral (select automation.mapped_consent(t.tenant_id, t.channel, a.address) as says) as m
    where t.channel = any (channels) and a.address is not null
      and (m.says = 'revoked' or m.says = 'no' and t.purpose = 'marketing');
end;
$$;

-- The message without those who do not want it; where nobody is left it is skipped.
create or replace function automation.leave_out_refused(
  question automation.send_question, addresses text[], says text)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  prepared automation.prepared_step := question.prepared;
  key text;
begin
  if (question.due).lane = 'email' then
    foreach key in array '{to,cc,bcc}'::text[] loop
      continue when not prepared.input ? key;
      prepared := automation.add_warnings(prepared, (
        select coalesce(jsonb_agg(jsonb_build_object('path', key, 'code', 'no_consent', 'given', m.mailbox,
          'message', format('%s: the record of %s says no, and they were left out', key, m.mailbox))), '[]')
        from jsonb_array_elements_text(prepared.input -> key) as m (mailbox)
        where automation.normalize_email(automation.bare_address(m.mailbox)) = any (addresses)));
      prepared.input := prepared.input || jsonb_build_object(key, (
        select coalesce(jsonb_agg(m.mailbox order by m.place), '[]')
        from jsonb_array_elements_text(prepared.input -> key) with ordinality as m (mailbox, place)
        where automation.normalize_email(automation.bare_address(m.mailbox)) = any (addresses) is not true));
    end loop;
    prepared.recipient := automation.recipients_of(prepared.input -> 'to');
    if prepared.input -> 'to' <> '[]' then
      return prepared;
    end if;
  end if;
  return case says
    when 'revoked' then automation.skip_unaddressed(
      question.prepared, 'suppressed', 'the contact''s record says that they opted out of this channel')
    else automation.skip_unaddressed(
      question.prepared, 'no_consent', 'the contact''s record says that they want no marketing on this channel') end;
end;
$$;
