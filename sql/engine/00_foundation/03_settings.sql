-- Settings an operator may change while the engine runs: one row a setting. They are read a few
-- times a transaction, never once a row.

create table automation.settings (
  name text constraint settings_pkey primary key,
  value text not null,
  description text not null
);

comment on table automation.settings is
  'Engine-wide settings. Change one with: update automation.settings set value = ... where name = ...';

insert into automation.settings (name, value, description) values
  ('doorbell', 'none',
   'How a commit tells the dispatcher that work is due: pg_net, notify or none (polling only).'),
  ('max_causation_depth', '10',
   'A write made by an automation may start another automation; a chain deeper than this is refused.'),
  ('max_chain_executions', '50',
   'How many executions the effects of one execution may start, one after the other or all at once.'),
  ('workflow_fuse_per_hour', '2000',
   'More runs of one workflow in an hour that strangers or the workflow itself set off, and it is held.'),
  ('workflow_fuse_per_day', '10000',
   'The same for a day.'),
  ('max_enrollments', '25',
   'How often one record may enter one workflow within enrollment_window.'),
  ('enrollment_window', '1 hour',
   'The window of max_enrollments, an interval.'),
  ('max_attempts', '8',
   'Attempts at a send or a webhook before its step fails.'),
  ('retry_base', '10 seconds',
   'Backoff before the second attempt; it doubles with every attempt, with full jitter.'),
  ('retry_cap', '1 hour',
   'The longest backoff between two attempts.'),
  ('reconcile_delay', '20 seconds',
   'The least time between an attempt that may have been accepted and looking it up.'),
  ('sms_provider', 'twilio', 'Who carries text messages, where a sender does not say.'),
  ('email_provider', 'resend', 'Who carries email, where a sender does not say.'),
  ('error_classes',
   '{"twilio": {"21610": "opted_out", "21614": "landline", "30006": "landline", "30023": "daily_limit", '
   '"30027": "daily_limit"}}',
   'What codes of providers mean (automation.error_class), where the Edge Functions do not say: those of API 1 '
   'did not.'),
  ('environment_serves', 'single_tenant',
   'Whom the sender and the signing secret in the dispatcher''s environment serve: single_tenant (nobody, '
   'once there is a second tenant) or every_tenant (development, and offices of one company).'),
  ('environment_per_second', '1',
   'How many segments a second the sender of the environment takes: 1, as a US number does; 0: as fast as they come.'),
  ('workflow_fuse_at_least', '1000',
   'How many of those runs a workflow may have in a day whatever it did before; new ones have no more.'),
  ('workflow_fuse_at_once', '25',
   'More records inserted at once whose values a workflow counts as a change (on_insert), or five times what it did on '
   'its busiest day, and it is held before the first of them has done anything.'),
  ('consent_asked_since', '-infinity',
   'Tenants that had no workflow on then are asked what marketing needs, and it waits till they say; infinity: nobody '
   'is asked, and it goes to whoever has not opted out.'),
  ('editors_publish', 'false',
   'Do editors publish and switch workflows, where the tenant''s own settings do not say? true or false.'),
  ('keep_runs', '13 months',
   'How long runs that have ended are kept, where a tenant does not say: an interval of 7 days at least, or forever.'),
  ('keep_inputs', '90 days',
   'The same of what their steps were told: rendered messages and fields.'),
  ('keep_changes', '24 months',
   'How long it is known who changed a definition or a setting.'),
  ('keep_links', '13 months',
   'How long links in texts that are tracked lead where they led.'),
  ('link_url', '',
   'Where the outside finds functions/link, which the links of texts lead through: https://..., as short as can be.'),
  ('prune_time', '250 milliseconds',
   'How long a tick prunes history, at most.'),
  ('max_cut_offs', '3',
   'How often work on one step may be cut off (a timeout, a crash) before the step fails.'),
  ('cut_off_pause', '5 seconds',
   'How long such a step is left alone the first time; four times as long each time after that.'),
  ('host_search_path', '',
   'The search_path under which steps write the CRM''s tables, for its triggers that name no schema; empty: that of '
   'the role that attaches a table next, without what anybody else may create in.')
on conflict on constraint settings_pkey do update set description = excluded.description;

-- Null: for good. Less than a week is refused: what counts texts and runs of a day looks at history.
create or replace function automation.kept_for(length text) returns interval
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if lower(btrim(length)) = 'forever' then
    return null;
  elsif coalesce(length::interval < interval '7 days', true) then
    raise exception 'history is kept for 7 days at least' using errcode = 'invalid_parameter_value',
      hint = 'Write a length, such as "13 months" or "90 days", or "forever".';
  end if;
  return length::interval;
end;
$$;

create or replace function automation.refuse_setting(setting automation.settings, why text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception 'value: "%" is no value for %: %', left(setting.value, 60), setting.name, why
    using errcode = 'invalid_parameter_value';
end;
$$;

-- A setting that cannot be read would fail the customer's write that reads it, so it is refused here.
create or replace function automation.check_setting() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if new.name in (
    'enrollment_window', 'retry_base', 'retry_cap', 'reconcile_delay', 'cut_off_pause', 'prune_time')
    and new.value::interval < interval '0' then
    raise exception 'value: % cannot be negative', new.name;
  elsif new.name = 'consent_asked_since' and new.value::timestamptz is null then
    raise exception 'value: consent_asked_since must be a time';
  elsif new.name = 'error_classes' and jsonb_typeof(new.value::jsonb) is distinct from 'object' then
    raise exception 'value: error_classes must be {"provider": {"code": "class"}}';
  elsif new.name = 'environment_per_second' and new.value::numeric not between 0 and 9999 then
    raise exception 'value: environment_per_second must be from 0 to 9999';
  elsif new.name like 'keep\_%' then
    perform automation.kept_for(new.value);
  elsif new.name like 'workflow_fuse_%' and new.value::integer not between 1 and 1000000 then
    raise exception 'value: % must be from 1 to 1000000', new.name;
  elsif new.name in (
    'max_causation_depth', 'max_enrollments', 'max_attempts', 'max_cut_offs', 'max_chain_executions')
    and new.value::integer not between 1 and 10000 then
    raise exception 'value: % must be from 1 to 10000', new.name;
  elsif new.name = 'link_url' and new.value !~* '^(https?://[^\s<>"?#]+)?$' then
    raise exception 'value: link_url must start with https://';
  elsif new.name = 'environment_serves' and new.value not in ('single_tenant', 'every_tenant') then
    raise exception 'value: environment_serves must be single_tenant or every_tenant';
  elsif new.name = 'editors_publish' and new.value not in ('true', 'false') then
    raise exception 'value: editors_publish must be true or false';
  elsif new.name = 'doorbell' and new.value not in ('pg_net', 'notify', 'none') then
    raise exception 'value: doorbell must be pg_net, notify or none';
  end if;
  return new;
exception when others then
  perform automation.refuse_setting(new, sqlerrm);
  return null;
end;
$$;

create trigger settings_check
  before insert or update on automation.settings
  for each row execute function automation.check_setting();

create or replace function automation.setting(name text) returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select s.value from automation.settings as s where s.name = setting.name);
end;
$$;

comment on function automation.setting(text) is
  'The value of an engine setting, as text; null when there is no such setting.';
