-- contact.tags are rows of their own, and yet a list like any other to conditions and templates: when a workflow
-- fires, when a step runs, and under the name that the office gave them.
begin;
\ir ../foundation/story.psql
select plan(6);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex') as maria \gset
insert into public.tags (tenant_id, name) values (:'apex', 'Storm'), (:'apex', 'VIP'), (:'apex', 'Referral');
insert into public.contact_tags (tenant_id, contact_id, tag_id)
select :'apex', :'maria', t.id from public.tags as t where t.name in ('Storm', 'VIP');

select pg_temp.workflow(:'apex', 'stage_changed', '{}', '[
  {"type": "add_tag", "config": {"tag": "contacted"}},
  {"type": "create_task", "config": {"title": "{{contact.tags | join: \" + \"}}"},
    "conditions": [{"field": "contact.tags", "operator": "includes_all", "value": ["storm", "CONTACTED"]}]},
  {"type": "create_task", "config": {"title": "never"},
    "conditions": [{"field": "contact.tags", "operator": "contains", "value": "referral"}]}]',
  '[{"field": "contact.tags", "operator": "includes_any", "value": ["storm", "hail"]}]') as tagged \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{}', '[{"type": "create_task", "config": {"title": "x"}}]',
  '[{"field": "contact.tags", "operator": "includes_any", "value": ["hail"]}]') as other \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{}', '[{"type": "create_task", "config": {"title": "untagged"}}]',
  '[{"field": "tags", "operator": "is_empty"}]') as untagged \gset
update public.contacts set stage = 'won' where id = :'maria';
select pg_temp.settle();
select is(pg_temp.runs(:'tagged'), 1::bigint, 'one of her tags is asked for');
select is(pg_temp.runs(:'other'), 0::bigint, 'none of hers is');
select is((select string_agg(title, ', ') from public.tasks), 'contacted + Storm + VIP',
  'a tag that a step gave her is there for the next');
select is(pg_temp.way((pg_temp.only_run(:'tagged')).id), 'step_1, step_2, step_3 skipped', 'and what she does not have is not');
select pg_temp.contact(:'apex', 'Ann') as ann \gset
update public.contacts set stage = 'won' where id = :'ann';
select pg_temp.settle();
select is(pg_temp.runs(:'untagged'), 1::bigint, 'somebody without tags has an empty list');
select is(ridgeline.explain_enrollment(:'tagged', jsonb_build_object('contact_id', :'ann')) #>> '{conditions,actual}', '[]', 'and is told so');
select * from finish();
rollback;
