-- Who asks to be left alone is, in any of the words that people use; who asks for something else is not.
begin;
\ir ../foundation/story.psql
select plan(287);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset

-- Said in a message that comes in; nothing but the message decides.
create function pg_temp.stopped(body text) returns boolean
  language plpgsql
  as $$
declare
  stopped boolean;
begin
  insert into ridgeline.messages (tenant_id, direction, from_number, body)
  values ('00000000-0000-0000-0000-00000000000a', 'inbound', '+15125550100', body);
  stopped := exists (select from ridgeline.suppressions);
  delete from ridgeline.suppressions;
  return stopped;
end;
$$;

select ok(pg_temp.stopped(body), 'a stop: ' || body)
from (values
  -- Words that always count, whatever stands around them.
  ('STOP'), ('stop'), (' Stop. '), ('STOP!!!'), ('stop!'), ('"STOP"'), ('''stop'''), ('(stop)'), ('*STOP*'), ('stop...'), (E'STOP\n'), (E'\n\nStop'),
  ('STOP STOP'), ('stop stop stop'), ('Stop, stop!'), ('S.T.O.P.'), ('STOP 🛑'), ('🛑🛑 stop 🛑'), ('STOP 😡😡'), (E'STOP\uFE0F'), (E'\u200BSTOP'), (E'\uFEFFStop'),
  (E'\u202ASTOP\u202C'), (E'STOP\u00A0'), ('ＳＴＯＰ'), ('ｓｔｏｐ'), ('𝐒𝐓𝐎𝐏'), ('Ⓢⓣⓞⓟ'), ('stóp'), ('stopall'), ('Stop all'), ('UNSUBSCRIBE'), ('unsub'), ('cancel'),
  ('Cancel.'), ('END'), ('quit'), ('Revoke'), ('opt-out'), ('OPT OUT'), ('Opt out!'), ('optout'), ('OptOut please'),
  -- With politeness, and without.
  ('pls stop'), ('plz stop'), ('Please stop'), ('please stop!'), ('Stop please'), ('stop pls'), ('Stop, thanks'), ('Stop. Thank you.'), ('ok stop'), ('No, stop'), ('Stop now'),
  ('stop it'), ('Stop this'), ('STOP ALREADY'), ('stop right now'), ('Please stop, thank you'), ('Hi, please stop'), ('I said stop'), ('unsubscribe please'), ('please cancel'),
  -- Sentences.
  ('Please stop texting me'), ('Stop texting me please'), ('stop texting'), ('stop messages'), ('stop all messages'), ('Stop sending me messages'), ('stop sending these texts'),
  ('stop contacting me'), ('Stop contacting me!'), ('stop messaging my phone'), ('stop sms'), ('STOP SPAM'), ('stop spamming me'), ('Stop bothering me'), ('stop calling me'),
  ('Stop texting this number'), ('quit texting me'), ('Can you stop texting me'), ('Could you please stop texting me?'), ('will you stop sending me texts'), ('you need to stop texting me'),
  ('I want to opt out'), ('i would like to opt out'), ('I''d like to opt out of these texts'), ('opt me out'), ('please opt me out of your messages'), ('opting out'), ('I am opting out'),
  ('unsubscribe me'), ('unsubscribe me from this list'), ('Please unsubscribe me from your list'), ('unsubscribe from this'), ('I want to unsubscribe'), ('remove me'), ('remove me from your list'),
  ('Please remove me from your mailing list.'), ('remove my number'), ('Remove this number from your list'), ('take me off your list'), ('Take me off the list please'),
  ('get me off this list'), ('delete my number'), ('lose my number'), ('I want to be removed from your list'), ('do not text me again'), ('Don''t text me again'), ('don’t text me'),
  ('dont text me anymore'), ('Do not contact me'), ('do not contact me again'), ('don''t message me'), ('never text me again'), ('Don''t ever text me'), ('do not call me again'),
  ('no more texts'), ('No more texts please'), ('no more messages'), ('I don''t want any more texts'), ('I do not want to receive these messages'), ('I no longer wish to receive texts'),
  ('i dont want texts'), ('I don''t want you to text me'), ('end all messages'), ('cancel texts'), ('I revoke my consent'), ('leave me alone'), ('Not interested, stop texting me'),
  ('I''m not interested please take me off your list'), ('wrong number stop texting'), ('I already told you to stop texting me'),
  -- One sentence of several.
  ('Stop. I already hired someone.'), ('I already have a roofer. Please stop texting me.'), ('Stop texting me! Who is this?'), ('Not interested. STOP'), ('Who is this? Remove me from your list.'),
  (E'We went with somebody else\nplease stop'),
  -- In Spanish and French.
  ('PARAR'), ('parar por favor'), ('Alto'), ('ALTO!'), ('¡Basta!'), ('cancelar'), ('Cancelar suscripción'), ('BAJA'), ('Quiero darme de baja'), ('No me manden más mensajes'), ('no más mensajes'),
  ('No quiero recibir más mensajes'), ('dejen de mandarme mensajes'), ('Quítenme de la lista'), ('ARRÊT'), ('arrêt'),
  -- What telephones and people put under it.
  (E'Stop\n\nSent from my iPhone'), (E'STOP\nSent from my Galaxy'), (E'Stop\n--\nMaria Lopez\nApex'), (E'Stop\n\nGet Outlook for iOS'), (E'Parar\n\nEnviado desde mi iPhone'), ('STOP - Maria'),
  ('Stop -Maria'), ('STOP — Maria Lopez'), (E'Stop\nMaria'), (E'Stop\n\nMaria Lopez\n(512) 555-0100'), (E'STOP\n> Hi Maria, your estimate is ready'),
  (E'Unsubscribe\n\nOn Mon, Nov 23, 2026 at 9:00 AM Apex wrote:\n> Hi')) as v (body);

select ok(not pg_temp.stopped(body), coalesce('no stop: ' || body, 'nothing said'))
from (values
  (null), (''), (' '), ('👍'), ('🛑'), ('yes'), ('Y'), ('no'), ('No thanks'), ('HELP'), ('INFO'), ('START'), ('UNSTOP'), ('nonstop'), ('Stopwatch'), ('stopped'), ('unstoppable'), ('ending'),
  ('Please stop by on Tuesday'), ('Please stop by at 5'), ('Can you stop the leak?'), ('can you stop'), ('can you stop at the store'), ('Stop by tomorrow'), ('stop at the gate'),
  ('Stop in whenever'), ('I''ll stop over at noon'), ('Could you stop on your way?'), ('When will the rain stop?'), ('the leak won''t stop'), ('It stopped'), ('The bus stop is next door'),
  ('Don''t stop'), ('dont stop!'), ('don’t stop'), ('do not stop'), ('Never stop'), ('Please don''t stop texting me'), ('don''t stop sending updates'), ('no need to stop'), ('we can''t stop'),
  ('end of the week?'), ('end of the day works'), ('The end is near'), ('at the end'), ('end unit'), ('Cancel appointment'), ('Cancel my 3pm'), ('Cancel my appointment on Friday please'),
  ('cancel Friday'), ('Cancel - Friday'), ('please cancel the order'), ('I want to cancel'), ('I need to cancel my visit'), ('can I cancel?'), ('Cancel. I will call to reschedule.'), ('cancel that'), ('Cancel it please'),
  ('quit smoking'), ('quit claim deed'), ('I quit my job'), ('revoke the permit'), ('opt for the metal roof'), ('How do I opt out?'), ('I did not opt out'), ('take me out to the roof'), ('take me off guard'),
  ('remove the old shingles'), ('Remove me last'), ('Please remove the dumpster'), ('delete the photo'), ('I didn''t get your text'), ('did not receive your message'), ('I don''t have your number'), ('I never got the message'),
  ('I don''t see any texts'), ('I don''t text, call me'), ('Don''t call me, text me'), ('Stop calling me. Text me instead.'), ('Don''t call. Text is fine.'), ('I don''t want your services'), ('I don''t need it'),
  ('no more leaks'), ('No more questions'), ('no more, we are good'), ('Did you say stop?'), ('He said "stop texting me" and laughed'), ('Liked “Reply STOP to opt out”'), ('Reply STOP to unsubscribe'),
  ('Text STOP to end'), ('Hi! This is Apex. Reply STOP to opt out.'), (E'Sounds good\n> Reply STOP to opt out'), (E'Yes\n\nOn Mon, Apex wrote:\nSTOP'), ('para mañana'), ('La presión es baja'), ('alta y baja'),
  ('¿Puede parar aquí?'), ('no pare'), ('no parar'), ('No cancelar'), ('Stop sign on the corner'), ('leave the key')) as v (body);

-- Back in, and help: the word alone, whatever stands around it.
select ok(automation.is_start_request(body), 'a start: ' || body)
from (values ('START'), ('start!'), (' Unstop. '), ('ＳＴＡＲＴ'), ('"start"'), (E'Start\n\nSent from my iPhone'), ('START 👍')) as v (body);
select ok(not automation.is_start_request(body), coalesce('no start: ' || body, 'nothing is no start'))
from (values ('Yes'), ('start on Monday'), ('Can you start?'), ('restart'), ('')) as v (body);
select ok(automation.is_help_request(body), 'asks for help: ' || body) from (values ('HELP'), ('help?'), ('Info'), ('¡Ayuda!')) as v (body);
select ok(not automation.is_help_request(body), 'asks for no help: ' || body) from (values ('Help me with the roof'), ('')) as v (body);

select * from finish();
rollback;
