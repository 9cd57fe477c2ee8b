-- Who speaks for whom: a member for themselves, an owner for the ownership, a tenant for its own ids.
begin;
\ir ../foundation/story.psql
select plan(68);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex', 'owner') as boss \gset
select pg_temp.member(:'apex', 'admin') as ada \gset
select pg_temp.member(:'blue', 'admin') as rival \gset
select gen_random_uuid() as stranger \gset
create function pg_temp.outcome(statement text) returns text
  language plpgsql
  as $$
declare
  n integer;
begin
  execute statement;
  get diagnostics n = row_count;
  return n || ' rows';
exception when others then
  return sqlstate || ' ' || sqlerrm;
end;
$$;
create function pg_temp.sign_in_as(who uuid, email text) returns text
  language sql
  as $$
    select set_config('request.jwt.claims',
        json_build_object('aud', 'authenticated', 'role', 'authenticated', 'sub', who, 'email', email)::text, true)
      || set_config('role', 'authenticated', true)
  $$;

-- Owners.
select pg_temp.sign_in(:'ada');
select alike(pg_temp.outcome(statement), outcome, 'an admin: ' || statement)
from (values
  (format('update public.tenant_members set role = ''owner'' where user_id = %L', :'ada'), '42501 role: only an owner %'),
  (format('update public.tenant_members set role = ''owner'' where user_id = %L', :'sam'), '42501 role: only an owner %'),
  (format('update public.tenant_members set role = ''member'' where user_id = %L', :'boss'), '42501 role: only an owner %'),
  (format('update public.tenant_members set full_name = ''Nobody'' where user_id = %L', :'boss'), '42501 role: only an owner %'),
  (format('delete from public.tenant_members where user_id = %L', :'boss'), '42501 role: only an owner %'),
  (format('update public.tenant_members set user_id = %L where user_id = %L', :'stranger', :'sam'), '42501 permission denied %'),
  (format('update public.tenant_members set tenant_id = %L', :'blue'), '42501 permission denied %'),
  ('update public.tenant_members set created_at = ''2001-01-01''', '42501 permission denied %'),
  (format('insert into public.tenant_members (tenant_id, user_id) values (%L, %L)', :'apex', :'rival'), '42501 permission denied %'),
  (format('update public.tenants set id = %L', :'stranger'), '42501 permission denied %'),
  (format('update public.tenant_members set role = ''admin'' where user_id = %L', :'sam'), '1 rows'),
  (format('update public.tenant_members set role = ''member'' where user_id = %L', :'sam'), '1 rows')
) as v (statement, outcome);
select pg_temp.sign_out();
select pg_temp.sign_in(:'boss');
select alike(pg_temp.outcome(statement), outcome, 'the only owner: ' || statement)
from (values
  (format('update public.tenant_members set role = ''admin'' where user_id = %L', :'boss'), '42501 role: a tenant keeps at least one owner'),
  (format('delete from public.tenant_members where user_id = %L', :'boss'), '42501 role: a tenant keeps at least one owner'),
  ('delete from public.tenant_members', '42501 role: a tenant keeps at least one owner'),
  (format('update public.tenant_members set role = ''owner'' where user_id = %L', :'sam'), '1 rows'),
  (format('update public.tenant_members set role = ''member'' where user_id = %L', :'boss'), '1 rows')
) as v (statement, outcome);
select pg_temp.sign_out();
update public.tenant_members set role = case user_id when :'boss' then 'owner' else 'member' end where user_id in (:'boss', :'sam');

-- An invitation.
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome('select public.invite_member(''kim@apex.example'')'), '42501 role: only owners and admins invite', 'a member invites nobody');
select pg_temp.sign_out();
select pg_temp.sign_in(:'ada');
select alike(pg_temp.outcome('select public.invite_member(''kim@apex.example'', ''owner'')'), '42501 role: only an owner makes an owner', 'an admin invites no owner');
select alike(pg_temp.outcome(format('select public.invite_member(''kim@apex.example'', ''member'', %L)', :'blue')), 'PT404 tenant_id: %', 'nor into somebody else''s office');
select public.invite_member('Kim@apex.example') ->> 'token' as token \gset
select is((select email || ' ' || role from public.tenant_invitations), 'kim@apex.example member', 'who was asked can be looked up');
select alike(pg_temp.outcome('select digest from public.tenant_invitations'), '42501 %', 'the secret cannot');
select alike(pg_temp.outcome(format('select public.accept_invitation(%L)', :'token')), 'PT404 token: %', 'an admin does not say yes for somebody else');
select pg_temp.sign_out();
select pg_temp.sign_in_as(:'stranger', 'mallory@blue.example');
select alike(pg_temp.outcome(format('select public.accept_invitation(%L)', :'token')), 'PT404 token: %', 'nor does another address');
select pg_temp.sign_out();
select gen_random_uuid() as kim \gset
select pg_temp.sign_in_as(:'kim', 'kim@apex.example');
select alike(pg_temp.outcome('select public.accept_invitation(''x'')'), 'PT404 token: %', 'a guess opens nothing');
select is((public.accept_invitation(:'token')).role, 'member', 'who was asked says yes');
select alike(pg_temp.outcome(format('select public.accept_invitation(%L)', :'token')), 'PT404 token: %', 'once');
select pg_temp.sign_out();
select pg_temp.sign_in(:'boss');
select public.invite_member('lee@apex.example', 'admin') ->> 'token' as token \gset
select pg_temp.sign_out();
select gen_random_uuid() as lee \gset
update public.tenant_members set role = 'member' where user_id = :'boss';
select pg_temp.sign_in_as(:'lee', 'lee@apex.example');
select alike(pg_temp.outcome(format('select public.accept_invitation(%L)', :'token')), 'PT404 token: %', 'an invitation is worth no more than its inviter');
select pg_temp.sign_out();
update public.tenant_members set role = 'owner' where user_id = :'boss';

-- Two tenants, one id.
select pg_temp.workflow(:'apex', 'manual') as flow \gset
insert into ridgeline.workflows (tenant_id, id, name, trigger_type) values (:'blue', :'flow', 'Copy', 'manual');
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config) values (:'blue', :'flow', 1, 'create_task', '{"title": "Theirs"}');
update ridgeline.workflows set is_active = true where tenant_id = :'blue';
select pg_temp.contact(:'apex', 'Maria') as maria \gset
insert into public.contacts (tenant_id, id, first_name) values (:'blue', :'maria', 'Copy');
select pg_temp.act_as('service_role');
select alike(pg_temp.outcome(format('select ridgeline.%s', format(call, :'flow'))), '22023 workflow_id: % is an id of more than one tenant', 'whose is it? ' || call)
from (values ('execute_workflow(%L)'), ('publish_workflow(%L)'), ('validate_workflow(%L)'), ('test_workflow(%L)'), ('explain_enrollment(%L, ''{}'')'),
  ('move_executions(%L)'), ('enroll_records(%L, ''{}'')')) as v (call);
select alike(pg_temp.outcome(format('select ridgeline.trigger_workflows(''manual'', ''{"contact_id": "%s"}'')', :'maria')), '22023 contact_id: % more than one tenant', 'whose contact is it?');
select is((ridgeline.execute_workflow(:'flow', '{}', :'apex')).tenant_id, :'apex'::uuid, 'the parameter says it');
select is((ridgeline.execute_workflow(:'flow', jsonb_build_object('tenant_id', :'blue'))).tenant_id, :'blue'::uuid, 'so does the data');
select set_config('request.headers', json_build_object('x-tenant-id', :'apex')::text, true);
select is((ridgeline.execute_workflow(:'flow')).tenant_id, :'apex'::uuid, 'so does the header');
select is((ridgeline.validate_workflow(:'flow')) -> 'valid', 'true', 'of every call');
select is((select tenant_id from ridgeline.trigger_workflows('manual', jsonb_build_object('contact_id', :'maria'))), :'apex'::uuid, 'and of records');
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{}'', %L)', :'flow', :'stranger')), 'PT404 %', 'a tenant that is none has none');
select set_config('request.headers', json_build_object('x-tenant-id', 'apex')::text, true);
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L)', :'flow')), '22023 tenant_id: "apex" is not an id', 'a name that is no id');
select set_config('request.headers', '', true);
select pg_temp.sign_out();
select pg_temp.sign_in(:'rival');
select is((ridgeline.execute_workflow(:'flow')).tenant_id, :'blue'::uuid, 'to a member it is their own');
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{}'', %L)', :'flow', :'apex')), 'PT404 %', 'whatever they name');
select pg_temp.sign_out();

-- What a member writes down is theirs.
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(statement), outcome, 'a member: ' || statement)
from (values
  ('insert into ridgeline.messages (tenant_id, direction, provider_id) values (''00000000-0000-0000-0000-00000000000a'', ''outbound'', ''SM1'')', '42501 %'),
  ('insert into ridgeline.messages (tenant_id, direction, opt_out_type) values (''00000000-0000-0000-0000-00000000000a'', ''inbound'', ''STOP'')', '42501 %'),
  ('insert into ridgeline.emails (tenant_id, provider, provider_id) values (''00000000-0000-0000-0000-00000000000a'', ''resend'', ''e1'')', '42501 %'),
  ('update ridgeline.emails set provider_id = ''e1''', '42501 %'),
  ('insert into ridgeline.calls (tenant_id, status, provider_id) values (''00000000-0000-0000-0000-00000000000a'', ''missed'', ''CA1'')', '42501 %'),
  ('insert into ridgeline.messages (tenant_id, direction, from_number, body) values (''00000000-0000-0000-0000-00000000000a'', ''inbound'', ''+15125550100'', ''STOP'')', '1 rows')
) as v (statement, outcome);
select is((select provider from ridgeline.messages), 'manual', 'it is marked as theirs');
select is((select count(*) from ridgeline.suppressions), 0::bigint, 'and stops nobody');
select alike(pg_temp.outcome('select ridgeline.suppress_address(''sms'', ''+15125550100'')'), '42501 %', 'nor does any member by another way');
select pg_temp.sign_out();
select pg_temp.sign_in(:'ada');
select is(pg_temp.outcome('select ridgeline.suppress_address(''sms'', ''(512) 555-0100'')'), '1 rows', 'an admin does, for who said stop on the telephone');
select is((select array[address, reason, detail ->> 'user_id'] from ridgeline.suppressions), array['+15125550100', 'manual', :'ada'], 'and is named');
select pg_temp.sign_out();

-- Nobody else's people.
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(format('select ridgeline.%s', format(call, :'flow', who))), '22023 user_id: % is not a member of the tenant', left(call, 24) || who)
from (values ('execute_workflow(%L, ''{"user_id": "%s"}'')'), ('test_workflow(%L, ''{"user_id": "%s"}'')'), ('trigger_workflows(''manual'', jsonb_build_object(''x'', %L, ''user_id'', ''%s''))')) as c (call),
  (values (:'rival'), ('boss')) as w (who);
select is((ridgeline.execute_workflow(:'flow', jsonb_build_object('user_id', :'ada'))).trigger_data ->> 'user_id', :'ada', 'a colleague may be named');
select pg_temp.sign_out();
create function pg_temp.error_of_step(type text, config jsonb) returns text
  language plpgsql
  as $$
declare
  flow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
    jsonb_build_array(jsonb_build_object('key', 's', 'type', type, 'config', config)));
begin
  perform ridgeline.execute_workflow(flow, jsonb_build_object('contact_id', (
    select id from public.contacts where tenant_id = '00000000-0000-0000-0000-00000000000a' limit 1)),
    '00000000-0000-0000-0000-00000000000a');
  perform pg_temp.settle();
  return coalesce((pg_temp.only_run(flow)).error ->> 'message', (pg_temp.only_run(flow)).status::text);
end;
$$;
select alike(pg_temp.error_of_step(type, config::jsonb), '%: "' || :'rival' || '" is not a member of the tenant', type || ' of a stranger')
from (values ('create_task', format('{"title": "x", "assigned_to": "%s"}', :'rival')),
  ('assign_user', format('{"user_id": "%s"}', :'rival')),
  ('update_contact', format('{"fields": {"assigned_to": "%s"}}', :'rival')),
  ('update_field', format('{"field": "contact.assigned_to", "value": "%s"}', :'rival'))) as v (type, config);

-- A row of another tenant does not hear what became of a message.
insert into ridgeline.emails (tenant_id, provider_id, to_address) values (:'apex', 'e-1', 'maria@example.com'), (:'blue', 'e-1', 'maria@example.com');
select automation.record_email_event('evt-1', '{"email_id": "e-1", "type": "bounced", "permanent": true, "occurred_at": "2026-06-01T12:00:00Z"}');
select is((select count(*) from ridgeline.emails where status <> 'sent'), 0::bigint, 'two claim it: neither is told');

select * from finish();
rollback;
