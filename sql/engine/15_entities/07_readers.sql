create or replace function automation.reader_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_%1$s(tenant_id uuid, id text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  return (
    select %6$s from %2$s as r
    where %3$s = read_%1$s.tenant_id and r.%4$I = read_%1$s.id::%5$s and not (%7$s));
exception
  when data_exception then
    return null;
  when undefined_table or undefined_column or undefined_function or invalid_schema_name then
    return automation.read_anew(%1$L, tenant_id, id);
end;
$reader$;

create or replace function automation.read_each_%1$s(tenant_ids uuid[], ids text[]) returns jsonb[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $reader$
begin
  return array(
    select (
      select %6$s from %2$s as r
      where %3$s = k.tenant_id and r.%4$I = k.id::%5$s and not (%7$s))
    from unnest(tenant_ids, ids) with ordinality as k (tenant_id, id, place)
    order by k.place);
exception
  when data_exception or undefined_table or undefined_column or undefined_function or invalid_schema_name then
    return array(
      select automation.read_%1$s(k.tenant_id, k.id)
      from unnest(tenant_ids, ids) with ordinality as k (tenant_id, id, place)
      order by k.place);
end;
$reader$
$template$,
      attached.name, attached.relation,
      automation.tenant_expression(attached, 'r'), attached.id_column,
      attached.id_type, automation.record_expression(attached, 'r'),
      automation.deleted_expression(attached, 'r'))
  $$;

comment on function automation.reader_function(automation.entities) is
  'An id that cannot be one of the table''s reads as no record, and so does a record that was deleted softly. With '
  'read_each_<entity>(), the same for many: their records in the order of the ids, null for none.';

-- Found by what they call: the table may have been renamed since.
create or replace function automation.capture_triggers(entity text)
  returns table (name text, relation regclass, for_row boolean, enabled text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.tgname::text, t.tgrelid::regclass, t.tgtype & 1 = 1,
      case t.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' when 'D' then 'disable'
        else 'enable' end
    from pg_catalog.pg_trigger as t
    where t.tgparentid = 0 and t.tgfoid = any (array(
      select to_regproc(format('automation.capture_%s_%s', entity, op))::oid
      from unnest('{insert,update,delete,truncate,merge}'::text[]) as op))
  $$;

create or replace function automation.relation_of(attached automation.entities) returns regclass
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select t.relation from automation.capture_triggers(attached.name) as t limit 1),
      to_regclass(attached.relation))
  $$;

-- A row as workflows see it: the columns that were attached, and the names of mapped.
create or replace function automation.visible_record(attached automation.entities, written jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((
        select jsonb_object_agg(a.key, r.row -> a.value)
        from jsonb_each_text(automation.aliases(attached)) as a where r.row ? a.value), '{}')
      || case when attached.hides_columns then coalesce((
          select jsonb_object_agg(c.key, c.value) from jsonb_each(r.row) as c
          where c.key = any (attached.columns)), '{}')
        else r.row end
      || case when automation.name_column(attached) is null then '{}'
        else automation.parts_of_name(r.row ->> automation.name_column(attached)) end
    from (select automation.timed_record(attached, written) as row) as r
    where written is not null
  $$;

create or replace function automation.is_marked_deleted(attached automation.entities, record jsonb)
  returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(record ->> (attached.mapped ->> 'deleted'), 'false') <> 'false'
  $$;

-- The live record of a table that was renamed, moved or altered since it was attached: it is where its triggers
-- are. What it lacks besides is an error that says what to do.
create or replace function automation.read_anew(entity text, tenant_id uuid, id text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  relation regclass;
  record jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = read_anew.entity;
  relation := automation.relation_of(attached);
  if relation is null
    or attached.sole is null and automation.column_type(relation, attached.tenant_column) is null
    or automation.column_type(relation, attached.id_column) is null then
    raise exception '%: its table, % by %, is not there any more', entity, attached.relation, attached.id_column
      using errcode = 'undefined_table', hint = 'Call automation.attach() for it again, or detach() it.';
  end if;
  execute format('select to_jsonb(r.*) from %s as r where %s = $1 and r.%I = $2::%s', relation,
    automation.tenant_expression(attached, 'r'), attached.id_column,
    automation.column_type(relation, attached.id_column))
    into record using tenant_id, id;
  return case when not automation.is_marked_deleted(attached, record)
    then automation.visible_record(attached, record) end;
exception when data_exception then
  return null;
end;
$$;

-- The same question without the record: asked before every step. Rows of a log need not be there.
create or replace function automation.has_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.has_%1$s(tenant_id uuid, id text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  return %7$L::boolean or exists (
    select from %2$s as r
    where %3$s = has_%1$s.tenant_id and r.%4$I = has_%1$s.id::%5$s and not (%6$s));
exception
  when data_exception then
    return false;
  when undefined_table or undefined_column or undefined_function or invalid_schema_name then
    return automation.read_anew(%1$L, tenant_id, id) is not null;
end;
$reader$
$template$,
      attached.name, attached.relation,
      automation.tenant_expression(attached, 'r'), attached.id_column,
      attached.id_type, automation.deleted_expression(attached, 'r'), attached.is_log)
  $$;

create or replace function automation.read_record_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_record(entity text, tenant_id uuid, id text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
%s
  return null;
end;
$reader$;

create or replace function automation.read_records(entity text, tenant_ids uuid[], ids text[])
  returns jsonb[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
%s
  return array_fill(null::jsonb, array[cardinality(ids)]);
end;
$reader$
$template$,
      string_agg(format(
        E'\n  if entity = %1$L then return automation.read_%1$s(tenant_id, id); end if;', e.name), ''
        order by e.name),
      string_agg(format(
        E'\n  if entity = %1$L then return automation.read_each_%1$s(tenant_ids, ids); end if;', e.name), ''
        order by e.name))
    from automation.entities as e
  $$;

comment on function automation.read_record_function() is
  'automation.read_record(): the live record of any attached table, by the name of its entity.';

create or replace function automation.has_record_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.has_record(entity text, tenant_id uuid, id text)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
%s
  return true;
end;
$reader$
$template$,
      string_agg(format(
        E'\n  if entity = %1$L then return automation.has_%1$s(tenant_id, id); end if;', e.name), ''
        order by e.name))
    from automation.entities as e
  $$;

comment on function automation.has_record_function() is
  'automation.has_record(): is a record of an attached table there still? A table that is not attached is '
  'not judged.';

-- The records that the written one belongs to, as they are now. A job knows its customer through its
-- project.
create or replace function automation.add_related(
  data jsonb, tenant_id uuid, record jsonb, related jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity text;
  id text;
begin
  for entity, id in select r.key, record ->> r.value from jsonb_each_text(related) as r loop
    data := data || jsonb_build_object(
      entity || '_id', id, entity, automation.read_record(entity, tenant_id, id));
  end loop;
  id := data #>> '{project,contact_id}';
  if data ->> 'contact_id' is null and id is not null then
    data := data || jsonb_build_object(
      'contact_id', id, 'contact', automation.read_record('contact', tenant_id, id));
  end if;
  return data;
end;
$$;

create or replace function automation.with_related(entities text[]) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive reached (name) as (
      select n from unnest(entities) as n
      union
      select r.key from reached
      join automation.entities as e on e.name = reached.name, jsonb_object_keys(e.related) as r (key)
    )
    select coalesce(array_agg(name), '{}') from reached
  $$;
