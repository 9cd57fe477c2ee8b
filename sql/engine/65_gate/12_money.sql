-- MONEY
--
-- What a message costs is worked out once, when it has gone, and stays with its step: prices change, what was paid does
-- not. A dry run says the same beforehand.

create type automation.message_cost as (segments integer, cost numeric);

-- input: as the dispatcher gets it. A text with pictures is one message however long it is; an email is one for each
-- who gets it.
create or replace function automation.cost_of(tenant_id uuid, channel text, input jsonb, recipient text)
  returns automation.message_cost
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  provider constant text := coalesce(input #>> '{sender,provider}', automation.setting(channel || '_provider'));
  segments integer;
begin
  if channel = 'sms' and automation.as_list(input -> 'media_urls') <> '[]' then
    return row(1, automation.price_of(tenant_id, provider, 'mms', recipient))::automation.message_cost;
  elsif channel = 'sms' then
    segments := automation.sms_segments(coalesce(input ->> 'body', ''));
    return row(
      segments, segments * automation.price_of(tenant_id, provider, 'sms', recipient))::automation.message_cost;
  elsif channel = 'email' then
    return row(null::integer, automation.price_of(tenant_id, provider, 'email', recipient) * (
      select sum(jsonb_array_length(automation.as_list(input -> k))) from unnest('{to,cc,bcc}'::text[]) as k)
      )::automation.message_cost;
  end if;
  return null;
end;
$$;

comment on function automation.cost_of(uuid, text, jsonb, text) is
  'How many segments a text is, and what a message costs; null where nobody said a price.';

create or replace function automation.note_cost() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found automation.message_cost;
begin
  found := automation.cost_of(new.tenant_id, automation.channel_of(new.step_type), new.input, new.recipient);
  new.segments := found.segments;
  new.cost := found.cost;
  return new;
exception when others then
  -- It is out: that its price could not be read must not make it look unsent.
  raise warning 'automation: what step % cost is not known: %', new.id, sqlerrm;
  return new;
end;
$$;

create trigger workflow_step_executions_note_cost
  before update on ridgeline.workflow_step_executions
  for each row when (new.status = 'completed' and old.status <> 'completed' and new.provider_id is not null)
  execute function automation.note_cost();
