-- 15 ENTITIES
--
-- Any CRM, as the engine sees it: which tables are attached, what their columns are called, who the tenants and
-- members are, where tags are and steps write. Everything that reads or writes a table of a CRM goes through here.

-- THE SEARCH PATH OF THE CRM
--
-- What the engine says itself names every schema. A trigger of the CRM's own often does not, nor what its CHECKs and
-- defaults call: they find their tables by the path of whoever writes. So steps write under the path that the CRM's
-- people have, never under one with a schema in which somebody else could put something in the way: the engine writes
-- with the rights of its owner.

create or replace function automation.is_schema(name text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select to_regnamespace(quote_ident(name)) is not null $$;

-- The schemas that a path names, but for those of the system, which are always there. Where a dump or a dashboard wrote
-- it, "$user" may have become "\$user".
create or replace function automation.path_schemas(path text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(p.name order by p.place), '{}')
    from (
      select n.name, min(n.place) as place
      from (
        select case
            when s.said not in ('$user', '\$user') then s.said
            when automation.is_schema(current_user::text) then current_user::text end as name, s.place
        from (
          select coalesce(replace(m.part[1], '""', '"'), lower(m.part[2])) as said, m.place
          from regexp_matches(path, '"((?:[^"]|"")*)"|([^",\s]+)', 'g') with ordinality as m (part, place)) as s
      ) as n
      where n.name not in ('pg_catalog', 'pg_temp')
      group by n.name
    ) as p
  $$;

-- Who may create what they like in the way: the engine's owner, and whoever owns a table of the CRM that it writes.
-- What they put into a trigger of such a table runs with the engine's rights anyway.
create or replace function automation.host_owners() returns oid[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select n.nspowner from pg_catalog.pg_namespace as n where n.oid = 'automation'::regnamespace
    union
    select d.datdba from pg_catalog.pg_database as d where d.datname = current_database()
    union
    select c.relowner
    from pg_catalog.pg_class as c
    where c.oid in (
      select to_regclass(e.relation) from automation.entities as e
      union all
      select to_regclass(e.tags ->> k) from automation.entities as e, unnest('{links,tags}'::text[]) as k
      union all
      select to_regclass(t.relation) from automation.targets as t));
end;
$$;

-- Of schemas, those in which somebody else may create: everybody, who comes through the API, or any role that can log
-- in, as itself or as one that it may become.
create or replace function automation.open_schemas(schemas text[]) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owners oid[];
  strangers oid[];
begin
  if schemas = '{}' then
    return schemas;
  end if;
  owners := automation.host_owners();
  strangers := array(
    select r.oid from pg_catalog.pg_roles as r
    where (r.rolcanlogin or r.rolname in ('anon', 'authenticated', 'service_role')) and not r.rolsuper
      and not exists (select from unnest(owners) as o (role) where pg_has_role(r.oid, o.role, 'member')));
  return array(
    select s.name
    from unnest(schemas) with ordinality as s (name, place)
    join pg_catalog.pg_namespace as n on n.nspname = s.name
    where exists (
      select from (
        select n.nspowner as role
        union all
        select a.grantee from aclexplode(n.nspacl) as a where a.privilege_type = 'CREATE') as g
      where g.role = 0
        or exists (select from unnest(strangers) as r (role) where pg_has_role(r.role, g.role, 'member')))
    order by s.place);
end;
$$;

comment on function automation.open_schemas(text[]) is
  'Those of some schemas in which a role may create that neither owns the engine nor a table that it writes: what such '
  'a role put there, the engine''s statements could run.';

create or replace function automation.check_path(path text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  schemas constant text[] := automation.path_schemas(path);
  wrong text;
begin
  select s into wrong from unnest(schemas) as s where not automation.is_schema(s) limit 1;
  if wrong is not null then
    raise exception 'there is no schema "%"', wrong;
  end if;
  select s into wrong from unnest(automation.open_schemas(schemas)) as s limit 1;
  if wrong is not null then
    raise exception 'others than the owners of the CRM''s tables may create in schema "%"', wrong;
  end if;
end;
$$;

create or replace function automation.check_host_path() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- What an office's people have is kept as it is: what is open in it is left out where it is used.
  if current_setting('automation.remembers_path', true) is distinct from 'on' then
    perform automation.check_path(new.value);
  end if;
  return new;
exception when others then
  perform automation.refuse_setting(new, sqlerrm);
  return null;
end;
$$;

-- Not of a release, or of a restore, that says again what the setting is: a schema that was opened since must not stop
-- it.
create trigger settings_check_host_path
  before update of value on automation.settings
  for each row when (new.name = 'host_search_path') execute function automation.check_host_path();

-- As a function that writes tables of the CRM is given it: what is open to others is left out, for as long as it is
-- (guard_host_path() asks). Last what is temporary, which anybody can make.
create or replace function automation.host_path() returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  schemas constant text[] := automation.path_schemas(automation.setting('host_search_path'));
  open constant text[] := automation.open_schemas(schemas);
begin
  return (
    select coalesce(string_agg(quote_ident(s.name), ', ' order by s.place), 'pg_catalog') || ', pg_temp'
    from unnest(schemas) with ordinality as s (name, place) where not s.name = any (open));
end;
$$;

create or replace function automation.tell_of_open_schemas(open text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if open <> '{}' then
    raise warning 'automation: triggers of the CRM do not find what is in % by itself when a step writes: others than '
      'the owners of its tables may create there', array_to_string(open, ', ')
      using hint = format('\dn+ says who. Such as: revoke create on schema %s from public, anon, authenticated, '
        'service_role; and attach again.', (select string_agg(quote_ident(s), ', ') from unnest(open) as s));
  end if;
end;
$$;

-- What the session has from its database and role, whatever was set since; also what is open now, which comes back when
-- it no longer is.
create or replace function automation.remember_host_path() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  schemas constant text[] := array(
    select s.name
    from pg_catalog.pg_settings as c
    cross join lateral unnest(automation.path_schemas(c.reset_val)) with ordinality as s (name, place)
    where c.name = 'search_path' and automation.is_schema(s.name)
    order by s.place);
begin
  if automation.setting('host_search_path') <> '' or schemas = '{}' then
    return;
  end if;
  perform automation.tell_of_open_schemas(automation.open_schemas(schemas));
  perform set_config('automation.remembers_path', 'on', true);
  update automation.settings as s
  set value = (
    select string_agg(quote_ident(n.name), ', ' order by n.place)
    from unnest(schemas) with ordinality as n (name, place))
  where s.name = 'host_search_path';
  perform set_config('automation.remembers_path', '', true);
end;
$$;

-- automation.in_host_path(): one statement about a table of the CRM, of which $1 is a tenant, $2 an id and $3 what is
-- given, under that path. Generated, for a function is entered under one that is written down in it.
create or replace function automation.host_path_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.in_host_path(statement text, tenant_id uuid, id text, given jsonb) returns jsonb
  language plpgsql
  set search_path = %s
  as $writer$
declare
  said jsonb;
begin
  execute statement into said using tenant_id, id, given;
  return said;
end;
$writer$
$template$, automation.host_path())
  $$;

do $$ begin execute automation.host_path_function(); end $$;
