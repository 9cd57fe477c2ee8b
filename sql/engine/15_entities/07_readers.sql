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
  when data_exception or undefined_table or undefined_column or undefined_function or invalid_schema_name then
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
      automation.key_type(attached), automation.record_expression(attached, 'r'),
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
    select case when automation.says_present(attached.mapped ->> 'deleted')
      then coalesce(record ->> (attached.mapped ->> 'deleted') = 'false', false)
      else coalesce(record ->> (attached.mapped ->> 'deleted'), 'false') <> 'false' end
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
  attached.relation := relation;
  execute format('select to_jsonb(r.*) from %s as r where %s = $1 and r.%I = $2::%s', relation,
    automation.tenant_expression(attached, 'r'), attached.id_column, automation.key_type(attached))
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
  when data_exception or undefined_table or undefined_column or undefined_function or invalid_schema_name then
    return automation.read_anew(%1$L, tenant_id, id) is not null;
end;
$reader$
$template$,
      attached.name, attached.relation,
      automation.tenant_expression(attached, 'r'), attached.id_column,
      automation.key_type(attached), automation.deleted_expression(attached, 'r'), attached.is_log)
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

-- WHOSE CONTACT A RECORD IS ABOUT
--
-- A job knows its customer through its project, an invoice through its job and that one's project: whatever they are
-- called, by what attach() was told each belongs to. The ways are worked out when a table is attached.

create or replace function automation.ways_to_contact(entity text) returns table (way text[], place bigint)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive walk (way, last, been) as (
      select array[r.key], r.key, array[e.name, r.key]
      from automation.entities as e
      cross join lateral jsonb_each_text(e.related) as r
      where e.name = ways_to_contact.entity and e.name <> 'contact' and r.key not in ('contact', e.name)
        and r.value is not null
      union all
      select w.way || array[r.value, r.key], r.key, w.been || r.key
      from walk as w
      join automation.entities as e on e.name = w.last and w.last <> 'contact'
      cross join lateral jsonb_each_text(e.related) as r
      where r.value is not null and not r.key = any (w.been) and cardinality(w.been) < 5
    )
    select f.way, row_number() over (order by cardinality(f.way), f.way[1] <> 'project', f.way)
    from (select trim_array(w.way, 1) as way from walk as w where w.last = 'contact') as f
  $$;

comment on function automation.ways_to_contact(text) is
  'How a record leads to a contact through others, the nearest first: {project, customer_id}, or {job, deal_id, deal, '
  'customer_id}; four steps far at most, and through no entity twice.';

-- The entities whose ways are others than before: their captures are generated anew.
create or replace function automation.settle_ways() returns text[]
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    with settled as (
      update automation.entities as e
      set contact_way = w.near, contact_ways = w.far
      from (
        select n.name, min(w.way) filter (where is_near) as near,
          jsonb_agg(to_jsonb(w.way) order by w.place) filter (where not is_near) as far
        from automation.entities as n
        left join lateral automation.ways_to_contact(n.name) as w on true
        cross join lateral (select w.place = 1 and cardinality(w.way) = 2 as is_near) as k
        group by n.name
      ) as w
      where w.name = e.name and (e.contact_way, e.contact_ways) is distinct from (w.near, w.far)
      returning e.name
    )
    select coalesce(array_agg(s.name), '{}') from settled as s
  $$;

create or replace function automation.leads_to_contact(attached automation.entities) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select attached.related ? 'contact' or attached.contact_way is not null or attached.contact_ways is not null
  $$;

create or replace function automation.contact_by_ways(tenant_id uuid, data jsonb, ways jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  way jsonb;
  record jsonb;
  id text;
begin
  for way in select w from jsonb_array_elements(ways) as w loop
    record := data -> (way ->> 0);
    for i in 1 .. jsonb_array_length(way) - 1 by 2 loop
      id := record ->> (way ->> i);
      record := case when i + 1 < jsonb_array_length(way)
        then automation.read_record(way ->> (i + 1), tenant_id, id) end;
    end loop;
    if id is not null then
      return id;
    end if;
  end loop;
  return null;
end;
$$;

-- data: the records that the one in question belongs to. What is not there is read.
create or replace function automation.contact_through(
  tenant_id uuid, data jsonb, contact_way text[], contact_ways jsonb)
  returns text
  language sql stable
  -- No search_path: this is inlined.
  as $$
    select coalesce(data operator(pg_catalog.#>>) contact_way, case when contact_ways is not null
      then automation.contact_by_ways(tenant_id, data, contact_ways) end)
  $$;

comment on function automation.contact_through(uuid, jsonb, text[], jsonb) is
  'The id of the contact of a record that names none itself, by the ways of its entity.';

-- The records that the written one belongs to, as they are now, and its contact.
create or replace function automation.add_related(
  data jsonb, tenant_id uuid, record jsonb, related jsonb, contact_way text[], contact_ways jsonb)
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
  id := case when data ->> 'contact_id' is null
    then automation.contact_through(tenant_id, data, contact_way, contact_ways) end;
  if id is not null then
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
