-- 90 INBOUND
--
-- What comes in: texts, calls, emails, news of what was sent, forms.

-- A text message that asks to stop, honoured in the transaction that stores it.
-- 47 CFR 64.1200(a)(10): any reasonable means; stop, quit, end, revoke, opt out, cancel and
-- unsubscribe always count. A sentence that only might mean it is left to a person.

-- The words that are a stop when they are all there is, with some politeness. is_sure: not those that an
-- appointment or a day can have as well.
create or replace function automation.is_stop_word(words text, is_sure boolean default false)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select words in ('s t o p', 'stop2end', 'stoptext', 'stoptexts')
      or words ~ '^((please|pls|just) )*stop (it|this|that)( (now|please|pls))*$'
      or words ~ (
        '^((please|pls|plz|plse|por favor|yes|ok|okay|no|sorry|hi|hello|hey|i said) )*'
        '(stop|stopp|stopall|stop all|optout|opt out|unsubscribe|unsub|desuscribir|arret|parar|'
        || case when is_sure then '' else 'quit|end|revoke|cancel|alto|basta|cancelar|baja|' end
        || 'stop stop)( (stop|stopall|quit|end|cancel|unsubscribe|optout|opt out|parar|all|now|right now|'
        'immediately|asap|already|please|pls|plz|por favor|messages|texts|texting|texting me|messaging me|me|'
        'sms|thanks|thank you|thx|ty|gracias|bye|goodbye|forever|ya))*$')
        -- In Spanish a no before it says the opposite.
        and words !~ '^no (parar|alto|basta|cancelar|baja)'
  $$;

-- What can mean nothing else, as a sentence of its own, in parts to be read one by one; whom, what and tail
-- may be missing.
create or replace function automation.stop_sentences() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array[
      '(stop|quit) (texting|messaging|contacting|calling|sending|emailing|spamming|bothering|harassing|'
        'bugging|msging|txting|with)' || whom || what,
      '(stop|end|cancel|no more|quit|discontinue)' || any_of || ' ' || texts || '( to)?' || whom,
      '((i|we) )?((no longer )?(want|wanna|wish|would like|d like|id like|like|need|have|prefer|am|im|are|'
        'going)( to be| to)? )?(opt|opting|opted) ?out' || whom || '( (of|from|for|on)' || what || ')?',
      'opt (me|us|this number|my number) out' || what,
      '(take|get|keep|pull|scratch|strike) (me|us|my (phone )?number|this (phone )?number|this phone) (off|out of)'
        || what,
      '(remove|delete|unsubscribe|drop|opt out|optout) (me|us|my (phone )?number|this (phone )?number|this phone)'
        || what,
      '(unsubscribe|unsubscribing|unsub)' || what,
      '((i|we) )?(want|wanna|wish|would like|d like|id like|need|demand|have) to (unsubscribe|be removed|'
        'be taken off|be unsubscribed|be deleted|stop (receiving|getting))' || what,
      '(do not|dont|never)( ever| you ever| you dare)? (text|message|msg|txt|contact|sms|bother|spam|send|'
        'send me|send us)' || whom || what,
      '(do not|dont|never)( ever)? (call|email) (me|us|this number|here) (again|any ?more|ever again|ever)',
      '((i|we) )?(do not|dont|no longer|never) (want|wanna|wish|like|need|care|consent|agree)( to)? (receive|get|'
        'be getting|be receiving|getting|receiving|hear from|hear|be contacted|be texted|have)' || what,
      '((i|we) )?(do not|dont|no longer) (want|need|like) (you|u|yall)( to| to be)? (text|texting|message|'
        'messaging|contact|contacting|send|sending|bother|bothering)' || whom || what,
      '((i|we) )?(do not|dont|no longer) (want|wanna|need)' || any_of || ' ' || texts || '( from (you|u|yall))?',
      '((i|we) )?(hereby )?(revoke|withdraw) (my |our |all )?(consent|permission|authorization)' || what,
      'leave (me|us) alone',
      '(lose|delete|erase|forget) (my|this) (phone )?number',
      '(darme|dame|darnos|deme|darse) de baja' || tail,
      '(quiero|deseo|necesito|me gustaria) (darme de baja|parar|salir|desuscribirme)' || tail,
      '(no|ya no) (me|nos) (manden?|mandes|envien?|envies|escriban?|escribas|textees|texteen|contacten?|'
        'contactes)' || tail,
      '(deje|dejen|deja|para|pare|paren) de (enviar|enviarme|mandar|mandarme|escribir|escribirme|textear|'
        'textearme|molestar|molestarme|contactarme)' || tail,
      '(quitame|quiteme|quitenme|sacame|saqueme|saquenme|borrame|borreme|borrenme|eliminame|elimineme|'
        'eliminenme|cancelar|cancela|cancelen) ((de )?(la|su|tu|esta|mi)) (lista|base|suscripcion)' || tail,
      'cancelar (suscripcion|mensajes|textos)' || tail,
      'no (quiero|deseo) (mas |recibir )+(mensajes|textos|sms)' || tail,
      'no mas (mensajes|textos|sms)' || tail]
    from (values (
      '( (to )?(me|us|my (phone|cell|number|cell phone|phone number|cell number)|'
        'this (phone|number|line|phone number)|here|at this number|on this number|to this number))*',
      '( (any|all|of|the|these|those|this|that|your|ur|you|u|my|our|such|more|further|future|text|sms|phone|'
        'marketing|promotional|automated|mailing|contact|contacts|call|calling|message|messages|texts|msgs|'
        'txts|alerts|notifications|spam|list|lists|database|system|ads|offers|promotions|promos|emails|calls|'
        'communications|communication|updates|thread|group|number|crap|stuff|junk|again|any ?more|from|off|to|'
        'and|or))*',
      '( all| the| these| those| your| any| more| of| with| sending| marketing| promotional| automated| sms| text)*',
      '(texts|text|messages|message|msgs|msg|txts|sms|alerts|notifications|spam|promotions|promos|ads|texting|'
        'messaging)',
      '( (mas|mensajes|textos|sms|de|la|el|los|las|esta|este|estos|su|sus|tu|tus|lista|listas|nunca|a|mi|'
        'numero|me|nos|servicio|suscripcion|correos|recibir|todo|todos))*'
    )) as o (whom, what, any_of, texts, tail)
  $$;

-- Who is asked, what shall end, politeness.
create or replace function automation.is_stop_sentence(words text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    -- What most messages fail at, before the long pattern.
    select words ~ (
        'stop|quit|unsub|desuscrib|opt(ed|ing)? ?out|opt (me|us|this|my)|(me|us|number|phone) (off|out)|remove|'
        'delete|drop|discontinue|(end|cancel) .*(text|messag|msg|txt|sms|alert|notif|spam|promo|ads)|revoke|'
        'withdraw|no (more|longer|mas|me|nos|quiero|deseo)|dont|do not|never|leave|lose|erase|forget|baja|salir|'
        'parar|cancel|de (enviar|mandar|escribir|textear|molestar|contactar)|(quit|sa[cq]|borr|elimin)[a-z]+me')
      and words ~ (
        '^((please|pls|plz|plse|kindly|just|now|so|and|but|hi|hello|hey|ok|okay|yes|no|sorry|thanks|i said|again|'
        '(im |i am |we are |were )?not interested|no thanks|no thank you|wrong number|por favor|'
        '(can|could|would|will) (you|u|yall)|you (need|have) to|(i|we) (want|need|would like|d like) you to|'
        '(i|we) (want|need|would like|d like|wish) to|i am asking you to|i already (told|asked) you to) )*('
        || array_to_string(automation.stop_sentences(), '|')
        || ')( (please|pls|plz|now|right now|immediately|asap|already|again|ever|ever again|any ?more|forever|'
        'at all|at once|for good|thanks|thank you|thx|ty|sir|maam|guys|people|por favor|gracias|bye|goodbye|'
        'stop|unsubscribe|ok|okay|from now on|ya))*$')
  $$;

-- A name under it, or after a dash: "STOP - Maria", "Stop" and below it "Maria Lopez, 512-555-0100".
create or replace function automation.without_name(spoken text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select regexp_replace(spoken,
      '[ \t]*(\n|[ \t]?[-\u2010-\u2015~/|]+)[ \t\n]*'
      '(([A-Z][A-Za-z.]*|and|&|\+?[0-9][0-9() .-]*|\S+@\S+\.\S+|https?://\S+)[ \t,.\n-]*){1,10}$', '')
  $$;

-- A sentence among others counts when it can mean nothing else. Calls and emails are other channels: who
-- wants no calls may want texts, unless that is all that was said.
create or replace function automation.is_stop_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.is_stop_word(s.words) or automation.is_stop_sentence(s.words)
      or automation.is_stop_word(automation.plain_words(automation.without_name(s.spoken)), true)
      or exists (
        select from regexp_split_to_table(s.spoken, '[.!?;\n]+') as part
        cross join lateral (select automation.plain_words(part) as words) as p
        where automation.is_stop_word(p.words, true)
          or p.words !~ '\m(call|calling|email|emailing)\M' and automation.is_stop_sentence(p.words))
    from (
      select t.spoken, automation.plain_words(t.spoken) as words
      from (select automation.spoken_text(body) as spoken) as t
    ) as s
    where s.words <> ''
  $$;

comment on function automation.is_stop_request(text) is
  'Does a message ask to be sent nothing more? Null and false: no, or not beyond doubt.';

-- What is not beyond doubt, and not plainly something else: a person decides (65_gate/07_consents).
create or replace function automation.is_doubtful_stop(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select w.words ~ ('\m(stop|stopping|unsubscribe|unsub|opt ?out|remove|harass(ing|ment)?|spam(ming)?|no more|'
        'leave me|not interested|do not|dont|quit|revoke|baja|alto|basta)\M')
      and (w.words ~ '\m(unsubscribe|unsub|opt ?out|harass(ing|ment)?|spam(ming)?|leave me|revoke)\M'
        or w.words ~ ('\m(text|texts|texting|message|messages|messaging|contact|contacting|call|calling|send|sending|'
            'me|us|these|this|list)\M')
          and w.words !~ '\m(stop|stopping) (by|in|over|at|off|past|and)\M'
        or w.words ~ '^(no more|not interested|stop|quit)\M' and length(w.words) < 40
          and w.words !~ '\m(stop|stopping) (by|in|over|at|off|past|and)\M')
      and coalesce(not automation.is_stop_request(body), true)
    from (select automation.plain_words(automation.spoken_text(body)) as words) as w
  $$;

comment on function automation.is_doubtful_stop(text) is
  'May a message ask to be sent nothing more, though it is not beyond doubt?';

-- Opting in again takes one of the two words that mean nothing else; a "yes" may answer anything.
create or replace function automation.is_start_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select automation.keyword_of(body) in ('start', 'unstop') $$;

create or replace function automation.is_help_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select automation.keyword_of(body) in ('help', 'info', 'ayuda') $$;

-- Was it asked to confirm its consent (double opt-in), and has not answered yet? Then a yes is one.
create or replace function automation.is_pending(tenant_id uuid, phone text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((
      select c.status = 'pending' from ridgeline.consents as c
      where c.address = phone and c.tenant_id = is_pending.tenant_id and c.channel = 'sms'
      order by c.seq desc
      limit 1), false)
  $$;

-- What providers answer by themselves, to the letter.
create or replace function automation.is_provider_keyword(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(upper(btrim(body)) = any ('{STOP,STOPALL,UNSUBSCRIBE,CANCEL,END,QUIT,REVOKE,OPTOUT,HELP,INFO,START,'
      'YES,UNSTOP}'::text[]), false)
  $$;

-- Whoever answers STOP to a number that several tenants send from means all whose last text to them came from it.
create or replace function automation.stop_at_others(tenant_id uuid, sender text, number text, body text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  other uuid;
begin
  for other in
    select l.tenant_id
    from (
      select distinct on (s.tenant_id) s.tenant_id, coalesce(s.result_data ->> 'from', s.input ->> 'from') as number
      from ridgeline.workflow_step_executions as s
      where s.recipient = stop_at_others.sender
        and s.step_type = any ((select automation.types_on('sms'))::text[]) and s.status = 'completed'
        and s.tenant_id is distinct from stop_at_others.tenant_id
      order by s.tenant_id, s.started_at desc
    ) as l
    where l.number = stop_at_others.number
  loop
    perform automation.record_consent(other, 'sms', sender, 'revoked', 'all', 'message',
      jsonb_build_object('said', left(body, 500), 'to', number));
  end loop;
end;
$$;

-- Whose word a text is, which receive_sms() says for as long as it stores one:
--   provider  the installation's account, or the CRM's own program in its inbox
--   account   a tenant's own account: whoever has its key, the tenant too, can sign what nobody sent
--   writer    somebody who is not the service role wrote a row of the CRM's inbox
--   member    nobody received it: somebody noted it down
create or replace function automation.told_by() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when current_setting('automation.told_by', true) = 'writer' then 'writer'
      when not automation.is_service() then 'member'
      when current_setting('automation.told_by', true) = 'account' then 'account'
      else 'provider' end
  $$;

-- Somebody opts in again. What the tenant's own account reports is on record as that, and lifts what was said to this
-- tenant and no more: not what a carrier blocked, nor what was kept of somebody who was erased.
create or replace function automation.honour_start(message ridgeline.messages, sender text, told_by text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.record_consent(message.tenant_id, 'sms', sender, 'granted', 'all', 'keyword',
    jsonb_build_object('message_id', message.id, 'said', left(message.body, 500), 'told_by', told_by),
    message.contact_id);
  if told_by = 'provider' and automation.erasure_of(message.tenant_id, 'sms', sender)
    in ('opt_out', 'provider', 'erased') then
    delete from automation.erased_addresses as a
    where a.tenant_id = message.tenant_id and a.channel = 'sms'
      and a.digest = automation.erased_digest(message.tenant_id, 'sms', sender);
  elsif automation.suppression_of(message.tenant_id, 'sms', sender) is not null then
    perform automation.tell_office(message.tenant_id, 'start_not_enough', sender, interval '1 day', message.contact_id,
      format('%s asks for texts again', sender), 'START does not lift what stopped them: a block of the carrier, or '
      'the office''s own. Where it is right, an owner or an admin does: lift_revocation(), with the reason.');
  end if;
end;
$$;

-- A start in a row that the CRM's program did not write as the service role lifts nothing, and somebody waits for it.
create or replace function automation.tell_of_start(message ridgeline.messages, sender text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_pending(message.tenant_id, sender)
    or automation.suppression_of(message.tenant_id, 'sms', sender) is not null then
    perform automation.tell_office(message.tenant_id, 'start_not_enough', sender, interval '1 day', message.contact_id,
      format('%s asks for texts again', sender), 'A START or YES in the CRM''s inbox counts where the service role '
      'wrote its row, and another role did. Where it is right, an owner or an admin lifts what stopped them: '
      'lift_revocation(), with the reason.');
  end if;
end;
$$;

-- Where the provider says what the message was (in any language), that counts. What it
-- took for nothing special may still be a stop in other words. What a member types is a note of theirs, and says
-- nothing for the customer: who was told to stop on the telephone is suppressed by the office's own doing, not by a
-- text nobody sent. A stop in the CRM's own inbox counts whoever wrote it there; a start does not.
create or replace function automation.honour_stop() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sender constant text := automation.normal_number(
    new.from_number, automation.country_of(new.tenant_id));
  told_by constant text := automation.told_by();
begin
  if sender is null or automation.is_withheld(new.from_number) or told_by = 'member' then
    return null;
  end if;
  -- What texts is no landline, or none any more.
  delete from ridgeline.suppressions as s
  where s.tenant_id = new.tenant_id and s.channel = 'sms' and s.address = sender and s.reason = 'landline'
    and told_by <> 'writer';
  if new.opt_out_type = 'HELP' then
    return null;
  elsif new.opt_out_type = 'START'
    or (new.opt_out_type is null and (automation.is_start_request(new.body)
      or automation.keyword_of(new.body) in ('yes', 'y', 'si') and automation.is_pending(new.tenant_id, sender))) then
    if told_by <> 'writer' then
      delete from automation.doubtful_stops as d where d.tenant_id = new.tenant_id and d.address = sender;
      perform automation.honour_start(new, sender, told_by);
    else
      perform automation.tell_of_start(new, sender);
    end if;
  elsif new.opt_out_type = 'STOP' or automation.is_stop_request(new.body) then
    delete from automation.doubtful_stops as d where d.tenant_id = new.tenant_id and d.address = sender;
    perform automation.record_consent(new.tenant_id, 'sms', sender, 'revoked', 'all',
      case when automation.is_provider_keyword(new.body) then 'keyword' else 'message' end,
      jsonb_build_object('message_id', new.id, 'said', left(new.body, 500), 'told_by', told_by), new.contact_id,
      jsonb_build_object('message_id', new.id));
    if told_by <> 'writer' then
      perform automation.stop_at_others(new.tenant_id, sender, new.to_number, new.body);
    end if;
  elsif automation.is_doubtful_stop(new.body)
    and automation.suppression_of(new.tenant_id, 'sms', sender) is null then
    insert into automation.doubtful_stops (tenant_id, address, message_id, asked_at)
    values (new.tenant_id, sender, new.id, automation.now())
    on conflict on constraint doubtful_stops_pkey do nothing;
    perform automation.tell_office(new.tenant_id, 'doubtful_stop', sender, interval '1 day', new.contact_id,
      format('Did %s ask for no more texts?', sender), format('They wrote: "%s". Marketing to this number waits. '
        'answer_doubt() says what they meant; nobody''s answer within a day counts as a stop.', left(new.body, 300)));
  end if;
  return null;
end;
$$;

-- The words are read inside the function: a condition here runs with the rights of whoever writes.
create trigger messages_honour_stop
  after insert on ridgeline.messages
  for each row
  when (new.direction = 'inbound')
  execute function automation.honour_stop();
