-- An address is one address, whatever the program that it was copied from left around it.
begin;
select plan(84);

select is(automation.normalize_email(given), 'ann.o''neil+roof@example.com', 'is one address: ' || quote_literal(given))
from (values
  ('ann.o''neil+roof@example.com'), ('Ann.O''Neil+Roof@Example.COM'), (' ann.o''neil+roof@example.com'),
  (E'ann.o''neil+roof@example.com\n'), (E'ann.o''neil+roof@example.com\r\n'), (E'\tann.o''neil+roof@example.com\t '),
  (E'\u200Bann.o''neil+roof@example.com'), (E'ann.o''neil+roof@example.com\uFEFF'), (E'\uFEFF ann.o''neil+roof@example.com'),
  (E'ann.o''neil+roof\u200B@exam\u00ADple.com'), (E'\u202Aann.o''neil+roof@example.com\u202C'),
  (E'\u2066ann.o''neil+roof@example.com\u2069'), (E'\u00A0ann.o''neil+roof@example.com\u202F'),
  (E'ann.o''neil+roof@example.com\u2028'), (E'\u3000ann.o''neil+roof@example.com'), (E'ann.o''neil+roof@example.com\uFE0F'),
  ('mailto:ann.o''neil+roof@example.com'), ('MAILTO:Ann.O''Neil+Roof@example.com?subject=Hi&bcc=eve@example.com'),
  ('<ann.o''neil+roof@example.com>'), (' < mailto:ann.o''neil+roof@example.com > '),
  ('ann.o''neil+roof＠ｅｘａｍｐｌｅ．com')) as v (given);

select is(automation.normalize_email(given), wanted, given)
from (values
  ('a@b.co', 'a@b.co'), ('x_y-z!#$%&*/=?^`{|}~@mail.example-1.co.uk', 'x_y-z!#$%&*/=?^`{|}~@mail.example-1.co.uk'),
  ('me@3com.com', 'me@3com.com'), ('me@xn--bcher-kva.example', 'me@xn--bcher-kva.example'),
  ('info@россия.xn--p1ai', 'info@xn--h1alffa9f.xn--p1ai'), ('ann@bücher.example', 'ann@xn--bcher-kva.example'),
  ('Ann@BÜCHER.example', 'ann@xn--bcher-kva.example'), ('ann@例え。テスト', 'ann@xn--r8jz45g.xn--zckzah'), ('jürgen@example.com', 'jürgen@example.com'),
  (E'jose\u0301@example.com', E'jos\u00E9@example.com')) as v (given, wanted);

select is(automation.normalize_email(given), null, 'is not one address: ' || coalesce(quote_literal(given), 'nothing'))
from (values
  (null), (''), (' '), (E'\u200B'), ('ann'), ('@example.com'), ('ann@'), ('ann@example'), ('ann@example.'), ('ann@.com'),
  ('ann@example..com'), ('ann@example.c'), ('ann@10.0.0.1'), ('ann@[10.0.0.1]'), ('ann@example.123'), ('ann@-example.com'),
  ('ann@example-.com'), ('ann@exa_mple.com'), ('ann@example.com.'), ('.ann@example.com'), ('ann.@example.com'),
  ('a..b@example.com'), ('ann @example.com'), ('ann@ example.com'), ('ann smith@example.com'), ('ann@bob@example.com'),
  ('ann@example.com,bob@example.com'), ('ann@example.com, bob@example.com'), ('ann@example.com;bob@example.com'),
  ('ann@example.com bob@example.com'), (E'ann@example.com\nbob@example.com'), (E'ann@example.com\r\nBcc: eve@example.com'),
  (E'ann\n@example.com'), ('Ann <ann@example.com>'), ('"Ann"@example.com'), ('"a b"@example.com'), ('ann(home)@example.com'),
  ('ann@example.com (home)'), ('<ann@example.com> <bob@example.com>'), ('<ann@example.com'), ('ann@example.com>'),
  ('ann@example.com?bcc=eve@example.com'), ('mailto:ann@example.com,bob@example.com'), ('mailto:'), ('a\b@example.com'),
  ('ann@exam!ple.com'), ('ann@example.com/'), ('https://ann@example.com'),
  (repeat('a', 65) || '@example.com'), (repeat('a', 64) || '@' || repeat('b', 186) || '.com')) as v (given);

select is(automation.normalize_email(repeat('a', 64) || '@example.com'), repeat('a', 64) || '@example.com', 'sixty-four before the @ is the most');
select is(automation.normalize_email(automation.normalize_email(E' <MAILTO:Jose\u0301@Example.com> ')),
  automation.normalize_email(E' <MAILTO:Jose\u0301@Example.com> '), 'what is normal stays so');
select is(automation.visible_text(E' a\u00A0\u200Bb\r\n'), 'a b', 'a blank is a blank');

select * from finish();
rollback;
