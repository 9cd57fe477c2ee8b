-- automation.attach(): the same capture for the reference tables and for anybody else's.

-- Can values of this type be compared as they are? json, points and whatever holds them inside (a
-- domain, an array, a row) cannot; those are compared as text.
create or replace function automation.has_equality(type oid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when t.typtype = 'd' then automation.has_equality(t.typbasetype)
      when t.typcategory = 'A' then automation.has_equality(t.typelem)
      when t.typtype in ('e', 'r', 'm') then true
      -- Operators of extensions are not on our search_path.
      else t.typcategory <> 'G' and t.typnamespace = 'pg_catalog'::regnamespace and exists (
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
  set search_path = pg_catalog, pg_temp
  as $$
    select a.attname::text,
      -- A trigger is not told what is computed where it is read.
      (t.typcategory in ('S', 'B', 'E') or t.oid = 'pg_catalog.uuid'::regtype) and a.attgenerated <> 'v',
      automation.has_equality(t.oid),
      a.attgenerated <> ''
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
    order by a.attnum
  $$;

-- What the engine wants to know of a record, whatever its table calls it.
create or replace function automation.mapped_names() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array['phone', 'email', 'first_name', 'last_name', 'stage', 'status', 'assigned_to',
      'timezone', 'last_contacted_at', 'created_at', 'updated_at', 'deleted']
  $$;

comment on function automation.mapped_names() is
  'The keys that columns of automation.attach() may map to a column; one that is left out means the '
  'column of that name, null means that there is none. deleted: a boolean, or when it was deleted; such a '
  'record counts as gone.';

create or replace function automation.column_type(relation regclass, name text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = column_type.relation and a.attname = column_type.name and not a.attisdropped
  $$;

create or replace function automation.attach(
  relation regclass, entity text, columns jsonb default '{}', events jsonb default '[]',
  visible text[] default null, writable text[] default null, authors text default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  attached := automation.describe_entity(relation, entity, columns, visible);
  attached.writable_columns := automation.allowed_columns(relation, attached, writable);
  attached.authors := coalesce(authors, automation.default_authors(relation));
  perform automation.check_attachment(attached, events);
  insert into automation.entities
  select attached.*
  on conflict on constraint entities_pkey do update set (
    relation, tenant_column, id_column, id_type, related, columns, match_columns, writable_columns,
    ignored_columns, mapped, tags, is_log, hides_columns, authors) = row (
    excluded.relation, excluded.tenant_column, excluded.id_column, excluded.id_type, excluded.related,
    excluded.columns, excluded.match_columns, excluded.writable_columns, excluded.ignored_columns,
    excluded.mapped, excluded.tags, excluded.is_log, excluded.hides_columns, excluded.authors);
  perform automation.forget_triggers(attached, events);
  perform automation.register_triggers(attached, events);
  execute automation.insert_function(attached);
  execute automation.update_function(attached);
  execute automation.delete_function(attached);
  execute automation.truncate_function(attached);
  execute automation.reader_function(attached);
  execute automation.has_function(attached);
  perform automation.install_triggers(attached);
  if attached.name = 'contact' then
    execute case when attached.tags is null then automation.no_tags_functions()
      else automation.linked_tags_functions(attached) end;
  end if;
  execute automation.read_record_function();
  execute automation.has_record_function();
  perform automation.close_functions();
  perform automation.listen_again(attached.name);
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
    where w.is_active and not exists (
      select from automation.active_triggers as t
      where t.tenant_id = v.tenant_id and t.workflow_id = v.workflow_id and t.version = v.version
        and t.role = 'enrol' and (v.trigger_type <> 'time_elapsed' or exists (
          select from automation.timer_listeners as l
          where l.tenant_id = t.tenant_id and l.workflow_id = t.workflow_id)))
  loop
    listener := automation.compile_trigger(version.trigger_type, version.trigger_config);
    continue when listen_again.entity is distinct from case version.trigger_type
      when 'time_elapsed' then coalesce(version.trigger_config ->> 'entity', 'contact')
      else listener.entity end;
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
    select w.tenant_id, w.id, w.published_version from ridgeline.workflows as w where w.is_active
    union
    select e.tenant_id, e.workflow_id, e.version
    from ridgeline.scheduled_steps as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id);
end;
$$;

comment on function automation.attach(regclass, text, jsonb, jsonb, text[], text[], text) is
  'Makes a table fire workflows. columns: {tenant, id, phone, email, stage, status, ... (see '
  'automation.mapped_names()), ignore: [..], protect: [..]} where they differ from tenant_id, id and '
  'columns of that name; {<entity>: column}, or {related: {<entity>: column}}, for the records it '
  'belongs to; log: true for a table whose rows are events of a contact. events: [{type, column?, '
  'becomes?, on_insert?, unless?, description?}] for writes with a name of their own: a change of column, a '
  'change to the value becomes, with on_insert also an insert with it; without column, any insert; not where the '
  'boolean column unless is true. Call it again after adding columns. visible, writable: the columns that '
  'workflows may see and set; left out, what automation.visible_by_default() and members'' own grants allow. '
  'authors: members, or admins (the default where row level security or missing grants keep rows from members).';

-- A name that says that the value is nobody's business, least of all a message's.
create or replace function automation.looks_secret(column_name text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select lower(regexp_replace(column_name, '([a-z])([A-Z])', '\1_\2', 'g')) ~ (
      '(^|_)(pass(word|wd|phrase|code)|pwd|secrets?|tokens?|api_?keys?|private_?keys?|access_?keys?|'
      'credentials?|otp|mfa|totp|ssn|social_security(_number)?|tax_id|iban|account_number|routing_number|'
      'card_?(number|no)|credit_?card|cvv|cvc|pin|hash)(_|$)|(password|secret|apikey)')
  $$;

-- Where members are granted single columns of a table, workflows see those and no more.
create or replace function automation.visible_by_default(relation regclass) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(c.name)
    from automation.relation_columns(relation) as c
    where not automation.looks_secret(c.name)
      and (has_table_privilege('authenticated', relation, 'select')
        or not has_any_column_privilege('authenticated', relation, 'select')
        or has_column_privilege('authenticated', relation, c.name, 'select'))
  $$;

comment on function automation.visible_by_default(regclass) is
  'Every column, but for those whose name looks like a secret''s, and, where members may read some columns '
  'only, the others.';

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
  described.name := entity;
  described.relation := automation.relation_name(describe_entity.relation);
  described.tenant_column := coalesce(columns ->> 'tenant', 'tenant_id');
  described.id_column := coalesce(columns ->> 'id', 'id');
  described.id_type := (
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = describe_entity.relation and a.attname = described.id_column);
  described.is_log := coalesce((columns -> 'log')::boolean, false);
  described.related := columns - '{tenant,id,ignore,protect,related,log,tags}'::text[]
    - automation.mapped_names() || coalesce(columns -> 'related', '{}');
  described.mapped := automation.map_columns(relation, columns);
  described.tags := case when jsonb_typeof(columns -> 'tags') = 'object'
    then automation.check_tags(columns -> 'tags') end;
  described.ignored_columns := array(select jsonb_array_elements_text(coalesce(
    columns -> 'ignore', jsonb_build_array(coalesce(described.mapped ->> 'updated_at', 'updated_at')))));
  -- What the engine itself is told to use it sees, whatever it is called.
  shown := shown || array[described.tenant_column, described.id_column]
    || array(select v.value from jsonb_each_text(described.related || described.mapped) as v);
  described.hides_columns := exists (
    select from automation.relation_columns(relation) as c where not c.name = any (shown));
  select array_agg(c.name), array_agg(c.name) filter (where c.is_cheap),
    array_agg(c.name) filter (where not c.is_generated and not c.name = any (
      array[described.tenant_column, described.id_column, 'created_at', 'updated_at',
        coalesce(described.mapped ->> 'created_at', ''), coalesce(described.mapped ->> 'updated_at', '')]
      || array(select jsonb_array_elements_text(coalesce(columns -> 'protect', '[]')))))
    into described.columns, described.match_columns, described.writable_columns
  from automation.relation_columns(relation) as c
  where c.name = any (shown);
  described.writable_columns := coalesce(described.writable_columns, '{}') || array(
    select a.key from jsonb_each_text(automation.aliases(described)) as a
    where a.value = any (described.writable_columns));
  select n into missing
  from unnest(array[described.tenant_column, described.id_column]
    || array(select r.value from jsonb_each_text(described.related || described.mapped) as r)
    || visible || array(select jsonb_array_elements_text(
      coalesce(columns -> 'ignore', '[]') || coalesce(columns -> 'protect', '[]')))) as n
  where not exists (select from automation.relation_columns(relation) as c where c.name = n)
  limit 1;
  if missing is not null then
    raise exception 'columns: % has no column "%"', described.relation, missing
      using errcode = 'undefined_column',
        hint = 'Name the column in the columns argument, such as {"tenant": "company_id"}.';
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
      select n.name, case when columns ? n.name then columns ->> n.name else (
        select c.name from automation.relation_columns(relation) as c
        where c.name = n.name
          and (c.name <> 'deleted' or automation.column_type(relation, c.name) ~ '^(boolean|date|timestamp)'))
        end as column_name
      from unnest(automation.mapped_names()) as n (name)
    ) as m
    where m.column_name is not null
  $$;

-- Names that a record answers to besides those of its columns.
create or replace function automation.aliases(attached automation.entities) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.key, m.value), '{}')
    from jsonb_each(attached.mapped) as m
    where not m.key = any (attached.columns)
  $$;

create or replace function automation.own_name(attached automation.entities, name text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(automation.aliases(attached) ->> name, name) $$;

comment on function automation.own_name(automation.entities, text) is
  'What the table itself calls a column: mobile_no for phone. Its own names stay as they are.';

create or replace function automation.own_names(attached automation.entities, fields jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(coalesce(a.names ->> f.key, f.key), f.value), '{}')
    from jsonb_each(fields) as f
    cross join (select automation.aliases(attached) as names) as a
  $$;

-- The first of several mapped columns that an entity has; null when it has none of them.
create or replace function automation.mapped_column(entity text, variadic names text[]) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.mapped ->> n.name
    from automation.entities as e
    cross join unnest(names) with ordinality as n (name, place)
    where e.name = mapped_column.entity and e.mapped ? n.name
    order by n.place
    limit 1
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
  select p.message into problem
  from (
    select 1, format('entity: "%s" is no name: use lower-case letters, digits and _', attached.name)
    where attached.name !~ '^[a-z][a-z0-9_]{0,40}$'
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
    select 4, format('columns: the tenant column "%s" is %s; it must be uuid', a.attname,
      format_type(a.atttypid, a.atttypmod))
    from pg_catalog.pg_attribute as a
    where a.attrelid = to_regclass(attached.relation) and a.attname = attached.tenant_column
      and a.atttypid <> 'pg_catalog.uuid'::regtype
    union all
    select 4, format('columns: %s "%s" is %s; it must be text', m.key, m.value,
      format_type(a.atttypid, a.atttypmod))
    from jsonb_each_text(attached.mapped) as m
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass(attached.relation) and a.attname = m.value
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where m.key in ('phone', 'email', 'timezone') and t.typcategory <> 'S'
      and (t.typname <> 'citext' or t.typtype <> 'b')
    union all
    select 4, format('columns: deleted "%s" is %s; it must be boolean, a date or a timestamp', m.value, m.type)
    from (
      select m.value, automation.column_type(to_regclass(attached.relation), m.value) as type
      from jsonb_each_text(attached.mapped) as m where m.key = 'deleted') as m
    where m.type !~ '^(boolean|date|timestamp)'
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

-- What stands there already stays as it is: enable always is the owner's to say.
create or replace function automation.install_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  op text;
  elsewhere record;
begin
  for elsewhere in
    select t.name, t.relation from automation.capture_triggers(attached.name) as t
    where t.relation <> attached.relation::regclass
  loop
    execute format('drop trigger %I on %s', elsewhere.name, elsewhere.relation);
  end loop;
  foreach op in array '{insert,update,delete,truncate}'::text[] loop
    if not exists (
      select from automation.capture_triggers(attached.name) as t
      where t.relation = attached.relation::regclass and t.name = 'automation_capture_' || op
    ) then
      execute format('create or replace trigger automation_capture_%1$s after %1$s on %2$s '
        'for each %3$s execute function automation.capture_%4$s_%1$s()',
        op, attached.relation, case op when 'truncate' then 'statement' else 'row' end, attached.name);
    end if;
  end loop;
end;
$$;

-- Found by what they call: the table may have been renamed since.
create or replace function automation.capture_triggers(entity text)
  returns table (name text, relation regclass)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.tgname::text, t.tgrelid::regclass
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_proc as p on p.oid = t.tgfoid
    where p.pronamespace = 'automation'::regnamespace and t.tgparentid = 0
      and p.proname in (
        format('capture_%s_insert', entity), format('capture_%s_update', entity),
        format('capture_%s_delete', entity), format('capture_%s_truncate', entity))
  $$;

create or replace function automation.relation_of(attached automation.entities) returns regclass
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select t.relation from automation.capture_triggers(attached.name) as t limit 1),
      to_regclass(attached.relation))
  $$;

create or replace function automation.remove_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  installed record;
begin
  for installed in select t.name, t.relation from automation.capture_triggers(attached.name) as t loop
    execute format('drop trigger %I on %s', installed.name, installed.relation);
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
    from (
      select a.tenant_id, a.workflow_id from automation.active_triggers as a
      where a.entity = stop_hearing.entity and a.role = 'enrol'
      union all
      select l.tenant_id, l.workflow_id from automation.timer_listeners as l
      where l.entity = stop_hearing.entity
    ) as t
    join ridgeline.workflows as w on w.tenant_id = t.tenant_id and w.id = t.workflow_id
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
  execute format('drop function if exists automation.capture_%s_insert()', attached.name);
  execute format('drop function if exists automation.capture_%s_update()', attached.name);
  execute format('drop function if exists automation.capture_%s_delete()', attached.name);
  execute format('drop function if exists automation.capture_%s_truncate()', attached.name);
  execute format('drop function if exists automation.read_%s(uuid, text)', attached.name);
  execute format('drop function if exists automation.has_%s(uuid, text)', attached.name);
  delete from automation.entities as e where e.name = attached.name;
  execute automation.read_record_function();
  execute automation.has_record_function();
end;
$$;

comment on function automation.detach(text) is
  'Undoes automation.attach(): the table fires nothing any more. Its trigger types stay known, so '
  'that the workflows that name them can still be read; runs in flight go on. Workflows that are switched '
  'on are named in warnings; attaching the entity again brings them back.';
