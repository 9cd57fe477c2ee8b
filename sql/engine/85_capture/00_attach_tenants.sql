-- Nothing of it starts any more, and nothing goes out. Its timers are not deleted here, there may be a million, and
-- somebody may wait: one that nobody listens for is dropped when it is due.
create or replace function automation.silence_tenant(gone uuid) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.active_triggers as t where t.tenant_id = gone;
    delete from ridgeline.workflow_schedules as s where s.tenant_id = gone;
    delete from automation.timer_listeners as l where l.tenant_id = gone;
    delete from ridgeline.bulk_enrollments as b where b.tenant_id = gone and b.status = 'running';
    delete from ridgeline.scheduled_steps as s where s.tenant_id = gone;
  $$;

create or replace function automation.note_tenant_gone() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gone constant uuid := automation.tenant_in_row(to_jsonb(old) ->> tg_argv[0]);
begin
  -- A row that moves to another partition is deleted from the one it was in.
  if automation.tenant_state(gone) in ('here', 'deleted') then
    return null;
  end if;
  insert into automation.gone_tenants (tenant_id, gone_by, gone_as)
  values (gone, automation.current_user_id(), automation.change_source() ->> 'role')
  on conflict do nothing;
  perform automation.silence_tenant(gone);
  return null;
exception when others then
  raise warning 'automation: the rows of a tenant that was deleted stay: %', sqlerrm;
  return null;
end;
$$;

create or replace function automation.watch_tenants(relation regclass, id_column text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.unwatch_tenants(but => relation);
  if (select c.relkind in ('r', 'p') from pg_catalog.pg_class as c where c.oid = relation) then
    perform automation.take_table(relation);
    execute format(
      'create or replace trigger automation_tenant_gone after delete on %s for each row '
      'execute function automation.note_tenant_gone(%L)', relation, id_column);
  end if;
end;
$$;

create or replace function automation.unwatch_tenants(but regclass default null) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  installed record;
begin
  for installed in
    select t.tgname, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    where t.tgfoid = 'automation.note_tenant_gone()'::regprocedure and t.tgparentid = 0
      and t.tgrelid is distinct from but
  loop
    perform automation.take_table(installed.relation, 'access exclusive');
    execute format('drop trigger %I on %s', installed.tgname, installed.relation);
  end loop;
end;
$$;

-- A zone that is none counts as New York's, and texts go out at its hours: "Mountain Time (US & Canada)".
create or replace function automation.warn_zones(relation regclass, path text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown bigint;
  such text;
begin
  execute format(
    'select count(*), min(z.zone) from (select nullif(btrim(%s::text), '''') as zone from %s as t) as z '
    'where z.zone is not null and automation.known_zone(z.zone) is null',
    automation.mapped_expression('t', path), relation)
    into unknown, such;
  if unknown > 0 then
    raise warning 'automation: % of % with a time zone that is none, such as "%": they count as America/New_York',
      unknown, relation, left(such, 60)
      using hint = 'An IANA name is needed, such as America/Denver: in this column, in another that is mapped as '
        'timezone, or in ridgeline.tenant_settings.';
  end if;
end;
$$;

-- Which keys of the tenants' settings look like what no column says. They are read where they are named, not before.
create or replace function automation.named_settings(relation regclass, path text, names text[]) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found jsonb;
begin
  if path is null then
    return null;
  end if;
  execute format(
    'select jsonb_object_agg(n.name, $1 || ''.'' || k.key) from unnest($2) as n (name) '
    'cross join lateral (select k.key from %s as t cross join lateral (select %s as value) as s '
    'cross join lateral jsonb_object_keys(case jsonb_typeof(s.value) when ''object'' then s.value else ''{}'' end) '
    'as k (key) where automation.same_name(k.key) = n.name limit 1) as k', relation, automation.mapped_json('t', path))
    into found using path, names;
  return found;
end;
$$;

-- Where nobody says it, it is New York, and texts go out at its hours and numbers are read as American.
create or replace function automation.tell_of_places(relation regclass, columns jsonb, named jsonb, further jsonb)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unsaid constant text[] := array(
    select n.name
    from unnest('{timezone,country}'::text[]) with ordinality as n (name, place)
    where not columns ? n.name and not named ? n.name
      and not exists (select from jsonb_array_elements(further) as f where f.value -> 'columns' ? n.name)
    order by n.place);
begin
  if unsaid <> '{}' then
    raise notice 'automation: no column of % is known as %: where ridgeline.tenant_settings does not say it, it is '
      'America/New_York, US', relation, array_to_string(unsaid, ', ')
      using hint = coalesce(
        'The settings seem to say it, and are read for it with '
          || automation.named_settings(relation, named ->> 'settings', unsaid)::text || '; null: none is it.',
        format('Say which it is, such as {"%s": "<column>"} or a key of a JSON column ("settings.timezone"); '
          'null: none is it.', unsaid[1]));
  end if;
end;
$$;

create or replace function automation.attach_tenants(
  relation regclass, columns jsonb default '{}', further jsonb default '[]', visible text[] default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sole constant uuid := automation.constant_tenant(relation, columns, 'id');
  given constant jsonb := case when sole is null then columns else columns || '{"id": null}' end;
  named constant jsonb := automation.named_columns(relation, automation.tenant_names(), given);
begin
  perform automation.check_columns('columns', relation, jsonb_strip_nulls(given), automation.tenant_names(), '{}');
  perform automation.check_columns('columns', relation, named, automation.tenant_names(),
    case when sole is null then '{id}' else '{}' end::text[]);
  perform automation.check_no_paths(named, '{id,text_countries,text_strangers}');
  perform automation.check_no_dots(relation, named);
  perform automation.check_deleted(relation, named ->> 'deleted');
  perform automation.check_further(further, automation.tenant_names());
  perform automation.warn_hidden(relation);
  if named ? 'timezone' then
    perform automation.warn_zones(relation, named ->> 'timezone');
  end if;
  perform automation.tell_of_places(relation, columns, named, further);
  insert into automation.tenancy as y (relation, columns, sole, further, visible)
  values (automation.relation_name(attach_tenants.relation), named, sole,
    automation.settled_further(attach_tenants.further),
    coalesce(attach_tenants.visible, automation.visible_by_default(attach_tenants.relation)))
  on conflict on constraint tenancy_pkey do update set
    (relation, columns, sole, further, visible) = row (
      excluded.relation, excluded.columns, excluded.sole, excluded.further, excluded.visible);
  execute automation.tenants_function();
  execute automation.tenant_state_function();
  execute automation.tenant_key_function();
  perform automation.close_functions();
  if sole is null then
    perform automation.watch_tenants(relation, named ->> 'id');
  else
    perform automation.unwatch_tenants();
  end if;
end;
$$;

comment on function automation.attach_tenants(regclass, jsonb, jsonb, text[]) is
  'Says where the tenants are. columns: {id, name, timezone, country, phone, email, website, address, settings, '
  'text_countries, text_strangers, deleted} where they differ from columns of that name; "details.zone" reads a key of '
  'a JSON column, null: there is none; id: null, or a uuid, where the table has one row about the one office there is. '
  'further: [{relation, key, columns}]: other tables that say more of a tenant, '
  'found by key. visible: the columns that {{tenant.*}} shows; left out, all but those whose name looks like a '
  'secret''s. Call it again after altering the table. What the CRM does not know: ridgeline.tenant_settings.';

create or replace function automation.detach_tenants() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.unwatch_tenants();
  delete from automation.tenancy;
  execute automation.settled_function();
  execute automation.untold_state_function();
  execute automation.tenant_key_function();
end;
$$;

comment on function automation.detach_tenants() is
  'Leaves the CRM''s table of tenants alone; from now on those of ridgeline.tenant_settings are all there are.';

-- WHO MADE WHOM A MEMBER
--
-- Members are the CRM's rows. That somebody became one, got another role or is one no more is written down like a
-- change of a definition (45_queue/09_changes), of their columns only what the mapping names of that, and never in the
-- way of the write.

create or replace function automation.watch_members() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members automation.membership;
  was jsonb;
  is_now jsonb;
  who text;
  tenant uuid;
begin
  select m.* into members from automation.membership as m;
  was := case when tg_op <> 'INSERT' then automation.membership_said(members, to_jsonb(old)) end;
  is_now := case when tg_op <> 'DELETE' then automation.membership_said(members, to_jsonb(new)) end;
  -- Whose it is, or was: a key that sets null takes the user out of the row, and nobody's membership is left.
  who := coalesce(is_now ->> 'user', was ->> 'user');
  -- A row without one, such as somebody who was invited, or a machine, is nobody's membership.
  if was = is_now or who is null then
    return null;
  end if;
  tenant := coalesce(members.sole, automation.tenant_in_row(is_now ->> 'tenant'),
    automation.tenant_in_row(was ->> 'tenant'));
  if tenant is not null and not exists (select from automation.gone_tenants as g where g.tenant_id = tenant) then
    perform automation.note_change(tenant, members.relation, who, null, lower(tg_op), was - 'tenant',
      is_now - 'tenant');
  end if;
  return null;
exception when others then
  raise warning 'automation: a change of %.% is not on record: %', tg_table_schema, tg_table_name, sqlerrm;
  return null;
end;
$$;

create or replace function automation.membership_said(members automation.membership, written jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_object_agg(k, written #> string_to_array(members.columns ->> k, '.'))
    from unnest('{tenant,user,role,active,deleted,status}'::text[]) as k
    where members.columns ->> k is not null
  $$;

-- Where whoever attaches the table may put a trigger on it; a view has none.
create or replace function automation.follow_membership() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  installed record;
  members constant regclass := (select to_regclass(m.relation) from automation.membership as m);
begin
  for installed in
    select t.tgname, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    where t.tgfoid = 'automation.watch_members()'::regprocedure and t.tgparentid = 0
      and t.tgrelid is distinct from members
  loop
    perform automation.take_table(installed.relation, 'access exclusive');
    execute format('drop trigger %I on %s', installed.tgname, installed.relation);
  end loop;
  if (select c.relkind in ('r', 'p') from pg_catalog.pg_class as c where c.oid = members) then
    perform automation.take_table(members);
    execute format('create or replace trigger automation_members after insert or update or delete on %s for each row '
      'execute function automation.watch_members()', members);
  end if;
exception when insufficient_privilege then
  raise warning 'automation: changes of members will not be on record: %', sqlerrm;
end;
$$;

create or replace function automation.membership_attached() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.follow_membership();
  return null;
end;
$$;

create trigger membership_attached
  after insert or update or delete on automation.membership
  for each statement execute function automation.membership_attached();
