begin;
select plan(38);

create function pg_temp.render(config jsonb, options jsonb default '{}')
  returns table (rendered jsonb, warnings jsonb)
  language sql
  as $$
    select r.rendered, r.warnings
    from automation.compile_template(config) as t, automation.render(t.compiled, '{
      "contact": {"first_name": "Ann", "stage": "Lead", "score": 0, "none": null, "hostile": "{{x}}",
        "html": "<b>\"Tom\" & ''Jerry''</b>", "tags": ["a", "<b>"], "object": {"k": [1, "<"]}},
      "project": {"value": 12000.50, "paid": true},
      "trigger": {"record": {"status": "won"}},
      "steps": {"quote": {"items": [{"n": 1}, {"n": 2}]}}}', options) as r
    where t.problems = '[]'
  $$;
create function pg_temp.text(template text, html boolean default false) returns text
  language sql
  as $$
    select rendered ->> 'body' from pg_temp.render(
      jsonb_build_object('body', template),
      case when html then '{"html_paths": ["body"]}' else '{}'::jsonb end)
  $$;

select is(pg_temp.text(template), rendered, template)
from (values
  ('nothing to do', 'nothing to do'),
  ('Hi {{contact.first_name}}!', 'Hi Ann!'),
  ('Hi {{ contact.none }}.', 'Hi .'),
  ('{{ contact.first_name }}{{contact.stage}}', 'AnnLead'),
  ('{{ status }} {{ contact["stage"] }}', 'won Lead'),
  ('{{ steps.quote.items[1].n }}, {{steps.quote.items.0.n}}', '2, 1'),
  ('tags: {{ contact.tags }}', 'tags: a, <b>'),
  ('object: {{ contact.object }}', 'object: {"k": [1, "<"]}'),
  ('{{ contact.hostile }} stays', '{{x}} stays'),
  ('\{{ not.a.variable }}', '{{ not.a.variable }}'),
  ('a{{! a note | to: self }}b', 'ab'),
  ('{{! nothing but a note }}', ''),
  ('{ contact.first_name } }}', '{ contact.first_name } }}'),
  ('{{#if contact.first_name}}Hi {{contact.first_name}}{{else}}Hello{{/if}},', 'Hi Ann,'),
  ('{{#if contact.none}}Hi{{else}}Hello{{/if}},', 'Hello,'),
  ('{{#if contact.score}}{{contact.score}}{{else}}no score{{/if}}', 'no score'),
  ('{{#unless contact.none}}nobody{{/unless}}', 'nobody'),
  ('{{#if project.value > 10000}}big{{/if}}', 'big'),
  ('{{#if contact.stage == "won"}}W{{else if contact.stage in "lead", "new"}}L{{else}}?{{/if}}', 'L'),
  ('{{#if contact.none is_empty}}{{#if project.paid}}paid{{else}}open{{/if}}{{/if}}', 'paid'),
  ('{{#if contact.first_name == contact.stage}}same{{else}}other{{/if}}', 'other'),
  ('{{#if contact.none}}{{/if}}', '')
) as templates (template, rendered);

-- HTML.
select is(pg_temp.text('<p>{{contact.html}}</p>', true),
  '<p>&lt;b&gt;&quot;Tom&quot; &amp; &#39;Jerry&#39;&lt;/b&gt;</p>', 'HTML escapes what it is given');
select is(pg_temp.text('<p>{{{contact.html}}}</p>', true), '<p><b>"Tom" & ''Jerry''</b></p>',
  'three braces do not escape');
select is(pg_temp.text('{{contact.html}}', true), '&lt;b&gt;&quot;Tom&quot; &amp; &#39;Jerry&#39;&lt;/b&gt;',
  'nor can a whole value slip through');
select is(pg_temp.text('{{contact.object}}', true), '{&quot;k&quot;: [1, &quot;&lt;&quot;]}',
  'an object is escaped text in HTML');
select is(pg_temp.text('{{contact.html}} in plain text'), '<b>"Tom" & ''Jerry''</b> in plain text',
  'nothing else is ever escaped');
select is(rendered, '{"mail": {"html": "&lt;b&gt;&quot;Tom&quot; &amp; &#39;Jerry&#39;&lt;/b&gt;",
    "text": "<b>\"Tom\" & ''Jerry''</b>"}}', 'only the paths that are HTML escape')
from pg_temp.render('{"mail": {"html": "{{contact.html}}", "text": "{{contact.html}}"}}',
  '{"html_paths": ["mail.html"]}');

-- Types.
select is(rendered, '{"a": 12000.50, "b": true, "c": ["a", "<b>"], "d": {"k": [1, "<"]}, "e": null,
    "f": "12000.50", "g": [{"h": 0}], "i": "as it is"}', 'a whole value keeps its type')
from pg_temp.render('{"a": "{{project.value}}", "b": "{{ project.paid }}", "c": "{{contact.tags}}",
  "d": "{{contact.object}}", "e": "{{contact.none}}", "f": "{{project.value}}{{! as text }}{{contact.none}}",
  "g": [{"h": "{{contact.score}}"}], "i": "as it is"}');
select is(rendered, '"Hi Ann"', 'a text alone is a configuration too')
from pg_temp.render('"Hi {{contact.first_name}}"');
select is(rendered, '{"{{contact.first_name}}": 5}', 'keys are not templates')
from pg_temp.render('{"{{contact.first_name}}": 5}');

-- Warnings.
select is(warnings, '[{"path": "to.0", "code": "missing_variable", "variable": "contact.none",
  "message": "contact.none has no value"}]', 'a missing variable leaves a warning with its path')
from pg_temp.render('{"to": ["{{contact.none}}"]}');
select is(warnings, '[]', 'a default leaves none')
from pg_temp.render('{"to": "{{contact.none | default: 1}} {{contact.score}}"}');
select is(warnings, '[]', 'nor does the branch that was not taken')
from pg_temp.render('{"to": "x{{#if contact.none}}{{contact.none}}{{/if}}"}');
select is(rendered, null, 'a workflow can ask for failure instead')
from pg_temp.render('{"to": "{{contact.none}}"}', '{"on_missing": "fail"}');
select isnt(rendered, null, 'which only a missing variable is')
from pg_temp.render('{"to": "{{contact.first_name | formatDate}}"}', '{"on_missing": "fail"}');

select is(automation.template_roots(t.compiled), '{contact,steps,tenant,user}',
  'the parts of the context that a configuration needs')
from automation.compile_template('{"a": "{{contact.x}} {{contact.y | default: tenant.name}}",
  "b": ["{{#if steps.a.b == user.name}}x{{/if}}"]}') as t;
select is(
  (select r.rendered from automation.render(t.compiled, null, null) as r),
  '{"a": " ", "b": null}', 'without a context everything is missing, and nothing is raised')
from automation.compile_template('{"a": "{{contact.x}} {{contact.y}}", "b": "{{contact.z}}"}') as t;

select * from finish();
rollback;
