-- WHAT THE GATE IS ASKED
--
-- Every send passes one gate in the transaction that claims it, on every attempt (20_gate). Questions come in as a
-- set and verdicts go out as a set: each question is asked of the whole batch once.

create type automation.send_question as (
  place integer,
  due ridgeline.scheduled_steps,
  execution ridgeline.workflow_executions,
  step jsonb,
  prepared automation.prepared_step,
  begun_at timestamptz,
  contact jsonb
);

comment on type automation.send_question is
  'May this go out now? prepared: rendered and addressed, verdict run. begun_at: its first attempt, if there was one. '
  'contact: the record of the run''s contact, where it was read just now.';

create type automation.send_verdict as (
  place integer,
  tenant_id uuid,
  step_id uuid,
  execution_id uuid,
  verdict text,
  prepared automation.prepared_step,
  held jsonb,
  until timestamptz,
  expires_at timestamptz
);

comment on type automation.send_verdict is
  'verdict: send (as prepared, from which somebody may have been left out), skip (prepared says why) or hold: until '
  'then (infinity: until it is let go), for a reason (held: {code, why, until, zones?, since}). expires_at: when it '
  'is of no use any more.';

-- A question with what the gate needs to know of it, worked out once.
create type automation.ticket as (
  place integer,
  tenant_id uuid,
  step_id uuid,
  execution_id uuid,
  workflow_id uuid,
  contact_id text,
  channel text,
  purpose text,
  urgent boolean,
  over_cap text,
  recipients text[],
  sender_id uuid,
  expires_at timestamptz,
  held jsonb,
  segments integer,
  contact jsonb
);

-- Is everything that says whom a message goes to written out, or of a member or the office?
create or replace function automation.goes_to_the_office(recipients jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(w.written ~ '\S' and w.written !~ '\{\{\s*(?!user\.|tenant\.)\S'
      and w.written !~ '\|[^}]*\m(?!user\.|tenant\.)[a-z_]+\.[a-z_]', false)
    from (select replace(recipients #>> '{}', '{{{', '{{') as written) as w
  $$;

-- What a step is told of when it may go, and its provider is not.
create or replace function automation.sending_keys(step_type text) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when automation.channel_of(step_type) in ('sms', 'email')
    then '{purpose,expires_after,over_cap,urgent,track_links}' else '{}' end::text[];
end;
$$;

-- What a step says of itself as a message, apart from its words. Unsaid is marketing, but what goes to the office
-- itself, to a member or to an address that is written out, needs nobody's consent.
create or replace function automation.sending_of(step_type text, config jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not coalesce(automation.channel_of(step_type) in ('sms', 'email'), false) then
    return null;
  end if;
  return nullif(jsonb_strip_nulls(jsonb_build_object(
    'purpose', coalesce(config ->> 'purpose', case
      when automation.goes_to_the_office(config -> 'to') then 'internal' end),
    'expires_after', automation.duration_in(config -> 'expires_after'),
    'over_cap', config ->> 'over_cap',
    'urgent', config -> 'urgent',
    'track_links', case when config -> 'track_links' = 'true' then config -> 'track_links' end)), '{}');
end;
$$;

comment on function automation.sending_of(text, jsonb) is
  '{purpose?, expires_after?, over_cap?, urgent?, track_links?} of a step that writes; null: all as usual.';
