-- automation.attach(): the same capture for the reference tables and for anybody else's.

-- Columns of a relation, in order, with what the generated code needs to know of their type.
create or replace function automation.relation_columns(relation regclass)
  returns table (name text, is_cheap boolean, is_comparable boolean, is_generated boolean)
  language sql stable
  set search_path = ''
  as $$
    select a.attname::text,
      t.typcategory in ('S', 'B', 'E') or t.oid = 'pg_catalog.uuid'::regtype,
      t.typcategory <> 'G'
        and t.oid not in ('pg_catalog.json'::regtype, 'pg_catalog.xml'::regtype),
      a.attgenerated <> ''
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
    order by a.attnum
  $$;

create or replace function automation.attach(
  relation regclass, entity text, columns jsonb default '{}', events jsonb default '[]')
  returns void
  language plpgsql
  set search_path = ''
  as $$
declare
  attached automation.entities;
begin
  attached := automation.describe_entity(relation, entity, columns);
  insert into automation.entities
  select attached.*
  on conflict on constraint entities_pkey do update set (
    relation, tenant_column, id_column, id_type, related, columns, match_columns, writable_columns,
    ignored_columns) = row (
    excluded.relation, excluded.tenant_column, excluded.id_column, excluded.id_type, excluded.related,
    excluded.columns, excluded.match_columns, excluded.writable_columns, excluded.ignored_columns);
  perform automation.register_triggers(attached, events);
  execute automation.row_function(attached);
  execute automation.insert_function(attached);
  execute automation.update_function(attached);
  execute automation.reader_function(attached);
  perform automation.install_triggers(attached);
  perform automation.refresh_timer_trigger(attached);
  execute automation.read_record_function();
end;
$$;

comment on function automation.attach(regclass, text, jsonb, jsonb) is
  'Makes a table fire workflows. columns: {tenant, id, ignore: [..], protect: [..], <entity>: column}'
  ' where they differ from tenant_id, id, updated_at and <entity>_id. events: [{type, column?, '
  'becomes?, on_insert?, description?}] for writes with a name of their own: a change of column, a '
  'change to the value becomes, with on_insert also an insert with it; without column, any insert. '
  'Call it again after adding columns.';

create or replace function automation.describe_entity(relation regclass, entity text, columns jsonb)
  returns automation.entities
  language plpgsql stable
  set search_path = ''
  as $$
declare
  described automation.entities;
  missing text;
begin
  described.name := entity;
  described.relation := (
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.oid = describe_entity.relation);
  described.tenant_column := coalesce(columns ->> 'tenant', 'tenant_id');
  described.id_column := coalesce(columns ->> 'id', 'id');
  described.id_type := (
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = describe_entity.relation and a.attname = described.id_column);
  described.related := columns - '{tenant,id,ignore,protect}'::text[];
  described.ignored_columns := array(select jsonb_array_elements_text(
    coalesce(columns -> 'ignore', '["updated_at"]')));
  select array_agg(c.name), array_agg(c.name) filter (where c.is_cheap),
    array_agg(c.name) filter (where not c.is_generated and not c.name = any (
      array[described.tenant_column, described.id_column, 'created_at', 'updated_at']
      || array(select jsonb_array_elements_text(coalesce(columns -> 'protect', '[]')))))
    into described.columns, described.match_columns, described.writable_columns
  from automation.relation_columns(relation) as c;
  select n into missing
  from unnest(array[described.tenant_column, described.id_column]
    || array(select r.value from jsonb_each_text(described.related) as r)) as n
  where not n = any (described.columns)
  limit 1;
  if missing is not null then
    raise exception 'columns: % has no column "%"', described.relation, missing
      using errcode = 'undefined_column',
        hint = 'Name the column in the columns argument, such as {"tenant": "company_id"}.';
  end if;
  return described;
end;
$$;

create or replace function automation.register_triggers(attached automation.entities, events jsonb)
  returns void
  language sql
  set search_path = ''
  as $$
    insert into automation.trigger_types (
      name, entity, kind, column_name, becomes, on_insert, description)
    select * from (
      values
        (attached.name || '_created', attached.name, 'created', null, null, false,
          format('A %s was created.', attached.name)),
        (attached.name || '_updated', attached.name, 'updated', null, null, false,
          format('Any field of a %s changed.', attached.name))
      union all
      select e ->> 'type', attached.name,
        case when e ? 'becomes' then 'becomes' when e ? 'column' then 'changed' else 'created' end,
        e ->> 'column', e ->> 'becomes', coalesce((e ->> 'on_insert')::boolean, not e ? 'column'),
        coalesce(e ->> 'description', format('%s of a %s changed%s.', e ->> 'column', attached.name,
          coalesce(' to ' || (e ->> 'becomes'), '')))
      from jsonb_array_elements(events) as e
    ) as t
    on conflict on constraint trigger_types_pkey do update
      set (entity, kind, column_name, becomes, on_insert, description) = row (
        excluded.entity, excluded.kind, excluded.column_name, excluded.becomes, excluded.on_insert,
        excluded.description)
  $$;

create or replace function automation.install_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = ''
  as $$
begin
  execute format('drop trigger if exists automation_capture_insert on %s', attached.relation);
  execute format('drop trigger if exists automation_capture_update on %s', attached.relation);
  execute format(
    'create trigger automation_capture_insert after insert on %s referencing new table as new_rows '
    'for each statement execute function automation.capture_%s_insert()',
    attached.relation, attached.name);
  execute format(
    'create trigger automation_capture_update after update on %s '
    'for each row execute function automation.capture_%s_update()',
    attached.relation, attached.name);
end;
$$;

create or replace function automation.detach(entity text) returns void
  language plpgsql
  set search_path = ''
  as $$
declare
  attached automation.entities;
begin
  select e.* into attached from automation.entities as e where e.name = detach.entity;
  if not found then
    raise exception 'entity: "%" is not attached', entity using errcode = 'undefined_object';
  end if;
  delete from automation.active_triggers as t where t.entity = attached.name;
  execute format('drop trigger if exists automation_capture_insert on %s', attached.relation);
  execute format('drop trigger if exists automation_capture_update on %s', attached.relation);
  perform automation.remove_timer_trigger(attached);
  execute format('drop function if exists automation.capture_%s_insert()', attached.name);
  execute format('drop function if exists automation.capture_%s_update()', attached.name);
  execute format('drop function if exists automation.capture_%s_row', attached.name);
  execute format('drop function if exists automation.read_%s(uuid, text)', attached.name);
  delete from automation.entities as e where e.name = attached.name;
  execute automation.read_record_function();
end;
$$;

comment on function automation.detach(text) is
  'Undoes automation.attach(): the table fires nothing any more. Its trigger types stay known, so '
  'that the workflows that name them can still be read; runs in flight go on.';
