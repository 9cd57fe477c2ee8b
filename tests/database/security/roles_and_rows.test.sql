-- Who may see and do what. First what the catalogs promise, then what a client really gets.
begin;
\ir ../foundation/story.psql
select plan(88);

create temp view ours as
  select c.oid, c.relname, c.relkind, c.relrowsecurity, c.relacl, n.nspname,
    c.oid::regclass::text as name
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where n.nspname in ('public', 'ridgeline', 'automation', 'ridgeline_crm') and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S');
create temp view routines as
  select p.oid, p.proname, p.prosecdef, p.proconfig, p.proacl, n.nspname, p.oid::regprocedure::text as name
  from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
  where n.nspname in ('public', 'ridgeline', 'automation', 'ridgeline_crm')
    and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e');

-- As on the platform, what is made in public is open to everybody until it is closed: without that the
-- next tests would prove little.
savepoint open;
create table public.left_open (id integer);
create view public.left_open_too as select id from public.left_open;
create function public.left_open_as_well() returns integer language sql as 'select 1';
select ok(has_table_privilege('anon', 'public.left_open', 'select, insert')
  and has_table_privilege('anon', 'public.left_open_too', 'select')
  and has_function_privilege('anon', 'public.left_open_as_well()', 'execute'),
  'a table, a view and a function that nobody closed are open to anybody');
rollback to open;
select is(count(*), 0::bigint, 'a view that a member may do more with than read: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind = 'v'
  and has_table_privilege('authenticated', oid, 'insert, update, delete, truncate, references, trigger');

-- The catalogs.
select is(count(*), 0::bigint, 'no table without row level security: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('r', 'p') and not relrowsecurity;
select is(count(*), 0::bigint, 'every relation has grants of its own, none by default: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('r', 'p', 'v') and relacl is null;
select is(count(*), 0::bigint, 'anon and public hold no privilege on any relation: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind <> 'S' and has_any_column_privilege('anon', oid, 'select, insert, update, references')
  or relkind <> 'S' and has_table_privilege('anon', oid, 'select, insert, update, delete, truncate, trigger');
-- What an index of a table calls, whoever writes the table must be able to call.
select is(count(*), 0::bigint, 'nor on any function but those of the indexes of contacts and tenants: ' || coalesce(string_agg(name, ', '), ''))
from routines where has_function_privilege('anon', oid, 'execute')
  and proname not in ('phone_key', 'phone_digits', 'email_key', 'normalize_email', 'visible_text', 'half_width',
    'ascii_domain', 'punycode', 'punycode_bias', 'key_uuid', 'row_uuid', 'as_uuid');
select is(has_schema_privilege('anon', 'automation', 'usage'), false, 'nor on the engine''s schema');
select is(count(*), 0::bigint, 'nobody but the owner may create in our schemas: ' || coalesce(string_agg(r.rolname, ', '), ''))
from pg_roles as r where r.rolname in ('anon', 'authenticated', 'service_role')
  and has_schema_privilege(r.rolname, 'automation', 'create');
select is(count(*), 0::bigint, 'a table of the API that nobody has a policy for: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('r', 'p') and nspname in ('public', 'ridgeline')
  and not exists (select from pg_policy as p where p.polrelid = ours.oid);
select is(count(*), 0::bigint, 'a member holds a privilege on a table of the engine''s own, but for reading schemas, codes and what its statistics add up: ' || coalesce(string_agg(name, ', '), ''))
from ours where nspname = 'automation' and relkind in ('r', 'v')
  and (has_table_privilege('authenticated', oid, 'insert, update, delete, truncate')
    or has_table_privilege('authenticated', oid, 'select')
      and name not in ('automation.step_types', 'automation.setting_schemas', 'automation.skip_codes', 'automation.recipes',
        'automation.statistics', 'automation.statistic_changes'));
select is(count(*), 0::bigint, 'members hold no truncate, references or trigger anywhere: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('r', 'p') and has_table_privilege('authenticated', oid, 'truncate, trigger');
select is(count(*), 5::bigint, 'members read what the engine owns and write none of it')
from ours where relname in ('scheduled_steps', 'suppressions', 'workflow_executions', 'workflow_step_executions', 'workflow_versions')
  and has_table_privilege('authenticated', oid, 'select')
  and not has_any_column_privilege('authenticated', oid, 'insert, update') and not has_table_privilege('authenticated', oid, 'delete');
select is(count(*), 4::bigint, 'nor does the service role')
from ours where relname in ('scheduled_steps', 'workflow_executions', 'workflow_step_executions', 'workflow_versions')
  and has_table_privilege('service_role', oid, 'select')
  and not has_any_column_privilege('service_role', oid, 'insert, update') and not has_table_privilege('service_role', oid, 'delete');
select is(count(*), 0::bigint, 'a function with the owner''s rights that a member may call and that does not ask who calls: ' || coalesce(string_agg(name, ', '), ''))
from routines where nspname = 'automation' and prosecdef and has_function_privilege('authenticated', oid, 'execute')
  and proname not in ('test_now', 'look_up', 'naming_columns') and (select p.prosrc from pg_proc as p where p.oid = routines.oid)
    !~ '(current_user_id|find_workflow|study_workflow|find_execution|usable_tenants|resolve_tenant|own_tenant|may_use|may_erase|member_tenants|check_publisher|check_editor|role_in)';
select is(count(*), 7::bigint, 'a member may call the API')
from routines where nspname = 'ridgeline' and has_function_privilege('authenticated', oid, 'execute')
  and proname in ('cancel_execution', 'execute_workflow', 'get_execution_history', 'publish_workflow', 'retry_execution', 'trigger_workflows', 'validate_workflow');
select is(count(*), 0::bigint, 'the service role neither attaches tables nor reads the vault: ' || coalesce(string_agg(name, ', '), ''))
from routines where proname in ('attach', 'detach', 'vault_secret', 'call_dispatch', 'install_schedule', 'remove_schedule')
  and has_function_privilege('service_role', oid, 'execute');

-- What the platform's linter looks for.
select is(count(*), 0::bigint, 'SECURITY DEFINER outside automation: ' || coalesce(string_agg(name, ', '), ''))
from routines where prosecdef and nspname not in ('automation', 'ridgeline_crm');
select is(count(*), 0::bigint, 'SECURITY DEFINER without a search_path of the system: ' || coalesce(string_agg(name, ', '), ''))
from routines where prosecdef and not coalesce(proconfig, '{}') @> array['search_path=pg_catalog, pg_temp'];
-- What writes tables of the CRM does so with the caller's rights, under the path that the setting says.
select is(count(*), 0::bigint, 'a search_path that names more or less than the system and, last, pg_temp: ' || coalesce(string_agg(name, ', '), ''))
from routines where exists (select from unnest(proconfig) as c where c like 'search_path=%' and c <> 'search_path=pg_catalog, pg_temp'
  and not (c = 'search_path=' || automation.host_path() and nspname = 'automation' and not prosecdef
    and proname in ('in_host_path', 'link_tag', 'unlink_tag', 'write_task', 'write_tasks', 'write_project', 'write_projects', 'write_timeline', 'write_timelines')));
select is(automation.open_schemas(automation.path_schemas(automation.host_path())), '{}', 'and on that path is no schema that callers may create in');
select is(count(*), 0::bigint, 'a view that runs with its owner''s rights: ' || coalesce(string_agg(name, ', '), ''))
from ours join pg_class as c using (oid) where ours.relkind = 'v' and not coalesce(c.reloptions, '{}') @> '{security_invoker=true}';
select is(count(*), 0::bigint, 'a materialised view or a foreign table in the API: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('m', 'f');
select is(count(*), 0::bigint, 'a foreign key without an index: ' || coalesce(string_agg(k.conname, ', '), ''))
from pg_constraint as k
where k.contype = 'f' and k.connamespace in ('public'::regnamespace, 'ridgeline'::regnamespace, 'automation'::regnamespace)
  and not exists (
    select from pg_index as i
    -- What refers to something has no null in it.
    where i.indrelid = k.conrelid
      and (i.indpred is null or exists (
        select from pg_attribute as a
        where a.attrelid = k.conrelid and a.attnum = any (k.conkey)
          and pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))
      and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey);
select is(count(*), 0::bigint, 'a table without a primary key: ' || coalesce(string_agg(name, ', '), ''))
from ours where relkind in ('r', 'p') and not exists (select from pg_index as i where i.indrelid = ours.oid and i.indisprimary);
select is(count(*), 0::bigint, 'two indexes that are the same: ' || coalesce(string_agg(i.indexrelid::regclass::text, ', '), ''))
from pg_index as i join pg_index as j on j.indrelid = i.indrelid and j.indexrelid < i.indexrelid
  and j.indkey::text = i.indkey::text and j.indclass::text = i.indclass::text
  and coalesce(pg_get_expr(j.indexprs, j.indrelid), '') = coalesce(pg_get_expr(i.indexprs, i.indrelid), '')
  and coalesce(pg_get_expr(j.indpred, j.indrelid), '') = coalesce(pg_get_expr(i.indpred, i.indrelid), '')
  join ours on ours.oid = i.indrelid;
select is(count(*), 0::bigint, 'a policy that calls a function for every row: ' || coalesce(string_agg(p.polname, ', '), ''))
from pg_policy as p join ours on ours.oid = p.polrelid
where concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~ '(auth|automation|current_setting)'
  and concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) !~* '\( SELECT automation';
select is(count(*), 0::bigint, 'two permissive policies for one role and command: ' || coalesce(string_agg(p.polname, ', '), ''))
from pg_policy as p join pg_policy as q on q.polrelid = p.polrelid and q.oid < p.oid and q.polroles && p.polroles
  and (q.polcmd = p.polcmd or q.polcmd = '*' or p.polcmd = '*') join ours on ours.oid = p.polrelid;
select is(count(*), 0::bigint, 'a policy for everybody: ' || coalesce(string_agg(p.polname, ', '), ''))
from pg_policy as p join ours on ours.oid = p.polrelid where p.polroles && array[0::oid, 'anon'::regrole::oid];
select is(count(*), 0::bigint, 'tenant first: a tenant''s table whose key does not lead with the tenant: ' || coalesce(string_agg(name, ', '), ''))
from ours join pg_attribute as a on a.attrelid = ours.oid and a.attname = 'tenant_id'
join pg_index as i on i.indrelid = ours.oid and i.indisprimary where relkind = 'r' and i.indkey[0] <> a.attnum;
select is(count(*), 0::bigint, 'tenant first: a reference between tenants'' tables that leaves the tenant out: ' || coalesce(string_agg(k.conname, ', '), ''))
from pg_constraint as k
join pg_attribute as a on a.attrelid = k.conrelid and a.attname = 'tenant_id'
join pg_attribute as b on b.attrelid = k.confrelid and b.attname = 'tenant_id'
where k.contype = 'f' and not (k.conkey @> array[a.attnum] and k.confkey @> array[b.attnum]);

-- What clients get.
select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex', 'owner') as boss \gset
select pg_temp.member(:'blue', 'owner') as rival \gset
select gen_random_uuid() as nobody \gset
select pg_temp.workflow(t, 'contact_created', '{}', '[{"type": "add_tag", "config": {"tag": "new"}}, {"type": "create_project", "config": {"name": "p"}},
  {"type": "create_task", "config": {"title": "x"}}, {"type": "send_sms", "config": {"body": "Hi"}}]') from unnest(array[:'apex', :'blue']::uuid[]) as t;
select pg_temp.contact(t) from unnest(array[:'apex', :'blue']::uuid[]) as t;
insert into public.jobs (tenant_id) select id from public.tenants;
insert into ridgeline.messages (tenant_id, direction, from_number, body) select id, 'inbound', '+15125550999', 'STOP' from public.tenants;
insert into ridgeline.emails (tenant_id) select id from public.tenants;
insert into ridgeline.calls (tenant_id, status) select id, 'missed' from public.tenants;
insert into ridgeline.form_submissions (tenant_id, form) select id, 'Quote' from public.tenants;
select pg_temp.settle();
select count(*) from automation.claim_steps('w', 1);
create function pg_temp.tables() returns setof text
  language sql
  as $$ select c.oid::regclass::text from pg_class as c where c.relnamespace in ('public'::regnamespace, 'ridgeline'::regnamespace) and c.relkind = 'r' order by 1 $$;
create function pg_temp.tenants_seen(relation text) returns text
  language plpgsql
  as $$
declare
  seen text;
begin
  execute format('select string_agg(distinct right(%s::text, 1), '''' order by right(%1$s::text, 1)) from %s',
    case relation when 'tenants' then 'id' else 'tenant_id' end, relation) into seen;
  return seen;
exception when insufficient_privilege then
  return 'denied';
end;
$$;
create temp table staged as select t from pg_temp.tables() as t where pg_temp.tenants_seen(t) = 'ab';
grant select on staged to public;
select cmp_ok(count(*), '>=', 19::bigint, 'the stage is set: rows of both tenants in every table') from staged;
select pg_temp.sign_in(:'sam');
select is(count(*), 0::bigint, 'a member sees the tenant''s rows and no others: ' || coalesce(string_agg(t || ' ' || pg_temp.tenants_seen(t), ', '), ''))
from staged where pg_temp.tenants_seen(t) is distinct from 'a';
select is((select count(distinct tenant_id) from ridgeline.automation_queue), 1::bigint, 'through the views too');
select is((select count(*) from ridgeline.automation_failures), 0::bigint, 'and the other one');
select pg_temp.sign_out();
select pg_temp.sign_in(:'nobody');
select is(count(*), 0::bigint, 'who belongs to no tenant sees nothing: ' || coalesce(string_agg(t, ', '), ''))
from pg_temp.tables() as t where pg_temp.tenants_seen(t) is not null;
select pg_temp.sign_out();
select set_config('request.jwt.claims', '', true), set_config('role', 'authenticated', true);
select is(count(*), 0::bigint, 'nor does a request without claims') from pg_temp.tables() as t where pg_temp.tenants_seen(t) is not null;
select set_config('request.jwt.claims', '{"sub": "not a uuid"}', true);
select is(count(*), 0::bigint, 'nor one whose subject is no id') from pg_temp.tables() as t where pg_temp.tenants_seen(t) is not null;
select set_config('request.jwt.claims', format('{"user_metadata": {"sub": "%s"}, "sub": "%s"}', :'sam', :'nobody'), true);
select is(count(*), 0::bigint, 'nor one who writes another''s id into their own metadata') from pg_temp.tables() as t where pg_temp.tenants_seen(t) is not null;
select set_config('request.jwt.claims', format('{"act": {"sub": "%s"}, "sub": "%s"}', :'rival', :'sam'), true);
select is(pg_temp.tenants_seen('contacts'), 'a', 'whoever acts for a member, it is the member''s rows');
select pg_temp.sign_out();
select pg_temp.act_as('anon');
select is(count(*), 0::bigint, 'anon is denied everything: ' || coalesce(string_agg(t, ', '), ''))
from pg_temp.tables() as t where pg_temp.tenants_seen(t) is distinct from 'denied';
select pg_temp.sign_out();
select pg_temp.act_as('service_role');
select is(count(*), 0::bigint, 'the service role sees all: ' || coalesce(string_agg(t, ', '), ''))
from staged where pg_temp.tenants_seen(t) is distinct from 'ab';
select pg_temp.sign_out();

-- What a member may do to rows.
create function pg_temp.rows_of(statement text) returns text
  language plpgsql
  as $$
declare
  n integer;
begin
  execute statement;
  get diagnostics n = row_count;
  return n || ' rows';
exception when others then
  return sqlstate;
end;
$$;
select pg_temp.sign_in(:'sam');
select is(pg_temp.rows_of(statement), outcome, statement)
from (values
  ('update public.contacts set first_name = ''x''', '1 rows'),
  ('update public.contacts set first_name = ''y'' where tenant_id = ''00000000-0000-0000-0000-00000000000b''', '0 rows'),
  ('delete from public.jobs where tenant_id = ''00000000-0000-0000-0000-00000000000b''', '0 rows'),
  ('insert into public.contacts (tenant_id) values (''00000000-0000-0000-0000-00000000000b'')', '42501'),
  ('update public.contacts set tenant_id = ''00000000-0000-0000-0000-00000000000b''', '42501'),
  ('insert into public.tenants (name) values (''Mine'')', '42501'),
  ('update public.tenants set name = ''Mine''', '0 rows'),
  ('insert into public.tenant_members (tenant_id, user_id, role) values (''00000000-0000-0000-0000-00000000000a'', gen_random_uuid(), ''owner'')', '42501'),
  ('update public.tenant_members set role = ''owner''', '0 rows'),
  ('delete from public.tenant_members', '0 rows'),
  ('update ridgeline.workflows set published_version = null', '42501'),
  ('insert into ridgeline.workflows (tenant_id, name, trigger_type, published_version) values (''00000000-0000-0000-0000-00000000000a'', ''x'', ''manual'', 1)', '42501'),
  ('insert into ridgeline.workflows (tenant_id, name, trigger_type) values (''00000000-0000-0000-0000-00000000000b'', ''x'', ''manual'')', '42501'),
  ('insert into ridgeline.workflows (tenant_id, name, trigger_type) values (''00000000-0000-0000-0000-00000000000a'', ''x'', ''manual'')', '1 rows'),
  ('update ridgeline.workflows set is_active = false', '2 rows'),
  ('update ridgeline.workflows set is_active = true where published_version is not null', '1 rows'),
  ('insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, trigger_type) select tenant_id, id, 1, ''x'' from ridgeline.workflows', '42501'),
  ('update ridgeline.workflow_executions set status = ''completed''', '42501'),
  ('delete from ridgeline.workflow_step_executions', '42501'),
  ('update ridgeline.workflow_versions set plan = ''{}''', '42501'),
  ('delete from ridgeline.scheduled_steps', '42501'),
  ('update ridgeline.scheduled_steps set run_at = now()', '42501'),
  ('delete from ridgeline.suppressions', '42501'),
  ('insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (''00000000-0000-0000-0000-00000000000a'', ''sms'', ''x'', ''manual'')', '42501'),
  ('select * from automation.active_triggers', '42501'),
  ('select automation.tick()', '42501'),
  ('select automation.claim_steps(''w'', 1)', '42501'),
  ('select automation.finish_steps(''[]'')', '42501'),
  ('select automation.advance_clock(''1 day'')', '42501'),
  ('select automation.setting(''doorbell'')', '42501'),
  ('truncate public.contacts', '42501')
) as v (statement, outcome);
select pg_temp.sign_out();
select pg_temp.sign_in(:'boss');
select is(pg_temp.rows_of(statement), outcome, 'the owner: ' || statement)
from (values
  ('update public.tenants set phone = ''+15125550111''', '1 rows'),
  ('insert into public.tenant_members (tenant_id, user_id) values (''00000000-0000-0000-0000-00000000000a'', gen_random_uuid())', '42501'),
  ('insert into public.tenant_members (tenant_id, user_id) values (''00000000-0000-0000-0000-00000000000b'', gen_random_uuid())', '42501'),
  ('delete from public.tenants', '42501')
) as v (statement, outcome);
select pg_temp.sign_out();
select pg_temp.act_as('service_role');
select is(pg_temp.rows_of(statement), outcome, 'the service role: ' || statement)
from (values
  ('update ridgeline.workflow_executions set status = ''completed''', '42501'),
  ('delete from ridgeline.scheduled_steps', '42501'),
  ('update automation.settings set value = ''none'' where name = ''doorbell''', '1 rows'),
  ('update automation.settings set name = ''x''', '42501'),
  ('select automation.tick()', '1 rows'),
  ('delete from ridgeline.suppressions where false', '42501')
) as v (statement, outcome);
select pg_temp.sign_out();

-- Postgres itself keeps tenants apart, whoever asks.
select is(pg_temp.rows_of(format(statement, :'blue')), '23503', 'across tenants: ' || split_part(statement, ' (', 1))
from (values
  ('insert into public.projects (tenant_id, contact_id) select ''%s'', id from public.contacts where tenant_id = ''00000000-0000-0000-0000-00000000000a'''),
  ('insert into public.jobs (tenant_id, project_id) select ''%s'', id from public.projects where tenant_id = ''00000000-0000-0000-0000-00000000000a'''),
  ('insert into public.tasks (tenant_id, title, contact_id) select ''%s'', ''x'', id from public.contacts where tenant_id = ''00000000-0000-0000-0000-00000000000a'''),
  ('insert into public.contact_tags (tenant_id, contact_id, tag_id) select ''%s'', contact_id, tag_id from public.contact_tags where tenant_id = ''00000000-0000-0000-0000-00000000000a'''),
  ('insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type) select ''%s'', id, ''wait'' from ridgeline.workflows where tenant_id = ''00000000-0000-0000-0000-00000000000a'' and not is_active')
) as v (statement);

-- What capture writes has no keys: a step that names a run of another office finds none.
insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
select :'blue', e.id, 'step_1', 'database', automation.now() from ridgeline.workflow_executions as e
where e.tenant_id = '00000000-0000-0000-0000-00000000000a' limit 1;
select automation.tick();
select is((select string_agg(s.held ->> 'code', ', ') from ridgeline.scheduled_steps as s where s.tenant_id = :'blue'),
  'stray', 'across tenants: a step that names another office''s run does nothing');

select * from finish();
rollback;
