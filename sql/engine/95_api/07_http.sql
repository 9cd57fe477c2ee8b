-- Answers given over HTTP under an Idempotency-Key, so that a client that did not hear one may ask
-- again. The answer is kept in the transaction that did the work: there is no moment at which the
-- work is done and the answer unknown, and a call that failed has done nothing and keeps nothing.

create table automation.idempotency_keys (
  caller text not null,
  key text not null constraint idempotency_keys_key_length check (length(key) between 1 and 255),
  fingerprint bytea not null,
  status smallint not null,
  answer jsonb not null,
  expires_at timestamptz not null,
  constraint idempotency_keys_pkey primary key (caller, key)
);

create index idempotency_keys_by_expiry on automation.idempotency_keys (expires_at);

comment on table automation.idempotency_keys is
  'What was answered to a caller under a key, for a day.';
comment on column automation.idempotency_keys.caller is
  'user:<id>, with @<tenant> for who belongs to several, or service:<tenant>: a key belongs to a tenant, '
  'and one caller''s keys say nothing about another''s.';
comment on column automation.idempotency_keys.fingerprint is
  'Digest of the method, path and body that the key was first used with.';

-- Whatever is wrong with the request is said by the operation itself.
create or replace function automation.tenant_of_request(input jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if input ? 'workflow_id' then
    return (automation.find_workflow(automation.as_uuid(input ->> 'workflow_id'))).tenant_id;
  elsif input ? 'execution_id' then
    return (automation.find_execution(automation.as_uuid(input ->> 'execution_id'))).tenant_id;
  elsif input ? 'enrollment_id' then
    return (select min(t.id::text)::uuid from automation.usable_tenants() as t (id)
      join ridgeline.bulk_enrollments as b
        on b.tenant_id = t.id and b.id = automation.as_uuid(input ->> 'enrollment_id')
      having count(*) = 1);
  end if;
  return automation.resolve_tenant(null, coalesce(input -> 'trigger_data', '{}'));
exception when no_data_found or invalid_parameter_value then
  return null;
end;
$$;

create or replace function automation.request_scope(input jsonb) returns text
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.is_service() then 'service:' || coalesce(t.id::text, 'any')
      when cardinality(automation.member_tenants()) > 1
        then format('user:%s@%s', automation.current_user_id(), coalesce(t.id::text, 'any'))
      else format('user:%s', automation.current_user_id())
    end
    from (select coalesce(automation.named_tenant(), automation.tenant_of_request(input)) as id) as t
  $$;

comment on function automation.request_scope(jsonb) is
  'Whose idempotency keys these are: asked for with the rights of the caller.';

create or replace function automation.request_fingerprint(request jsonb) returns bytea
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select sha256(convert_to(request::text, 'UTF8')) $$;

comment on function automation.request_fingerprint(jsonb) is
  'Neither the order of the members of an object nor white space counts.';

create or replace function automation.prune_idempotency_keys(max_rows integer default 100)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pruned integer;
begin
  delete from automation.idempotency_keys as k
  where (k.caller, k.key) in (
    select e.caller, e.key from automation.idempotency_keys as e
    where e.expires_at <= automation.now()
    order by e.expires_at
    limit max_rows
    for update skip locked);
  get diagnostics pruned = row_count;
  return pruned;
end;
$$;

comment on function automation.prune_idempotency_keys(integer) is
  'Removes keys that have expired. Every request with a key takes a few along, so the table stays as '
  'large as a day''s requests.';

-- verdict: new, replay (with the answer), mismatch (the key was used for another request) or in_flight
-- (the first request has not been answered yet).
create or replace function automation.begin_request(
  caller text, key text, request jsonb,
  out verdict text, out status integer, out answer jsonb)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept automation.idempotency_keys;
begin
  if not pg_try_advisory_xact_lock(hashtextextended(format('%s %s', caller, key), 7)) then
    verdict := 'in_flight';
    return;
  end if;
  perform automation.prune_idempotency_keys();
  select k.* into kept from automation.idempotency_keys as k
  where k.caller = begin_request.caller and k.key = begin_request.key
    and k.expires_at > automation.now();
  if not found then
    verdict := 'new';
  elsif kept.fingerprint <> automation.request_fingerprint(request) then
    verdict := 'mismatch';
  else
    verdict := 'replay';
    status := kept.status;
    answer := kept.answer;
  end if;
end;
$$;

comment on function automation.begin_request(text, text, jsonb) is
  'To be called first in the transaction that does the work; automation.keep_answer() last.';

create or replace function automation.keep_answer(
  caller text, key text, request jsonb, status integer, answer jsonb)
  returns void
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.idempotency_keys (caller, key, fingerprint, status, answer, expires_at)
    values (caller, key, automation.request_fingerprint(request), status, answer,
      automation.now() + interval '1 day')
    on conflict on constraint idempotency_keys_pkey do update
      set (fingerprint, status, answer, expires_at) =
        row (excluded.fingerprint, excluded.status, excluded.answer, excluded.expires_at)
  $$;
