-- A webhook that only says what its run knows is filled in at the claim, and says what the interpreter would have made
-- of it. What it cannot fill in the interpreter is asked.
begin;
\ir ../foundation/story.psql
select plan(13);

select pg_temp.tenant('Apex Roofing') as apex \gset
create function pg_temp.hook(config jsonb) returns uuid
  language sql
  as $$
    select pg_temp.workflow(t.id, 'contact_created', '{}',
      jsonb_build_array(jsonb_build_object('type', 'webhook', 'config', config)))
    from public.tenants as t
  $$;
create function pg_temp.is_plain(workflow uuid) returns boolean
  language sql
  as $$ select plan #> '{steps,step_1}' ? 'plain' from ridgeline.workflow_versions where workflow_id = workflow $$;
-- Payloads that were claimed, and whether each is what the interpreter makes of its step.
create function pg_temp.claimed(workflow uuid) returns table (payload jsonb, is_alike boolean)
  language sql
  as $$
    select s.input, s.input = p.input and s.warnings is not distinct from p.warnings
    from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id
    join ridgeline.workflow_versions as v on v.workflow_id = e.workflow_id
    cross join lateral automation.prepare_step(e, v.plan #> '{steps,step_1}') as p
    where e.workflow_id = workflow
    order by e.seq
  $$;

select pg_temp.hook('{"url": "https://crm.example/hooks", "headers": {"X-Office": "Apex"},
  "body": {"id": "{{trigger.contact.id}}", "say": "New: {{contact.first_name}} {{contact.last_name}}", "fee": 9.50,
    "phone": "{{contact.phone | default: \"none\"}}"}}') as told \gset
select pg_temp.hook('{"url": "https://crm.example/hooks", "headers": {"X-Name": "Lead {{contact.first_name}}"},
  "body": {"id": "{{contact.id}}"}}') as named \gset
select pg_temp.hook('{"url": "https://crm.example/hooks", "secret_name": "Key of {{contact.first_name}}"}') as bare \gset
select ok(pg_temp.is_plain(:'told'), 'a webhook of letters and of variables is plain');
select ok(not pg_temp.is_plain(:'named'), 'one whose header is told by a variable is not: its lines are looked at');
select ok(not pg_temp.is_plain(:'bare'), 'nor is one that says all of its run');

insert into public.contacts (tenant_id, first_name, last_name, phone) values
  (:'apex', 'Maria', 'Lopez', '+15125550100'), (:'apex', E'Jo "%1$s"\n\\', 'Ünal', '+15125550101'),
  (:'apex', 'Ann', null, null);
select is((select count(*) from automation.claim_steps('w', 20)), 9::bigint, 'three leads are told of three times');
select is(
  (select payload - '{body}'::text[] || jsonb_build_object('say', payload #> '{body,say}', 'fee', payload #>> '{body,fee}')
   from pg_temp.claimed(:'told') limit 1),
  '{"url": "https://crm.example/hooks", "method": "POST", "headers": {"X-Office": "Apex"}, "say": "New: Maria Lopez",
    "fee": "9.50"}', 'what is called says who it is about, how it is called and with which digits');
select is((select count(*) from pg_temp.claimed(:'told') where is_alike), 3::bigint,
  'as the interpreter says it, whatever stands in a name');
select is((select payload #>> '{body,phone}' from pg_temp.claimed(:'told') offset 2 limit 1), 'none',
  'where nothing is known, what the step says for that');
select is((select count(*) from pg_temp.claimed(:'named') where is_alike), 3::bigint, 'and so are the others');
select is((select count(payload #> '{body,data,contact}') from pg_temp.claimed(:'bare')), 3::bigint,
  'each with all of its run, where it says nothing else');
select is((select payload #>> '{headers,X-Name}' from pg_temp.claimed(:'named') offset 1 limit 1), 'Lead Jo "%1$s" \',
  'no value ends its header');

-- A plan that asks nothing of its runs is asked nothing, of whatever lane.
create or replace function automation.find_obstacle(
  work automation.work, plan automation.running_plan, ending automation.signals, tenant_state text)
  returns automation.obstacle
  language plpgsql
  as $$ begin raise exception 'asked'; end $$;
insert into public.contacts (tenant_id, first_name) values (:'apex', 'Bo');
select is((select count(*) from automation.claim_steps('w', 20)), 3::bigint, 'what keeps no run from going on is not asked');

-- A claim takes at once what the session has learned that it can.
update ridgeline.workflows set is_active = false where id <> :'told';
insert into public.contacts (tenant_id, first_name) select :'apex', 'Lead ' || n from generate_series(1, 60) as n;
create temporary table sizes (place integer generated always as identity, size integer);
alter function automation.claim_batch(ridgeline.scheduled_steps[], text, interval) rename to claim_set;
create function automation.claim_batch(dues ridgeline.scheduled_steps[], worker text, lease interval)
  returns automation.claim_report
  language plpgsql
  as $$
  begin
    insert into pg_temp.sizes (size) values (cardinality(dues));
    return automation.claim_set(dues, worker, lease);
  end $$;
create function pg_temp.sizes(most integer) returns text
  language plpgsql
  as $$
  declare
    portion automation.portions;
  begin
    delete from pg_temp.sizes;
    portion := automation.begin_portion('webhook', most);
    perform automation.claim_portion(portion.id, 'w');
    return (select string_agg(s.size::text, ' ' order by s.place) from pg_temp.sizes as s);
  end
  $$;
select pg_temp.sizes(30) as first_time \gset
select set_config('automation.claim_size_webhook', '40', false);
select is(left(:'first_time', 3), '10 ', 'ten at first');
select is(pg_temp.sizes(30), '30', 'then all at once, if there is time for so many');

select * from finish();
rollback;
