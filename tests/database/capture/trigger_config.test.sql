-- trigger_config narrows what a workflow listens to.
begin;
\ir ../foundation/story.psql
select plan(40);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
create function pg_temp.listen(event text, config jsonb) returns uuid
  language sql
  as $$ select pg_temp.workflow('00000000-0000-0000-0000-00000000000a', event, config) $$;

-- New contacts.
create temp table lead (config jsonb, workflow uuid, fires bigint, why text);
insert into lead
select config::jsonb, pg_temp.listen('contact_created', config::jsonb), fires, why
from (values
  ('{"type": "customer"}', 0, 'another value'),
  ('{"type": "LEAD"}', 0, 'equality minds case'),
  ('{"type": null}', 0, 'null is not a lead'),
  ('{"type": ["customer", "partner"]}', 0, 'a list without the value'),
  ('{"type": []}', 0, 'an empty list'),
  ('{"type": "lead", "source": "web", "stage": "quoted"}', 0, 'all keys must hold'),
  ('{"lead_score": "42"}', 0, 'a number is not a text'),
  ('{"lead_score": 41}', 0, 'another number'),
  ('{"assigned_to": "11111111-1111-1111-1111-111111111111"}', 0, 'another person'),
  ('{"custom_fields": {"roof": {"pitch": 9}}}', 0, 'a nested value that differs'),
  ('{"custom_fields": {"gutter": "copper"}}', 0, 'a nested key that is missing'),
  ('{"source": ["web", "phone"], "city": ["Dallas"]}', 0, 'every list must hold its value'),
  ('{}', 1, 'nothing to narrow'),
  ('{"type": "lead"}', 1, 'equality on the record'),
  ('{"type": "lead", "source": "web"}', 1, 'two of them'),
  ('{"type": ["customer", "lead"]}', 1, 'a list'),
  ('{"source": ["web", "phone"], "city": ["Dallas", "Austin"]}', 1, 'two lists'),
  ('{"lead_score": 42}', 1, 'a number'),
  ('{"lead_score": 42.0}', 1, 'which is the same with a fraction of nothing'),
  ('{"lead_score": [1, 42]}', 1, 'a number in a list'),
  ('{"company": null}', 1, 'null means there is none'),
  ('{"company": [null, "Lee"]}', 1, 'null in a list too'),
  ('{"custom_fields": {"roof": {"pitch": 8}}}', 1, 'a nested value'),
  ('{"custom_fields": {"roof": {"kind": "tile", "pitch": 8}, "urgent": true}}', 1, 'several nested')
) as v (config, fires, why);
insert into public.contacts (tenant_id, first_name, source, city, lead_score, custom_fields)
values (:'apex', 'Maria', 'web', 'Austin', 42,
  '{"roof": {"pitch": 8, "kind": "tile", "age": 20}, "urgent": true}');
select is(pg_temp.runs(workflow), fires, why || ': ' || config::text) from lead;

-- Changes.
create temp table change (event text, config jsonb, workflow uuid, expected text);
insert into change
select event, config::jsonb, pg_temp.listen(event, config::jsonb), expected
from (values
  ('stage_changed', '{"from": "new", "to": "won"}', null),
  ('stage_changed', '{"from": "quoted"}', '3'),
  ('stage_changed', '{"to": "won"}', '3'),
  ('stage_changed', '{"to": ["won", "quoted"], "from": ["new", "quoted"]}', '2 3'),
  ('stage_changed', '{"stage": "quoted"}', '2'),
  ('stage_changed', '{"from_stage": "new", "to_stage": "quoted"}', '2'),
  ('stage_changed', '{"type": "customer"}', '3'),
  ('field_changed', '{"field": "lead_score", "to": 0}', '1'),
  ('field_changed', '{"field": "lead_score", "from": [null, 0]}', '4'),
  ('field_changed', '{"field": "company", "to": null}', null),
  ('contact_updated', '{"stage": "won"}', '3 4')
) as v (event, config, expected);
create function pg_temp.step(n integer, assignment text) returns void
  language plpgsql
  as $$
begin
  execute 'update public.contacts set ' || assignment;
  insert into happened select n, e.id from ridgeline.workflow_executions as e
  where not exists (select from happened as h where h.execution_id = e.id);
end;
$$;
create temp table happened (n integer, execution_id uuid);
select pg_temp.step(1, 'lead_score = 0');
select pg_temp.step(2, $$stage = 'quoted'$$);
select pg_temp.step(3, $$stage = 'won', type = 'customer'$$);
select pg_temp.step(4, $$lead_score = 7$$);
select is(
  (select string_agg(h.n::text, ' ' order by h.n) from happened as h
   join ridgeline.workflow_executions as e on e.id = h.execution_id
   where e.workflow_id = c.workflow and e.trigger_data ? 'old'), c.expected, c.event || ' ' || c.config)
from change as c;

-- Another table's field.
select pg_temp.listen('field_changed', '{"entity": "project", "field": "value", "to": 100}') as w \gset
insert into public.projects (tenant_id, value) values (:'apex', 5);
update public.projects set value = 99;
update public.projects set value = 100.00;
select is(pg_temp.runs(:'w'), 1::bigint, 'a field of a project');

-- The words that earlier engines used.
create temp table legacy (config jsonb, workflow uuid, fires bigint);
insert into legacy
select config::jsonb, pg_temp.listen('project_status_changed', config::jsonb), fires
from (values ('{"from_status": "open", "to_status": "done"}', 1), ('{"from_status": "lost"}', 0),
  ('{"status": "done"}', 1), ('{"status": ["lost", "open"]}', 0)) as v (config, fires);
update public.projects set status = 'done';
select is(pg_temp.runs(workflow), fires, 'project_status_changed ' || config::text) from legacy;

select * from finish();
rollback;
