-- Reaping: steps whose lease ran out, apart from claiming. What the lost worker was about to send may have been
-- accepted, so it is looked up before it is sent again. One of the kinds of work of a tick (08_work), which says what
-- is done about somebody's trigger on the run that raises, or hangs.

-- Those that ran out first.
create or replace function automation.due_leases(at_most integer, aside text[])
  returns table (tenant_id uuid, key text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
begin
  return query
    select s.tenant_id, s.id::text from ridgeline.scheduled_steps as s
    where s.lease_expires_at < clock_timestamp() and concat_ws('/', s.tenant_id, s.id) <> all (aside)
    order by s.lease_expires_at
    limit at_most;
end;
$$;

-- Those whose lease is nobody's still, and whose run nobody holds right now.
create or replace function automation.lock_leases(tenant_ids uuid[], keys text[])
  returns setof ridgeline.scheduled_steps
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
begin
  return query
    select (q.due).*
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select s as due from ridgeline.scheduled_steps as s
      where s.tenant_id = k.tenant_id and s.id between k.key::uuid and k.key::uuid
        and s.lease_expires_at < clock_timestamp()
      order by s.id
      limit 1
      for update skip locked
    ) as q
    cross join lateral (
      select x.id from ridgeline.workflow_executions as x
      where x.tenant_id = (q.due).tenant_id and x.id between (q.due).execution_id and (q.due).execution_id
      order by x.id
      limit 1
      for no key update skip locked
    ) as e;
end;
$$;

create or replace function automation.finish_lost(dues ridgeline.scheduled_steps[], outcome text, error jsonb)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  reports jsonb[] := '{}'::jsonb[];
begin
  foreach due in array dues loop
    reports := reports || jsonb_build_object('tenant_id', due.tenant_id, 'step_id', due.id,
      'attempt_token', due.attempt_token, 'outcome', outcome, 'error', error);
  end loop;
  return cardinality(automation.finish_works(to_jsonb(reports)));
end;
$$;

create or replace function automation.fail_lost(due ridgeline.scheduled_steps, why jsonb) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.finish_lost(array[due], 'failed', why || '{"may_have_been_sent": true}');
end;
$$;

-- Those whose run is nowhere go back into the queue, where they are looked at for a day (set_strays_aside): a dump that
-- is being restored has them before their runs.
create or replace function automation.release_strays(tenant_ids uuid[], keys text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
begin
  update ridgeline.scheduled_steps as s
  set attempt_token = null, leased_by = null, leased_at = null, lease_expires_at = null,
    reconcile_since = coalesce(s.reconcile_since, s.leased_at)
  where s.ctid = any (array(
    select q.ctid
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select x.ctid, x.execution_id from ridgeline.scheduled_steps as x
      where x.tenant_id = k.tenant_id and x.id between k.key::uuid and k.key::uuid
        and x.lease_expires_at < clock_timestamp()
      order by x.id
      limit 1
      for update skip locked
    ) as q
    where not exists (
      select from ridgeline.workflow_executions as e where e.tenant_id = k.tenant_id and e.id = q.execution_id)));
end;
$$;

-- Those whose run somebody holds: tried alone, later, or a long transaction that holds the first two hundred would keep
-- all that ran out after them. Where another reaper is noting one of them, it is due until that has been committed.
create or replace function automation.leave_leases(tenant_ids uuid[], keys text[], but ridgeline.scheduled_steps[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  taken constant text[] := array(select concat_ws('/', b.tenant_id, b.id) from unnest(but) as b);
  places integer[];
begin
  perform automation.release_strays(tenant_ids, keys);
  places := array(
    select i from generate_subscripts(keys, 1) as i
    where concat_ws('/', tenant_ids[i], keys[i]) <> all (taken) and exists (
      select from ridgeline.scheduled_steps as s
      where s.tenant_id = tenant_ids[i] and s.id = keys[i]::uuid and s.lease_expires_at < clock_timestamp()));
  if places <> '{}' then
    perform automation.try_alone(array(select tenant_ids[p] from unnest(places) as p), 'lease',
      array(select keys[p] from unnest(places) as p), clock_timestamp() + interval '5 seconds');
  end if;
exception
  when lock_not_available or deadlock_detected then
    null;
end;
$$;

create or replace function automation.take_back_leases(tenant_ids uuid[], keys text[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  dues constant ridgeline.scheduled_steps[] := array(select l from automation.lock_leases(tenant_ids, keys) as l);
begin
  if cardinality(dues) < cardinality(keys) then
    perform automation.leave_leases(tenant_ids, keys, dues);
  end if;
  return automation.finish_lost(dues, 'ambiguous',
    '{"code": "lease_expired", "message": "the worker stopped before it reported an outcome"}');
end;
$$;

create or replace function automation.fail_lease(due ridgeline.scheduled_steps, state text, message text)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.fail_lost(due, automation.engine_error('step_failed', state, message));
end;
$$;
