-- The tags of a contact: a list in its own table, or rows of a table that links it to tags with names. attach()
-- says which; the functions that read and write them are generated.

-- Which column of a table of tags or links says whose its rows are: the one that is named, else one that is called as
-- that of contacts is, else as those usually are, where it can hold the same keys.
create or replace function automation.tags_tenant(attached automation.entities, relation text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.name
    from automation.relation_columns(to_regclass(relation)) as c
    join unnest(case
        when attached.tags ? 'tenant' then array[attached.tags ->> 'tenant']
        when attached.sole is not null then '{tenant_id}'
        else attached.tenant_column || '{tenant_id,organization_id,organisation_id,org_id,company_id,account_id,team_id,
          workspace_id,office_id}'::text[]
      end) with ordinality as n (name, place)
      on case when attached.tags ? 'tenant' then c.name = n.name
        else automation.same_name(c.name) = automation.same_name(n.name) end
    cross join lateral (
      select count(distinct replace(regexp_replace(t.type, '\(.*', ''), 'character varying', 'text')) = 1 as is_one
      from (values (automation.column_type(to_regclass(relation), c.name)),
        (automation.column_type(to_regclass(attached.relation), attached.tenant_column))) as t (type)) as types
    where n.place = 1 or n.name = 'tenant_id' or types.is_one
    order by n.place, c.name = n.name desc, c.name limit 1
  $$;

create or replace function automation.linked_tags_functions(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.linked_tags(tenant_id uuid, contact_id text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $tags$
begin
  return (
    select coalesce(jsonb_agg(t.%4$I order by lower(t.%4$I)), '[]')
    from %1$s as l join %2$s as t on t.id = l.%5$I
    where l.%3$I = linked_tags.contact_id::%6$s%7$s%8$s);
exception when data_exception then
  return jsonb_build_array();
end;
$tags$;

create or replace function automation.link_tag(tenant_id uuid, contact_id text, tag text) returns boolean
  language plpgsql
  set search_path = %13$s
  as $tags$
declare
  named %2$s.id%%type;
begin
  select t.id into named from %2$s as t
  where pg_catalog.lower(t.%4$I) operator(pg_catalog.=) pg_catalog.lower(link_tag.tag)%8$s limit 1;
  -- Two that name a new tag at the same time make one.
  if not found then
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(
      pg_catalog.concat_ws('/', tenant_id, 'tag', pg_catalog.lower(tag)), 0));
    select t.id into named from %2$s as t
    where pg_catalog.lower(t.%4$I) operator(pg_catalog.=) pg_catalog.lower(link_tag.tag)%8$s limit 1;
  end if;
  if not found then
    insert into %2$s (%9$s%4$I) values (%10$slink_tag.tag) returning id into named;
  end if;
  insert into %1$s (%11$s%3$I, %5$I)
  select %12$slink_tag.contact_id::%6$s, named
  where not exists (
    select from %1$s as l
    where l.%3$I operator(pg_catalog.=) link_tag.contact_id::%6$s and l.%5$I operator(pg_catalog.=) named%7$s);
  return found;
end;
$tags$;

create or replace function automation.unlink_tag(tenant_id uuid, contact_id text, tag text) returns boolean
  language plpgsql
  set search_path = %13$s
  as $tags$
begin
  delete from %1$s as l using %2$s as t
  where pg_catalog.lower(t.%4$I) operator(pg_catalog.=) pg_catalog.lower(unlink_tag.tag)
    and l.%5$I operator(pg_catalog.=) t.id
    and l.%3$I operator(pg_catalog.=) unlink_tag.contact_id::%6$s%7$s%8$s;
  return found;
end;
$tags$;
$template$,
      k.links, k.tags, k.record, k.name, k.tag, automation.column_type(k.links::regclass, k.record),
      case when k.links_tenant is null then '' else ' and ' || l.same end || l.told,
      case when k.tags_tenant is null then '' else ' and ' || t.same end,
      coalesce(quote_ident(k.tags_tenant) || ', ', '') || t.names,
      case when k.tags_tenant is null then '' else t.own || ', ' end || t.given,
      coalesce(quote_ident(k.links_tenant) || ', ', '') || l.names,
      case when k.links_tenant is null then '' else l.own || ', ' end || l.given, automation.host_path())
    from (
      select attached.tags ->> 'links' as links, attached.tags ->> 'tags' as tags,
        coalesce(attached.tags ->> 'record', 'contact_id') as record,
        coalesce(attached.tags ->> 'tag', 'tag_id') as tag,
        coalesce(attached.tags ->> 'name', 'name') as name,
        automation.tags_tenant(attached, attached.tags ->> 'links') as links_tenant,
        automation.tags_tenant(attached, attached.tags ->> 'tags') as tags_tenant
    ) as k
    cross join lateral automation.owned_by(
      'l', k.links, k.links_tenant, attached.tags -> 'where', attached.times_zone) as l
    cross join lateral automation.owned_by('t', k.tags, k.tags_tenant, null, attached.times_zone) as t
  $$;

-- Of a table of tags or links: how its rows are told to be the tenant's ($1), and what is true of all that are meant
-- (where: {column: value}, such as which kind of record a link of many kinds is about), to read and to write.
create or replace function automation.owned_by(
  written text, relation text, tenant_column text, "where" jsonb, zone text,
  out same text, out own text, out told text, out names text, out given text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%s operator(pg_catalog.=) $1', automation.tenant_expression(written, tenant_column, null, t.type)),
      automation.tenant_value('$1', case when tenant_column is not null then t.type end),
      coalesce(w.told, ''), coalesce(w.names, '') || coalesce(f.names, ''),
      coalesce(w.given, '') || coalesce(f.given, '')
    from (select automation.column_type(relation::regclass, tenant_column) as type) as t
    cross join lateral (
      select string_agg(format(' and %s.%I operator(pg_catalog.=) %L::%s', written, v.key, v.value, v.type), ''
          order by v.key) as told,
        string_agg(format('%I, ', v.key), '' order by v.key) as names,
        string_agg(format('%L::%s, ', v.value, v.type), '' order by v.key) as given
      from (
        select e.key, e.value, automation.column_type(relation::regclass, e.key) as type
        from jsonb_each_text(coalesce("where", '{}')) as e) as v
    ) as w
    cross join lateral (
      select string_agg(format('%I, ', c.name), '' order by c.name) as names,
        string_agg(c.value || ', ', '' order by c.name) as given
      from automation.filled_columns(relation::regclass, 'id',
        array[tenant_column] || array(select jsonb_object_keys(coalesce("where", '{}'))),
        coalesce(quote_literal(zone), 'automation.tenant_zone($1)')) as c
    ) as f
  $$;

create or replace function automation.no_tags_functions() returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select $template$
create or replace function automation.linked_tags(tenant_id uuid, contact_id text) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $tags$ select '[]'::jsonb $tags$;

create or replace function automation.link_tag(tenant_id uuid, contact_id text, tag text) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $tags$
begin
  raise exception 'tag: the contacts of this CRM have no tags'
    using errcode = 'feature_not_supported',
      hint = 'automation.attach(..., columns => {"tags": ...}) says where they are.';
end;
$tags$;

create or replace function automation.unlink_tag(tenant_id uuid, contact_id text, tag text) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $tags$ select false $tags$;
$template$
  $$;

do $$ begin execute automation.no_tags_functions(); end $$;

-- {"links": table, "tags": table, "record"?, "tag"?, "name"?, "where"?: {column of links: value},
-- "tenant"?: column of either}
create or replace function automation.check_tags(given jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  missing text;
  links constant regclass := automation.find_relation(given ->> 'links');
begin
  select k into missing from unnest('{links,tags}'::text[]) as k
  where automation.find_relation(given ->> k) is null limit 1;
  if missing is not null then
    raise exception 'columns.tags.%: there is no table "%"', missing, given ->> missing
      using errcode = 'undefined_table';
  end if;
  select k into missing from jsonb_object_keys(given) as k
  where not k = any ('{links,tags,record,tag,name,where,tenant}'::text[]) limit 1;
  if missing is not null then
    raise exception 'columns.tags: "%" is none of links, tags, record, tag, name, where, tenant', missing
      using errcode = 'invalid_parameter_value';
  end if;
  select k into missing from jsonb_object_keys(coalesce(given -> 'where', '{}')) as k
  where automation.column_type(links, k) is null limit 1;
  if missing is not null then
    raise exception 'columns.tags.where: % has no column "%"', links, missing using errcode = 'undefined_column';
  end if;
  if given ->> 'tenant' is not null and coalesce(automation.column_type(links, given ->> 'tenant'),
    automation.column_type(automation.find_relation(given ->> 'tags'), given ->> 'tenant')) is null then
    raise exception 'columns.tags.tenant: neither % nor % has a column "%"', links, given ->> 'tags', given ->> 'tenant'
      using errcode = 'undefined_column';
  end if;
  perform automation.check_columns('columns.tags', links, jsonb_build_object(
    'record', coalesce(given ->> 'record', 'contact_id'), 'tag', coalesce(given ->> 'tag', 'tag_id')),
    '{record,tag}', '{record,tag}');
  perform automation.check_columns('columns.tags', automation.find_relation(given ->> 'tags'), jsonb_build_object(
    'name', coalesce(given ->> 'name', 'name')), '{name}', '{name}');
  return given || jsonb_build_object(
    'links', automation.relation_name(links),
    'tags', automation.relation_name(automation.find_relation(given ->> 'tags')));
end;
$$;

-- Tags that say nobody's are everybody's, which may be meant and may not.
create or replace function automation.warn_shared_tags(attached automation.entities) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if attached.tags is not null and not attached.tags ? 'tenant' and attached.sole is null
    and automation.tags_tenant(attached, attached.tags ->> 'links') is null
    and automation.tags_tenant(attached, attached.tags ->> 'tags') is null
    and exists (select from automation.tenancy as y where y.sole is null) then
    raise warning 'automation: no column of % or % says whose a tag is: all tenants share the tags',
      attached.tags ->> 'links', attached.tags ->> 'tags'
      using hint = 'Name it, {"tags": {"tenant": "<column>", ...}}, or say that there is none: {"tenant": null}.';
  end if;
end;
$$;
