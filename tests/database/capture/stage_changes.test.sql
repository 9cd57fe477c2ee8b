-- When did this lead come to where it is, and who moved it: Sam, or an automation? Whoever writes, and whether or not
-- anybody listens.
begin;
\ir ../foundation/story.psql
select plan(13);

select pg_temp.tenant() as apex \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
create function pg_temp.last_move(of_entity text default 'contact') returns text language sql
  as $$
    select concat_ws(' ', coalesce(s.was, 'nothing'), s.stage, s.changed_at - automation.now(), case
      when s.root_id is not null then 'automation' when s.user_id is not null then 'person' else 'program' end)
    from ridgeline.stage_changes as s where s.entity = of_entity
  $$;

select is(pg_temp.last_move(), null, 'a lead that was never moved has no such row');
update public.contacts set city = 'Austin' where id = :'maria';
select is(pg_temp.last_move(), null, 'nor has one that changed otherwise');
update public.contacts set stage = 'contacted' where id = :'maria';
select is(pg_temp.last_move(), 'new contacted 00:00:00 program', 'psql moves it, and nobody listens');
select automation.advance_clock('3 hours') \g /dev/null
update public.contacts set stage = 'contacted', city = 'Waco' where id = :'maria';
select is(pg_temp.last_move(), 'new contacted -03:00:00 program', 'moving it to where it is is no move');

select set_config('request.jwt.claims', jsonb_build_object('sub', :'sam', 'role', 'authenticated')::text, true) \g /dev/null
set local role authenticated;
update public.contacts set stage = 'qualified' where id = :'maria';
select is(pg_temp.last_move(), 'contacted qualified 00:00:00 person', 'Sam moves it, and may read who did');
select is((select s.user_id from ridgeline.stage_changes as s), :'sam'::uuid, 'it was Sam');
reset role;
select set_config('request.jwt.claims', '', true) \g /dev/null

select pg_temp.workflow(:'apex', 'contact_updated', '{}', '[{"type": "change_stage", "config": {"stage": "won"}}]',
  '[{"field": "contact.city", "operator": "equals", "value": "Dallas"}]') as flow \gset
update public.contacts set city = 'Dallas' where id = :'maria';
select pg_temp.settle() \g /dev/null
select is(pg_temp.last_move(), 'qualified won 00:00:00 automation', 'an automation moves it');
select is((select s.root_id from ridgeline.stage_changes as s), (select e.id from ridgeline.workflow_executions as e limit 1), 'and says which run it was');
select is(count(*), 1::bigint, 'one row a record') from ridgeline.stage_changes;

-- A whole statement, and a record of another kind.
insert into public.contacts (tenant_id, first_name, stage) select :'apex', 'Bulk', 'new' from generate_series(1, 50);
update public.contacts set stage = 'lost' where first_name = 'Bulk';
select is(count(*), 51::bigint, 'fifty at once are fifty') from ridgeline.stage_changes;
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Roof');
update public.projects set pipeline_stage = 'won' where name = 'Roof';
select alike(pg_temp.last_move('project'), '% won 00:00:00 program', 'a project too');

-- Nobody else reads it, and nobody writes it.
select pg_temp.member(pg_temp.tenant('Lakeside')) as eve \gset
select set_config('request.jwt.claims', jsonb_build_object('sub', :'eve', 'role', 'authenticated')::text, true) \g /dev/null
set local role authenticated;
select is(count(*), 0::bigint, 'not by another office') from ridgeline.stage_changes;
select throws_ok('delete from ridgeline.stage_changes', '42501', null, 'nor is it written by hand');
reset role;

select * from finish();
rollback;
