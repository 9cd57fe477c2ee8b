-- What a stranger writes into a form ends up in an email to the office: it may be a link, never a script.
begin;
select plan(48);

create function pg_temp.render(template text, website text, more jsonb default '{}')
  returns table (rendered text, warnings jsonb)
  language sql
  as $$
    select r.rendered ->> 'html', r.warnings
    from automation.compile_template(jsonb_build_object('html', template)) as t,
      automation.render(t.compiled,
        jsonb_build_object('contact', jsonb_build_object('website', website) || more),
        '{"html_paths": ["html"]}') as r
    where t.problems = '[]'
  $$;

select is(rendered, '<a href="#">Site</a>', format('%s leads nowhere', website))
from unnest(array['javascript:alert(1)', 'JavaScript:alert(1)', ' javascript:alert(1)',
  E'java\tscript:alert(1)', E'java\nscript:alert(1)', E'\x01javascript:alert(1)', E'j\r\navascript:x',
  'vbscript:msgbox', 'data:text/html,<script>x</script>', 'DATA:text/html;base64,xx',
  'javascript://example.com/%0aalert(1)']) as website,
  pg_temp.render('<a href="{{contact.website}}">Site</a>', website);
select is(rendered, '<a href="' || automation.escape_html(website) || '">Site</a>', website || ' is a link')
from unnest(array['https://example.com/a?b=c&d=e', 'example.com', '/path', '#top', 'mailto:a@b.c', 'tel:+15125550100',
  'https://example.com/javascript:x', '/data:x', 'javascript', 'o''brien.com/?a=b', 'a&b', 'http://x/#:x']) as website,
  pg_temp.render('<a href="{{contact.website}}">Site</a>', website);
select is(rendered, regexp_replace(template, ' *[{][{].*[}][}]', '#'), template)
from unnest(array['<a href=''{{contact.website}}''>x</a>', '<a class="b" HREF = "{{contact.website}}">x</a>',
  '<img src="{{contact.website}}">', '<form action="{{contact.website}}">', '<button formaction="{{contact.website}}">',
  '<svg><a xlink:href="{{contact.website}}">x</a></svg>', '<a href="  {{contact.website}}">x</a>',
  E'<a\nhref="{{contact.website}}">x</a>']) as template,
  pg_temp.render(template, 'javascript:alert(1)');

select is(rendered, '<a href="#">x</a>', 'raw too')
from pg_temp.render('<a href="{{{contact.website}}}">x</a>', 'javascript:alert(1)');
select is(rendered, '<a href="#">x</a>', 'and raw with entities for letters')
from unnest(array['java&#115;cript:alert(1)', 'javascript&colon;alert(1)', 'java&Tab;script:x', '&#x6a;avascript:x'])
  as website, pg_temp.render('<a href="{{{contact.website}}}">x</a>', website);
select is(rendered, '<a href="https://a.b/?c=d&e=f">x</a>', 'but a raw link stays')
from pg_temp.render('<a href="{{{contact.website}}}">x</a>', 'https://a.b/?c=d&e=f');

select is(rendered, '<a href="#">x</a>', 'put together from parts: ' || template)
from unnest(array['<a href="{{contact.a}}{{contact.website}}">x</a>',
  '<a href="java{{contact.website}}">x</a>',
  '<a href="{{#if contact.a}}{{contact.a}}{{/if}}{{contact.website}}">x</a>',
  '<a href="{{#each contact.parts}}{{this}}{{/each}}">x</a>']) as template,
  pg_temp.render(template, 'script:alert(1)', '{"a": "java", "parts": ["java", "script:alert(1)"]}');
select is(rendered, '<a href="#">1</a><a href="http://b">2</a>', 'each link of a list is looked at by itself')
from pg_temp.render('{{#each contact.links}}<a href="{{this}}">{{@number}}</a>{{/each}}', '',
  '{"links": ["javascript:x", "http://b"]}');
select is(rendered, '<a href="https://x.com/?to=javascript:alert(1)">x</a>', 'what comes later in an address is not its kind')
from pg_temp.render('<a href="https://x.com/?to={{contact.website}}">x</a>', 'javascript:alert(1)');
select is(rendered, '<p>javascript:alert(1)</p>', 'words stay words')
from pg_temp.render('<p>{{contact.website}}</p>', 'javascript:alert(1)');
select is(warnings #>> '{0,code}', 'unsafe_link', 'the step says so')
from pg_temp.render('<a href="{{contact.website}}">x</a>', 'javascript:alert(1)');
select is(r.rendered ->> 'text', 'href="javascript:alert(1)"', 'plain text has no links')
from automation.compile_template('{"text": "href=\"{{contact.website}}\""}') as t,
  automation.render(t.compiled, '{"contact": {"website": "javascript:alert(1)"}}', '{"html_paths": ["html"]}') as r;

select is(rendered, '<a href="?q=a%20b%26c%3D%C3%A9%2F%F0%9F%91%8D">x</a>', 'url_encode')
from pg_temp.render('<a href="?q={{contact.website | url_encode}}">x</a>', 'a b&c=é/👍');
select is(rendered, '<p>Hi &lt;b&gt;<br>there<br>you</p>', 'nl2br escapes first')
from pg_temp.render('<p>{{contact.website | nl2br}}</p>', E'Hi <b>\nthere\r\nyou');

select * from finish();
rollback;
