-- A dump of the data alone (pg_dump --data-only) restores into a fresh install, of this release or a later one:
-- in one transaction, between begin_restore() and end_restore().

-- What a release brings along, by key; `kept` is the operator's or the engine's own to change.
create or replace function automation.registries()
  returns table (relation text, key text, kept text[])
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    values
      ('automation.settings', 'name', '{value}'::text[]),
      ('automation.trigger_types', 'name', '{}'),
      ('automation.step_types', 'name', '{}'),
      ('automation.setting_schemas', 'name', '{}'),
      ('automation.skip_codes', 'code', '{}'),
      ('automation.tick_parts', 'part', '{begun_at,ended_at}'),
      ('automation.phone_plans', 'country', '{}'),
      ('automation.area_codes', 'prefix', '{}'),
      ('automation.regions', 'region', '{}'),
      ('automation.open_hours', 'name', '{}'),
      ('automation.prices', 'name', '{negotiated}'),
      ('automation.daily_caps', 'name', '{}'),
      ('automation.recipes', 'name', '{}')
  $$;

create or replace function automation.begin_restore() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  registry record;
  emptied text;
begin
  if exists (select from ridgeline.workflows) or exists (select from ridgeline.workflow_executions)
    or exists (select from ridgeline.messages) then
    raise exception 'this database has workflows, runs or messages of its own: restore into a fresh install'
      using errcode = 'PT409', hint = 'Create a database, apply the migrations, and restore there.';
  end if;
  -- Neither triggers nor foreign keys: rows come in the order of the dump, and happened before.
  begin
    perform set_config('session_replication_role', 'replica', true);
  exception when insufficient_privilege then
    raise exception 'this role may not set session_replication_role' using errcode = 'insufficient_privilege',
      hint = format('As a superuser: grant set on parameter session_replication_role to %I. The platform''s '
        'postgres may.', session_user);
  end;
  create temporary table registry_rows (relation text, record jsonb) on commit drop;
  for registry in select r.relation from automation.registries() as r loop
    execute format('insert into pg_temp.registry_rows select %L, to_jsonb(t) from %s as t',
      registry.relation, registry.relation);
  end loop;
  select string_agg(c.oid::regclass::text, ', ') into emptied
  from pg_catalog.pg_class as c
  where c.relkind in ('r', 'p') and c.relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace);
  execute 'truncate ' || emptied;
end;
$$;

comment on function automation.begin_restore() is
  'Makes a fresh install ready for a data-only dump of schemas ridgeline and automation (and of the CRM, if it is to '
  'come along): in the same transaction, load it, then call automation.end_restore(). Refused where there is data.';

create or replace function automation.end_restore() returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  registry record;
  attached text[];
begin
  perform set_config('session_replication_role', 'origin', true);
  -- What this release brings along counts, whatever the dump says; what somebody has set stays.
  for registry in
    select r.relation, r.key, string_agg(format('%1$I = excluded.%1$I', a.attname), ', ') as changes
    from automation.registries() as r
    join pg_catalog.pg_attribute as a on a.attrelid = r.relation::regclass and a.attnum > 0
      and not a.attisdropped and a.attname <> r.key and not a.attname::text = any (r.kept)
    group by r.relation, r.key
  loop
    execute format(
      'insert into %1$s select t.* from pg_temp.registry_rows as r '
      'cross join lateral jsonb_populate_record(null::%1$s, r.record) as t where r.relation = %2$L '
      'on conflict (%3$I) do update set %4$s',
      registry.relation, registry.relation, registry.key, registry.changes);
  end loop;
  -- Numbers of transactions are those of the server that was dumped.
  update automation.signals as s set kept_for = null where s.kept_for is not null;
  perform automation.refresh_time_zones();
  perform automation.listen_by_clock();
  attached := automation.regenerate_captures();
  return jsonb_build_object(
    'workflows', (select count(*) from ridgeline.workflows),
    'executions', (select count(*) from ridgeline.workflow_executions),
    'scheduled_steps', (select count(*) from ridgeline.scheduled_steps),
    'attached', to_jsonb(attached),
    'missing', (
      select coalesce(jsonb_agg(e.relation order by e.relation), '[]') from automation.entities as e
      where to_regclass(e.relation) is null));
end;
$$;

comment on function automation.end_restore() is
  'After the rows of a dump: brings the registries of this release back, generates the captures of what was attached, '
  'and says what there is: {workflows, executions, scheduled_steps, attached, missing}. Runs go on with the next tick; '
  'call automation.install_schedule() where pg_cron ticks.';
