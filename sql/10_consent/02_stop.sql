-- A text message that asks to stop, honoured in the transaction that stores it.
-- 47 CFR 64.1200(a)(10): any reasonable means; stop, quit, end, revoke, opt out, cancel and
-- unsubscribe always count. A sentence that only might mean it is left to a person.

create or replace function automation.is_stop_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select words ~ (
      '^(please )?(stop|stopall|stop all|quit|end|revoke|optout|opt out|cancel|unsubscribe)'
      '( (all|now|please|messages|texts|texting|texting me|messaging me|me|sms|thanks|thank you))*$')
    from (
      select btrim(regexp_replace(lower(left(coalesce(body, ''), 400)), '[^a-z]+', ' ', 'g')) as words
    ) as w
  $$;

-- Opting in again takes one of the two words that mean nothing else; a "yes" may answer anything.
create or replace function automation.is_start_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(body ~* '^[^a-z]*(start|unstop)[^a-z]*$', false) $$;

-- Where Twilio says what the message was (Advanced Opt-Out, in any language), that counts. What it
-- took for nothing special may still be a stop in other words. Both are believed of what the provider
-- reported alone: what a member types is a note of theirs, and says nothing for the customer. Who was
-- told to stop on the telephone is suppressed by the office's own doing, not by a text nobody sent.
create or replace function automation.honour_stop() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sender constant text := automation.normalize_phone(new.from_number);
begin
  if sender is null or new.opt_out_type = 'HELP' or not automation.is_service() then
    return null;
  elsif new.opt_out_type = 'START'
    or (new.opt_out_type is null and automation.is_start_request(new.body)) then
    delete from public.suppressions as s
    where s.tenant_id = new.tenant_id and s.channel = 'sms' and s.address = sender
      and s.reason in ('opt_out', 'provider');
  elsif new.opt_out_type = 'STOP' or automation.is_stop_request(new.body) then
    perform automation.suppress(
      new.tenant_id, 'sms', sender, 'opt_out', jsonb_build_object('message_id', new.id));
  end if;
  return null;
end;
$$;

-- The words are read inside the function: a condition here runs with the rights of whoever writes.
create trigger messages_honour_stop
  after insert on public.messages
  for each row
  when (new.direction = 'inbound')
  execute function automation.honour_stop();
