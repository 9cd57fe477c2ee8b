-- A row at a time: what a statement trigger did not see, and what a block a row would cost.
begin;
\ir ../foundation/story.psql
select plan(48);
set local client_min_messages = error;

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as created \gset
select pg_temp.workflow(:'apex', 'contact_updated') as updated \gset
create function pg_temp.last(workflow uuid) returns jsonb
  language sql as $$ select e.trigger_data from pg_temp.only_run(workflow) as e $$;

-- Many single rows in one transaction: every one is captured, and none takes a transaction id of its own.
create function pg_temp.one_by_one(tenant uuid, times integer) returns void
  language plpgsql
  as $$
begin
  for n in 1 .. times loop
    insert into public.contacts (tenant_id, first_name) values (tenant, 'Lead ' || n);
  end loop;
end;
$$;
-- Row versions that were written by a subtransaction of ours.
create function pg_temp.by_subtransactions() returns bigint
  language sql
  as $$
    select count(*)
    from (
      select e.xmin from ridgeline.workflow_executions as e
      union all select s.xmin from ridgeline.scheduled_steps as s
      union all select s.xmin from automation.signals as s
      union all select t.xmin from ridgeline.workflow_timers as t
    ) as written
    where written.xmin::text <> (pg_current_xact_id()::text::numeric % 4294967296)::text
  $$;
-- What the server itself counts (from 16 on).
create function pg_temp.subtransactions() returns integer
  language plpgsql
  as $$
declare
  counted integer := 0;
begin
  if current_setting('server_version_num')::integer >= 160000 then
    execute 'select s.subxact_count from pg_stat_get_backend_idset() as b (id)
      cross join lateral pg_stat_get_backend_subxact(b.id) as s
      where pg_stat_get_backend_pid(b.id) = pg_backend_pid()' into counted;
  end if;
  return counted;
end;
$$;
select pg_temp.subtransactions() as before \gset
select pg_temp.one_by_one(:'apex', 100);
select is(pg_temp.runs(:'created'), 100::bigint, 'a hundred leads, one by one');
select is(pg_temp.by_subtransactions(), 0::bigint, 'are written by the transaction itself');
update public.contacts set city = 'Austin' where tenant_id = :'apex';
delete from public.contacts where first_name = 'Lead 1';
select is(array[pg_temp.runs(:'updated'), (select count(*) from automation.signals)], array[100, 1]::bigint[], 'so are changes and deletes');
select is(pg_temp.by_subtransactions(), 0::bigint, 'and what they lead to');
select is(pg_temp.subtransactions(), :before, 'the server counts none');

-- Partitions.
create table public.visits (tenant_id uuid not null, visit bigint not null, day date not null, outcome text)
  partition by range (day);
create table public.visits_may partition of public.visits for values from ('2026-05-01') to ('2026-06-01');
create table public.visits_june (outcome text, day date not null, visit bigint not null, tenant_id uuid not null);
alter table public.visits attach partition public.visits_june for values from ('2026-06-01') to ('2026-07-01');
select automation.attach('public.visits', 'visit', '{"id": "visit"}', '[{"type": "visit_kept", "column": "outcome", "becomes": "kept"}]', authors => 'members');
select pg_temp.workflow(:'apex', 'visit_created') as visits \gset
select pg_temp.workflow(:'apex', 'field_changed', '{"entity": "visit", "field": "day"}') as rebooked \gset
select pg_temp.workflow(:'apex', 'visit_kept') as kept \gset
insert into public.visits values (:'apex', 1, '2026-05-10', 'planned');
insert into public.visits_june (tenant_id, visit, day) values (:'apex', 2, '2026-06-10');
select is(pg_temp.runs(:'visits'), 2::bigint, 'rows are seen through the table and in a partition of it');
update public.visits_june set day = '2026-06-11';
select is(pg_temp.runs(:'rebooked'), 1::bigint, 'a change in a partition too');
delete from automation.signals;
update public.visits set day = '2026-06-20', outcome = 'kept' where visit = 1;
select is(array[pg_temp.runs(:'visits'), pg_temp.runs(:'rebooked'), pg_temp.runs(:'kept')], array[2, 2, 1]::bigint[],
  'a row that moves to another partition has changed, and is no new one');
select is(array[pg_temp.last(:'rebooked') #>> '{old,day}', pg_temp.last(:'rebooked') #>> '{visit,day}', pg_temp.last(:'rebooked') ->> 'changed'],
  array['2026-05-10', '2026-06-20', '["day", "outcome"]'], 'its old and new values are known');
select is((select count(*) from automation.signals), 0::bigint, 'nor is it gone');
update public.visits set day = day - 30;
select is(array[pg_temp.runs(:'visits'), pg_temp.runs(:'rebooked'), (select count(*) from automation.signals)], array[2, 4, 0]::bigint[], 'nor are several');
delete from public.visits where visit = 1;
select is((select array_agg(role || ' ' || record_id) from automation.signals), '{deleted 1}', 'one that is deleted is');
insert into public.visits values (:'apex', 1, '2026-05-10', 'planned');
select is(pg_temp.runs(:'visits'), 3::bigint, 'and comes back as a new one');

-- A subscriber: rows arrive in a replica's session.
create function pg_temp.replicate(statement text) returns void
  language plpgsql set session_replication_role = replica as $$ begin execute statement; end; $$;
select pg_temp.replicate(format('insert into public.contacts (tenant_id) values (%L)', :'apex'));
select is(pg_temp.runs(:'created'), 100::bigint, 'a replica fires nothing');
alter table public.contacts enable always trigger automation_capture_insert;
alter table public.contacts enable always trigger automation_capture_update;
alter table public.contacts enable always trigger automation_capture_delete;
select automation.attach('public.contacts', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]');
select pg_temp.replicate(format('insert into public.contacts (tenant_id, first_name) values (%L, ''Replicated'')', :'apex'));
select is(pg_temp.runs(:'created'), 101::bigint, 'unless its owner says enable always, which attaching again leaves alone');
select pg_temp.replicate($$update public.contacts set stage = 'won' where first_name = 'Replicated'$$);
select is(pg_temp.runs(:'updated'), 101::bigint, 'changes too');
delete from automation.signals;
select pg_temp.replicate($$delete from public.contacts where first_name = 'Replicated'$$);
select is((select count(*) from automation.signals where role = 'deleted'), 1::bigint, 'and deletes');
alter table public.contacts enable trigger automation_capture_insert;

-- A permit before its project, as a deferred key allows.
create table public.permits (tenant_id uuid not null, id bigint primary key, project_id uuid,
  foreign key (tenant_id, project_id) references public.projects (tenant_id, id) deferrable initially deferred);
select automation.attach('public.permits', 'permit', '{"project": "project_id"}', authors => 'members');
select pg_temp.workflow(:'apex', 'permit_created', '{}', '[{"type": "create_task", "config": {"title": "{{project.name}} for {{contact.first_name}}"}},
  {"type": "conditional", "config": {"conditions": [{"field": "contact.first_name", "operator": "equals", "value": "Ines"}]},
    "on": {"then": [{"type": "change_stage", "config": {"stage": "permitted", "entity": "contact"}}]}}]') as permits \gset
select pg_temp.workflow(:'apex', 'permit_created', conditions => '[{"field": "project.name", "operator": "equals", "value": "Deck"}]') as decks \gset
select pg_temp.contact(:'apex', 'Ines') as ines \gset
insert into public.permits values (:'apex', 1, '00000000-0000-0000-0000-0000000000d1');
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-0000-0000-0000000000d1', :'ines', 'Deck');
set constraints all immediate;
select is(array[pg_temp.runs(:'permits'), pg_temp.runs(:'decks')], array[1, 0]::bigint[], 'a child that comes before its parent fires, and conditions on the parent judge what is not there');
select is(array[pg_temp.last(:'permits') ->> 'project', r.contact_id], array[null, null]::text[], 'nor does its run know of a contact') from pg_temp.only_run(:'permits') as r;
select pg_temp.settle();
select is((select t.title from public.tasks as t where t.execution_id = (pg_temp.only_run(:'permits')).id), 'Deck for Ines', 'until its first step looks again');
select is((select r.contact_id from pg_temp.only_run(:'permits') as r), :'ines'::text, 'and then it is hers');
select is(c.stage, 'permitted', 'in every step') from public.contacts as c where c.id = :'ines';
insert into public.permits values (:'apex', 2, '00000000-0000-0000-0000-0000000000d1');
select is(pg_temp.runs(:'decks'), 1::bigint, 'after its parent it is judged by that');
update ridgeline.workflows set is_active = false where id in (:'permits', :'decks');
drop table public.permits;
select automation.detach('permit');

-- A table that is emptied.
select pg_temp.contact(:'apex') as maria \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Roof');
select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "create_task", "delay": 60, "config": {"title": "Call"}}]') as projects \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "-1 day"}') as reminder \gset
insert into public.projects (tenant_id, contact_id, name, appointment_at) values (:'apex', :'maria', 'Gutter', now() + interval '1 week');
select is((select count(*) from ridgeline.workflow_timers), 1::bigint, 'a reminder is set');
delete from automation.signals;
truncate public.projects cascade;
select is((select array_agg(distinct role || ' ' || entity) from automation.signals), '{deleted project}', 'its records are gone');
select is((select count(*) from ridgeline.workflow_timers), 0::bigint, 'so are their reminders');
select automation.run_signals();
select is(array[status::text, error ->> 'code'], array['cancelled', 'record_deleted'], 'and their runs end at once')
from pg_temp.only_run(:'projects');

-- Types of extensions, whose operators are nowhere on the engine's path.
create schema addons;
create extension hstore schema addons;
create extension citext schema addons;
create collation addons.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table public.parcels (tenant_id uuid not null, id bigint primary key, marks addons.hstore, code addons.citext,
  spans int4range, codes addons.citext[], lot varchar(9) collate addons.no_case, phase text collate addons.no_case);
select automation.attach('public.parcels', 'parcel', '{"stage": "phase"}', '[]', authors => 'members');
select pg_temp.workflow(:'apex', 'parcel_created', '{"code": "A1"}') as parcels \gset
select pg_temp.workflow(:'apex', 'parcel_updated') as parcel_changes \gset
select set_config('automation.altered', '', true);
insert into public.parcels values (:'apex', 1, 'a=>1', 'A1', '[1,3)', '{x}');
select is(pg_temp.last(:'parcels') #>> '{parcel,marks,a}', '1', 'hstore is captured');
update public.parcels set marks = 'a=>1', code = 'A1', spans = '[1,2]', codes = '{x}';
select is(pg_temp.runs(:'parcel_changes'), 0::bigint, 'and compared: the same is no change');
update public.parcels set marks = 'a=>2';
update public.parcels set code = 'a1';
update public.parcels set codes = '{x,y}';
select is(pg_temp.runs(:'parcel_changes'), 3::bigint, 'another is');
select is(pg_temp.last(:'parcel_changes') -> 'changed', '["codes"]', 'arrays of them too');
update public.parcels set lot = 'b2', phase = 'sold';
update public.parcels set lot = 'B2', phase = 'Sold';
select is(array[pg_temp.runs(:'parcel_changes')::text, pg_temp.last(:'parcel_changes') ->> 'changed'], array['5', '["lot", "phase"]'], 'and letters whose case their collation does not tell apart');
select is(s.was || ' ' || s.stage, 'sold Sold', 'of a stage as well') from ridgeline.stage_changes as s where s.entity = 'parcel';
select is(current_setting('automation.altered', true), '', 'by the code that was made for them');

-- Columns that are computed where they are read (from 18 on; before, they are stored).
select format('create table public.quotes (tenant_id uuid not null, id bigint primary key, net numeric, heard text, mobile text,
  gross numeric generated always as (net * 1.2) %s, phone_key text generated always as (upper(mobile)) %1$s)',
  case when current_setting('server_version_num')::integer >= 180000 then 'virtual' else 'stored' end) as statement \gset
:statement;
select automation.attach('public.quotes', 'quote', '{"phone": "phone_key"}', '[{"type": "gross_changed", "column": "gross"}]', authors => 'members');
select pg_temp.workflow(:'apex', 'quote_created', '{"phone_key": "X1"}') as quotes \gset
select pg_temp.workflow(:'apex', 'gross_changed', conditions => '[{"field": "quote.gross", "operator": "greater_than", "value": 20}]') as dearer \gset
insert into public.quotes (tenant_id, id, net, heard, mobile) values (:'apex', 1, 10, 'x', 'x1');
select is(array[pg_temp.last(:'quotes') #>> '{quote,gross}', pg_temp.last(:'quotes') #>> '{quote,phone}'], array['12.0', 'X1'], 'a computed column has its value');
update public.quotes set heard = 'y';
select is(pg_temp.runs(:'dearer'), 0::bigint, 'it has not changed with another');
update public.quotes set net = 20;
select is(array[pg_temp.last(:'dearer') #>> '{quote,gross}', pg_temp.last(:'dearer') #>> '{old,gross}', pg_temp.last(:'dearer') ->> 'changed'],
  array['24.0', '12.0', '["net", "gross"]'], 'but with what it is computed from');

-- What nobody listened for a moment ago.
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
create function pg_temp.listens_now(tenant uuid) returns bigint
  language plpgsql
  as $$
declare
  flow uuid;
begin
  perform pg_temp.one_by_one(tenant, 50);
  update public.contacts set city = 'Dallas' where tenant_id = tenant;
  flow := pg_temp.workflow(tenant, 'contact_created');
  perform pg_temp.one_by_one(tenant, 3);
  return pg_temp.runs(flow);
end;
$$;
select is(pg_temp.listens_now(:'blue'), 3::bigint, 'in the very statement that publishes, later writes fire');
create function pg_temp.remembers(tenant uuid) returns boolean
  language plpgsql
  as $$
begin
  perform pg_temp.one_by_one(tenant, 100);
  return current_setting('automation.heard_contact_insert_' || right(tenant::text, 1), true)
    = pg_sequence_last_value('automation.listening') || ' ' || tenant;
end;
$$;
select pg_temp.tenant('Quiet Gutters') as quiet \gset
-- Whoever publishes learns nothing before that is committed; as if it were.
select set_config('automation.changes_listening', '', true);
select ok(pg_temp.remembers(:'quiet'), 'that nobody listens for a tenant is kept in mind');
select pg_temp.workflow(:'quiet', 'contact_updated');
select isnt(current_setting('automation.heard_contact_insert_' || right(:'quiet', 1), true),
  pg_sequence_last_value('automation.listening') || ' ' || :'quiet', 'until something is published');
create function pg_temp.waits_now(tenant uuid) returns bigint
  language plpgsql
  as $$
begin
  perform pg_temp.one_by_one(tenant, 50);
  perform pg_temp.workflow(tenant, 'time_elapsed', '{"entity": "contact", "field": "last_contacted_at", "offset": "1 day", "existing": false}');
  insert into public.contacts (tenant_id, last_contacted_at) values (tenant, now());
  return (select count(*) from ridgeline.workflow_timers as t where t.tenant_id = waits_now.tenant);
end;
$$;
select pg_temp.tenant('Prairie Roofs') as prairie \gset
select is(pg_temp.waits_now(:'prairie'), 1::bigint, 'timers too');

-- Ids are the host's own: one may be longer than an index takes, and is cut where it is kept.
create table public.parts (tenant_id uuid not null, id text not null, label text, due timestamptz);
select automation.attach('public.parts', 'part', '{}', '[]', authors => 'members');
select pg_temp.workflow(:'apex', 'part_created') as parts \gset
select pg_temp.workflow(:'apex', 'part_updated') as part_changes \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "part", "field": "due", "offset": "-1 day"}') as part_timer \gset
select is(pg_temp.error_of(format($$insert into public.parts
  select %L, string_agg(md5(n::text), ''), 'Long', now() + interval '1 week' from generate_series(1, 2000) as n$$, :'apex')), null, 'a record with a very long id is written');
select is(pg_temp.error_of($$update public.parts set label = 'Longer'$$), null, 'and changed');
delete from automation.signals;
select is(pg_temp.error_of($$delete from public.parts$$), null, 'and deleted');
select is(array[pg_temp.runs(:'parts'), pg_temp.runs(:'part_changes'), (select count(*) from automation.signals)], array[1, 1, 1]::bigint[], 'and fires, and ends what it fired');

-- The guard writes nothing: a listener that breaks costs no transaction id either.
update automation.active_triggers set match_any = '[]' where workflow_id = :'created';
select pg_temp.subtransactions() as before \gset
select pg_temp.one_by_one(:'apex', 3);
select is(array[status::text, error ->> 'code'], array['failed', 'capture_failed'], 'a listener that cannot be matched') from pg_temp.only_run(:'created');
select is(pg_temp.subtransactions(), :before, 'is written down outside of it');
select is((select count(*) from ridgeline.workflow_executions where created_at is null), 0::bigint, 'and that is all');
select * from finish();
rollback;
