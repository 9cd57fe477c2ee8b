begin;
select plan(32);

-- A template that cannot be parsed is refused with the position of the error.
select is(p.position, at, format('%s: %s', template, p.problem))
from (values
  ('{{', 1),
  ('Hi {{ contact.first_name', 4),
  ('Hi {{ contact.first_name }', 26),
  ('{{}}', 1),
  ('{{ contact..name }}', 11),
  ('{{ .name }}', 4),
  ('{{ contact.name contact.stage }}', 17),
  ('{{ contact.name | }}', 17),
  ('{{ contact.name | shout }}', 19),
  ('{{ contact.name | upper: }}', 19),
  ('{{ contact.name | upper: 5 }}', 19),
  ('{{ contact.name | default }}', 19),
  ('{{ contact.name | default: "a", "b" }}', 19),
  ('{{ contact.name | truncate: "a" }}', 19),
  ('{{ contact.name | formatDate: "QQQ" }}', 19),
  ('{{ contact.name | formatDate: "yyyy", "Mars/Olympus" }}', 19),
  ('{{ contact.name | default: "a }}', 28),
  ('{{{ contact.name }}', 18),
  ('é{{#if contact.name}}x', 4),
  ('x{{/if}}', 2),
  ('x{{else}}', 2),
  ('{{#if contact.a}}{{/unless}}', 18),
  ('{{#if contact.a}}{{else}}{{else}}{{/if}}', 26),
  ('{{#if}}x{{/if}}', 1),
  ('{{#if contact.a resembles "b"}}x{{/if}}', 1),
  ('{{#if contact.a matches "("}}x{{/if}}', 1),
  ('{{#if contact.a equals "x"}}{{/if x}}', 29),
  ('{{#every contact.tags}}x{{/every}}', 1),
  ('{{! a note', 1)
) as templates (template, at), automation.parse_template(template) as p;

select is(problems, '[{"path": "steps.1.config.to.0", "position": 5, "severity": "error",
    "code": "invalid_template", "message": "there is nothing between these braces (character 5)",
    "hint": "For example {{ contact.first_name | default: \"there\" }}; \\{{ is two braces."}]',
  'a problem carries its path and position')
from automation.compile_template('{"to": ["to: {{}}"], "body": "{{contact.x}}"}', 'steps.1.config');
select is(jsonb_array_length(problems), 2, 'every template that is wrong is reported')
from automation.compile_template('{"a": "{{", "b": {"c": ["{{/if}}"]}}');
select is(problems, '[]', 'and none where all is well')
from automation.compile_template('{"a": 5, "b": null, "c": "}}", "d": ["{{contact.x}}"]}');

select * from finish();
rollback;
