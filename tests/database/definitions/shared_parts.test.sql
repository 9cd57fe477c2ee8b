-- A text or a condition that stands in many steps is compiled once: each step holds what it would hold alone.
begin;
\ir ../foundation/story.psql
select plan(2);

insert into public.tenants (id, name) values ('00000000-0000-0000-0000-00000000005a', 'Apex Roofing');
insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
values ('00000000-0000-0000-0000-00000000005a', '00000000-0000-0000-0000-0000000005a1', 'Storm', 'contact_created');

insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type, step_config, conditions)
select '00000000-0000-0000-0000-00000000005a', '00000000-0000-0000-0000-0000000005a1', row_number() over (),
  's' || row_number() over (), g.type, g.config, g.conditions
from generate_series(1, 2), (values
  ('create_task', '{"title": "Call {{contact.first_name}}"}'::jsonb, '[]'::jsonb),
  ('create_task', '{"title": "Call {{contact.first_name"}',
    '{"field": "contact.type", "operator": "equals", "value": "lead"}'),
  ('create_task', '{"title": "{{ nope | nope }}", "description": "{{contact.first_name}}"}', '{"any": []}'),
  ('create_task', '{"title": "Call"}', '[{"field": "contact.type", "operator": "equals", "value": ""},
    {"any": [{"field": "contact.type", "operator": "oops"},
    {"not": {"field": "contact.stage", "operator": "is_empty"}}]}]'),
  ('create_task', '{"title": "Call"}', '[{"field": "contact.type", "operator": "equals", "value": "x",
    "logic": "or", "y": 1},
    {"field": "contact.stage", "operator": "equals", "value": {"field": "contact.type"}}]'),
  ('create_task', '{"title": "Call"}', '5'),
  ('create_task', '{"title": "Call"}', '{"all": []}'),
  ('conditional', '{"conditions": [{"field": "contact.type", "operator": "equals", "value": "lead"}]}', '[]'),
  ('conditional', '{"conditions": {"any": []}}', '[]')) as g (type, config, conditions);

create temporary table whole as
select (c.c).plan, (c.c).problems
from (select automation.compile_steps(w) as c from ridgeline.workflows as w
  where w.id = '00000000-0000-0000-0000-0000000005a1') as c;
create temporary table alone as
select s.step_key, c.compiled, c.problems
from ridgeline.workflow_steps as s,
  automation.compile_step(s, s.step_key, format('steps[%s]', s.step_order - 1)) as c
where s.workflow_id = '00000000-0000-0000-0000-0000000005a1';

select is(s.value, a.compiled, 'every step is compiled as it is alone')
from (
  select jsonb_object_agg(e.key, e.value - '{next,place,branches}'::text[]) as value
  from whole as w, jsonb_each(w.plan -> 'steps') as e
) as s, (select jsonb_object_agg(a.step_key, a.compiled) as compiled from alone as a) as a;

select is(w.problems, (
    select jsonb_agg(p.problem order by (substring(a.step_key from '[0-9]+'))::int, p.place)
    from alone as a, jsonb_array_elements(a.problems) with ordinality as p (problem, place)),
  'and is told what it would be told alone, by its own place')
from whole as w;

select * from finish();
rollback;
