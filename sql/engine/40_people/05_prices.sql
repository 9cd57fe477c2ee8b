-- WHAT MESSAGES COST
--
-- Prices are data: by provider, kind of message and country, with where they come from and as of when. They are list
-- prices; what an office really pays it says itself. An estimate for deciding, no invoice: carriers add fees of their
-- own, and what a provider bills it bills.

create table automation.prices (
  name text not null constraint prices_pkey primary key,
  provider text not null,
  kind text not null
    constraint prices_kind_known check (kind in ('sms', 'mms', 'email')),
  country text not null,
  amount numeric not null constraint prices_amount_not_negative check (amount >= 0),
  currency text not null default 'USD',
  source text not null,
  as_of date not null,
  negotiated numeric constraint prices_negotiated_not_negative check (negotiated >= 0),
  constraint prices_once unique (provider, kind, country)
);

comment on table automation.prices is
  'What a provider takes: sms a segment, mms a text with pictures, email a message to one address. country: ISO 3166, '
  'or * for all that have no row. A release brings its rows along; an operator adds rows, and says in negotiated what '
  'is really paid.';
comment on column automation.prices.negotiated is 'What this installation pays instead; a release leaves it alone.';

insert into automation.prices (name, provider, kind, country, amount, source, as_of) values
  ('twilio sms US', 'twilio', 'sms', 'US', 0.0083,
   'Twilio''s list price a segment; carriers add about 0.003 to 0.006', '2026-07-01'),
  ('twilio sms CA', 'twilio', 'sms', 'CA', 0.0083,
   'Twilio''s list price a segment; carriers add about 0.007', '2026-07-01'),
  ('twilio mms US', 'twilio', 'mms', 'US', 0.022,
   'Twilio''s list price a message; carriers add about 0.005 to 0.01', '2026-07-01'),
  ('twilio mms CA', 'twilio', 'mms', 'CA', 0.022, 'Twilio''s list price a message', '2026-07-01'),
  ('telnyx sms US', 'telnyx', 'sms', 'US', 0.004,
   'Telnyx''s list price a segment; carriers add about 0.003 to 0.006', '2026-07-01'),
  ('resend email *', 'resend', 'email', '*', 0.0004, 'Resend, 50,000 emails for 20 dollars a month', '2026-07-01'),
  ('postmark email *', 'postmark', 'email', '*', 0.0015, 'Postmark, 10,000 emails for 15 dollars a month', '2026-08-13')
on conflict on constraint prices_pkey do update set
  (provider, kind, country, amount, currency, source, as_of) = row (
    excluded.provider, excluded.kind, excluded.country, excluded.amount, excluded.currency, excluded.source,
    excluded.as_of);

-- What an office says that it pays, {"sms": 0.0075} or {"sms": {"US": 0.0075, "*": 0.05}, "email": 0}; null: nothing
-- that could be read.
create or replace function automation.own_price(prices jsonb, kind text, country text) returns numeric
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when p.said ~ '^\d{1,6}(\.\d{1,8})?$' then p.said::numeric end
    from (
      select case jsonb_typeof(prices -> kind)
        when 'object' then coalesce(prices -> kind ->> country, prices -> kind ->> '*')
        else prices ->> kind end as said) as p
  $$;

-- country: of an email, *.
create or replace function automation.price_of(tenant_id uuid, provider text, kind text, country text)
  returns numeric
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- Of ridgeline.tenant_settings alone: it is asked for each message that was sent.
  own constant jsonb := (
    select s.settings -> 'prices' from ridgeline.tenant_settings as s where s.tenant_id = price_of.tenant_id);
begin
  return coalesce(
    case when own is not null then automation.own_price(own, kind, country) end,
    (select coalesce(p.negotiated, p.amount) from automation.prices as p
     where p.provider = price_of.provider and p.kind = price_of.kind and p.country in (price_of.country, '*')
     order by p.country = '*'
     limit 1));
end;
$$;

comment on function automation.price_of(uuid, text, text, text) is
  'What a segment (sms), a text with pictures (mms) or an email costs this tenant, in its currency; null: unknown. Its '
  'own word is ridgeline.tenant_settings.settings {"prices": {"sms": 0.0075, "email": 0}}, else automation.prices.';
