-- automation.attach(): the same capture for the reference tables and for anybody else's.

-- Can values of this type be compared as they are? json, points and whatever holds them inside (a
-- domain, an array, a row) cannot; those are compared as text.
create or replace function automation.has_equality(type oid) returns boolean
  language sql stable
  set search_path = ''
  as $$
    select case
      when t.typtype = 'd' then automation.has_equality(t.typbasetype)
      when t.typcategory = 'A' then automation.has_equality(t.typelem)
      when t.typtype in ('e', 'r', 'm') then true
      else t.typcategory <> 'G' and exists (
        select from pg_catalog.pg_opclass as o
        where o.opcintype = t.oid and o.opcdefault
          and o.opcmethod in (select m.oid from pg_catalog.pg_am as m where m.amname = 'btree'))
        or t.oid in ('pg_catalog.varchar'::regtype, 'pg_catalog.cidr'::regtype)
    end
    from pg_catalog.pg_type as t
    where t.oid = has_equality.type
  $$;

-- Columns of a relation, in order, with what the generated code needs to know of their type.
create or replace function automation.relation_columns(relation regclass)
  returns table (name text, is_cheap boolean, is_comparable boolean, is_generated boolean)
  language sql stable
  set search_path = ''
  as $$
    select a.attname::text,
      t.typcategory in ('S', 'B', 'E') or t.oid = 'pg_catalog.uuid'::regtype,
      automation.has_equality(t.oid),
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
  perform automation.check_attachment(attached, events);
  insert into automation.entities
  select attached.*
  on conflict on constraint entities_pkey do update set (
    relation, tenant_column, id_column, id_type, related, columns, match_columns, writable_columns,
    ignored_columns, is_log) = row (
    excluded.relation, excluded.tenant_column, excluded.id_column, excluded.id_type, excluded.related,
    excluded.columns, excluded.match_columns, excluded.writable_columns, excluded.ignored_columns,
    excluded.is_log);
  perform automation.forget_triggers(attached, events);
  perform automation.register_triggers(attached, events);
  execute automation.row_function(attached);
  execute automation.insert_function(attached);
  execute automation.update_function(attached);
  if not attached.is_log then
    execute automation.delete_function(attached);
  end if;
  execute automation.reader_function(attached);
  perform automation.install_triggers(attached);
  perform automation.refresh_timer_trigger(attached);
  execute automation.read_record_function();
end;
$$;

comment on function automation.attach(regclass, text, jsonb, jsonb) is
  'Makes a table fire workflows. columns: {tenant, id, ignore: [..], protect: [..], <entity>: column}'
  ' where they differ from tenant_id, id, updated_at and <entity>_id; log: true for a table whose rows '
  'are events of a contact. events: [{type, column?, '
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
  described.is_log := coalesce((columns -> 'log')::boolean, false);
  described.related := columns - '{tenant,id,ignore,protect,log}'::text[];
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
    || array(select r.value from jsonb_each_text(described.related) as r)
    || array(select jsonb_array_elements_text(
      coalesce(columns -> 'ignore', '[]') || coalesce(columns -> 'protect', '[]')))) as n
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

-- What would make the generated code wrong is refused before there is any.
create or replace function automation.check_attachment(attached automation.entities, events jsonb)
  returns void
  language plpgsql stable
  set search_path = ''
  as $$
declare
  problem text;
begin
  select p.message into problem
  from (
    select 1, format('entity: "%s" is no name: use lower-case letters, digits and _', attached.name)
    where attached.name !~ '^[a-z][a-z0-9_]{0,40}$'
    union all
    select 2, format('entity: "%s" is %s already; detach that first', e.name, e.relation)
    from automation.entities as e
    where e.name = attached.name
      and to_regclass(e.relation) is distinct from to_regclass(attached.relation)
    union all
    select 3, format('relation: %s is attached already, as "%s"', e.relation, e.name)
    from automation.entities as e
    where e.relation = attached.relation and e.name <> attached.name
    union all
    select 4, format('columns: the tenant column "%s" is %s; it must be uuid', a.attname,
      format_type(a.atttypid, a.atttypmod))
    from pg_catalog.pg_attribute as a
    where a.attrelid = to_regclass(attached.relation) and a.attname = attached.tenant_column
      and a.atttypid <> 'pg_catalog.uuid'::regtype
    union all
    select 5, format('columns: a name that holds %s cannot be taken: %s', tag, n)
    from unnest('{$capture$,$reader$}'::text[]) as tag
    cross join unnest(attached.columns || attached.relation) as n
    where strpos(n, tag) > 0
    union all
    select 6, format('events: %s has no column "%s"', attached.relation, e ->> 'column')
    from jsonb_array_elements(events) as e
    where not coalesce(e ->> 'column' = any (attached.columns), true)
    union all
    select 7, format('events: "%s" is an event of %s', t.name, coalesce(t.entity, 'the engine'))
    from jsonb_array_elements(events) as e
    join automation.trigger_types as t on t.name = e ->> 'type'
    where t.entity is distinct from attached.name
  ) as p (rank, message)
  order by p.rank
  limit 1;
  if problem is not null then
    raise exception '%', problem using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

-- Events that are not named any more go, unless a workflow was written for them; and one whose
-- column is gone fires no more.
create or replace function automation.forget_triggers(attached automation.entities, events jsonb)
  returns void
  language sql
  set search_path = ''
  as $$
    delete from automation.trigger_types as t
    where t.entity = attached.name
      and t.name not in (attached.name || '_created', attached.name || '_updated')
      and not events @> jsonb_build_array(jsonb_build_object('type', t.name))
      and not exists (select from public.workflows as w where w.trigger_type = t.name)
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
  perform automation.remove_triggers(attached);
  execute format(
    'create trigger automation_capture_insert after insert on %s referencing new table as new_rows '
    'for each statement execute function automation.capture_%s_insert()',
    attached.relation, attached.name);
  execute format(
    'create trigger automation_capture_update after update on %s '
    'for each row execute function automation.capture_%s_update()',
    attached.relation, attached.name);
  if not attached.is_log then
    execute format(
      'create trigger automation_capture_delete after delete on %s referencing old table as old_rows '
      'for each statement execute function automation.capture_%s_delete()',
      attached.relation, attached.name);
  end if;
end;
$$;

-- Found by what they call: the table may have been renamed since.
create or replace function automation.remove_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = ''
  as $$
declare
  installed record;
begin
  for installed in
    select t.tgname, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_proc as p on p.oid = t.tgfoid
    where p.pronamespace = 'automation'::regnamespace
      and p.proname in (
        format('capture_%s_insert', attached.name), format('capture_%s_update', attached.name),
        format('capture_%s_delete', attached.name))
      and t.tgparentid = 0
  loop
    execute format('drop trigger %I on %s', installed.tgname, installed.relation);
  end loop;
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
  perform automation.remove_triggers(attached);
  perform automation.remove_timer_trigger(attached);
  execute format('drop function if exists automation.capture_%s_insert()', attached.name);
  execute format('drop function if exists automation.capture_%s_update()', attached.name);
  execute format('drop function if exists automation.capture_%s_delete()', attached.name);
  execute format('drop function if exists automation.capture_%s_row', attached.name);
  execute format('drop function if exists automation.read_%s(uuid, text)', attached.name);
  delete from automation.entities as e where e.name = attached.name;
  execute automation.read_record_function();
end;
$$;

comment on function automation.detach(text) is
  'Undoes automation.attach(): the table fires nothing any more. Its trigger types stay known, so '
  'that the workflows that name them can still be read; runs in flight go on.';
