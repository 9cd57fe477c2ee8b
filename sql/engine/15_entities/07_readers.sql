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
exception when data_exception then
  return null;
end;
$reader$
$template$,
      attached.name, attached.relation,
      automation.tenant_expression('r', attached.tenant_column, attached.sole), attached.id_column,
      attached.id_type, automation.record_expression(attached, 'r'),
      automation.deleted_expression(attached, 'r'))
  $$;

comment on function automation.reader_function(automation.entities) is
  'An id that cannot be one of the table''s reads as no record, and so does a record that was deleted softly.';

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
exception when data_exception then
  return false;
end;
$reader$
$template$,
      attached.name, attached.relation,
      automation.tenant_expression('r', attached.tenant_column, attached.sole), attached.id_column,
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
$reader$
$template$,
      string_agg(format(
        E'\n  if entity = %1$L then return automation.read_%1$s(tenant_id, id); end if;', e.name), ''
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
