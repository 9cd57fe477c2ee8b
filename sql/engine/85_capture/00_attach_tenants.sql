create or replace function automation.note_tenant_gone() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gone constant uuid := automation.as_uuid(to_jsonb(old) ->> tg_argv[0]);
begin
  insert into automation.gone_tenants (tenant_id) values (gone) on conflict do nothing;
  delete from automation.active_triggers as t where t.tenant_id = gone;
  delete from ridgeline.scheduled_steps as s where s.tenant_id = gone;
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
  perform automation.unwatch_tenants();
  if (select c.relkind in ('r', 'p') from pg_catalog.pg_class as c where c.oid = relation) then
    execute format(
      'create trigger automation_tenant_gone after delete on %s for each row '
      'execute function automation.note_tenant_gone(%L)', relation, id_column);
  end if;
end;
$$;

create or replace function automation.unwatch_tenants() returns void
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
  loop
    execute format('drop trigger %I on %s', installed.tgname, installed.relation);
  end loop;
end;
$$;

create or replace function automation.attach_tenants(
  relation regclass, columns jsonb default '{}', further jsonb default '[]', visible text[] default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named constant jsonb := automation.named_columns(relation, automation.tenant_names(), columns);
begin
  perform automation.check_columns('columns', relation, jsonb_strip_nulls(columns), automation.tenant_names(), '{}');
  perform automation.check_columns('columns', relation, named, automation.tenant_names(), '{id}');
  perform automation.check_further(further, automation.tenant_names());
  if automation.column_type(relation, named ->> 'id') is distinct from 'uuid' then
    raise exception 'columns: the id of a tenant is uuid, and "%" is not', named ->> 'id'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.tenancy as y (relation, columns, further, visible)
  values (automation.relation_name(attach_tenants.relation), named, attach_tenants.further,
    coalesce(attach_tenants.visible, automation.visible_by_default(attach_tenants.relation)))
  on conflict on constraint tenancy_pkey do update set
    (relation, columns, further, visible) = row (
      excluded.relation, excluded.columns, excluded.further, excluded.visible);
  execute automation.tenants_function();
  perform automation.close_functions();
  perform automation.watch_tenants(relation, named ->> 'id');
end;
$$;

comment on function automation.attach_tenants(regclass, jsonb, jsonb, text[]) is
  'Says where the tenants are. columns: {id, name, timezone, country, phone, email, website, address, settings, '
  'text_countries, text_strangers, deleted} where they differ from columns of that name; "details.zone" reads a key of '
  'a JSON column, null: there is none. further: [{relation, key, columns}]: other tables that say more of a tenant, '
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
end;
$$;

comment on function automation.detach_tenants() is
  'Leaves the CRM''s table of tenants alone; from now on those of ridgeline.tenant_settings are all there are.';
