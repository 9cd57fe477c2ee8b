-- A contractor lists what is on an estimate, or which crew comes on which day.
begin;
select plan(30);

create function pg_temp.render(template text, html boolean default false, more jsonb default '{}')
  returns table (rendered text, warnings jsonb)
  language sql
  as $$
    select r.rendered ->> 'body', r.warnings
    from automation.compile_template(jsonb_build_object('body', template)) as t,
      automation.render(t.compiled, '{
        "contact": {"first_name": "Ann", "tags": ["roof", "<b>"], "none": null, "empty": [], "one": "siding",
          "stage": "lead"},
        "project": {"items": [{"name": "Shingles", "price": 1200.50, "parts": ["nails", "felt"]},
          {"name": "Gutter", "price": 80, "parts": []}]},
        "trigger": {"record": {"name": "record"}}}'::jsonb || more,
        case when html then '{"html_paths": ["body"]}' else '{}'::jsonb end) as r
    where t.problems = '[]'
  $$;
create function pg_temp.text(template text, html boolean default false) returns text
  language sql as $$ select rendered from pg_temp.render(template, html) $$;

select is(pg_temp.text(template), rendered, template)
from (values
  ('{{#each project.items as item}}{{item.name}} {{item.price}}; {{/each}}', 'Shingles 1200.50; Gutter 80; '),
  ('{{#each contact.tags}}<{{this}}>{{/each}}', '<roof><<b>>'),
  ('{{#each project.items}}{{@number}}/{{@index}} {{this.name}}{{#unless @last}}, {{/unless}}{{/each}}.',
    '1/0 Shingles, 2/1 Gutter.'),
  ('{{#each project.items}}{{#if @first}}First: {{else}}Then: {{/if}}{{this.name}} {{/each}}',
    'First: Shingles Then: Gutter '),
  ('{{#each contact.empty}}x{{else}}nothing yet{{/each}}.', 'nothing yet.'),
  ('{{#each contact.none}}x{{/each}}none', 'none'),
  ('{{#each contact.missing}}x{{else}}{{contact.first_name}}{{/each}}', 'Ann'),
  ('{{#each contact.tags}}{{this}}{{else}}x{{/each}}!', 'roof<b>!'),
  ('{{#each contact.one as trade}}{{trade}}{{/each}}', 'siding'),
  ('{{#each project.items as item}}{{item.name}}: {{#each item.parts as part}}{{part}} for {{item.name}}'
    '{{else}}no parts{{/each}}. {{/each}}', 'Shingles: nails for Shingles' || 'felt for Shingles. Gutter: no parts. '),
  ('{{#each project.items as item}}{{#each item.parts}}{{this}}{{/each}}-{{this.name}} {{/each}}',
    'nailsfelt-Shingles -Gutter '),
  ('{{#each project.items as item}}{{item.name | upper | truncate: 4, ""}}{{contact.first_name}} {{name}}{{/each}}',
    'SHINAnn recordGUTTAnn record'),
  ('{{#each project.items as item}}{{#if item.price > 100}}{{item.price | formatCurrency}}{{/if}}{{/each}}',
    '$1,200.50'),
  ('{{#each project.items as item}}{{#if contact.stage == "lead"}}{{#if item.name == this.name}}y{{/if}}{{/if}}{{/each}}',
    'yy'),
  ('{{#if contact.tags}}{{#each contact.tags}}{{this}}{{/each}}{{else}}none{{/if}}', 'roof<b>'),
  ('{{#each project.items as item}}{{item.missing | default: item.name}}{{/each}}', 'ShinglesGutter'),
  ('{{item.name}}{{#each project.items as item}}{{/each}}{{this}}', ''),
  ('{{#each project.items as gadget}}{{gadget.parts}};{{/each}}', 'nails, felt;;')
) as templates (template, rendered);

select is(pg_temp.text('<ul>{{#each contact.tags}}<li>{{this}}</li>{{/each}}</ul>', true),
  '<ul><li>roof</li><li>&lt;b&gt;</li></ul>', 'what comes from a list is escaped in HTML');
select is(pg_temp.text('{{#each contact.tags}}{{{this}}}{{/each}}', true), 'roof<b>', 'three braces do not escape');
select is(w.warnings -> 0 ->> 'variable', 'item.size', 'a value that an item lacks leaves a warning')
from pg_temp.render('{{#each project.items as item}}{{item.size}}{{/each}}') as w;

-- Nobody writes a book by listing things.
create temp table many as
  select jsonb_build_object('list', (select jsonb_agg(n) from generate_series(1, 2500) as n),
    'long', (select jsonb_agg(repeat('x', 50000)) from generate_series(1, 100))) as contact;
select is(
  array[(length(r.rendered))::text, r.warnings #>> '{0,code}', r.warnings #>> '{0,message}'],
  '{1000,too_many_items,contact.list has too many items for one text: 1500 of 2500 are left out}',
  'a text takes a thousand items, and says what it left out')
from many, pg_temp.render('{{#each contact.list}}x{{/each}}', false, to_jsonb(many)) as r;
select ok(length(r.rendered) <= 1000 and r.warnings @> '[{"code": "too_many_items"}]',
  'counted over lists in lists')
from many, pg_temp.render(
  '{{#each contact.list}}{{#each contact.list}}x{{/each}}{{/each}}', false, to_jsonb(many)) as r;
select ok(length(r.rendered) between 200000 and 260000 and r.warnings @> '[{"code": "too_many_items"}]',
  'a text that is long takes no more')
from many, pg_temp.render('{{#each contact.long}}{{this}}{{/each}}', false, to_jsonb(many)) as r;
select ok(jsonb_array_length(r.warnings) <= 60, 'and a thousand items without a value are not a thousand warnings')
from many, pg_temp.render('{{#each contact.list}}{{this.name}}{{/each}}', false, to_jsonb(many)) as r;

select is(p.problem, expected, template)
from (values
  ('{{#each "text"}}x{{/each}}', 'a list is needed after #each'),
  ('{{#each contact.tags as}}x{{/each}}', '#each takes a list, and perhaps: as name'),
  ('{{#each contact.tags as contact}}x{{/each}}', 'contact cannot be the name of an item'),
  ('{{#each contact.tags}}x{{else if contact.a}}y{{/each}}', 'the else of an #each takes no test')
) as templates (template, expected), automation.parse_template(template) as p;

select is(automation.template_roots(t.compiled), '{contact,project}', 'an item is no part of the context')
from automation.compile_template(
  '"{{#each project.items as item}}{{item.name}}{{#if item.a == contact.b}}{{/if}}{{this | default: item.c}}{{/each}}"') as t;

select * from finish();
rollback;
