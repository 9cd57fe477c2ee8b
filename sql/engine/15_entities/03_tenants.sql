-- TENANTS AND MEMBERS
--
-- Whose rows they are: tenants and their members. Both are the CRM's; where they stand and what their
-- columns are called is told once, by automation.attach_tenants() and automation.attach_members(). What the
-- CRM does not know of a tenant stands in ridgeline.tenant_settings.
--
-- The CRM's tables are read where they are, each time: a member who was removed is one no more in the same
-- moment. The functions that read them are generated, and name columns late: a table that was altered, or is gone,
-- costs a warning and not the run.

create table ridgeline.tenant_settings (
  tenant_id uuid not null constraint tenant_settings_pkey primary key,
  name text,
  timezone text,
  country text,
  text_countries text[] not null default '{US,CA}',
  text_strangers boolean not null default false,
  phone text,
  email text,
  website text,
  address text,
  settings jsonb not null default '{}'
    constraint tenant_settings_is_object check (jsonb_typeof(settings) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  unified_engine text not null default 'on'
    constraint tenant_settings_engine_known check (unified_engine in ('off', 'shadow', 'on'))
);

-- Next to none are: asked at every tick.
create index tenant_settings_in_shadow on ridgeline.tenant_settings (tenant_id) where unified_engine = 'shadow';

comment on table ridgeline.tenant_settings is
  'What the engine needs to know of a tenant and the CRM does not tell it: a row for each tenant, where there is '
  'something to say. What attach_tenants() maps to a column of the CRM is read there; where that is empty, here.';
comment on column ridgeline.tenant_settings.timezone is
  'IANA name. Dates in conditions and messages are read and written in this zone. Without one: America/New_York.';
comment on column ridgeline.tenant_settings.country is
  'Where it is: ISO 3166, two letters. Phone numbers without a country code are read there. Without one: US.';
comment on column ridgeline.tenant_settings.text_countries is
  'Where texts may go, besides its own country. Nothing is sent to other countries, satellites or premium-rate '
  'numbers.';
comment on column ridgeline.tenant_settings.text_strangers is
  'May workflows text a number that is no contact''s, not of the record that fired and not the office''s own?';
comment on column ridgeline.tenant_settings.unified_engine is
  'What this engine does for the tenant while another one is at work: off, nothing begins; shadow, all runs are '
  'shadows; on, each workflow as its mode says. ridgeline.set_engine() changes it. See docs/legacy.md.';
comment on column ridgeline.tenant_settings.settings is
  'locale, currency, holidays, conversation_brake, inbound {create_contacts}, forms {max_fired_per_hour}: see '
  'docs/tenants.md. The same keys in the CRM''s own settings, where that column is mapped, come first.';

create table automation.tenancy (
  id boolean not null default true constraint tenancy_pkey primary key constraint tenancy_is_one check (id),
  relation text not null,
  columns jsonb not null,
  sole uuid,
  further jsonb not null default '[]',
  visible text[] not null
);

comment on column automation.tenancy.sole is 'Its one row is this tenant, and its key is another''s business.';
comment on table automation.tenancy is
  'Which table holds the tenants; none: those of ridgeline.tenant_settings are all there are.';

create type automation.tenant as (
  id uuid,
  name text,
  timezone text,
  country text,
  text_countries text[],
  text_strangers boolean,
  phone text,
  email text,
  website text,
  address text,
  settings jsonb,
  record jsonb
);

comment on type automation.tenant is 'A tenant as the engine knows it; record: what {{tenant.*}} shows.';

create or replace function automation.known_country(given text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select p.country from automation.phone_plans as p
    where p.country = upper(btrim(known_country.given)) and p.country ~ '^[A-Z]'
  $$;

-- For a row of tenants that has these columns; anybody's CRM may put it on its own table.
create or replace function automation.check_timezone() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known text := automation.known_zone(new.timezone);
begin
  if known is null and new.timezone is not null then
    raise exception 'timezone: "%" is not a time zone', new.timezone
      using errcode = 'invalid_parameter_value',
        hint = 'Use an IANA name such as America/Chicago.';
  end if;
  new.timezone := known;
  return new;
end;
$$;

create or replace function automation.check_countries() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  select c into unknown from unnest(new.country || new.text_countries) as c
  where c is not null and automation.known_country(c) is null limit 1;
  if found then
    raise exception '%: "%" is not a country',
      case when unknown = new.country then 'country' else 'text_countries' end, unknown
      using errcode = 'invalid_parameter_value', hint = 'Use two letters of ISO 3166, such as US or CA.';
  end if;
  new.country := automation.known_country(new.country);
  new.text_countries := array(
    select automation.known_country(c.code) from unnest(new.text_countries) with ordinality as c (code, place)
    order by c.place);
  return new;
end;
$$;

create trigger tenant_settings_check_timezone
  before insert or update of timezone on ridgeline.tenant_settings
  for each row execute function automation.check_timezone();

create trigger tenant_settings_check_countries
  before insert or update of country, text_countries on ridgeline.tenant_settings
  for each row execute function automation.check_countries();

-- What ridgeline.tenant_settings alone says: all there is before attach_tenants(), and what is left when the
-- CRM's table cannot be read any more.
create or replace function automation.settled_tenants(ids uuid[]) returns setof automation.tenant
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
  select s.tenant_id, s.name, coalesce(s.timezone, 'America/New_York'), coalesce(s.country, 'US'),
    s.text_countries, s.text_strangers, s.phone, s.email, s.website, s.address, s.settings,
    to_jsonb(s) - '{tenant_id,settings}'::text[] || jsonb_build_object('id', s.tenant_id, 'settings', s.settings)
  from ridgeline.tenant_settings as s
  where ids is null or s.tenant_id = any (ids);
end;
$$;

-- A CRM that serves one office and has no tenants is one tenant here: this one, unless it names another.
create or replace function automation.sole_tenant() returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '00000000-0000-4000-8000-000000000001'::uuid $$;

-- {"tenant": null} or {"tenant": "<uuid>"}: not a column of the rows, but the same for all of them.
create or replace function automation.constant_tenant(relation regclass, columns jsonb, name text) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(columns -> name) = 'null' then automation.sole_tenant()
      when automation.column_type(relation, columns ->> name) is null then automation.as_uuid(columns ->> name)
    end
  $$;

-- It is known from now on, also where there is no table of tenants.
create or replace function automation.settle_sole_tenant(sole uuid) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into ridgeline.tenant_settings (tenant_id)
    select sole where sole is not null
    on conflict on constraint tenant_settings_pkey do nothing
  $$;

-- Whose a row is, as SQL. type: of the column, where it is no uuid.
create or replace function automation.tenant_expression(
  written text, tenant_column text, sole uuid, type text default 'uuid')
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when sole is not null then format('%L::uuid', sole)
      when coalesce(type, 'uuid') = 'uuid' then automation.mapped_expression(written, tenant_column)
      else format('automation.row_uuid(%s::text)', automation.mapped_expression(written, tenant_column)) end
  $$;

create or replace function automation.tenant_expression(attached automation.entities, written text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.tenant_expression(written, attached.tenant_column, attached.sole, attached.tenant_type)
  $$;

-- A column of a table of the CRM that says whose a row is takes the CRM's own key: given, SQL for a uuid, as it is
-- written there.
create or replace function automation.tenant_value(given text, type text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when coalesce(type, 'uuid') = 'uuid' then format('(%s)::uuid', given)
      else format('automation.tenant_key((%s)::uuid)::%s', given, type) end
  $$;

-- In a CRM of landlords tenant_id is who rents: a key of another table than the tenants' makes every row nobody's.
create or replace function automation.warn_other_tenants(relation regclass, tenant_column text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  other regclass;
begin
  select f.confrelid::regclass into other
  from pg_catalog.pg_constraint as f
  join pg_catalog.pg_attribute as a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
  cross join automation.tenancy as y
  join pg_catalog.pg_class as c on c.oid = to_regclass(y.relation) and c.relkind in ('r', 'p')
  where f.contype = 'f' and f.conrelid = warn_other_tenants.relation and cardinality(f.conkey) = 1
    and a.attname = tenant_column and f.confrelid <> c.oid
    -- What says more of a tenant has its key.
    and not exists (
      select from jsonb_array_elements(y.further) as x where to_regclass(x ->> 'relation') = f.confrelid)
    and not exists (
      select from pg_catalog.pg_constraint as on_it
      where on_it.contype = 'f' and on_it.conrelid = f.confrelid and on_it.confrelid = c.oid
        and on_it.conkey[1] = f.confkey[1] and cardinality(on_it.conkey) = 1)
    -- Each user is a tenant: the key of the profiles, as of this table's rows, is that of the users.
    and not exists (
      select from pg_catalog.pg_constraint as theirs
      join pg_catalog.pg_attribute as k on k.attrelid = theirs.conrelid and k.attnum = theirs.conkey[1]
      where theirs.contype = 'f' and theirs.conrelid = c.oid and theirs.confrelid = f.confrelid
        and theirs.confkey = f.confkey and k.attname = y.columns ->> 'id')
  order by f.conname limit 1;
  if found then
    raise warning 'automation: %.% refers to %, and the tenants are %: no row of it is a tenant''s', relation,
      tenant_column, other, (select y.relation from automation.tenancy as y)
      using hint = 'Name the column that says whose row it is, such as {"tenant": "organization_id"}.';
  end if;
end;
$$;

-- A table says whose its rows are by a key that the tenants must be found by.
create or replace function automation.check_tenant_type(relation regclass, tenant_column text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type constant text := automation.column_type(relation, tenant_column);
  theirs constant text := (
    select automation.column_type(to_regclass(y.relation), y.columns ->> 'id') from automation.tenancy as y);
begin
  if type is null or type = 'uuid' or type = theirs
    or type ~ '^(text|character)' and theirs ~ '^(text|character)'
    or type ~ '^(smallint|integer|bigint)$' and theirs ~ '^(smallint|integer|bigint)$' then
    perform automation.warn_other_tenants(relation, tenant_column);
    return;
  end if;
  raise exception 'columns: the tenant column "%" is %, and %', tenant_column, type,
    coalesce('the key of the tenants is ' || theirs, 'which table it refers to is not known')
    using errcode = 'invalid_parameter_value', hint = 'It must be uuid, or refer to the table of tenants: say first '
      'where that is, automation.attach_tenants(''<table>''). With one office: {"tenant": null}.';
end;
$$;

-- An expression that reads one thing of a tenant: a column, or a key inside a JSON column ("details.zone").
create or replace function automation.mapped_expression(written text, path text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when path is null then null
      when strpos(path, '.') = 0 then format('%s.%I', written, path)
      else format('(pg_catalog.to_jsonb(%s.%I) operator(pg_catalog.#>>) %L)', written, split_part(path, '.', 1),
        string_to_array(substr(path, strpos(path, '.') + 1), '.')) end
  $$;

-- The same as JSON, of whatever type it is.
create or replace function automation.mapped_json(written text, path text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when path is null then null
      when strpos(path, '.') = 0 then format('to_jsonb(%s.%I)', written, path)
      else format('(to_jsonb(%s.%I) #> %L)', written, split_part(path, '.', 1),
        string_to_array(substr(path, strpos(path, '.') + 1), '.')) end
  $$;

-- What can only be a column of its own.
create or replace function automation.check_no_paths(columns jsonb, names text[]) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong record;
begin
  select c.key, c.value into wrong from jsonb_each_text(columns) as c
  where c.key = any (names) and strpos(c.value, '.') > 0 order by c.key limit 1;
  if found then
    raise exception 'columns.%: "%" is inside a JSON column; it must be a column', wrong.key, wrong.value
      using errcode = 'invalid_parameter_value', hint = format('Add one, such as a generated column, and name it: '
        '{"%s": "<column>"}.', wrong.key);
  end if;
end;
$$;

-- Here a dot is the way into JSON, and never part of a name.
create or replace function automation.check_no_dots(relation regclass, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong record;
begin
  select c.key, c.value into wrong from jsonb_each_text(columns) as c
  where strpos(c.value, '.') > 0 and automation.column_type(relation, c.value) is not null order by c.key limit 1;
  if found then
    raise exception 'columns.%: the name of the column "%" has a dot', wrong.key, wrong.value
      using errcode = 'invalid_parameter_value', hint = format('Add one without, such as a generated column, and name '
        'it: {"%s": "<column>"}.', wrong.key);
  end if;
end;
$$;

-- Where a name is mapped more than once the first that says something counts.
create or replace function automation.mapped_texts(columns jsonb, further jsonb, name text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(format('nullif(btrim(%s::text), '''')', automation.mapped_expression(m.written, m.path)), ', '
      order by m.place)
    from (
      select 't' as written, columns ->> name as path, 0::bigint as place
      union all
      select 'x' || f.place, f.value #>> array['columns', name], f.place
      from jsonb_array_elements(further) with ordinality as f (value, place)
    ) as m
    where m.path is not null
  $$;

create or replace function automation.further_joins(further jsonb, id text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(format(
      E'\n    left join lateral (select f.* from %s as f where f.%I::text = (%s)::text limit 1) as x%s on true',
      (f.value ->> 'relation')::regclass, f.value ->> 'key', id, f.place), '' order by f.place), '')
    from jsonb_array_elements(further) with ordinality as f (value, place)
  $$;

create or replace function automation.tenancy_type() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.column_type(to_regclass(y.relation), y.columns ->> 'id') from automation.tenancy as y $$;

-- The way back from a uuid to the key that the CRM has.
create or replace function automation.tenant_key_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when m.sole is not null or coalesce(automation.tenancy_type(), 'uuid') = 'uuid' then $own$
create or replace function automation.tenant_key(tenant_id uuid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $reader$ select tenant_id::text $reader$
$own$
      else format($template$
create or replace function automation.tenant_key(tenant_id uuid) returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  return (select t.%2$I::text from %1$s as t where automation.row_uuid(t.%2$I::text) = tenant_key.tenant_id limit 1);
end;
$reader$
$template$, m.relation, m.columns ->> 'id') end
    from (select true) as one
    left join (select y.relation::regclass as relation, y.columns, y.sole from automation.tenancy as y) as m on true
  $$;

do $$ begin execute automation.tenant_key_function(); end $$;

comment on function automation.tenant_key_function() is
  'automation.tenant_key(): the key by which the CRM knows a tenant; null when it does not any more.';

-- Two statements, so that each keeps its plan: a tenant by its key, or all there are. Nothing is planned anew for the
-- number of keys: planning took three times as long as reading (540 us a call, now 150). read_offices() is for all who
-- do not need what {{tenant.*}} shows, which costs most of it.
create or replace function automation.tenants_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_tenants(ids uuid[]) returns setof automation.tenant
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $reader$
begin
  if ids is null then
    return query %1$s;
  else
    return query %2$s;
  end if;
exception when undefined_column or undefined_table or undefined_function or insufficient_privilege then
  raise warning 'automation: the tenants cannot be read: %%', sqlerrm
    using hint = 'The table was altered after it was attached: call automation.attach_tenants() again.';
  return query select * from automation.settled_tenants(ids);
end;
$reader$;

create or replace function automation.read_offices(ids uuid[]) returns setof automation.tenant
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $reader$
begin
  return query %3$s;
exception when undefined_column or undefined_table or undefined_function or insufficient_privilege then
  return query select * from automation.read_tenants(ids);
end;
$reader$
$template$,
      automation.tenants_query('true', true), automation.tenants_query(k.wanted, true),
      automation.tenants_query(k.wanted, false))
    from (
      select automation.tenant_expression('t', y.columns ->> 'id', y.sole, automation.tenancy_type()) || ' = any (ids)'
        as wanted
      from automation.tenancy as y) as k
  $$;

create or replace function automation.tenants_query(wanted text, with_record boolean) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
  select k.id, k.name, k.timezone, k.country, k.text_countries, k.text_strangers, k.phone, k.email, k.website,
    k.address, k.settings, %13$s
  from (
    select %2$s as id,
      coalesce(%3$ss.name) as name,
      coalesce((select z.name from automation.time_zones as z where z.key = lower(coalesce(%4$ss.timezone))),
        s.timezone, 'America/New_York') as timezone,
      coalesce((select p.country from automation.phone_plans as p
        where p.country = upper(coalesce(%5$ss.country)) and p.country ~ '^[A-Z]'), s.country, 'US') as country,
      coalesce(%6$ss.text_countries, '{US,CA}') as text_countries,
      coalesce(%7$ss.text_strangers, false) as text_strangers,
      coalesce(%8$ss.phone) as phone, coalesce(%9$ss.email) as email, coalesce(%10$ss.website) as website,
      coalesce(%11$ss.address) as address,
      coalesce(s.settings, '{}') || %12$s as settings%17$s
    from %1$s as t%14$s
    left join ridgeline.tenant_settings as s on s.tenant_id = %2$s
    where (%16$s)%15$s
    offset 0
  ) as k
$template$,
      m.relation, automation.tenant_expression('t', m.columns ->> 'id', m.sole, automation.tenancy_type()),
      automation.mapped_texts(m.columns, m.further, 'name') || ', ',
      automation.mapped_texts(m.columns, m.further, 'timezone') || ', ',
      automation.mapped_texts(m.columns, m.further, 'country') || ', ',
      't.' || quote_ident(m.columns ->> 'text_countries') || ', ',
      't.' || quote_ident(m.columns ->> 'text_strangers') || ', ',
      automation.mapped_texts(m.columns, m.further, 'phone') || ', ',
      automation.mapped_texts(m.columns, m.further, 'email') || ', ',
      automation.mapped_texts(m.columns, m.further, 'website') || ', ',
      automation.mapped_texts(m.columns, m.further, 'address') || ', ',
      coalesce('coalesce(' || automation.mapped_json('t', m.columns ->> 'settings') || ', ''{}'')', '''{}''::jsonb'),
      case when with_record then
        'k.record || jsonb_strip_nulls(jsonb_build_object(''id'', k.key, ''name'', k.name, ''timezone'', k.timezone, '
          '''country'', k.country, ''phone'', k.phone, ''email'', k.email, ''website'', k.website, ''address'', '
          'k.address))'
        else 'null::jsonb' end,
      automation.further_joins(m.further, automation.tenant_expression('t', m.columns ->> 'id', m.sole)),
      coalesce(' and not (' || automation.is_deleted_expression(m.relation, 't', m.columns ->> 'deleted') || ')', ''),
      wanted,
      case when with_record then format(', (%s)::text as key, to_jsonb(t) - %L::text[] as record',
        automation.tenant_expression('t', m.columns ->> 'id', m.sole),
        array(select c.name from automation.relation_columns(m.relation) as c where not c.name = any (m.visible)))
        else '' end)
    from (select y.relation::regclass as relation, y.columns, y.sole, y.further, y.visible
      from automation.tenancy as y) as m
  $$;

-- here, deleted (softly, by the column that says so) or gone; null: nobody can tell, so nothing ends for it.
create or replace function automation.tenant_state_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.tenant_state(tenant_id uuid) returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  return coalesce((select case when %3$s then 'deleted' else 'here' end from %1$s as t
    where %2$s = tenant_state.tenant_id limit 1), 'gone');
exception when undefined_column or undefined_table or undefined_function or insufficient_privilege then
  return null;
end;
$reader$
$template$,
      m.relation, automation.tenant_expression('t', m.columns ->> 'id', m.sole, automation.tenancy_type()),
      coalesce(automation.is_deleted_expression(m.relation, 't', m.columns ->> 'deleted'), 'false'))
    from (select y.relation::regclass as relation, y.columns, y.sole from automation.tenancy as y) as m
  $$;

create or replace function automation.untold_state_function() returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select $template$
create or replace function automation.tenant_state(tenant_id uuid) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $reader$ select null::text $reader$
$template$
  $$;

do $$ begin execute automation.untold_state_function(); end $$;

-- The names that are known of a tenant; a column that bears one is taken for it unless columns says otherwise.
create or replace function automation.tenant_names() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array['id', 'name', 'timezone', 'country', 'phone', 'email', 'website', 'address', 'settings',
      'text_countries', 'text_strangers', 'deleted']
  $$;

create or replace function automation.check_further(further jsonb, names text[]) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  one jsonb;
begin
  for one in select f from jsonb_array_elements(further) as f loop
    if automation.find_relation(one ->> 'relation') is null then
      raise exception 'further: there is no table "%"', one ->> 'relation' using errcode = 'undefined_table';
    end if;
    perform automation.check_columns(
      'further.columns', automation.find_relation(one ->> 'relation'), one -> 'columns', names, '{}');
    perform automation.check_no_dots(automation.find_relation(one ->> 'relation'), one -> 'columns');
    perform automation.check_columns('further.key', automation.find_relation(one ->> 'relation'),
      jsonb_build_object('key', one ->> 'key'), '{key}', '{key}');
  end loop;
end;
$$;

-- As it is kept: the tables under their full names.
create or replace function automation.settled_further(further jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(f.value || jsonb_build_object('relation',
      automation.relation_name(automation.find_relation(f.value ->> 'relation'))) order by f.place), '[]')
    from jsonb_array_elements(further) with ordinality as f (value, place)
  $$;

create or replace function automation.settled_function() returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select $template$
create or replace function automation.read_tenants(ids uuid[]) returns setof automation.tenant
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $reader$ begin return query select * from automation.settled_tenants(ids); end; $reader$;

create or replace function automation.read_offices(ids uuid[]) returns setof automation.tenant
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $reader$ begin return query select * from automation.settled_tenants(ids); end; $reader$
$template$
  $$;

create or replace function automation.tenant_exists(tenant_id uuid) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (select from automation.read_tenants(array[tenant_exists.tenant_id]));
end;
$$;

create or replace function automation.tenant_zone(tenant_id uuid) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (select t.timezone from automation.read_offices(array[tenant_zone.tenant_id]) as t);
end;
$$;

create or replace function automation.country_of(tenant_id uuid) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (select t.country from automation.read_offices(array[country_of.tenant_id]) as t);
end;
$$;

comment on function automation.country_of(uuid) is
  'The country in which a tenant''s numbers without a country code are read.';

create or replace function automation.tenant_setting(tenant_id uuid, variadic path text[]) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (select t.settings #> path from automation.read_offices(array[tenant_setting.tenant_id]) as t);
end;
$$;

comment on function automation.tenant_setting(uuid, text[]) is
  'One of the settings of a tenant: the CRM''s own where that column is mapped, else ridgeline.tenant_settings.';

-- A tenant that the CRM deletes goes with all it has here: what could still be sent at once, the rest by
-- the tick (automation.erase_tenants).
create table automation.gone_tenants (
  tenant_id uuid not null constraint gone_tenants_pkey primary key,
  gone_at timestamptz not null default automation.now(),
  is_asked boolean not null default false,
  gone_by uuid,
  gone_as text
);

comment on table automation.gone_tenants is
  'Tenants that were deleted in the CRM, or are to be forgotten, and whose rows are being erased here.';
comment on column automation.gone_tenants.is_asked is
  'ridgeline.erase_tenant() was called: the CRM may have the tenant still.';

-- Those of some tenants that are to be forgotten, whatever the CRM says of them. Volatile: it sees what has committed
-- up to now. Mostly there are none, and an empty index is all that is read.
create or replace function automation.forgotten_among(tenants uuid[]) returns uuid[]
  language plpgsql volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return array(select g.tenant_id from automation.gone_tenants as g where g.tenant_id = any (tenants) and g.is_asked);
end;
$$;

create or replace function automation.check_not_forgotten(tenant_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if tenant_id = any (automation.forgotten_among(array[tenant_id])) then
    raise exception 'tenant_id: tenant % is being forgotten', tenant_id using errcode = 'PT409',
      hint = 'ridgeline.erase_tenant() was called for it, and nothing of it starts any more.';
  end if;
end;
$$;

-- That the CRM has deleted it counts, too: what comes in from outside finds nobody at home.
create or replace function automation.is_tenant_gone(tenant_id uuid) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return exists (select from automation.gone_tenants as g where g.tenant_id = is_tenant_gone.tenant_id);
end;
$$;

do $$ begin execute automation.settled_function(); end $$;
