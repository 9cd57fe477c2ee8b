-- What is said back at once to STOP and HELP, in the answer to the provider's own call. Where the provider has
-- answered by itself, to its exact keywords or because it said what the message was, nothing is.

create or replace function automation.reply_text(tenant_id uuid, kind text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select left(coalesce(
      nullif(btrim(t.settings #>> array['replies', kind]), ''),
      case kind
        when 'stop' then format('%s: You get no more texts from us. Reply START to get them again.', t.name)
        when 'help' then concat_ws(' ', t.name || ':', 'texts about your request.', 'Call ' || t.phone || '.',
          'Reply STOP to get no more.') end), 320)
    from automation.read_tenants(array[reply_text.tenant_id]) as t
  $$;

comment on function automation.reply_text(uuid, text) is
  'What is said back to STOP (stop) and HELP (help): settings of the tenant {"replies": {"help": "..."}}, or else '
  'words without marketing.';

create or replace function automation.reply_to_sms(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'sms');
  owner constant uuid := automation.tenant_of_number(event ->> 'to', carrier);
  message ridgeline.messages;
  kind text;
  reply text;
begin
  select m.* into message from ridgeline.messages as m
  where m.provider_id = event ->> 'message_sid' and m.tenant_id = owner and m.provider = carrier
    and m.direction = 'inbound';
  if not found or message.opt_out_type is not null or message.channel <> 'sms'
    or automation.is_provider_keyword(message.body) or automation.is_tenant_gone(owner) then
    return null;
  elsif automation.is_stop_request(message.body) then
    -- One confirmation: not again for who has said it before and not taken it back.
    kind := case when (
      select count(*) from ridgeline.consents as c
      where c.address = message.from_number and c.tenant_id = message.tenant_id and c.channel = 'sms'
        and c.status = 'revoked' and c.seq > coalesce((
          select max(g.seq) from ridgeline.consents as g
          where g.address = c.address and g.tenant_id = c.tenant_id and g.channel = 'sms' and g.status = 'granted'), 0)
      ) = 1 then 'stop' end;
  elsif automation.is_help_request(message.body) then
    insert into automation.notices as n (tenant_id, kind, subject, at)
    values (message.tenant_id, 'help', message.from_number, automation.now())
    on conflict on constraint notices_pkey do update set at = excluded.at
      where n.at + interval '1 hour' <= excluded.at;
    kind := case when found then 'help' end;
  end if;
  reply := case when kind is not null then automation.reply_text(message.tenant_id, kind) end;
  if reply is not null then
    insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body, status, provider)
    values (message.tenant_id, message.contact_id, 'outbound', message.to_number, message.from_number, reply, 'sent',
      message.provider);
  end if;
  return reply;
end;
$$;

comment on function automation.reply_to_sms(jsonb) is
  'What to say back at once to a text that receive_sms() has stored: a confirmation of a stop, once; help, once an '
  'hour; null: nothing. It is on record as sent.';
