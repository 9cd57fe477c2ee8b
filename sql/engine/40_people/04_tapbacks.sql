-- Tapbacks. A thumb put to a text arrives as a text of its own, Liked "See you at nine": it is kept, and is no
-- reply. It starts nothing and ends nothing.

create or replace function automation.is_tapback(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(words ~* any (array[
      -- Apple, in English, Spanish and French: a quotation to the end.
      '^(liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted ([^\s"]{1,20}|with [^"]{1,30}) to|'
        'removed an? [^"]{1,30} from) ?".*"$',
      '^((no )?(le|me|te) (gust[oó]|encant[oó]|gusta|encanta|dio risa)|se (ri[oó]) de|enfatiz[oó]|destac[oó]|'
        'cuestion[oó]|pregunt[oó] por|reaccion[oó] con [^\s"]{1,20} a|'
        '(elimin[oó]|quit[oó]) (un|una|el|la) [^"]{1,30} (de|a)) ?".*"$',
      '^(a|n"a pas) (aim[eé]|ador[eé]|ri de|soulign[eé]|mis en [eé]vidence|remis en question|'
        'r[eé]agi avec [^\s"]{1,20} [aà]) ?".*"$',
      -- And what has no words to quote.
      '^(liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted [^\s"]{1,20} to|'
        'removed an? [^"]{1,30} from) (an?|your|the) (image|photo|picture|video|movie|attachment|gif|file|'
        '(audio |voice )?message|sticker|link|location|contact card)$',
      '^(le|me) (gust[oó]|encant[oó]) (una?|el|la|tu) (imagen|foto|video|v[ií]deo|archivo adjunto|'
        'mensaje( de voz)?|enlace)$',
      -- Google.
      '^[^[:alnum:][:space:]"]{1,12} ?(to|a|en) ?".*"$']), false)
    from (
      select btrim(regexp_replace(translate(left(body, 2000), '“”„‟«»＂’', '"""""""""'),
        '[\s\u00A0\u200A\u200B\u2009\u202F\uFEFF]+', ' ', 'g')) as words
    ) as w
  $$;

comment on function automation.is_tapback(text) is
  'Is a text the reaction to another one (Liked "...", Reacted 👍 to "...", 👍 to "...")? Then it quotes to its end.';

alter table ridgeline.messages
  add column is_tapback boolean not null default false;

-- In a trigger and not a generated column, which would ask whoever writes for the right to call that function.
create or replace function automation.flag_tapback() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.is_tapback := new.direction = 'inbound' and automation.is_tapback(new.body);
  return new;
end;
$$;

create trigger messages_flag_tapback
  before insert or update of body, direction, is_tapback on ridgeline.messages
  for each row execute function automation.flag_tapback();

comment on column ridgeline.messages.is_tapback is
  'A reaction to another message, and no reply: sms_received does not fire.';
