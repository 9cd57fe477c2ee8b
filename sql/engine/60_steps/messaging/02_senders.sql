-- A sender that is written out.

-- What is written out is known to be nobody's of the tenant; what a variable gives is looked at when it
-- is sent.
create or replace function automation.foreign_sender_problem(workflow ridgeline.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.' || g.field, 'sender_not_yours',
      format('%s: "%s" is not a sender of yours', g.field, left(g.named, 80)),
      'Name one of your active senders, or leave it out.')
    from (
      -- A mailbox is kept in parts, {name?, address}.
      select f as field, btrim(coalesce(b.given #>> '{0,address}', b.given #>> '{}')) as named,
        b.given #> '{1}' is not null as several
      from unnest('{from,messaging_service_sid}'::text[]) as f
      cross join lateral (select step -> 'config' -> 'base' -> f as given) as b
    ) as g
    where g.named <> '' and g.named not like '%{{%'
      -- What is no number or address, or more than one, is told elsewhere.
      and (g.field <> 'from' or step ->> 'type' <> 'send_sms'
        or automation.written_sender_problem(workflow, step) is null)
      and (step ->> 'type' = 'send_sms' or automation.normalize_email(g.named) is not null and g.several is not true)
      and not exists (
        select from automation.named_sender(
          workflow.tenant_id, case step ->> 'type' when 'send_sms' then 'sms' else 'email' end, g.named) as s
        where s.id is not null)
    order by g.field
    limit 1
  $$;
