-- A keyword is the message, whatever stands around it: "Yes!" answers a workflow that listens to YES.
begin;
\ir ../foundation/story.psql
select plan(24);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.workflow(:'apex', 'sms_received', '{"body": ["YES", "y"]}') as yes \gset
select pg_temp.workflow(:'apex', 'sms_received', '{"keyword": "Roof!"}') as roof \gset
select pg_temp.workflow(:'apex', 'sms_received', '{"body": "👍"}') as thumb \gset
create function pg_temp.starts(body text) returns text
  language plpgsql
  as $$
declare
  started text;
begin
  insert into ridgeline.messages (tenant_id, direction, from_number, body)
  values ('00000000-0000-0000-0000-00000000000a', 'inbound', '+15125550100', body);
  select string_agg(w.trigger_config ->> 'body', ', ') into started
  from ridgeline.workflow_executions as e join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id;
  started := case when exists (select from ridgeline.workflow_executions as e join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where w.trigger_config ? 'keyword') then 'roof' else coalesce(started, 'none') end;
  delete from ridgeline.workflow_executions;
  return started;
end;
$$;
select is(pg_temp.starts(body), '["YES", "y"]', 'YES: ' || quote_literal(body))
from (values ('YES'), ('yes'), (' Yes '), ('Yes!'), ('yes.'), ('"yes"'), ('¡Yes!'), ('YES 👍'), (E'Yes\n'), (E'Yes\n\nSent from my iPhone'), ('ＹＥＳ'), (E'\u200Byes'), ('Y'), ('y!')) as v (body);
select is(pg_temp.starts('roof'), 'roof', 'the column keyword can be named itself');
select is(pg_temp.starts('ROOF?'), 'roof', 'and its words are compared as the customer''s are');
select is(pg_temp.starts('👍'), '👍', 'what has no letters is compared as it is');
select is(pg_temp.starts(body), 'none', 'not YES: ' || coalesce(quote_literal(body), 'a picture'))
from (values ('yes please'), ('yesterday'), ('no'), (''), ('👎'), (null)) as v (body);
insert into ridgeline.messages (tenant_id, direction, to_number, body) values (:'apex', 'outbound', '+15125550100', 'Reply YES!');
select is((select keyword from ridgeline.messages where direction = 'outbound'), null, 'our own words are no keyword');

select * from finish();
rollback;
