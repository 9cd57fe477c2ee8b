-- The doorbell through pg_net and Vault, each stood in for by what their documentation promises.
begin;
\ir ../foundation/story.psql
select plan(7);

create schema net;
create table net.calls (url text, body jsonb, headers jsonb, timeout_milliseconds integer);
grant usage on schema net to public;
create function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}',
  timeout_milliseconds integer default 5000)
  returns bigint language sql
  as $$ insert into net.calls values (url, body, headers, timeout_milliseconds); select 1::bigint $$;
select vault.create_secret(s.secret, s.name)
from (values
  ('ridgeline_dispatch_url', 'https://apex.example.com/functions/v1/dispatch'),
  ('ridgeline_secret_key', 'sb_secret_of_apex')) as s (name, secret);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as flow \gset
update automation.settings set value = 'pg_net' where name = 'doorbell';
select set_config('automation.rung', '', true);

insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 50);
select pg_temp.contact(:'apex');
select is((select count(*) from net.calls), 1::bigint, 'fifty-one leads in one transaction ring once');
select is((select url from net.calls), 'https://apex.example.com/functions/v1/dispatch', 'at the address in Vault');
select is((select headers ->> 'apikey' from net.calls), 'sb_secret_of_apex', 'with the key in Vault');
select is((select body from net.calls), '{}'::jsonb, 'and says nothing else');

-- A doorbell that is out of order.
create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}',
  timeout_milliseconds integer default 5000)
  returns bigint language plpgsql as $$ begin raise exception 'pg_net is down'; end $$;
select set_config('automation.rung', '', true);
select lives_ok(format('insert into public.contacts (tenant_id) values (%L)', :'apex'), 'does not fail the write');
drop view vault.decrypted_secrets;
select set_config('automation.rung', '', true);
select lives_ok(format('insert into public.contacts (tenant_id) values (%L)', :'apex'), 'nor does a Vault without secrets');
select is(pg_temp.runs(:'flow'), 53::bigint, 'and every lead is enrolled');
select * from finish();
rollback;
