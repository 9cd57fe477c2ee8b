-- MONEY
--
-- What a message costs is worked out once, when it has gone, and stays with its step: prices change, what was paid does
-- not. A dry run says the same beforehand.

create type automation.message_cost as (segments integer, cost numeric);

-- Of several messages, in their order; null: it is no message, or has no country. inputs: as the dispatcher gets them;
-- countries: as they were read, null where they were not. A text with pictures is one message however long it is; an
-- email is one for each who gets it. What has one price is asked for it once.
create or replace function automation.costs_of(
  tenant_ids uuid[], channels text[], inputs jsonb[], recipients text[], countries text[])
  returns automation.message_cost[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  input jsonb;
  provider text;
  kind text;
  country text;
  amount integer;
  key text;
  keys text[] := '{}'::text[];
  prices numeric[] := '{}'::numeric[];
  nth integer;
  costs automation.message_cost[] := array_fill(null::automation.message_cost, array[cardinality(inputs)]);
begin
  for i in 1 .. cardinality(inputs) loop
    continue when channels[i] in ('sms', 'email') is not true;
    input := inputs[i];
    provider := coalesce(input #>> '{sender,provider}', automation.setting(channels[i] || '_provider'));
    if channels[i] = 'email' then
      kind := 'email';
      country := '*';
      amount := automation.length_of_list(input -> 'to') + automation.length_of_list(input -> 'cc')
        + automation.length_of_list(input -> 'bcc');
    else
      country := coalesce(countries[i], (automation.read_phone(recipients[i])).country);
      if automation.length_of_list(input -> 'media_urls') > 0 then
        kind := 'mms';
        amount := 1;
      else
        kind := 'sms';
        amount := automation.sms_segments(coalesce(input ->> 'body', ''));
      end if;
    end if;
    key := concat_ws(' ', tenant_ids[i], kind, coalesce(country, ''), provider);
    nth := array_position(keys, key);
    if nth is null then
      keys := keys || key;
      prices := prices || automation.price_of(tenant_ids[i], provider, kind, country);
      nth := cardinality(keys);
    end if;
    costs[i] := row(case when kind <> 'email' then amount end, amount * prices[nth])::automation.message_cost;
  end loop;
  return costs;
end;
$$;

comment on function automation.costs_of(uuid[], text[], jsonb[], text[], text[]) is
  'How many segments texts are, and what messages cost; null where nobody said a price.';

-- The same of what is out already: that a price could not be read must not make it look unsent.
create or replace function automation.costs_of_sent(
  tenant_ids uuid[], step_ids uuid[], channels text[], inputs jsonb[], recipients text[], countries text[])
  returns automation.message_cost[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  n constant integer := cardinality(inputs);
begin
  return automation.costs_of(tenant_ids, channels, inputs, recipients, countries);
exception when others then
  if n = 1 then
    raise warning 'automation: what step % cost is not known: %', step_ids[1], sqlerrm;
    return array[null::automation.message_cost];
  end if;
  return automation.costs_of_sent(tenant_ids[:n / 2], step_ids[:n / 2], channels[:n / 2], inputs[:n / 2],
      recipients[:n / 2], countries[:n / 2])
    || automation.costs_of_sent(tenant_ids[n / 2 + 1:], step_ids[n / 2 + 1:], channels[n / 2 + 1:], inputs[n / 2 + 1:],
      recipients[n / 2 + 1:], countries[n / 2 + 1:]);
end;
$$;
