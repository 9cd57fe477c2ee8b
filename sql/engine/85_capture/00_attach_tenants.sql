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
  sole constant uuid := automation.constant_tenant(relation, columns, 'id');
  given constant jsonb := case when sole is null then columns else columns || '{"id": null}' end;
  named constant jsonb := automation.named_columns(relation, automation.tenant_names(), given);
begin
  perform automation.check_columns('columns', relation, jsonb_strip_nulls(given), automation.tenant_names(), '{}');
  perform automation.check_columns('columns', relation, named, automation.tenant_names(),
    case when sole is null then '{id}' else '{}' end::text[]);
  perform automation.check_further(further, automation.tenant_names());
  if sole is null and automation.column_type(relation, named ->> 'id') is distinct from 'uuid' then
    raise exception 'columns: the id of a tenant is uuid, and "%" is not', named ->> 'id'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.tenancy as y (relation, columns, sole, further, visible)
  values (automation.relation_name(attach_tenants.relation), named, sole, attach_tenants.further,
    coalesce(attach_tenants.visible, automation.visible_by_default(attach_tenants.relation)))
  on conflict on constraint tenancy_pkey do update set
    (relation, columns, sole, further, visible) = row (
      excluded.relation, excluded.columns, excluded.sole, excluded.further, excluded.visible);
  execute automation.tenants_function();
  execute automation.tenant_state_function();
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
end;
$$;

comment on function automation.detach_tenants() is
  'Leaves the CRM''s table of tenants alone; from now on those of ridgeline.tenant_settings are all there are.';
