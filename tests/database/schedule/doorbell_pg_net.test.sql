-- The doorbell through pg_net and Vault, each stood in for by what their documentation promises.
begin;
\ir ../foundation/story.psql
\ir ../foundation/net.psql
select plan(18);

select vault.create_secret(s.secret, s.name)
from (values
  ('ridgeline_dispatch_url', 'https://apex.example.com/functions/v1/dispatch'),
  ('ridgeline_secret_key', 'sb_secret_of_apex')) as s (name, secret);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as flow \gset
update automation.settings set value = 'pg_net' where name = 'doorbell';

-- A transaction rings once; a lead is written in a new one each time.
create function pg_temp.lead(tenant uuid) returns void
  language plpgsql as $$
begin
  perform set_config('automation.rung', '', true);
  insert into public.contacts (tenant_id) values (tenant);
end;
$$;
create function pg_temp.waiting() returns bigint
  language sql as 'select count(*) from net.http_request_queue';

select lives_ok(format('select pg_temp.lead(%L)', :'apex'), 'a Vault without a key for ringing does not fail the write');
select is(pg_temp.waiting(), 0::bigint, 'and a secret key is not taken in its place');

select vault.create_secret('a key that can only ring', 'ridgeline_ring_key');
select set_config('automation.rung', '', true);
insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 50);
select pg_temp.contact(:'apex');
select is(pg_temp.waiting(), 1::bigint, 'fifty-one leads in one transaction ring once');
select is(url, 'https://apex.example.com/functions/v1/dispatch', 'at the address in Vault') from net.http_request_queue;
select is(headers ->> 'apikey', 'a key that can only ring', 'with the key that can only ring') from net.http_request_queue;
select is(method::text || convert_from(body, 'UTF8'), 'POST{}', 'and says nothing else') from net.http_request_queue;
select is(timeout_milliseconds, 5000, 'and waits five seconds for its answer') from net.http_request_queue;

-- Rings coalesce.
select pg_temp.lead(:'apex') from generate_series(1, 3);
select is(pg_temp.waiting(), 1::bigint, 'while a ring waits, the leads of further transactions queue no second');
delete from net.http_request_queue;
select pg_temp.lead(:'apex');
select is(pg_temp.waiting(), 1::bigint, 'once it was sent, the next lead rings again');
update net.http_request_queue set url = 'https://apex.example.com/functions/v1/another';
select pg_temp.lead(:'apex');
select is(pg_temp.waiting(), 2::bigint, 'a call of somebody else''s is no ring of ours');
delete from net.http_request_queue;
insert into net.http_request_queue (method, url, timeout_milliseconds)
select 'POST', 'https://apex.example.com/functions/v1/another', 1 from generate_series(1, 1000);
select pg_temp.lead(:'apex');
select pg_temp.lead(:'apex');
select is(pg_temp.waiting(), 1002::bigint, 'behind a thousand calls of the host''s it is not looked for');
delete from net.http_request_queue;

-- A doorbell that is out of order.
alter table net.http_request_queue rename column url to address;
select ok(not automation.is_ringing('https://apex.example.com'), 'a queue of another shape has no ring of ours');
alter table net.http_request_queue rename column address to url;
create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000)
  returns bigint language plpgsql as $$ begin raise exception 'pg_net is down'; end $$;
select lives_ok(format('select pg_temp.lead(%L)', :'apex'), 'a pg_net that is down does not fail the write');
set local client_min_messages = warning;
drop schema net cascade;
select lives_ok(format('select pg_temp.lead(%L)', :'apex'), 'nor does one that is not there');
drop view vault.decrypted_secrets;
select lives_ok(format('select pg_temp.lead(%L)', :'apex'), 'nor a Vault without secrets');
select is(pg_temp.runs(:'flow'), 62::bigint, 'and every lead is enrolled');

-- Who may read the queue is the host's affair; who may ask us about it is not.
select ok(not has_function_privilege(r, 'automation.is_ringing(text)', 'execute'), r || ' cannot ask')
from unnest(array['anon', 'authenticated']) as r;
select * from finish();
rollback;
