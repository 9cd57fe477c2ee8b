create or replace function automation.column_type(relation regclass, name text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = column_type.relation and a.attname = column_type.name and not a.attisdropped
  $$;

-- What an id is cast to, to find its record: the type that the key has now, which may be wider than when its table was
-- attached; without a length, to which a cast would cut it.
create or replace function automation.key_type(attached automation.entities) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce((
    select format_type(a.atttypid, -1)
    from pg_catalog.pg_attribute as a
    where a.attrelid = to_regclass(attached.relation) and a.attname = attached.id_column and not a.attisdropped),
    attached.id_type);
end;
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
      -- A collation that tells no case apart would hide a change of it.
      automation.has_equality(t.oid) and not exists (
        select from pg_catalog.pg_collation as c where c.oid = a.attcollation and not c.collisdeterministic),
      a.attgenerated <> ''
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
    order by a.attnum
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

-- What a value of a type is as JSON.
create or replace function automation.value_kind(type oid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when t.typtype = 'd' then automation.value_kind(t.typbasetype)
      when t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype) or t.typtype = 'c'
        then 'json'
      when t.typcategory = 'A' then 'list'
      when t.typtype = 'e' then 'enum'
      when t.typcategory = 'B' then 'boolean'
      when t.typcategory = 'S' then 'text'
      when t.oid = 'pg_catalog.uuid'::regtype then 'uuid'
      when t.oid in ('pg_catalog.date'::regtype, 'pg_catalog.timestamp'::regtype,
        'pg_catalog.timestamptz'::regtype) then 'date'
      when t.oid in ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype,
        'pg_catalog.int8'::regtype, 'pg_catalog.float4'::regtype, 'pg_catalog.float8'::regtype,
        'pg_catalog.numeric'::regtype) then 'number'
      when exists (
        select from pg_catalog.pg_cast as c
        where c.castsource = t.oid
          and c.casttarget in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype))
        then 'json'
      else 'other'
    end
    from pg_catalog.pg_type as t
    where t.oid = value_kind.type
  $$;

comment on function automation.value_kind(oid) is
  'text, enum, number, date, boolean, uuid, list, json (anything may be inside) or other.';

create or replace function automation.kind_name(kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'number' then 'a number' when 'date' then 'a date' when 'boolean' then 'true or false'
      when 'uuid' then 'an id' when 'list' then 'a list' when 'enum' then 'one of a few texts'
      when 'json' then 'JSON' else 'a text'
    end
  $$;

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

create or replace function automation.relation_name(relation regclass) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.oid = relation_name.relation
  $$;

-- By its name, as SQL has it; or as it is called, where nobody wrote the quotes of "_ContactToTag".
create or replace function automation.find_relation(name text) returns regclass
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(to_regclass(name), to_regclass((
    select string_agg(quote_ident(p.part), '.' order by p.place)
    from unnest(string_to_array(name, '.')) with ordinality as p (part, place))));
exception when invalid_name or syntax_error then
  return null;
end;
$$;

-- firstName, first_name and FirstName are one name.
create or replace function automation.same_name(name text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select lower(replace(name, '_', '')) $$;

-- The words of a name, however it is written: _do_not_email_ of doNotEmail.
create or replace function automation.name_words(name text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '_' || btrim(lower(regexp_replace(regexp_replace(regexp_replace(name, '([A-Z])([A-Z][a-z])', '\1_\2', 'g'),
      '([a-z0-9])([A-Z])', '\1_\2', 'g'), '[^[:alnum:]]+', '_', 'g')), '_') || '_'
  $$;

-- Which of its columns a table means by a name: the one that is called so, else one that is written otherwise.
create or replace function automation.named_column(relation regclass, variadic names text[]) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.name
    from unnest(names) with ordinality as n (name, place)
    join automation.relation_columns(relation) as c on automation.same_name(c.name) = automation.same_name(n.name)
    order by n.place, c.name = n.name desc, c.name limit 1
  $$;

-- What a new row has and no field says, where the table has no default for it because the program that the CRM is says
-- it: the key, and when it was made and changed. zone: SQL for where times without a zone are.
create or replace function automation.filled_columns(
  relation regclass, key text, told text[], zone text default '''UTC''')
  returns table (name text, value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select a.attname::text, case
        when a.atttypid = 'pg_catalog.uuid'::regtype then 'pg_catalog.gen_random_uuid()'
        when a.attname = filled_columns.key then 'pg_catalog.gen_random_uuid()::text'
        when a.atttypid = 'pg_catalog.timestamptz'::regtype then 'automation.now()'
        else format('(automation.now() at time zone %s)::%s', zone, format_type(a.atttypid, a.atttypmod)) end
    from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
      and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
      and not a.attname = any (array_remove(told, null))
      and (a.attname = filled_columns.key and (a.atttypid = 'pg_catalog.uuid'::regtype
          or a.atttypid in ('pg_catalog.text'::regtype, 'pg_catalog.varchar'::regtype)
            and (a.atttypmod = -1 or a.atttypmod >= 40))
        or automation.same_name(a.attname) ~ '^(created|updated|inserted|modified)(at|on)?$'
          and a.atttypid in ('pg_catalog.date'::regtype, 'pg_catalog.timestamp'::regtype,
            'pg_catalog.timestamptz'::regtype))
    order by a.attnum
  $$;

-- Whoever attaches a table reads it from then on, through the functions that are generated as theirs.
create or replace function automation.warn_hidden(relation regclass) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if row_security_active(relation) then
    raise warning 'automation: row level security of % holds for % too, who attaches it: rows that it hides are not '
      'there for workflows', relation, current_user
      using hint = format('Let a role attach it that sees all rows (alter role %I bypassrls), or take back "force row '
        'level security", or add a policy that lets %1$I see and write all rows.', current_user);
  end if;
end;
$$;

create or replace function automation.named_columns(relation regclass, names text[], columns jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(n.name, n.path) filter (where n.path is not null), '{}')
    from (
      select n.name, case when columns ? n.name then columns ->> n.name
        when n.name = 'deleted' then automation.deleted_column(relation)
        else automation.named_column(relation, n.name) end as path
      from unnest(names) as n (name)
    ) as n
  $$;

-- Which column says that a row counts as deleted, as those are usually called.
create or replace function automation.deleted_column(relation regclass) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.name
    from automation.relation_columns(relation) as c
    join unnest('{deleted,isdeleted,deletedat,discardedat,deletedon}'::text[]) with ordinality as n (name, place)
      on n.name = automation.same_name(c.name)
    where automation.column_type(relation, c.name) ~ '^(boolean|date|timestamp)'
    order by n.place limit 1
  $$;

create or replace function automation.check_columns(
  argument text, relation regclass, columns jsonb, names text[], needed text[])
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong record;
begin
  select k into wrong from jsonb_object_keys(columns) as k where not k = any (names) limit 1;
  if found then
    raise exception '%: "%" is none of %', argument, wrong.k, array_to_string(names, ', ')
      using errcode = 'invalid_parameter_value';
  end if;
  select c.key, c.value into wrong from jsonb_each_text(columns) as c
  where not exists (
    select from automation.relation_columns(relation) as r
    where r.name in (c.value, split_part(c.value, '.', 1))) limit 1;
  if found then
    raise exception '%: % has no column "%"', argument, relation, wrong.value using errcode = 'undefined_column',
      hint = format('Name the column, such as {"%s": "<column>"}.', wrong.key);
  end if;
  select c.key, split_part(c.value, '.', 1) as name, format_type(a.atttypid, a.atttypmod) as type into wrong
  from jsonb_each_text(columns) as c
  join pg_catalog.pg_attribute as a on a.attrelid = relation and a.attname = split_part(c.value, '.', 1)
  where strpos(c.value, '.') > 0 and automation.value_kind(a.atttypid) <> 'json'
    and automation.column_type(relation, c.value) is null limit 1;
  if found then
    raise exception '%: % "%" is inside %, which is no JSON but %', argument, wrong.key, columns ->> wrong.key,
      wrong.name, wrong.type
      using errcode = 'invalid_parameter_value', hint = format('Name the column: {"%s": "%s"}.', wrong.key, wrong.name);
  end if;
  select n into wrong from unnest(needed) as n where not columns ? n limit 1;
  if found then
    raise exception '%: which column of % is the %?', argument, relation, wrong.n
      using errcode = 'invalid_parameter_value', hint = format('Name it, such as {"%s": "<column>"}.', wrong.n);
  end if;
end;
$$;

-- What the engine wants to know of a record, whatever its table calls it.
create or replace function automation.mapped_names() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array['phone', 'email', 'first_name', 'last_name', 'stage', 'status', 'assigned_to',
      'timezone', 'last_contacted_at', 'created_at', 'updated_at', 'deleted', 'tags', 'sms_consent', 'email_consent',
      'sms_opt_out', 'email_opt_out', 'merged_into', 'full_name', 'custom_fields']
  $$;

comment on function automation.mapped_names() is
  'The keys that columns of automation.attach() may map to a column; one that is left out means the '
  'column of that name, null means that there is none. deleted: a boolean, or when it was deleted; such a '
  'record counts as gone. sms_consent and its like: a boolean, a word, or since when (65_gate/10_mapped_consent). '
  'merged_into, of a contact: into which it was merged; only where it is named. custom_fields: what {{custom.*}} '
  'reads.';

-- Of a contact that has several numbers the first that is filled is written to; whoever calls is found by any.
create or replace function automation.several_columns(columns jsonb) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  select c.key into wrong from jsonb_each(columns) as c
  where jsonb_typeof(c.value) = 'array' and not c.key in ('phone', 'email', 'ignore', 'protect') limit 1;
  if wrong is not null then
    raise exception 'columns.%: one column is meant', wrong using errcode = 'invalid_parameter_value',
      hint = 'Only phone and email may be lists of columns.';
  end if;
  select c.key into wrong from jsonb_each(columns) as c
  where c.key in ('phone', 'email') and jsonb_typeof(c.value) = 'array'
    and (c.value = '[]' or jsonb_path_exists(c.value, '$[*] ? (@.type() != "string")')) limit 1;
  if wrong is not null then
    raise exception 'columns.%: a list of the names of columns is needed', wrong
      using errcode = 'invalid_parameter_value', hint = 'Such as {"phone": ["mobile_phone", "phone"]}.';
  end if;
  return coalesce((
    select jsonb_object_agg(c.key, c.value) from jsonb_each(columns) as c
    where c.key in ('phone', 'email') and jsonb_typeof(c.value) = 'array'), '{}');
end;
$$;

create or replace function automation.mapped_columns(attached automation.entities, name text)
  returns table (column_name text, place bigint)
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.value, c.place
    from jsonb_array_elements_text(case when attached.several ? name then attached.several -> name
      when attached.mapped ? name then jsonb_build_array(attached.mapped -> name)
      else '[]' end) with ordinality as c (value, place)
  $$;

comment on function automation.mapped_columns(automation.entities, text) is
  'The columns that are what the engine knows by a name, the one to use first; none where nothing is mapped.';

-- Names that a record answers to besides those of its columns.
create or replace function automation.aliases(attached automation.entities) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.key, m.value), '{}')
    from jsonb_each(attached.mapped) as m
    where not m.key = any (attached.columns)
      and not (m.key = 'deleted' and automation.says_present(m.value #>> '{}'))
  $$;

create or replace function automation.own_name(attached automation.entities, name text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(a.names ->> name, (a.names ->> split_part(name, '.', 1)) || substr(name, strpos(name, '.')), name)
    from (select automation.aliases(attached) as names) as a
  $$;

comment on function automation.own_name(automation.entities, text) is
  'What the table itself calls a column: mobile_no for phone, and details.roof for custom_fields.roof. Its own names '
  'stay as they are.';

create or replace function automation.own_names(attached automation.entities, fields jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(coalesce(
      a.names ->> f.key, (a.names ->> split_part(f.key, '.', 1)) || substr(f.key, strpos(f.key, '.')), f.key), f.value),
      '{}')
    from jsonb_each(fields) as f
    cross join (select automation.aliases(attached) as names) as a
  $$;

-- Where the whole name is in one column, that column; first_name and last_name are read from it.
create or replace function automation.name_column(attached automation.entities) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when not attached.mapped ?| '{first_name,last_name}' then attached.mapped ->> 'full_name' end
  $$;

-- A new row's first and last name, as such a table has them.
create or replace function automation.whole_name(attached automation.entities, fields jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when automation.name_column(attached) is null or not fields ?| '{first_name,last_name}' then fields
      else jsonb_strip_nulls(jsonb_build_object('full_name',
          nullif(concat_ws(' ', nullif(fields ->> 'first_name', ''), nullif(fields ->> 'last_name', '')), '')))
        || (fields - '{first_name,last_name}'::text[]) end
  $$;

-- Does a column hold JSON, in which single keys can be set?
create or replace function automation.holds_json(attached automation.entities, column_name text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from pg_catalog.pg_attribute as a
      join pg_catalog.pg_type as t on t.oid = a.atttypid
      where a.attrelid = to_regclass(attached.relation) and a.attname = holds_json.column_name and not a.attisdropped
        and coalesce(nullif(t.typbasetype, 0), t.oid) in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype))
  $$;

-- The same value under the name that the engine knows the column by, and under the table's own.
create or replace function automation.both_names(attached automation.entities, fields jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select fields || coalesce(
      jsonb_object_agg(a.key, fields -> a.value) filter (where fields ? a.value), '{}') || coalesce(
      jsonb_object_agg(a.value, fields -> a.key) filter (where fields ? a.key and not fields ? a.value), '{}')
    from jsonb_each_text(automation.aliases(attached)) as a
  $$;

-- The first of several mapped columns that an entity has; null when it has none of them.
create or replace function automation.mapped_column(entity text, variadic names text[]) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select e.mapped ->> n.name
    from automation.entities as e
    cross join unnest(names) with ordinality as n (name, place)
    where e.name = mapped_column.entity and e.mapped ? n.name
    order by n.place
    limit 1);
end;
$$;

create or replace function automation.stage_column(entity text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.mapped_column(entity, 'stage', 'status') $$;

-- A column, or a key of a JSON column, that says of a row that it is there, and not that it is gone.
create or replace function automation.says_present(column_name text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.same_name(regexp_replace(column_name, '^.*[.]', '')) in (
      'active', 'isactive', 'enabled', 'isenabled')
  $$;

-- Does a row count as deleted, by what says so: a boolean (of is_active its opposite), or since when? In JSON by any
-- word that is a boolean to Postgres, and by what has a digit, as a time has; another word says of nobody that it is.
create or replace function automation.is_deleted_expression(relation regclass, written text, column_name text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when column_name is null then null
      when strpos(column_name, '.') > 0 then format(case when automation.says_present(column_name)
          then 'coalesce(to_jsonb(%s.%I) #>> %L, '''') ~* ''^\s*(f|fa|fal|fals|false|no?|off?|0)\s*$'''
          else 'coalesce(to_jsonb(%s.%I) #>> %L, '''') ~* ''^\s*(t|tr|tru|true|y|ye|yes|on)\s*$|[1-9]''' end,
        written, split_part(column_name, '.', 1),
        string_to_array(substr(column_name, strpos(column_name, '.') + 1), '.'))
      when automation.column_type(relation, column_name) = 'boolean' then format(
        case when automation.says_present(column_name) then '%s.%I is false' else '%s.%I is true' end,
        written, column_name)
      -- Since when it is active says of nobody that it is not.
      when automation.says_present(column_name) then 'false'
      else format('%s.%I is not null', written, column_name) end
  $$;

-- A number says 0 and 1, and neither is null. What stands in JSON is judged by what it says.
create or replace function automation.check_deleted(relation regclass, column_name text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type constant text := automation.column_type(relation, column_name);
begin
  if type !~ '^(boolean|date|timestamp)' then
    raise exception 'columns: deleted "%" is %; it must be boolean, a date or a timestamp', column_name, type
      using errcode = 'invalid_parameter_value', hint = 'Add a column that is, such as a generated one, and name it; '
        '{"deleted": null}: none says it.';
  end if;
end;
$$;

-- The same for an attached table, by the column that is mapped as such.
create or replace function automation.deleted_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when attached.mapped ? 'deleted' then automation.is_deleted_expression(
        attached.relation::regclass, written, attached.mapped ->> 'deleted')
      else 'false'
    end
  $$;

-- What attach() is told of timestamps without a zone: {"timestamps": "UTC"}.
create or replace function automation.zone_of_times(columns jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if columns ->> 'timestamps' is not null and automation.known_zone(columns ->> 'timestamps') is null then
    raise exception 'columns.timestamps: "%" is not a time zone', left(columns ->> 'timestamps', 60)
      using errcode = 'invalid_parameter_value', hint = 'Say in which zone times without one are written: "UTC", as '
        'Prisma, Rails and Django do, or an IANA name such as America/Chicago.';
  end if;
  return automation.known_zone(columns ->> 'timestamps');
end;
$$;

-- Nobody notices what is five hours off.
create or replace function automation.tell_of_times(relation regclass, zone text, columns text[]) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  bare constant text := (
    select string_agg(a.attname, ', ' order by a.attnum) from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.atttypid = 'pg_catalog.timestamp'::regtype and not a.attisdropped
      and a.attname = any (columns));
begin
  if zone is null and bare is not null then
    raise notice 'automation: times of % without a zone (%) count as the tenant''s own', relation, bare
      using hint = 'Where they are written in UTC, as Prisma, Rails and Django do: {"timestamps": "UTC"}.';
  end if;
end;
$$;

-- Columns whose times are in a zone that was told.
create or replace function automation.timed_columns(attached automation.entities) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(a.attname::text order by a.attnum), '{}')
    from pg_catalog.pg_attribute as a
    where attached.times_zone is not null and a.attrelid = to_regclass(attached.relation)
      and a.atttypid = 'pg_catalog.timestamp'::regtype and not a.attisdropped and a.attname = any (attached.columns)
  $$;

-- The same of a row that is JSON already.
create or replace function automation.timed_record(attached automation.entities, written jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when attached.times_zone is null then written else written || coalesce((
      select jsonb_object_agg(c, (written ->> c)::timestamp at time zone attached.times_zone)
      from unnest(automation.timed_columns(attached)) as c where written ->> c is not null), '{}') end
  $$;

-- A row as JSON. Names of mapped that its table does not have come on top, so that {{contact.phone}}
-- is the phone whatever the CRM calls it.
create or replace function automation.record_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce('jsonb_build_object('
        || string_agg(format('%L, %s.%I%s', a.key, written, a.value,
          case when a.value = any (t.columns) then format(' at time zone %L', attached.times_zone) end),
          ', ' order by a.key) filter (where a.key is not null) || ') || ', '')
      || case when attached.hides_columns
        then format('(select to_jsonb(seen.*) from (select %s) as seen)', (
          select string_agg(format('%s.%I', written, c.name), ', ' order by c.place)
          from unnest(attached.columns) with ordinality as c (name, place)))
        else format('to_jsonb(%s.*)', written) end
      -- A function takes a hundred arguments, and a table may have more columns.
      || coalesce((
        select ' || (select to_jsonb(timed.*) from (select ' || string_agg(
          format('%1$s.%2$I at time zone %3$L as %2$I', written, c, attached.times_zone), ', ') || ') as timed)'
        from unnest(t.columns) as c), '')
      || case when automation.name_column(attached) is null then ''
        else format(' || automation.parts_of_name(%s.%I::text)', written, automation.name_column(attached)) end
    from (select automation.timed_columns(attached) as columns) as t
    left join jsonb_each_text(automation.aliases(attached)) as a on true
    group by t.columns
  $$;

create or replace function automation.entity_names() returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{contact,project,job}'::text[] || array(select e.name from automation.entities as e) $$;

comment on function automation.entity_names() is
  'Records that a path can start with: those of the reference CRM, attached or not, and all that are.';

create or replace function automation.is_record(name text) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- What needs no table is answered without one: this is asked of every field of a definition.
  if name in ('contact', 'project', 'job') then
    return true;
  elsif name in ('user', 'tenant', 'custom', 'steps') then
    return false;
  end if;
  return exists (select from automation.entities as e where e.name = is_record.name);
end;
$$;

comment on function automation.is_record(text) is 'Whether a name is one of entity_names().';
