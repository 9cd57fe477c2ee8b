-- 85 CAPTURE
--
-- From a committed write to an enrolled execution, inside the writer's own transaction.
--
-- A table is attached once; attaching generates triggers that know the table's columns by name.
-- They ask one question, cheaply: does the tenant of this row have a listener that could match?
-- Only then is a row turned into JSON, matched exactly and enrolled.
--
-- The writer's transaction must never fail on our account. Everything that could raise (reading the row,
-- turning it into JSON, conditions) runs in a block that catches errors and writes nothing, so that it takes no
-- transaction id of its own; and what writes, after it, cannot raise.
--
-- Lock order: capture locks no row that exists already, but the one of ridgeline.stage_changes that belongs to the
-- writer's own CRM row; it only inserts, holding that row.

-- WHO LISTENS
--
-- A session keeps in mind who listens to the writes of a tenant, so that most of them cost no query. It is kept with
-- the number of that moment (45_queue/02_workflows) and holds until there is another one. Whoever publishes takes a
-- number before it commits: so it is learnt only while nobody who has taken one is under way, itself neither, and never
-- from a snapshot that is older than that. Where it cannot be kept, the write asks as if it had not been tried.
--
-- '<number> <tenant>': nobody listens. '{"<number> <tenant>", how, timers, bell, kind, path, ...}': how: of: the row
-- must have one of the texts that follow in a column of text; any: rows of every kind; ask: whoever listens. timed, or
-- none: do timers follow the records? bell: notify, none, or ask the setting. kind: plain: all that they ask is to
-- contain something, and no timers follow; sole: there is one such listener and no other, which begins at once, and
-- before the texts stands '<workflow> <version> <lane> <first step>'; folded: their path is over
-- automation.folded(data). path: where it says false, no condition of theirs holds.
--
-- A setting of the session can be read and written by whoever writes SQL in it. So nothing is enrolled because of what
-- is kept there: it says only what need not be asked, and who writes it deprives nobody's writes but their own.

-- Taken in a block that is undone: so it is held for no longer, whatever comes in between.
create or replace function automation.nobody_publishes() returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_free boolean := false;
begin
  if current_setting('transaction_isolation') = 'read committed'
    and coalesce(current_setting('automation.changes_listening', true), '') = '' then
    is_free := pg_try_advisory_xact_lock(hashtextextended('automation.listening', 0));
  end if;
  if is_free then
    raise exception using errcode = 'AL000';
  end if;
  return false;
exception when sqlstate 'AL000' then
  return true;
end;
$$;

-- Their paths as one, which is false where each is. A path is read anew for each write, 270 instructions a letter: a
-- long one costs more than the question.
create or replace function automation.path_of_all(listeners automation.active_triggers[]) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when bool_and(l.quick is not null) and count(distinct l.quick_folds) = 1
        and sum(octet_length(l.quick::text)) <= 250
      then 'strict ' || string_agg('(' || substr(l.quick::text, 8) || ')', ' || ') end
    from unnest(listeners) as l
    where l.event <> 'time_elapsed'
  $$;

create or replace function automation.listeners_in_short(
  key text, listeners automation.active_triggers[], texts text[], is_timed boolean, bell text)
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select (array[
        key, s.how, case when is_timed then 'timed' else 'none' end,
        case when bell in ('notify', 'none') then bell else 'ask' end,
        case when s.plain and not is_timed then case when s.sole is null then 'plain' else 'sole' end
          when s.path is not null and s.folds then 'folded' end,
        s.path]
      || case when s.plain and not is_timed then s.sole end
      || case when s.how = 'of' then s.wanted end)::text
    from (
      select
        case
          when bool_or(l.match_column is null) then 'any'
          when bool_and(l.match_column = any (texts)) and sum(octet_length(l.match_value)) <= 2000 then 'of'
          else 'ask'
        end as how,
        bool_and(l.plainly is not null) filter (where l.event <> 'time_elapsed') as plain,
        case when count(*) = 1 then min(concat_ws(' ', l.workflow_id, l.version, l.first_lane, l.first_step))
          filter (where l.plainly = 'at once') end as sole,
        bool_or(l.quick_folds) as folds,
        array_agg(distinct l.match_value) as wanted, automation.path_of_all(listeners) as path
      from unnest(listeners) as l
    ) as s
  $$;

create or replace function automation.learn_listeners(
  entity text, tenant_id uuid, events text[], texts text[], key text, keep_as text)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  is_settled constant boolean := automation.nobody_publishes();
  learnt text;
begin
  select case when count(*) = 0 then key else automation.listeners_in_short(key, array_agg(t), texts,
      exists (
        select from automation.timer_listeners as l
        where l.tenant_id = learn_listeners.tenant_id and l.entity = learn_listeners.entity),
      (select s.value from automation.settings as s where s.name = 'doorbell')) end
    into learnt
  from automation.active_triggers as t
  where t.tenant_id = learn_listeners.tenant_id and t.entity = learn_listeners.entity and t.event = any (events);
  if is_settled then
    perform set_config(keep_as, learnt, false);
  end if;
  return learnt;
end;
$$;

comment on function automation.learn_listeners(text, uuid, text[], text[], text, text) is
  'Who listens to writes of a tenant, kept in mind by the session as keep_as if that is certain to hold. texts: the '
  'columns of text that a row is looked through for.';

-- Matching a write against the listeners, and enrolling it.

-- The next functions run for every row that matches. They carry no search_path setting, because
-- it would keep them from being inlined (measured: 8 to 12 us a call instead of 1); their names and
-- operators are qualified instead.

-- Whose number or address a message or a call is with, as everything compares them. A form is no message:
-- anybody can write anybody's number into it.
create or replace function automation.counterparty(entity text, tenant_id uuid, record jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if entity = 'form_submission' or not exists (
    select from automation.entities as e where e.name = counterparty.entity and e.is_log) then
    return null;
  elsif record ->> 'direction' = 'outbound' then
    return coalesce(
      automation.normal_number(coalesce(record ->> 'to_number', record ->> 'phone'), automation.country_of(tenant_id)),
      automation.bare_address(coalesce(record ->> 'to_address', record ->> 'email')));
  end if;
  return coalesce(
    automation.normal_number(coalesce(record ->> 'from_number', record ->> 'phone'), automation.country_of(tenant_id)),
    automation.bare_address(coalesce(record ->> 'from_address', record ->> 'email')));
end;
$$;

-- Of a listener to a change that counts an insert too: an insert with the value counts, and an update that is one. What
-- one transaction makes of a record that it inserts counts once, in whichever order the triggers of its table fire.
create or replace function automation.counts_once(listener automation.active_triggers, data jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  record constant jsonb := data -> listener.entity;
  is_insert constant boolean := listener.on_insert ? 'as';
begin
  if is_insert and (data ? 'old'
    or coalesce(record -> listener.field, 'null') = 'null'
    or listener.on_insert ? 'becomes' and lower(record ->> listener.field) <> listener.on_insert ->> 'becomes'
    or listener.on_insert ? 'unless' and record ->> (listener.on_insert ->> 'unless') = 'true') then
    return false;
  end if;
  return listener.role <> 'enrol' or not exists (
    select from ridgeline.workflow_executions as e
    where e.tenant_id = listener.tenant_id and e.workflow_id = listener.workflow_id
      and e.record_id = automation.as_key(data ->> (listener.entity || '_id'))
      and e.written_by = pg_current_xact_id_if_assigned() and (is_insert or not e.trigger_data ? 'old'));
end;
$$;

-- What few listeners ask, apart from what all do: the query below is started for each row that is written, and every
-- question in it costs its start, asked or not.
create or replace function automation.matches_closely(
  listener automation.active_triggers, changed text[], data jsonb)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  record constant jsonb := data -> listener.entity;
begin
  return (listener.match_any is null or automation.matches_any(record, listener.match_any))
    -- What is inserted has changed from nothing.
    and (listener.field is null or listener.field = any (changed) or not data ? 'old')
    and (listener.from_values is null or listener.from_values @> (data -> 'old' -> listener.field))
    and (listener.to_values is null or listener.to_values @> (record -> listener.field))
    and (listener.on_insert is null or automation.counts_once(listener, data))
    and (listener.reentry is null
      or automation.may_enter_again(listener, data ->> (listener.entity || '_id')));
end;
$$;

create or replace function automation.match_write(
  entity text, tenant_id uuid, events text[], changed text[], data jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  matched automation.enrolment[];
begin
  -- Not array_agg(), whose start costs a fifth of the rest.
  matched := array(
    select row(
        m.workflow_id, m.version, coalesce(m.on_insert ->> 'as', m.event), m.first_step, m.first_lane, m.first_delay,
        case when m.verdict <> 'true' then m.verdict end, m.role, m.listener,
        case when m.role <> 'enrol' then automation.counterparty(
          match_write.entity, match_write.tenant_id, match_write.data -> match_write.entity) end,
        -- An import of old records is stopped by the fuse of the workflow.
        m.role = 'enrol' and coalesce(m.on_insert ? 'as', false), m.mode
        )::automation.enrolment
    from (
      select t.*, case
          when t.conditions is null then 'true'
          else coalesce(
            case when t.quick is not null and pg_column_size(data) <= 8000 then to_jsonb(
              case when t.quick_folds then (select automation.folded(data)) else data end @@ t.quick) end,
            automation.try_conditions(t.conditions, match_write.tenant_id, data))
        end as verdict
      from automation.active_triggers as t
      where t.tenant_id = match_write.tenant_id
        and t.entity = match_write.entity
        and t.event = any (events)
        and (t.role <> 'enrol' or t.mode is not null)
        and match_write.data -> match_write.entity @> t.match
        and (t.match_any is null and t.field is null and t.from_values is null and t.to_values is null
          and t.on_insert is null and t.reentry is null
          or automation.matches_closely(t, match_write.changed, match_write.data))
      -- Or conditions would be evaluated once for every mention of the verdict.
      offset 0
    ) as m
    where m.verdict <> 'false');
  -- A record is created once: only repeatable events and chains can loop.
  if data ? 'old' or automation.has_cause() then
    return automation.admit_all(tenant_id, data ->> (entity || '_id'), matched);
  end if;
  return matched;
end;
$$;

-- Of a small record nothing is so long that a condition would look at its beginning only.
comment on function automation.match_write(text, uuid, text[], text[], jsonb) is
  'The listeners that a write matches; null or empty when there is none. Writes nothing.';

-- The same of an insert where all that its listeners ask is to contain something. That they ask no more is asked too.
create or replace function automation.match_plainly(entity text, tenant_id uuid, event text, data jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select row(
      t.workflow_id, t.version, t.event, t.first_step, t.first_lane, t.first_delay, null, 'enrol', t.listener, null,
      false, t.mode)::automation.enrolment
    from automation.active_triggers as t
    where t.tenant_id = match_plainly.tenant_id
      and t.entity = match_plainly.entity
      and t.event = match_plainly.event
      and t.plainly is not null and t.mode is not null
      and match_plainly.data -> match_plainly.entity @> t.match);
end;
$$;

comment on function automation.match_plainly(text, uuid, text, jsonb) is
  'The listeners that an insert which nothing has caused matches, of those that only ask to contain something; may be '
  'empty. Writes nothing.';

create or replace function automation.match_failed(
  entity text, tenant_id uuid, events text[], state text, message text)
  returns automation.enrolment[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(row(
      t.workflow_id, t.version, t.event, t.first_step, t.first_lane, t.first_delay,
      automation.engine_error('capture_failed', state, message), t.role, t.listener, null, false,
      t.mode)::automation.enrolment)
    from automation.active_triggers as t
    where t.tenant_id = match_failed.tenant_id
      and t.entity = match_failed.entity
      and t.event = any (events)
      and t.role = 'enrol' and t.mode is not null
  $$;

comment on function automation.match_failed(text, uuid, text[], text, text) is
  'What enrols when matching itself broke: every listener gets a failed execution that says why.';
