-- Clicks on the links of texts. What is no person's (a scanner of the carrier's, the preview that a telephone draws, a
-- browser that fetches ahead) is counted and changes nothing else; the rule is that of emails (04_email), the time of
-- delivery being the one at which the provider took the text, since what it reports later comes late.

-- Read alone: whoever follows a link is sent on even where nothing can be written.
create or replace function automation.find_link(code text) returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select l.url from automation.links as l
    where l.code = find_link.code
      and coalesce(l.created_at > automation.now() - automation.kept_for(automation.setting('keep_links')), true)
    order by l.created_at limit 1);
end;
$$;

comment on function automation.find_link(text) is
  'Where the link of a text leads, exactly as it was written; null: nobody made this code, or it has expired.';

-- What a click began that was no person's is cancelled as far as it has not run, and a person's later on counts as the
-- first.
create or replace function automation.take_click_back(tenant_id uuid, step_id uuid, since timestamptz) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  message ridgeline.messages;
begin
  update automation.links as l
  set clicked_at = null, machine_requests = l.machine_requests + 1, machine_reason = 'every_link_at_once'
  where l.step_id = take_click_back.step_id and l.tenant_id = take_click_back.tenant_id and l.clicked_at >= since;
  if not found then
    return;
  end if;
  select m.* into message
  from ridgeline.workflow_step_executions as s
  join ridgeline.messages as m on m.provider_id = s.provider_id and m.tenant_id = s.tenant_id
  where s.tenant_id = take_click_back.tenant_id and s.id = take_click_back.step_id
    and m.direction = 'outbound' and m.clicked_at >= since;
  if not found then
    return;
  end if;
  perform automation.cancel_run(x.tenant_id, x.id)
  from ridgeline.workflow_executions as x
  where x.tenant_id = take_click_back.tenant_id and x.record_id = message.id::text
    and x.trigger_type = 'sms_clicked' and x.finished_at is null;
  update ridgeline.messages as m set clicked_at = null
  where m.tenant_id = message.tenant_id and m.id = message.id;
end;
$$;

create or replace function automation.record_click(code text, user_agent text, hint text default null) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  link automation.links;
  sent ridgeline.workflow_step_executions;
  reason text;
begin
  select l.* into link from automation.links as l
  where l.code = record_click.code
  order by l.created_at limit 1;
  if not found then
    return 'unknown';
  elsif link.requests >= 1000 then
    return 'enough';
  end if;
  -- All of the text's, in one order: a scanner asks for them at the same moment.
  perform from automation.links as o
  where o.step_id = link.step_id and o.tenant_id = link.tenant_id
  order by o.code
  for update;
  select s.* into sent from ridgeline.workflow_step_executions as s
  where s.tenant_id = link.tenant_id and s.id = link.step_id;
  reason := coalesce(left(hint, 40),
    case when btrim(coalesce(user_agent, '')) = '' then 'no_agent' end,
    automation.machine_reason('clicked', at, coalesce(sent.finished_at, link.created_at), user_agent));
  if exists (
    select from automation.links as o
    where o.step_id = link.step_id and o.tenant_id = link.tenant_id and o.url <> link.url
      and o.requested_at between at - interval '2 seconds' and at + interval '2 seconds') then
    reason := coalesce(reason, 'every_link_at_once');
    perform automation.take_click_back(link.tenant_id, link.step_id, at - interval '2 seconds');
  end if;
  update automation.links as l
  set requested_at = at, requests = l.requests + 1,
    machine_requests = l.machine_requests + (reason is not null)::integer,
    machine_reason = coalesce(reason, l.machine_reason),
    clicked_at = coalesce(l.clicked_at, case when reason is null then at end)
  where l.tenant_id = link.tenant_id and l.code = link.code;
  if reason is null then
    update ridgeline.messages as m set clicked_at = at
    where m.provider_id = sent.provider_id and m.tenant_id = link.tenant_id and m.direction = 'outbound'
      and m.clicked_at is null;
  end if;
  return coalesce(reason, 'clicked');
end;
$$;

comment on function automation.record_click(text, text, text) is
  'Somebody follows a link of a text. hint: what the request itself says of who asks, such as prefetch; null: nothing. '
  'Answers clicked (a person; the first of a text is the event sms_clicked), why it is taken for a machine, '
  'enough (of a link that was asked for a thousand times no more is written down), or unknown.';
