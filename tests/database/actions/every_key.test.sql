-- Whatever a record holds, in whatever setting of whatever step: the dry run says what the run does, and a text
-- arrives as a text.
begin;
\ir ../foundation/story.psql
select plan(4);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing', gen_random_uuid()) as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
update public.contacts set email = 'maria@example.com', phone = '+15125550100',
  custom_fields = '{"id": 7615917337495251231, "price": 1.10, "yes": true, "none": null, "blank": " ", "text": "Roof, Inc.\nline",
    "list": ["roof", 5, null], "deep": [{"a": 1}], "object": {"a": 1}, "date": "2026-12-01", "url": "https://x.example/a"}'
where id = :'maria';

-- Every setting of every step that a template may stand in, with every type.
create temporary table tried as
select row_number() over () as number, t.name as step_type, p.key, v.key as kind, v.value,
  -- A project of one key is made once: each tries one of its own.
  (t.config_schema #> '{examples,0}')
    || case t.name when 'create_project' then jsonb_build_object('key', concat_ws(' ', p.key, v.key)) else '{}' end
    || jsonb_build_object(p.key, format('{{contact.custom_fields.%s}}', v.key)) as config,
  p.value as schema, gen_random_uuid() as workflow_id
from automation.step_types as t
cross join lateral jsonb_each(t.config_schema -> 'properties') as p
cross join (select c.custom_fields from public.contacts as c where c.first_name = 'Maria') as c
cross join lateral jsonb_each(c.custom_fields) as v
where t.name not in ('conditional', 'split') and automation.as_list(p.value -> 'type') ? 'string';

insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
select :'apex', t.workflow_id, concat_ws(' ', t.step_type, t.key, t.kind), 'manual' from tried as t;
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
select :'apex', t.workflow_id, 1, t.step_type, t.config from tried as t;
-- As many at a time as may listen to one event: published, or refused and left out; tried dry, a third as drafts; run.
create temporary table dry (number bigint, said jsonb);
create function pg_temp.run_part(part integer, maria uuid) returns void
  language plpgsql
  as $$
declare
  one bigint;
begin
  for one in select t.number from tried as t where t.number % 3 = part loop
    begin
      update ridgeline.workflows set is_active = true where id = (select t.workflow_id from tried as t where t.number = one);
    exception when invalid_parameter_value then
      delete from tried as t where t.number = one;
    end;
  end loop;
  insert into dry
  select t.number, ridgeline.test_workflow(t.workflow_id, jsonb_build_object('contact_id', maria),
    case when part > 0 then '{"version": 1}' else '{}' end::jsonb) #> '{path,0}'
  from tried as t where t.number % 3 = part;
  perform ridgeline.execute_workflow(t.workflow_id, jsonb_build_object('contact_id', maria)) from tried as t where t.number % 3 = part;
  perform automation.run_database_steps() from generate_series(1, 20);
  perform count(*) from generate_series(1, 20), automation.claim_steps('w', 100);
  update ridgeline.workflows set is_active = false where is_active;
end;
$$;
select pg_temp.run_part(0, :'maria') \g /dev/null
select pg_temp.run_part(1, :'maria') \g /dev/null
select pg_temp.run_part(2, :'maria') \g /dev/null
select cmp_ok(count(*), '>', 250::bigint, 'so many can be published') from tried;

create temporary table compared as
select t.*, d.said, s.status, s.input, s.error
from tried as t join dry as d using (number)
join ridgeline.workflow_executions as e on e.workflow_id = t.workflow_id
left join ridgeline.workflow_step_executions as s on s.execution_id = e.id and s.tenant_id = e.tenant_id;

select is(string_agg(concat_ws(' ', c.step_type, c.key, c.kind), ', '), null, 'what a step gets is in the dry run what it is in the run')
from compared as c where c.input is distinct from c.said -> 'input';
select is(string_agg(concat_ws(' ', c.step_type, c.key, c.kind, c.said ->> 'verdict', c.status), ', '), null, 'and so is whether it is done')
from compared as c
where c.said ->> 'verdict' is distinct from case
    when c.status::text in ('completed', 'running') then 'run' when c.status::text = 'skipped' then 'skip' when c.status::text = 'failed' then 'fail' end;
select is(string_agg(concat_ws(' ', c.step_type, c.key, c.kind, c.input -> c.key), ', '), null, 'a text is a text, with every digit')
from compared as c
where c.said ->> 'verdict' = 'run' and c.schema ->> 'type' = 'string' and c.input ? c.key
  and (jsonb_typeof(c.input -> c.key) <> 'string'
    or c.kind in ('id', 'price') and (c.input ->> c.key) is distinct from c.value::text
    or c.kind = 'yes' and c.input ->> c.key <> 'true'
    or c.input ->> c.key ~ '^[[{]');

select * from finish();
rollback;
