-- "What happened with this customer?": of one person, what came from them, what was sent, what was not and why, and
-- what is still to come, in one list.

create type automation.person as (
  tenant_id uuid,
  contact_ids text[],
  addresses text[]
);

comment on type automation.person is 'Whose contacts these are, and what they are reached at.';

-- Who is meant, for whoever belongs to the tenant: the rows themselves are read with the caller's own rights.
create or replace function automation.person_meant(tenant_id uuid, contact_id text, phone text, email text)
  returns automation.person
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.own_tenant(tenant_id);
  named record;
  contacts text[];
begin
  named := automation.named_person(tenant, contact_id, phone, email);
  contacts := array(
    select named.contact where named.contact is not null
    union
    select c.id
    from unnest(array[named.number, named.mailbox]) as a (address), automation.contacts_at(tenant, a.address) as c (id)
    where a.address is not null);
  return row(tenant, contacts, array(
    select a.address from unnest(array[named.number, named.mailbox]) as a (address) where a.address is not null
    union
    select a.address
    from unnest(contacts) as c (id), unnest('{sms,email}'::text[]) as k (channel),
      unnest(automation.addresses_of(tenant, c.id, k.channel)) as a (address)))::automation.person;
end;
$$;

-- What runs did, and what they are about to do.
create or replace function automation.person_runs(who automation.person, since timestamptz)
  returns table (
    at timestamptz, what text, workflow_name text, step_key text, says text, why jsonb, execution_id uuid)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with runs as materialized (
      select e.*, w.name
      from unnest(who.contact_ids) as c (id)
      join lateral (
        select x.* from ridgeline.workflow_executions as x
        where x.tenant_id = who.tenant_id and x.record_id = c.id and x.entity = 'contact'
        union all
        select x.* from ridgeline.workflow_executions as x
        where x.tenant_id = who.tenant_id and x.contact_id = c.id and x.entity <> 'contact'
      ) as e on true
      join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
      where coalesce(e.finished_at, 'infinity') >= since
    )
    select r.created_at, 'run started', r.name, null::text, r.trigger_type,
      jsonb_strip_nulls(jsonb_build_object('version', r.version, 'mode', r.mode)), r.id
    from runs as r
    union all
    select r.finished_at, 'run ' || r.status, r.name, null, null, r.error, r.id
    from runs as r where r.finished_at is not null
    union all
    select coalesce(s.finished_at, s.started_at), s.step_type || ' ' || s.status, r.name, s.step_key,
      left(coalesce(s.input ->> 'body', s.input ->> 'subject', s.input ->> 'title', s.recipient), 500),
      coalesce(s.error, s.result_data), r.id
    from runs as r
    join ridgeline.workflow_step_executions as s on s.execution_id = r.id and s.tenant_id = r.tenant_id
    union all
    select q.run_at, case when q.held is null then 'due' else 'held' end, r.name, q.step_key, null, q.held, r.id
    from runs as r
    join ridgeline.scheduled_steps as q on q.execution_id = r.id and q.tenant_id = r.tenant_id
  $$;

-- What came from them, and what became of what was sent.
create or replace function automation.person_conversation(who automation.person)
  returns table (
    at timestamptz, what text, workflow_name text, step_key text, says text, why jsonb, execution_id uuid)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select m.created_at, case m.direction when 'inbound' then 'text received' else 'text ' || m.status end, null::text,
      null::text, left(m.body, 500), jsonb_strip_nulls(jsonb_build_object('to', m.to_number, 'from', m.from_number,
        'error_code', m.error_code)), m.execution_id
    from unnest(who.contact_ids) as c (id)
    join ridgeline.messages as m on m.contact_id = c.id and m.tenant_id = who.tenant_id
    union all
    -- A stranger's, whom no contact was known for.
    select m.created_at, 'text received', null, null, left(m.body, 500), jsonb_build_object('from', m.from_number),
      null
    from unnest(who.addresses) as a (address)
    join ridgeline.messages as m on m.from_number = a.address and m.tenant_id = who.tenant_id
      and m.direction = 'inbound' and m.contact_id is null
    union all
    select m.created_at, case m.direction when 'inbound' then 'email received' else 'email ' || m.status end, null,
      null, left(m.subject, 500), jsonb_strip_nulls(jsonb_build_object('to', m.to_address, 'from', m.from_address,
        'error_code', m.error_code)), m.execution_id
    from unnest(who.contact_ids) as c (id)
    join ridgeline.emails as m on m.contact_id = c.id and m.tenant_id = who.tenant_id
    union all
    select v.occurred_at, 'email ' || v.type || case when v.is_machine then ' by a machine' else '' end, null, null,
      left(v.link, 500), v.detail, null
    from unnest(who.contact_ids) as c (id)
    join ridgeline.email_events as v on v.contact_id = c.id and v.tenant_id = who.tenant_id
    where v.type in ('opened', 'clicked', 'complained', 'bounced')
    union all
    select k.created_at, 'call ' || k.direction, null, null, k.status,
      jsonb_strip_nulls(jsonb_build_object('from', k.from_number, 'to', k.to_number, 'seconds', k.duration_seconds)),
      null
    from unnest(who.contact_ids) as c (id)
    join ridgeline.calls as k on k.contact_id = c.id and k.tenant_id = who.tenant_id
    union all
    select f.created_at, 'form submitted', null, null, f.form, f.understood, null
    from unnest(who.contact_ids) as c (id)
    join ridgeline.form_submissions as f on f.contact_id = c.id and f.tenant_id = who.tenant_id
    union all
    select n.created_at, 'consent ' || n.status, null, null, n.channel || ' ' || n.address,
      jsonb_strip_nulls(jsonb_build_object('purpose', n.purpose, 'method', n.method, 'recorded_by', n.recorded_by)),
      null
    from unnest(who.addresses) as a (address)
    join ridgeline.consents as n on n.address = a.address and n.tenant_id = who.tenant_id
  $$;

create or replace function ridgeline.get_person_history(
  contact_id text default null,
  phone text default null,
  email text default null,
  since timestamptz default null,
  max_rows integer default 200,
  tenant_id uuid default null)
  returns table (
    at timestamptz, what text, workflow_name text, step_key text, says text, why jsonb, execution_id uuid)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with asked as materialized (
      select automation.person_meant($6, $1, $2, $3) as who,
        coalesce($4, automation.now() - interval '90 days') as since
    )
    select h.*
    from asked
    cross join lateral (
      select * from automation.person_runs(asked.who, asked.since)
      union all
      select * from automation.person_conversation(asked.who)
    ) as h
    where h.at >= asked.since
    -- What waits for somebody has no date: it stands where what is to come does, at the top.
    order by h.at desc, case when h.what = 'run started' then 2 when h.what like 'run %' then 0 else 1 end,
      h.execution_id, h.step_key nulls last
    limit least(greatest(coalesce($5, 200), 1), 1000)
  $$;

comment on function ridgeline.get_person_history(text, text, text, timestamptz, integer, uuid) is
  'What happened with a customer, by contact, or by phone (any notation) or email: what they wrote, what was sent, '
  'skipped or failed and why, what is due or held, their consent, the newest first. since: 90 days back when left '
  'out; max_rows: 1 to 1000, 200 when left out. What the caller may read.';
