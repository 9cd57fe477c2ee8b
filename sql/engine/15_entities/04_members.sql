-- Who may see and edit a tenant's rows, and who may publish.

create table automation.membership (
  id boolean not null default true constraint membership_pkey primary key constraint membership_is_one check (id),
  relation text not null,
  columns jsonb not null,
  sole uuid,
  roles jsonb not null,
  active jsonb not null,
  further jsonb not null default '[]',
  visible text[] not null,
  left_columns text[]
);

comment on column automation.membership.left_columns is
  'Those of automation.left_columns() that counted when it was attached; null: none did.';
comment on table automation.membership is 'Which table says who belongs to a tenant; none: nobody does.';

create type automation.member as (
  tenant_id uuid,
  user_id uuid,
  role text,
  full_name text,
  email text,
  phone text,
  record jsonb
);

comment on type automation.member is
  'A member as the engine knows it. role: owner, admin, editor or viewer; record: what {{user.*}} shows.';

create or replace function automation.member_names() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select array['tenant', 'user', 'login', 'role', 'full_name', 'email', 'phone', 'active', 'deleted',
    'status'] $$;

-- The usual words; a word that nobody explained may look and no more.
create or replace function automation.usual_roles() returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{"owner": "owner", "admin": "admin", "administrator": "admin", "manager": "admin", "editor": "editor",
      "member": "editor", "user": "editor", "staff": "editor", "agent": "editor", "viewer": "viewer",
      "readonly": "viewer", "guest": "viewer"}'::jsonb
  $$;

-- name: tenant, user or login. What is read out of JSON is a text.
create or replace function automation.membership_type(name text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when strpos(y.columns ->> name, '.') > 0 then 'text'
      else automation.column_type(to_regclass(y.relation), y.columns ->> name) end
    from automation.membership as y
  $$;

-- May a text be somebody's id here? Where members are no uuids, whatever could be a key.
create or replace function automation.is_member_key(value text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.as_uuid(value) is not null
      or coalesce(automation.membership_type('user') <> 'uuid' and value ~ '^[A-Za-z0-9_|@.:-]{1,100}$', false)
  $$;

-- A statement for each way of asking, so that each keeps its plan.
create or replace function automation.members_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_members(tenants uuid[], users uuid[]) returns setof automation.member
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $reader$
begin
  if tenants is null and users is null then
    return query %1$s;
  elsif tenants is null then
    return query %2$s;
  elsif users is null then
    return query %3$s;
  else
    return query %4$s;
  end if;
exception when undefined_column or undefined_table or insufficient_privilege then
  raise warning 'automation: the members cannot be read, so nobody is one: %%', sqlerrm
    using hint = 'The table was altered after it was attached: call automation.attach_members() again.';
end;
$reader$;

create or replace function automation.read_signed_in(login uuid) returns setof automation.member
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $reader$
begin
  if login is not null then
    return query %5$s;
  end if;
exception when undefined_column or undefined_table or insufficient_privilege then
  raise warning 'automation: the members cannot be read, so nobody is one: %%', sqlerrm
    using hint = 'The table was altered after it was attached: call automation.attach_members() again.';
end;
$reader$
$template$,
      automation.members_query('true'), automation.members_query(m.of_users), automation.members_query(m.of_tenants),
      automation.members_query(m.of_tenants || ' and ' || m.of_users), automation.members_query(m.of_login))
    from (
      select automation.tenant_expression('t', y.columns ->> 'tenant', y.sole, automation.membership_type('tenant'))
          || ' = any (tenants)' as of_tenants,
        automation.tenant_expression('t', y.columns ->> 'user', null, automation.membership_type('user'))
          || ' = any (users)' as of_users,
        automation.tenant_expression('t', coalesce(y.columns ->> 'login', y.columns ->> 'user'), null,
          automation.membership_type(case when y.columns ? 'login' then 'login' else 'user' end))
          || ' = read_signed_in.login' as of_login
      from automation.membership as y) as m
  $$;

-- The whole name of a member whose table has its parts.
create or replace function automation.joined_name(relation regclass) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select 'nullif(btrim(concat_ws('' '', ' || string_agg(format('t.%I', c.name), ', ' order by n.place) || ')), '''')'
    from unnest('{first_name,last_name}'::text[]) with ordinality as n (name, place)
    cross join automation.named_column(relation, n.name) as c (name)
    where c.name is not null
  $$;

create or replace function automation.members_query(wanted text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
  select k.tenant_id, k.user_id, k.role, k.full_name, k.email, k.phone,
    k.record || jsonb_strip_nulls(jsonb_build_object('id', k.key, 'role', k.role, 'full_name', k.full_name,
      'email', k.email, 'phone', k.phone))
  from (
    select %2$s as tenant_id, %3$s as user_id, coalesce(%4$L::jsonb ->> lower(btrim(%5$s::text)), 'viewer') as role,
      coalesce(%6$snull::text) as full_name, coalesce(%7$snull::text) as email, coalesce(%8$snull::text) as phone,
      to_jsonb(t) - %9$L::text[] as record, %13$s::text as key
    from %1$s as t%10$s
    where (%12$s) and %13$s is not null%11$s
    offset 0
  ) as k
$template$,
      m.relation, automation.tenant_expression(
        't', m.columns ->> 'tenant', m.sole, automation.membership_type('tenant')),
      automation.tenant_expression('t', m.columns ->> 'user', null, automation.membership_type('user')), m.roles,
      coalesce(automation.mapped_expression('t', m.columns ->> 'role'), quote_literal('member')),
      coalesce(automation.mapped_texts(m.columns, m.further, 'full_name') || ', ', '')
        || coalesce(automation.joined_name(m.relation) || ', ', ''),
      automation.mapped_texts(m.columns, m.further, 'email') || ', ',
      automation.mapped_texts(m.columns, m.further, 'phone') || ', ',
      array(select c.name from automation.relation_columns(m.relation) as c where not c.name = any (m.visible)),
      automation.further_joins(m.further, automation.mapped_expression('t', m.columns ->> 'user')),
      coalesce(' and ' || nullif(automation.belongs_expression(m.relation, 't', m.columns, m.active), ''), ''),
      wanted, automation.mapped_expression('t', m.columns ->> 'user'))
    from (select y.relation::regclass as relation, y.columns, y.sole, y.roles, y.active, y.further, y.visible
      from automation.membership as y) as m
  $$;

-- Which rows are members, rather than people who have left or are not in yet; empty: all of them.
create or replace function automation.belongs_expression(
  relation regclass, written text, columns jsonb, active jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select concat_ws(' and ',
      automation.mapped_json(written, columns ->> 'active') || format(' <@ %L::jsonb', active),
      'not (' || automation.left_expression(relation, written, columns) || ')',
      'not ' || automation.shut_out_expression(written, columns ->> 'status'))
  $$;

-- Which columns say that somebody has left, besides one that says that the row is deleted: who is shut out of the CRM
-- may do nothing here either.
create or replace function automation.left_columns(relation regclass) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(c.name order by n.place, c.name), '{}')
    from automation.relation_columns(relation) as c
    join unnest('{disabled,isdisabled,disabledat,deactivated,isdeactivated,deactivatedat,suspended,issuspended,
      suspendedat,blocked,isblocked,blockedat,revokedat,removedat,banneduntil,banned,isbanned,bannedat,archived,
      isarchived,archivedat,terminatedat,leftat}'::text[])
      with ordinality as n (name, place) on n.name = automation.same_name(c.name)
    where automation.column_type(relation, c.name) ~ '^(boolean|date|timestamp)'
  $$;

-- Any of them is enough. One who was banned until a time is a member again after it.
create or replace function automation.left_expression(relation regclass, written text, columns jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(case
      when automation.same_name(c.name) = 'banneduntil' and k.type ~ '^(date|timestamp)' then
        format('coalesce(%s.%I%s > automation.now(), false)', written, c.name,
          case when k.type ~ '^timestamp.*without' then ' at time zone ''UTC''' else '' end)
      else automation.is_deleted_expression(relation, written, c.name) end, ' or ' order by c.place)
    from (
      select n.name, min(n.place) as place
      from unnest(columns ->> 'deleted' || case when columns -> 'deleted' = 'null' then '{}'
        else automation.left_columns(relation) end) with ordinality as n (name, place)
      where n.name is not null
      group by n.name
    ) as c
    cross join lateral automation.column_type(relation, c.name) as k (type)
  $$;

-- Which of them have begun to count since somebody attached it: a release reads them, or they were added.
create or replace function automation.new_left_columns() returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(c order by c)
    from automation.membership as y
    cross join unnest(automation.left_columns(to_regclass(y.relation))) as c
    where y.columns -> 'deleted' is distinct from 'null' and c is distinct from y.columns ->> 'deleted'
      and not c = any (coalesce(y.left_columns, '{}'))
  $$;

-- Words of a status that say of somebody: no member any more, or not yet.
create or replace function automation.shut_out_words() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{suspended,disabled,inactive,deactivated,blocked,banned,locked,revoked,removed,deleted,archived,terminated,
      expired,left,former,invited,pending,requested,declined,rejected}'::text[]
  $$;

-- Which column may hold such a word: a text that is called so. Only whoever attaches is there to be told of a guess, so
-- it is made then and kept: neither a release nor a column that is added later shuts anybody out.
create or replace function automation.guessed_status(relation regclass, columns jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.name
    from automation.relation_columns(relation) as c
    join unnest('{status,memberstatus,membershipstatus,userstatus,accountstatus,staffstatus,state}'::text[])
      with ordinality as n (name, place) on n.name = automation.same_name(c.name)
    join pg_catalog.pg_attribute as a on a.attrelid = relation and a.attname = c.name
    where automation.value_kind(a.atttypid) in ('text', 'enum') and c.name is distinct from columns ->> 'active'
    order by n.place, c.name limit 1
  $$;

-- As it is kept. Who says with which values of another column somebody is a member has said it all.
create or replace function automation.settled_status(relation regclass, given jsonb, named jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when given ? 'status' then jsonb_build_object('status', given -> 'status')
      when given ->> 'active' is not null then '{"status": null}'
      else jsonb_strip_nulls(jsonb_build_object('status', automation.guessed_status(relation, named))) end
  $$;

create or replace function automation.check_status(relation regclass, name text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant text := (
    select automation.value_kind(a.atttypid) from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.attname = name and not a.attisdropped);
begin
  -- What is read out of JSON is a text.
  if kind is not null and kind not in ('text', 'enum') then
    raise exception 'columns: status: %.% is %, and holds no word that says that somebody has left', relation, name,
      automation.column_type(relation, name)
      using errcode = 'invalid_parameter_value', hint = format(
        'Say with which of its values somebody is a member: {"active": "%s"} with active => ''[%s]''.', name,
        case kind when 'number' then '1' else 'true' end);
  end if;
end;
$$;

create or replace function automation.shut_out_expression(written text, name text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when name is not null then format('coalesce(lower(btrim(%s::text)) = any (%L::text[]), false)',
      automation.mapped_expression(written, name), automation.shut_out_words()) end
  $$;

-- Whoever attaches is told what the words of a status that nobody explained are taken for.
create or replace function automation.tell_of_status() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members automation.membership;
  name text;
  others text;
begin
  select y.* into members from automation.membership as y;
  name := members.columns ->> 'status';
  if name is null then
    return;
  end if;
  execute format('select string_agg(quote_ident(w.word), '', '' order by w.word) from (select distinct '
      'left(lower(btrim(%s::text)), 60) as word from %s as t) as w where not w.word = any ($1)',
      automation.mapped_expression('t', name), members.relation)
    into others using automation.shut_out_words();
  raise notice 'automation: %.% says who is no member: %; whatever else it says is one%', members.relation, name,
    array_to_string(automation.shut_out_words(), ', '), coalesce(', such as ' || others, '')
    using hint = format('Say with which values somebody is a member: {"active": "%s"} with active => ''["active"]''; '
      'or that it says nothing of the kind: {"status": null}.', name);
end;
$$;

-- The statement that attaches the members as they are, but for what is said of their status.
create or replace function automation.attach_members_again(members automation.membership, status text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('select automation.attach_members(%L, %L, %L, %L, %L, %L);', members.relation,
      members.columns || jsonb_build_object('status', status)
        || case when members.sole is null then '{}' else jsonb_build_object('tenant', members.sole) end,
      (select coalesce(jsonb_object_agg(r.key, r.value), '{}') from jsonb_each(members.roles) as r
        where automation.usual_roles() -> r.key is distinct from r.value),
      members.active, members.further, members.visible)
  $$;

-- Those who were attached before such a word was looked for, or before the column was there, are left as they are.
create or replace function automation.warn_of_status() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members automation.membership;
  name text;
  others bigint;
begin
  select y.* into members from automation.membership as y;
  name := automation.guessed_status(to_regclass(members.relation), members.columns);
  if name is null or members.columns ? 'status' then
    return;
  end if;
  execute 'select count(*) from ' || members.relation || ' as t where ' || concat_ws(' and ',
      nullif(automation.belongs_expression(to_regclass(members.relation), 't', members.columns, members.active), ''),
      automation.shut_out_expression('t', name))
    into others;
  if others > 0 then
    raise warning 'automation: by %.% % of those who count as members look to have left, or not to be in yet; it shuts '
      'nobody out', members.relation, name, others
      using hint = format('Where it should: %s Where not, the same with "status": null, and this is not said again.',
        automation.attach_members_again(members, name));
  end if;
exception when undefined_column or undefined_table or insufficient_privilege then
  null; -- Whoever reads the members is told.
end;
$$;

create or replace function automation.warn_of_left() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  names constant text[] := automation.new_left_columns();
  members automation.membership;
  relation regclass;
  others bigint;
begin
  if names is null then
    return;
  end if;
  select y.* into members from automation.membership as y;
  relation := to_regclass(members.relation);
  execute format('select count(*) from %s as t where %s', relation, concat_ws(' and ',
      nullif(automation.belongs_expression(relation, 't', members.columns || '{"deleted": null}', members.active), ''),
      'not ' || automation.is_deleted_expression(relation, 't', members.columns ->> 'deleted'),
      '(' || automation.left_expression(relation, 't', members.columns - 'deleted') || ')'))
    into others;
  if others > 0 then
    raise warning 'automation: % of those who were members by % are none any more, by %', others, members.relation,
      array_to_string(names, ', ')
      using hint = format('Where that is right: %s Where not, the same with "deleted": null; then no column says it.',
        automation.attach_members_again(members, members.columns ->> 'status'));
  end if;
exception when undefined_column or undefined_table or insufficient_privilege then
  null; -- Whoever reads the members is told.
end;
$$;

-- Who is responsible stands in other tables as they refer to this one, and that need not be what somebody signs in by.
create or replace function automation.warn_named_otherwise(relation regclass, named jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  other record;
begin
  select f.conrelid::regclass as referring, r.attname as referring_column, a.attname as key into other
  from pg_catalog.pg_constraint as f
  join pg_catalog.pg_attribute as a on a.attrelid = f.confrelid and a.attnum = f.confkey[1]
  join pg_catalog.pg_attribute as r on r.attrelid = f.conrelid and r.attnum = f.conkey[1]
  where f.contype = 'f' and f.confrelid = warn_named_otherwise.relation and cardinality(f.confkey) = 1
    and a.attname <> named ->> 'user'
  order by f.conrelid::regclass::text, r.attname limit 1;
  if found and not exists (
    select from pg_catalog.pg_constraint as f
    join pg_catalog.pg_attribute as a on a.attrelid = f.confrelid and a.attnum = any (f.confkey)
    where f.contype = 'f' and f.confrelid = warn_named_otherwise.relation and a.attname = named ->> 'user') then
    raise warning 'automation: %.% names a member by %.%, and here a member is known by %', other.referring,
      other.referring_column, relation, other.key, named ->> 'user'
      using hint = format('Where that is who is responsible: {"user": "%s", "login": "%s"}.', other.key,
        named ->> 'user');
  end if;
end;
$$;

-- Who may only look, because nobody explained the word for what they are, is told to whoever attaches.
create or replace function automation.tell_of_roles() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members automation.membership;
  words text;
begin
  select y.* into members from automation.membership as y;
  if not members.columns ? 'role' then
    raise notice 'automation: no column of % is the role of a member: everybody is an editor, and nobody who signs in '
      'publishes unless editors do', members.relation
      using hint = 'Name one, such as {"role": "is_admin"} with roles => ''{"true": "admin", "false": "editor"}''.';
    return;
  end if;
  execute format('select string_agg(w.word, '', '' order by w.word) from (select distinct '
      'left(lower(btrim(%s::text)), 60) as word from %s as t) as w where not $1 ? w.word',
      automation.mapped_expression('t', members.columns ->> 'role'), members.relation)
    into words using members.roles;
  if words is not null then
    raise notice 'automation: roles that nobody explained count as viewers: %', words
      using hint = format('roles => ''{"%s": "editor"}''.', split_part(words, ', ', 1));
  end if;
end;
$$;

-- Whose a row of tenants, of members or of an inbox is, by the key that stands in it.
create or replace function automation.tenant_in_row(value text) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when coalesce(automation.tenancy_type(), automation.membership_type('tenant'), 'uuid') = 'uuid'
      then automation.as_uuid(value) else automation.row_uuid(value) end
  $$;

-- What people write of themselves says what they are called, and neither who they are nor what they may do.
create or replace function automation.check_own_words(named jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  said record;
begin
  for said in
    select n.key, n.value from jsonb_each_text(named) as n
    where n.key in ('tenant', 'user', 'login', 'role', 'active', 'deleted', 'status')
  loop
    if split_part(said.value, '.', 1) ~* '^(raw_)?user_?meta_?data$' then
      raise exception 'columns: % must not be "%": whoever is signed in writes that about himself', said.key, said.value
        using errcode = 'invalid_parameter_value',
          hint = 'Such as "raw_app_meta_data.role", which only the service role writes, or a table of its own.';
    end if;
  end loop;
end;
$$;

create or replace function automation.attach_members(
  relation regclass, columns jsonb default '{}', roles jsonb default '{}', active jsonb default '["active", true]',
  further jsonb default '[]', visible text[] default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sole constant uuid := automation.constant_tenant(relation, columns, 'tenant');
  -- By what somebody signs in is said, never guessed from a name; a column "login" may hold any name.
  named constant jsonb := automation.named_columns(relation, automation.member_names(),
    '{"tenant": "tenant_id", "user": "user_id", "login": null, "status": null}'::jsonb
      || case when columns ? 'deleted' or automation.deleted_column(relation) is not null then '{}'
        else jsonb_build_object('deleted', (automation.left_columns(relation))[1]) end
      || case when columns ? 'active' or automation.named_column(relation, 'active') is not null
          or automation.column_type(relation, automation.named_column(relation, 'is_active')) is distinct from 'boolean'
        then '{}' else jsonb_build_object('active', automation.named_column(relation, 'is_active')) end
      || case when automation.named_column(relation, 'full_name') is null and automation.joined_name(relation) is null
          and not jsonb_path_exists(further, '$[*].columns.full_name')
        then jsonb_build_object('full_name', automation.named_column(relation, 'display_name', 'name')) else '{}' end
      || columns || case when sole is null then '{}' else '{"tenant": null}' end::jsonb);
  wrong text;
begin
  perform automation.check_columns('columns', relation, named, automation.member_names(),
    case when sole is null then '{tenant,user}' else '{user}' end::text[]);
  perform automation.check_further(further, automation.member_names());
  perform automation.check_no_dots(relation, named);
  perform automation.check_own_words(named);
  perform automation.check_deleted(relation, named ->> 'deleted');
  perform automation.check_status(relation, named ->> 'status');
  select r.value into wrong from jsonb_each_text(roles) as r
  where r.value not in ('owner', 'admin', 'editor', 'viewer') limit 1;
  if wrong is not null then
    raise exception 'roles: "%" is none of owner, admin, editor, viewer', wrong
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.check_tenant_type(relation, named ->> 'tenant');
  perform automation.warn_hidden(relation);
  perform automation.warn_named_otherwise(relation, named);
  perform automation.settle_sole_tenant(sole);
  insert into automation.membership as y (relation, columns, sole, roles, active, further, visible, left_columns)
  -- That no column says that somebody has left is kept in mind, too.
  values (automation.relation_name(attach_members.relation),
    named || case when columns -> 'deleted' = 'null' then '{"deleted": null}' else '{}' end::jsonb
      || automation.settled_status(attach_members.relation, columns, named), sole,
    automation.usual_roles() || (
      select coalesce(jsonb_object_agg(lower(btrim(r.key)), r.value), '{}') from jsonb_each(attach_members.roles) as r),
    attach_members.active, automation.settled_further(attach_members.further),
    coalesce(attach_members.visible, automation.visible_by_default(attach_members.relation)),
    nullif(automation.left_columns(attach_members.relation), '{}'))
  on conflict on constraint membership_pkey do update set
    (relation, columns, sole, roles, active, further, visible, left_columns) = row (
      excluded.relation, excluded.columns, excluded.sole, excluded.roles, excluded.active,
      excluded.further, excluded.visible, excluded.left_columns);
  execute automation.members_function();
  perform automation.close_functions();
  perform automation.tell_of_roles();
  if not columns ? 'status' then
    perform automation.tell_of_status();
  end if;
end;
$$;

comment on function automation.attach_members(regclass, jsonb, jsonb, jsonb, jsonb, text[]) is
  'Says who belongs to a tenant. columns: {tenant, user, role, full_name, email, phone, active, deleted, status} where '
  'they differ from tenant_id, user_id and columns of that name; "raw_app_meta_data.role" reads a key of JSON; '
  'tenant: null where there is one office and no column. login: what auth.uid() is, where user, by which other tables '
  'name a member, is another. '
  'roles: {"the CRM''s word": "owner", "admin", "editor" or '
  '"viewer"}; words that are not there and not usual count as viewer. active: the values of that column with which '
  'somebody is a member. further: [{relation, key, columns}]: where names and addresses are, found by the user''s id. '
  'An editor drafts and tries workflows, an admin publishes them, a viewer looks.';

create or replace function automation.detach_members() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.membership;
  execute automation.no_members_function();
end;
$$;

comment on function automation.detach_members() is 'From now on nobody but the service role belongs to any tenant.';

create or replace function automation.no_members_function() returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select $template$
create or replace function automation.read_members(tenants uuid[], users uuid[]) returns setof automation.member
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $reader$ begin return; end; $reader$;

create or replace function automation.read_signed_in(login uuid) returns setof automation.member
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $reader$ begin return; end; $reader$
$template$
  $$;

do $$ begin execute automation.no_members_function(); end $$;

-- What variables and conditions can read of a tenant and of a member: {column: kind}.
create or replace function automation.people_columns(names text[], relation text, visible text[]) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((select jsonb_object_agg(n, 'text') from unnest(names) as n), '{}')
      || coalesce((
        select jsonb_object_agg(a.attname, automation.value_kind(a.atttypid))
        from pg_catalog.pg_attribute as a
        where a.attrelid = to_regclass(relation) and a.attnum > 0 and not a.attisdropped
          and a.attname = any (visible)), '{}')
  $$;
