-- automation.attach(): the same capture for the reference tables and for anybody else's.

create or replace function automation.attach(
  relation regclass, entity text, columns jsonb default '{}', events jsonb default '[]',
  visible text[] default null, writable text[] default null, authors text default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  settled text[];
begin
  perform automation.check_events(events);
  attached := automation.describe_entity(relation, entity, columns, visible);
  attached.writable_columns := automation.allowed_columns(relation, attached, writable);
  attached.authors := coalesce(authors, automation.default_authors(relation));
  perform automation.check_attachment(attached, events);
  perform automation.check_single_values(attached);
  perform automation.tell_of_unreachable(attached, columns);
  perform automation.tell_of_others(attached, columns);
  perform automation.tell_of_gone(attached, columns);
  perform automation.tell_of_links(attached, columns);
  perform automation.warn_of_consent(attached, columns);
  perform automation.warn_shared_tags(attached);
  perform automation.warn_hidden(relation);
  perform automation.tell_of_times(relation, attached.times_zone, attached.columns);
  insert into automation.entities
  select attached.*
  on conflict on constraint entities_pkey do update set (
    relation, tenant_column, sole, id_column, id_type, related, columns, match_columns, writable_columns,
    ignored_columns, mapped, several, tags, is_log, hides_columns, authors, tenant_type, times_zone) = row (
    excluded.relation, excluded.tenant_column, excluded.sole, excluded.id_column, excluded.id_type,
    excluded.related, excluded.columns, excluded.match_columns, excluded.writable_columns, excluded.ignored_columns,
    excluded.mapped, excluded.several, excluded.tags, excluded.is_log, excluded.hides_columns, excluded.authors,
    excluded.tenant_type, excluded.times_zone);
  if attached.relation !~ '^(automation|ridgeline)\.' then
    perform automation.remember_host_path();
    perform automation.guard_host_path();
  end if;
  perform automation.settle_sole_tenant(attached.sole);
  perform automation.forget_triggers(attached, events);
  perform automation.register_triggers(attached, events);
  settled := automation.settle_ways();
  perform automation.generate_captures(settled || attached.name);
  perform automation.close_functions();
  perform automation.listen_again(attached.name);
end;
$$;

-- All that attaching generates, from what automation.entities says: again where a release changes it.
create or replace function automation.generate_capture(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Sessions know who listens to a row as the table was.
  perform automation.change_listening();
  execute automation.insert_function(attached);
  execute automation.update_function(attached);
  execute automation.delete_function(attached);
  execute automation.truncate_function(attached);
  execute automation.reader_function(attached);
  execute automation.has_function(attached);
  perform automation.install_triggers(attached);
  perform automation.watch_merges(attached);
  if attached.name = 'contact' then
    execute case when attached.tags is null then automation.no_tags_functions()
      else automation.linked_tags_functions(attached) end;
  end if;
  execute automation.read_record_function();
  execute automation.has_record_function();
end;
$$;

create or replace function automation.generate_captures(names text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  for attached in
    select e.* from automation.entities as e
    where e.name = any (names) and to_regclass(e.relation) is not null order by e.name
  loop
    perform automation.generate_capture(attached);
  end loop;
end;
$$;

-- What detaching took away: workflows that are switched on start again, and runs in flight hear again
-- what they wait for.
create or replace function automation.listen_again(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version ridgeline.workflow_versions;
  listener automation.compiled_trigger;
begin
  -- As when the reference tables are attached, before there is a queue.
  if not exists (select from ridgeline.workflow_versions) then
    return;
  end if;
  for version in
    select v.* from ridgeline.workflows as w
    join ridgeline.workflow_versions as v
      on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
    where w.is_active and not exists (select from automation.gone_tenants as g where g.tenant_id = w.tenant_id)
      and not exists (
      select from automation.active_triggers as t
      where t.tenant_id = v.tenant_id and t.workflow_id = v.workflow_id and t.version = v.version
        and t.role = 'enrol')
  loop
    listener := automation.compile_trigger(version.trigger_type, version.trigger_config);
    continue when listen_again.entity is distinct from automation.listened_entity(version, listener);
    if listener.problems <> '[]' then
      raise warning 'workflow % of tenant % does not fit % any more: %',
        version.workflow_id, version.tenant_id, entity, listener.problems #>> '{0,message}';
      continue;
    end if;
    perform automation.listen(version, listener);
  end loop;
  perform automation.listen_for_runs(v)
  from ridgeline.workflow_versions as v
  where (v.tenant_id, v.workflow_id, v.version) in (
    select w.tenant_id, w.id, w.published_version from ridgeline.workflows as w
    where w.is_active and not exists (select from automation.gone_tenants as g where g.tenant_id = w.tenant_id)
    union
    select e.tenant_id, e.workflow_id, e.version
    from ridgeline.scheduled_steps as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id);
end;
$$;

comment on function automation.attach(regclass, text, jsonb, jsonb, text[], text[], text) is
  'Makes a table fire workflows. columns: {tenant, id, phone, email, stage, status, ... (see '
  'automation.mapped_names()), ignore: [..], protect: [..]} where they differ from tenant_id, id and '
  'columns of that name; tenant: null, or a uuid, where all rows are one tenant''s; phone and email may be lists; '
  '{<entity>: column}, or {related: {<entity>: column}}, for the records it '
  'belongs to; log: true for a table whose rows are events of a contact. events: [{type, column?, '
  'becomes?, on_insert?, unless?, description?}] for writes with a name of their own: a change of column, a '
  'change to the value becomes, with on_insert also an insert with it; without column, any insert; not where the '
  'boolean column unless is true. Call it again after adding columns. visible, writable: the columns that '
  'workflows may see and set; left out, what automation.visible_by_default() and members'' own grants allow. '
  'authors: members, or admins (the default where row level security or missing grants keep rows from members).';

create or replace function automation.default_authors(relation regclass) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when c.relrowsecurity or not has_any_column_privilege('authenticated', relation, 'select')
      then 'admins' else 'members' end
    from pg_catalog.pg_class as c
    where c.oid = relation
  $$;

-- What the engine and the providers write is nobody's to set, by a step as little as by hand.
create or replace function automation.is_record_of_ours(relation regclass) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select n.nspname in ('automation', 'ridgeline') or c.oid in (
      select to_regclass(t.relation) from automation.tenancy as t
      union all select to_regclass(m.relation) from automation.membership as m)
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.oid = relation
  $$;

-- writable: as attach() was asked; null: what members may set themselves, where they are granted columns.
create or replace function automation.allowed_columns(
  relation regclass, attached automation.entities, writable text[])
  returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  if automation.is_record_of_ours(relation) then
    return array[]::text[];
  end if;
  select w into wrong from unnest(writable) as w where not w = any (attached.columns) limit 1;
  if wrong is not null then
    raise exception 'writable: "%" is no column that workflows see', wrong using errcode = 'undefined_column';
  end if;
  return array(
    select w from unnest(attached.writable_columns) as w
    cross join lateral (select automation.own_name(attached, w) as name) as own
    where case when writable is not null then own.name = any (writable)
      else has_table_privilege('authenticated', relation, 'update')
        or not has_any_column_privilege('authenticated', relation, 'update')
        or has_column_privilege('authenticated', relation, own.name, 'update') end);
end;
$$;

-- A record is known by its tenant and one column: a table whose rows only several columns tell apart is refused before
-- anything of it is generated.
create or replace function automation.check_key(relation regclass, tenant_column text, id jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text[];
begin
  select array_agg(a.attname::text order by u.place) into key
  from pg_catalog.pg_index as i
  cross join lateral unnest(i.indkey::int2[]) with ordinality as u (number, place)
  join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = u.number
  where i.indrelid = check_key.relation and i.indisprimary;
  if jsonb_typeof(id) = 'string' and (key is null or cardinality(array_remove(key, tenant_column)) < 2 or exists (
    select from pg_catalog.pg_index as i
    where i.indrelid = check_key.relation and i.indisunique and i.indpred is null and i.indexprs is null
      and id #>> '{}' in (
        select a.attname from pg_catalog.pg_attribute as a
        where a.attrelid = i.indrelid and a.attnum = any (i.indkey::int2[]))
      and not exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid = i.indrelid and a.attnum = any (i.indkey::int2[])
          and a.attname not in (id #>> '{}', coalesce(tenant_column, ''))
          -- A partitioned table must have what it is partitioned by in every key.
          and not exists (
            select from pg_catalog.pg_partitioned_table as p
            where p.partrelid = i.indrelid and a.attnum = any (p.partattrs::int2[]))))) then
    return;
  end if;
  raise exception 'columns: the rows of % are told apart by % together; a record is known by one column and its tenant',
    relation, array_to_string(coalesce(key, array(select jsonb_array_elements_text(
      case jsonb_typeof(id) when 'array' then id else '[]' end))), ', ')
    using errcode = 'invalid_parameter_value',
      hint = 'Add a column that is unique by itself, such as "ridgeline_id uuid not null default gen_random_uuid() '
        'unique", and name it: {"id": "ridgeline_id"}.';
end;
$$;

create or replace function automation.check_relation(relation regclass) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant "char" := (select c.relkind from pg_catalog.pg_class as c where c.oid = relation);
begin
  if kind not in ('r', 'p') then
    raise exception 'relation: % is %, which fires nothing for each row', relation, case kind
        when 'v' then 'a view' when 'm' then 'a materialized view' when 'f' then 'a foreign table' else 'no table' end
      using errcode = 'wrong_object_type', hint = case kind
        when 'v' then 'Attach the table behind it; where there are several, each as an entity of its own.'
        else 'Attach a table that is written in this database.' end;
  elsif (select c.relpersistence = 't' from pg_catalog.pg_class as c where c.oid = relation) then
    raise exception 'relation: % is temporary, and nobody else''s', relation using errcode = 'wrong_object_type';
  end if;
end;
$$;

-- A key that is misspelt would be left out, and what is to be one change of a column be any.
create or replace function automation.check_events(events jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  event jsonb;
  problem text;
begin
  if jsonb_typeof(events) is distinct from 'array' then
    problem := 'a list is needed';
  end if;
  for event in select e from jsonb_array_elements(case when problem is null then events else '[]' end) as e loop
    select p.message into problem
    from (
      select 1, 'each is an object' where jsonb_typeof(event) <> 'object'
      union all
      select 2, format('"%s" is none of %s', k.key, array_to_string(k.known, ', '))
      from (
        select jsonb_object_keys(case jsonb_typeof(event) when 'object' then event else '{}' end) as key,
          '{type,column,becomes,on_insert,unless,description}'::text[] as known
      ) as k
      where not k.key = any (k.known)
      union all
      select 3, format('%s: %s is needed', n.name, n.needed)
      from (values ('type', 'a name', '{string}'::text[]), ('column', 'the name of a column', '{string}'),
        ('becomes', 'a value', '{string,number,boolean}'), ('on_insert', 'true or false', '{boolean}'),
        ('unless', 'the name of a column', '{string}'), ('description', 'a text', '{string}'))
        as n (name, needed, kinds)
      where case when event ? n.name then not jsonb_typeof(event -> n.name) = any (n.kinds) or event ->> n.name = ''
        else n.name = 'type' or n.name = 'column' and event ? 'becomes' end
    ) as p (rank, message)
    order by p.rank limit 1;
    exit when problem is not null;
  end loop;
  if problem is not null then
    raise exception 'events: %', problem using errcode = 'invalid_parameter_value',
      detail = coalesce(event, events, 'null')::text,
      hint = 'Such as [{"type": "invoice_paid", "column": "state", "becomes": "paid"}].';
  end if;
end;
$$;

-- A partition fires the triggers of the table that it is a part of: its rows are captured once, under one name.
create or replace function automation.check_partition(relation regclass, entity text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  other record;
begin
  select e.name, e.relation into other
  from automation.entities as e
  join pg_partition_ancestors(check_partition.relation) as p on p.relid = to_regclass(e.relation)
  where p.relid <> check_partition.relation and e.name <> check_partition.entity limit 1;
  if found then
    raise exception 'relation: % is a partition of %, which is attached as "%": its rows are captured already',
      relation, other.relation, other.name using errcode = 'invalid_parameter_value';
  end if;
  select e.name, e.relation into other
  from automation.entities as e
  cross join lateral pg_partition_ancestors(to_regclass(e.relation)) as p
  where p.relid = check_partition.relation and p.relid <> to_regclass(e.relation)
    and e.name <> check_partition.entity limit 1;
  if found then
    raise exception 'relation: % is a partition of %, and attached already, as "%"; detach that first', other.relation,
      relation, other.name using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.describe_entity(
  relation regclass, entity text, columns jsonb, visible text[] default null)
  returns automation.entities
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  described automation.entities;
  missing text;
  shown text[] := coalesce(visible, automation.visible_by_default(relation));
begin
  if jsonb_typeof(columns) is distinct from 'object' then
    raise exception 'columns: an object is needed' using errcode = 'invalid_parameter_value',
      hint = 'Such as {"phone": "mobile", "contact": "customer_id"}.';
  end if;
  perform automation.check_relation(relation);
  perform automation.check_partition(relation, entity);
  described.name := entity;
  described.relation := automation.relation_name(describe_entity.relation);
  described.sole := automation.constant_tenant(relation, columns, 'tenant');
  described.tenant_column := case when described.sole is null then coalesce(columns ->> 'tenant', 'tenant_id') end;
  described.tenant_type := nullif(automation.column_type(relation, described.tenant_column), 'uuid');
  described.id_column := coalesce(columns ->> 'id', 'id');
  perform automation.check_key(relation, described.tenant_column, coalesce(columns -> 'id', '"id"'));
  described.id_type := (
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = describe_entity.relation and a.attname = described.id_column);
  described.times_zone := automation.zone_of_times(columns);
  described.is_log := coalesce((columns -> 'log')::boolean, false);
  described.related := jsonb_strip_nulls(columns - '{tenant,id,ignore,protect,related,log,tags,timestamps}'::text[]
    - automation.mapped_names() || coalesce(columns -> 'related', '{}'));
  described.mapped := automation.map_columns(relation, columns);
  described.several := automation.several_columns(columns);
  described.tags := case when jsonb_typeof(columns -> 'tags') = 'object'
    then automation.check_tags(columns -> 'tags') end;
  described.ignored_columns := array(select jsonb_array_elements_text(coalesce(
    columns -> 'ignore', jsonb_build_array(coalesce(described.mapped ->> 'updated_at', 'updated_at')))));
  -- What the engine itself is told to use it sees, whatever it is called.
  shown := shown || array_remove(array[described.tenant_column, described.id_column], null)
    || array(select v.value from jsonb_each_text(described.related || described.mapped) as v)
    || array(select jsonb_path_query(described.several, '$.*[*]') #>> '{}');
  described.hides_columns := exists (
    select from automation.relation_columns(relation) as c where not c.name = any (shown));
  select array_agg(c.name), array_agg(c.name) filter (where c.is_cheap),
    array_agg(c.name) filter (where not c.is_generated and not c.name = any (
      array[coalesce(described.tenant_column, ''), described.id_column, 'created_at', 'updated_at',
        coalesce(described.mapped ->> 'created_at', ''), coalesce(described.mapped ->> 'updated_at', '')]
      || array(select jsonb_array_elements_text(coalesce(columns -> 'protect', '[]')))))
    into described.columns, described.match_columns, described.writable_columns
  from automation.relation_columns(relation) as c
  where c.name = any (shown);
  described.match_columns := coalesce(described.match_columns, '{}');
  described.writable_columns := coalesce(described.writable_columns, '{}') || array(
    select a.key from jsonb_each_text(automation.aliases(described)) as a
    where a.value = any (described.writable_columns));
  select n into missing
  from unnest(array_remove(array[described.tenant_column, described.id_column], null)
    || array(select r.value from jsonb_each_text(described.related || described.mapped) as r)
    || array(select jsonb_path_query(described.several, '$.*[*]') #>> '{}')
    || visible || array(select jsonb_array_elements_text(
      coalesce(columns -> 'ignore', '[]') || coalesce(columns -> 'protect', '[]')))) as n
  where not exists (select from automation.relation_columns(relation) as c where c.name = n)
  limit 1;
  if missing is not null then
    raise exception 'columns: % has no column "%"', described.relation, missing
      using errcode = 'undefined_column',
        hint = case when missing = described.tenant_column
          then 'Name the column that says whose row it is, such as {"tenant": "company_id"}. Where only a parent row '
            'says it, keep it in a column by a trigger: docs/attach.md.'
          else 'Name the column in the columns argument, such as {"contact": "customer_id"}.' end;
  end if;
  return described;
end;
$$;

create or replace function automation.map_columns(relation regclass, columns jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.name, m.column_name), '{}')
    from (
      select n.name, case
        when jsonb_typeof(columns -> n.name) = 'array' then columns -> n.name ->> 0
        when jsonb_typeof(columns -> n.name) = 'object' then null
        when columns ? n.name then columns ->> n.name
        -- What moves runs to somebody else is said, never guessed from a name.
        when n.name = 'deleted' then automation.deleted_column(relation)
        -- A record answers to the names of its columns anyway.
        when n.name = 'custom_fields' then nullif(automation.named_column(relation, n.name), n.name)
        when n.name <> 'merged_into' then automation.named_column(relation, n.name) end as column_name
      from unnest(automation.mapped_names()) as n (name)
    ) as m
    where m.column_name is not null
  $$;

-- What a snapshot, a variable or a condition means by a name can be no record's.
create or replace function automation.taken_words() returns table (name text, meant text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select w.name, w.meant
    from (values ('user', 'the member who is responsible'), ('tenant', 'the office'), ('custom', 'the custom fields'),
      ('steps', 'the results of earlier steps'), ('trigger', 'what fired'), ('record', 'the record that fired'),
      ('entity', 'the kind of the record that fired'), ('old', 'the record as it was'),
      ('changed', 'the list of what changed')) as w (name, meant)
  $$;

-- One value is meant. A column that holds a list, JSON or a number is refused, with how the table has the one in a
-- column of its own.
create or replace function automation.check_single_values(attached automation.entities) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong record;
begin
  select m.key, m.value, m.is_text, format_type(a.atttypid, a.atttypmod) as type, t.typcategory = 'A' as is_list,
      t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype) as is_json,
      format_type(t.typelem, null) as element
    into wrong
  from (
    select m.key, m.value, true as is_text from jsonb_each_text(attached.mapped) as m
    where m.key in ('phone', 'email', 'timezone')
    union
    select m.key, c.value, true
    from jsonb_each(attached.several) as m cross join lateral jsonb_array_elements_text(m.value) as c
    union all
    select r.key, r.value, false from jsonb_each_text(attached.related) as r
  ) as m
  join pg_catalog.pg_attribute as a on a.attrelid = to_regclass(attached.relation) and a.attname = m.value
  join pg_catalog.pg_type as t on t.oid = a.atttypid
  where case when m.is_text then t.typcategory <> 'S' and (t.typname <> 'citext' or t.typtype <> 'b')
    else t.typcategory = 'A' or t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype) end
  order by not m.is_text, m.key, m.value limit 1;
  if not found then
    return;
  end if;
  raise exception 'columns: % "%" is %; it must be %', wrong.key, wrong.value, wrong.type,
    case when wrong.is_text then 'text' else 'one id' end
    using errcode = 'invalid_parameter_value', hint = format(
      'Map a column that has the one: alter table %s add column %I %s generated always as (%s) stored. docs/attach.md, '
      '"What is not one table", has one that can be written to.', attached.relation,
      'main_' || case when wrong.is_text then wrong.key else wrong.key || '_id' end,
      case when wrong.is_text or wrong.is_json then 'text' else wrong.element end,
      case when wrong.is_list then format('%I[1]', wrong.value)
        when wrong.is_json then format('%I #>> %L', wrong.value,
          '{0,' || case wrong.key when 'phone' then 'number' when 'email' then 'email' else 'id' end || '}')
        else format('%I::text', wrong.value) end);
end;
$$;

-- Numbers and addresses of a contact besides the one that is mapped by its name alone: nobody is known by them.
create or replace function automation.tell_of_others(attached automation.entities, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  other record;
begin
  for other in
    select n.name, string_agg(c.name, ', ' order by c.name) as names,
      jsonb_build_array(attached.mapped -> n.name) || jsonb_agg(c.name order by c.name) as list
    from unnest('{phone,email}'::text[]) as n (name)
    join automation.relation_columns(to_regclass(attached.relation)) as c on automation.address_in_name(c.name) = n.name
    where attached.name = 'contact' and attached.mapped ? n.name and not columns ? n.name and c.is_cheap
      and c.name <> attached.mapped ->> n.name
      and not c.name = any (array(select v.value from jsonb_each_text(attached.mapped) as v))
      and automation.column_type(to_regclass(attached.relation), c.name) ~ '^(text|character|citext)'
    group by n.name order by n.name
  loop
    raise notice 'automation: of % % alone is mapped as %, and nobody is known by %', attached.relation,
      attached.mapped ->> other.name, other.name, other.names
      using hint = format('Where those are the contact''s too: {"%s": %s}, the one to write to first.', other.name,
        other.list);
  end loop;
end;
$$;

-- Rows that are gone in the way of many CRMs, by a column that nothing is told of.
create or replace function automation.tell_of_gone(attached automation.entities, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sign text;
begin
  if attached.mapped ? 'deleted' or columns ? 'deleted' or attached.relation ~ '^(automation|ridgeline)\.' then
    return;
  end if;
  select c.name into sign
  from automation.relation_columns(to_regclass(attached.relation)) as c
  join unnest('{isactive,active,isarchived,archived,archivedat}'::text[]) with ordinality as n (name, place)
    on n.name = automation.same_name(c.name)
  where automation.column_type(to_regclass(attached.relation), c.name)
      ~ case when automation.says_present(c.name) then '^boolean' else '^(boolean|date|timestamp)' end
  order by n.place limit 1;
  if found then
    raise notice 'automation: nothing says which rows of % are gone: they are written to whatever % says',
      attached.relation, sign
      using hint = format('Where that is it: {"deleted": "%s"}; where not: {"deleted": null}.', sign);
  end if;
end;
$$;

-- What a record belongs to is said, never guessed: but that its table refers to one that is attached is told. What
-- leads back to a record that belongs to this one is no such thing (a contact's latest deal), and what another table
-- says is told once, when this one is new.
create or replace function automation.tell_of_links(attached automation.entities, told jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  link record;
begin
  for link in
    with known as (
      select e.* from automation.entities as e where e.name <> attached.name
      union all select attached.*
    )
    select e.relation, o.name, string_agg(a.attname, ', ' order by a.attnum) as columns, min(a.attname) as first
    from pg_catalog.pg_constraint as f
    join pg_catalog.pg_attribute as a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
    join known as e on to_regclass(e.relation) = f.conrelid
    join known as o on to_regclass(o.relation) = f.confrelid
    where f.contype = 'f' and cardinality(f.conkey) = 1 and e.name <> o.name and attached.name in (e.name, o.name)
      and not e.related ? o.name and not o.related ? e.name and e.tenant_column is distinct from a.attname
      and case e.name when attached.name then not (told || coalesce(told -> 'related', '{}')) ? o.name
        else not exists (select from automation.entities as k where k.name = attached.name) end
      and e.relation !~ '^(automation|ridgeline)\.'
    group by e.relation, e.name, o.name order by e.name, o.name
  loop
    raise notice 'automation: % of % names a record of "%", and nothing says so', link.columns, link.relation, link.name
      using hint = format('Where it belongs to that: attach %s with {"%s": "%s"}; where not: {"%2$s": null}.',
        link.relation, link.name, link.first);
  end loop;
end;
$$;

-- What the name of a column promises: that it stops a channel (opt_out), or that its no stops marketing there
-- (consent). No row: neither. kind: of its values.
create or replace function automation.consent_in_name(name text, kind text)
  returns table (says text, channels text[])
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select s.says, array(
        select c.channel from (values ('sms', w.words ~ 'sms|text|phone|mobile|call', w.words ~ 'mail'),
          ('email', w.words ~ 'mail', w.words ~ 'sms|text|phone|mobile|call')) as c (channel, is_named, other_is)
        where c.is_named or not c.other_is)
    from (select automation.name_words(consent_in_name.name) as words) as w
    cross join lateral (
      select case
        when w.words ~ ('_(dnc|dnd|block_?list(ed)?|black_?list(ed)?|suppress(ed)?)_|(revoked|withdrawn)_(.*_)?consent_'
            '|consent_(.*_)?(revoked|withdrawn)_|_(sms|text|e?mail)?unsub(scribe[ds]?)?_'
            '|_(is)?(do_?not|dont|not?|never|stop)_?(be_)?'
            '(contact|call|text|sms|e?mail|message|disturb|market)(s|ing)?_'
            '|_(has|is)?(sms|text|e?mail|phone|call|marketing)?opt(s|ed)?_?out(of_?(sms|text|e?mail))?_')
          or w.words ~ ('_(can|may|ok(ay)?_to)_((be|get|receive)_)?(contact|call|text|sms|e?mail|message)(s|ed)?_'
            '((at|on|date|since|flag|status)_)*$')
          then 'opt_out'
        when w.words ~ ('_(sms|text|e?mail|phone|marketing)?opt(s|ed)?_?in_'
            '|_(sms|text|e?mail|marketing)?consent(s|ed)?_')
          or w.words ~ ('_((is|sms|e?mail)?subscribed(_to_[a-z]+)*'
            '|(sms|text|e?mail|marketing|contact)_permission'
            '|(accept|allow|want|receive)s?(_[a-z]+)?_?(marketing|e?mails?|sms|texts?|newsletters?))_'
            '((at|on|date|since|flag|status|messages?|messaging)_)*$')
          then 'consent' end as says) as s
    where s.says is not null
      and (kind in ('boolean', 'text', 'enum', 'date', 'json') or kind in ('number', 'list') and s.says = 'opt_out')
      -- Where, how and why it was said says nothing itself.
      and w.words !~ ('_(reason|source|method|ip|version|by|notes?|token|urls?|uri|links?|forms?|pdf|ids?|counts?|html'
        '|key|hash|file|document|copy|wording|language|page|campaign|type|keyword|agent)_$'
        '|_(consent|opt_?in)_(text|message)_$')
      and w.words !~ '_(fax|record(s|ed|ings?)?)_'
      -- Who may be shown, treated or telephoned is another matter than who may be written to.
      and (w.words ~ 'sms|text|mail|marketing' or w.words !~ ('_(photos?|images?|videos?|media|hipaa|medical'
        '|treatment|telehealth|surgery|cookies?|analytics|tracking|location|parent(al)?|guardian|credit|background'
        '|privacy|terms)_')
        and (s.says = 'opt_out' or w.words !~ '_(voice|calls?|calling)_'))
  $$;

-- Whoever has said no in a column that nobody is told of would be written to. What was found by its name alone answers
-- for no other column but when it was said; and who consents to marketing has not said who wants nothing at all.
create or replace function automation.warn_of_consent(attached automation.entities, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unheard text;
begin
  select string_agg(a.attname, ', ' order by a.attnum) into unheard
  from pg_catalog.pg_attribute as a
  cross join lateral automation.consent_in_name(a.attname, automation.value_kind(a.atttypid)) as n
  where attached.name = 'contact' and a.attrelid = to_regclass(attached.relation) and a.attnum > 0
    and not a.attisdropped
    and not a.attname in (
      select v.value from jsonb_each_text(attached.mapped) as v where v.key ~ '_(consent|opt_out)$')
    and exists (
      select from unnest(n.channels) as c (channel)
      cross join lateral (select array[c.channel || '_opt_out']
        || case n.says when 'consent' then array[c.channel || '_consent'] end as keys) as k
      where not columns ?| k.keys and not exists (
        select from jsonb_each_text(attached.mapped) as m
        where m.key = any (k.keys) and automation.name_words(a.attname) ~ ('^'
          || replace(automation.name_words(m.value), '_opt_', '_opt(s|ed)?_') || '((at|on|date|time|since)_)+$')));
  if unheard is not null then
    raise warning 'automation: % of % may say who is not to be written to, and nothing heeds it', unheard,
      attached.relation
      using hint = 'Say what it is: {"sms_opt_out": "<column>", "email_opt_out": "<column>"} where it stops a channel, '
        '{"sms_consent": ..., "email_consent": ...} where a no stops its marketing; null: none is it. Where several '
        'say it, or it is JSON, one generated column does.';
  end if;
end;
$$;

-- Of a column whose name ends as those of numbers and addresses do: phone, email; null: it is neither.
create or replace function automation.address_in_name(name text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when words ~ ('_(by|is|has|no_(phone|e?mail)|not|can|wants?|opt|last|prefer(red)?|emergency|fax|voice|direct'
        '|hash(ed)?|valid|invalid|verif(y|ied)|normal(ized|ised)?|bounced?)_') then null
      when words ~ ('_((tele|cell|mobile|home|work|office|business|main|primary|other|alt)?phones?|mobile|cell|tel)'
        '(_?(no|nr|num|numbers?))?(_?[0-9]+)?'
        '(_(home|work|office|mobile|cell|main|primary|secondary|other|alt))?_$') then 'phone'
      when words ~ ('_((home|work|office|business|main|primary|other|alt)?e_?mails?(_?(address|addr|addresses))?|mail)'
        '(_?[0-9]+)?(_(home|work|office|personal|main|primary|secondary|other|alt))?_$') then 'email' end
    from automation.name_words(address_in_name.name) as words
  $$;

-- A contact without a number or an address is attached all the same; that nobody is reached by it is said at once.
create or replace function automation.tell_of_unreachable(attached automation.entities, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  missing record;
begin
  for missing in
    select n.name, (
        select string_agg(c.name, ', ' order by c.name)
        from automation.relation_columns(to_regclass(attached.relation)) as c
        where automation.address_in_name(c.name) = n.name) as candidates
    from unnest('{phone,email}'::text[]) as n (name)
    where attached.name = 'contact' and not attached.mapped ? n.name and not columns ? n.name
  loop
    raise notice 'automation: nothing of % is mapped as %: no step finds where to write to, and nobody is known by it',
      attached.relation, missing.name
      using hint = format('Say which column it is%s, or null where there is none: {"%s": ...}.',
        coalesce(' (' || missing.candidates || '?)', ''), missing.name);
  end loop;
end;
$$;

-- What would make the generated code wrong is refused before there is any.
create or replace function automation.check_attachment(attached automation.entities, events jsonb)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problem text;
begin
  perform automation.check_tenant_type(to_regclass(attached.relation), attached.tenant_column);
  select p.message into problem
  from (
    select 1, format('entity: "%s" is no name: use lower-case letters, digits and _', attached.name)
    where attached.name !~ '^[a-z][a-z0-9_]{0,40}$'
    union all
    select 1, format('entity: "%s" is %s wherever a workflow says so; give it another name, such as "crm_%1$s"',
      w.name, w.meant)
    from automation.taken_words() as w
    where w.name = attached.name
    union all
    select 1, format('columns: "%s" is %s wherever a workflow says so; what a record belongs to has another name, such '
      'as "crm_%1$s"', w.name, w.meant)
    from automation.taken_words() as w
    where attached.related ? w.name
    union all
    select 1, format('entity: "%s" is a record of Ridgeline''s own (%s); give it another name, such as "crm_%1$s"',
      e.name, e.relation)
    from automation.entities as e
    where e.name = attached.name and e.relation ~ '^(automation|ridgeline)\.'
      and attached.relation !~ '^(automation|ridgeline)\.'
    union all
    select 2, format('entity: "%s" is %s already; detach that first', e.name, e.relation)
    from automation.entities as e
    where e.name = attached.name
      and to_regclass(e.relation) is distinct from to_regclass(attached.relation)
      -- Renamed or moved since, it is the same table.
      and not exists (
        select from automation.capture_triggers(e.name) as t
        where t.relation = to_regclass(attached.relation))
    union all
    select 3, format('relation: %s is attached already, as "%s"', e.relation, e.name)
    from automation.entities as e
    where e.relation = attached.relation and e.name <> attached.name
    union all
    select 4, format('columns: deleted "%s" is %s; it must be boolean, a date or a timestamp', m.value, m.type)
    from (
      select m.value, automation.column_type(to_regclass(attached.relation), m.value) as type
      from jsonb_each_text(attached.mapped) as m where m.key = 'deleted') as m
    where m.type !~ '^(boolean|date|timestamp)'
    union all
    select 4, format('columns: merged_into "%s" is %s; it must hold the id of the contact that stays (%s)', m.value,
      m.type, attached.id_type)
    from (
      select m.value, automation.column_type(to_regclass(attached.relation), m.value) as type
      from jsonb_each_text(attached.mapped) as m where m.key = 'merged_into') as m
    where m.type <> attached.id_type and m.type <> 'text'
    union all
    select 4, 'columns: merged_into is of the contact; other records are not merged'
    where attached.mapped ? 'merged_into' and attached.name <> 'contact'
    union all
    select 5, format('columns: a name that holds %s cannot be taken: %s', tag, n)
    from unnest('{$capture$,$reader$}'::text[]) as tag
    cross join unnest(attached.columns || attached.relation) as n
    where strpos(n, tag) > 0
    union all
    select 6, format('events: %s has no column "%s"', attached.relation, c.name)
    from jsonb_array_elements(events) as e
    cross join lateral (values (e ->> 'column'), (e ->> 'unless')) as c (name)
    where not coalesce(c.name = any (attached.columns), true)
    union all
    select 6, format('events: unless "%s" is no boolean', e ->> 'unless')
    from jsonb_array_elements(events) as e
    where automation.column_type(to_regclass(attached.relation), e ->> 'unless') <> 'boolean'
    union all
    select 7, format('events: "%s" is an event of %s', t.name, coalesce(t.entity, 'the engine'))
    from jsonb_array_elements(events) as e
    join automation.trigger_types as t on t.name = e ->> 'type'
    where t.entity is distinct from attached.name
    union all
    select 7, format('events: "%s" stands there twice; a column that keeps one word for several makes them one event',
      e ->> 'type')
    from jsonb_array_elements(events) as e
    group by e ->> 'type'
    having count(*) > 1
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
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.trigger_types as t
    where t.entity = attached.name
      and t.name not in (attached.name || '_created', attached.name || '_updated')
      and not events @> jsonb_build_array(jsonb_build_object('type', t.name))
      and not exists (select from ridgeline.workflows as w where w.trigger_type = t.name)
  $$;

create or replace function automation.register_triggers(attached automation.entities, events jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.trigger_types (
      name, entity, kind, column_name, becomes, on_insert, unless_column, description)
    select * from (
      values
        (attached.name || '_created', attached.name, 'created', null, null, false, null,
          format('A %s was created.', attached.name)),
        (attached.name || '_updated', attached.name, 'updated', null, null, false, null,
          format('Any field of a %s changed.', attached.name))
      union all
      select e ->> 'type', attached.name,
        case when e ? 'becomes' then 'becomes' when e ? 'column' then 'changed' else 'created' end,
        e ->> 'column', e ->> 'becomes', coalesce((e ->> 'on_insert')::boolean, not e ? 'column'),
        e ->> 'unless',
        coalesce(e ->> 'description', format('%s of a %s changed%s.', e ->> 'column', attached.name,
          coalesce(' to ' || (e ->> 'becomes'), '')))
      from jsonb_array_elements(events) as e
    ) as t
    on conflict on constraint trigger_types_pkey do update
      set (entity, kind, column_name, becomes, on_insert, unless_column, description) = row (
        excluded.entity, excluded.kind, excluded.column_name, excluded.becomes, excluded.on_insert,
        excluded.unless_column, excluded.description)
  $$;

-- What stands there already stays as it is: enable always is the owner's to say, also where a release has a trigger of
-- another kind.
create or replace function automation.install_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  op text;
  for_row boolean;
  elsewhere record;
  present record;
begin
  for elsewhere in
    select t.name, t.relation from automation.capture_triggers(attached.name) as t
    where t.relation <> attached.relation::regclass
  loop
    perform automation.take_table(elsewhere.relation, 'access exclusive');
    execute format('drop trigger %I on %s', elsewhere.name, elsewhere.relation);
  end loop;
  foreach op in array '{insert,update,delete,truncate}'::text[] loop
    for_row := op <> 'truncate';
    select t.for_row, t.enabled into present
    from automation.capture_triggers(attached.name) as t
    where t.relation = attached.relation::regclass and t.name = 'automation_capture_' || op;
    continue when present.for_row = for_row;
    perform automation.take_table(attached.relation::regclass);
    execute format('create or replace trigger automation_capture_%1$s after %1$s on %2$s '
      'for each %3$s execute function automation.capture_%4$s_%1$s()',
      op, attached.relation, case when for_row then 'row' else 'statement' end, attached.name);
    if present.enabled <> 'enable' then
      execute format('alter table %s %s trigger automation_capture_%s', attached.relation, present.enabled, op);
    end if;
  end loop;
end;
$$;

create or replace function automation.remove_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  installed record;
begin
  for installed in select t.name, t.relation from automation.capture_triggers(attached.name) as t loop
    begin
      perform automation.take_table(installed.relation, 'access exclusive');
      execute format('drop trigger %I on %s', installed.name, installed.relation);
    exception when insufficient_privilege then
      -- Only its owner may; but whose the function is may drop that, and the trigger with it.
      null;
    end;
  end loop;
end;
$$;

-- Workflows stay switched on, for attaching brings them back; but nothing starts them until then.
create or replace function automation.stop_hearing(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  deaf record;
begin
  for deaf in
    select t.tenant_id, t.workflow_id, w.name
    from automation.active_triggers as t
    join ridgeline.workflows as w on w.tenant_id = t.tenant_id and w.id = t.workflow_id
    where t.entity = stop_hearing.entity and t.role = 'enrol'
  loop
    perform automation.note_end(deaf.tenant_id, deaf.workflow_id, 'detach');
    raise warning 'workflow "%" of tenant % hears nothing until % is attached again',
      deaf.name, deaf.tenant_id, entity;
  end loop;
  delete from automation.active_triggers as t where t.entity = stop_hearing.entity;
  delete from automation.timer_listeners as t where t.entity = stop_hearing.entity;
end;
$$;

create or replace function automation.detach(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  select e.* into attached from automation.entities as e where e.name = detach.entity;
  if not found then
    raise exception 'entity: "%" is not attached', entity using errcode = 'undefined_object';
  end if;
  perform automation.stop_hearing(attached.name);
  perform automation.remove_triggers(attached);
  execute format('drop function if exists automation.capture_%s_insert() cascade', attached.name);
  execute format('drop function if exists automation.capture_%s_update() cascade', attached.name);
  execute format('drop function if exists automation.capture_%s_delete() cascade', attached.name);
  execute format('drop function if exists automation.capture_%s_truncate() cascade', attached.name);
  if to_regproc(format('automation.capture_%s_merge', attached.name)) is not null then
    execute format('drop function automation.capture_%s_merge() cascade', attached.name);
  end if;
  if to_regproc(format('automation.capture_%s_timers', attached.name)) is not null then
    execute format('drop function automation.capture_%s_timers() cascade', attached.name);
  end if;
  execute format('drop function if exists automation.read_%s(uuid, text)', attached.name);
  execute format('drop function if exists automation.read_each_%s(uuid[], text[])', attached.name);
  execute format('drop function if exists automation.has_%s(uuid, text)', attached.name);
  delete from automation.entities as e where e.name = attached.name;
  execute automation.read_record_function();
  execute automation.has_record_function();
  perform automation.generate_captures(automation.settle_ways());
  perform automation.close_functions();
end;
$$;

comment on function automation.detach(text) is
  'Undoes automation.attach(): the table fires nothing any more. Its trigger types stay known, so '
  'that the workflows that name them can still be read; runs in flight go on. Workflows that are switched '
  'on are named in warnings; attaching the entity again brings them back.';
