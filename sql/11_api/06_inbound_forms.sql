-- A form on a tenant's web site. Whoever posts learns one thing: that it was taken, or what is
-- wrong with it. Never whether a contact was known.

create or replace function automation.find_form(public_key text) returns public.forms
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f from public.forms as f
    where f.public_key = find_form.public_key and f.is_active
  $$;

create or replace function automation.origin_allowed(form public.forms, origin text)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select origin is null or '*' = any (form.allowed_origins)
      or lower(rtrim(origin, '/')) in (
        select lower(rtrim(o, '/')) from unnest(form.allowed_origins) as o)
  $$;

create or replace function automation.form_accepts(public_key text, origin text) returns boolean
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select form.id is not null and automation.origin_allowed(form, origin)
    from automation.find_form(public_key) as form
  $$;

comment on function automation.form_accepts(text, text) is
  'May a page of this origin post to this form? What a browser asks before it posts.';

-- One hour at a time, counted from its first post. Returns how long to wait, or null: go on.
create or replace function automation.count_post(form public.forms, source bytea, at_most integer)
  returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  counted automation.form_rates;
begin
  insert into automation.form_rates as r (tenant_id, form_id, source, window_start, posts)
  values (form.tenant_id, form.id, count_post.source, at, 1)
  on conflict on constraint form_rates_pkey do update
    set posts = case when r.window_start > at - interval '1 hour' then r.posts + 1 else 1 end,
      window_start = case when r.window_start > at - interval '1 hour' then r.window_start else at end
    where r.posts < at_most or r.window_start <= at - interval '1 hour'
  returning * into counted;
  if counted.form_id is not null then
    return null;
  end if;
  return (
    select r.window_start + interval '1 hour' - at from automation.form_rates as r
    where r.tenant_id = form.tenant_id and r.form_id = form.id and r.source = count_post.source);
end;
$$;

-- The source first, so that one visitor cannot use up the form; but while the form is full no new
-- sources are noted, which is what bounds the table.
create or replace function automation.limit_posts(form public.forms, source text) returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  whole constant bytea := ''::bytea;
  full_until timestamptz;
  wait interval;
begin
  delete from automation.form_rates as r
  where (r.tenant_id, r.form_id, r.source) in (
    select o.tenant_id, o.form_id, o.source from automation.form_rates as o
    where o.window_start < automation.now() - interval '1 hour'
    order by o.window_start limit 20 for update skip locked);
  select r.window_start + interval '1 hour' into full_until from automation.form_rates as r
  where r.tenant_id = form.tenant_id and r.form_id = form.id and r.source = whole
    and r.posts >= form.max_per_hour;
  if full_until > automation.now() then
    return full_until - automation.now();
  end if;
  wait := automation.count_post(form, sha256(convert_to(
    form.id::text || coalesce(limit_posts.source, ''), 'UTF8')), form.max_per_source_per_hour);
  return coalesce(wait, automation.count_post(form, whole, form.max_per_hour));
end;
$$;

create or replace function automation.is_first_post(form public.forms, fields jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.form_posts as p
  where (p.tenant_id, p.form_id, p.digest) in (
    select o.tenant_id, o.form_id, o.digest from automation.form_posts as o
    where o.received_at < automation.now() - interval '1 day'
    order by o.received_at limit 20 for update skip locked);
  insert into automation.form_posts as p (tenant_id, form_id, digest, received_at)
  values (form.tenant_id, form.id, sha256(convert_to(fields::text, 'UTF8')), automation.now())
  on conflict on constraint form_posts_pkey do update set received_at = excluded.received_at
    where p.received_at <= excluded.received_at - form.duplicate_window;
  return found;
end;
$$;

-- The names that web forms use for what a contact has.
create or replace function automation.contact_column(field text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when plain in ('email', 'emailaddress', 'youremail', 'mail') then 'email'
      when plain in ('phone', 'phonenumber', 'yourphone', 'tel', 'telephone', 'mobile', 'cell',
        'cellphone', 'mobilephone') then 'phone'
      when plain in ('firstname', 'givenname', 'fname') then 'first_name'
      when plain in ('lastname', 'familyname', 'surname', 'lname') then 'last_name'
      when plain in ('name', 'fullname', 'yourname') then 'name'
      when plain in ('company', 'companyname', 'organization') then 'company'
      when plain in ('address', 'addressline', 'street', 'streetaddress') then 'address_line1'
      when plain = 'city' then 'city'
      when plain in ('state', 'region') then 'state'
      when plain in ('zip', 'zipcode', 'postalcode', 'postcode') then 'postal_code'
    end
    from (select regexp_replace(lower(field), '[^a-z]', '', 'g') as plain) as p
  $$;

create or replace function automation.contact_fields(form public.forms, fields jsonb)
  returns table (field text, target text, value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct on (m.target) f.key, m.target, left(btrim(f.value #>> '{}'), 400)
    from jsonb_each(fields) as f
    cross join lateral (
      select coalesce(form.field_map ->> f.key, automation.contact_column(f.key)) as target
    ) as m
    where m.target in ('email', 'phone', 'first_name', 'last_name', 'name', 'company',
        'address_line1', 'city', 'state', 'postal_code')
      and jsonb_typeof(f.value) in ('string', 'number') and btrim(f.value #>> '{}') <> ''
    order by m.target, not (form.field_map ? f.key), f.key
  $$;

create or replace function automation.form_problems(form public.forms, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with given as (
      select g.* from automation.contact_fields(form, fields) as g
    ), problem as (
      select r.field, 'is required' as message
      from unnest(form.required_fields) as r (field)
      where btrim(coalesce(fields ->> r.field, '')) in ('', '[]')
      union all
      select g.field, 'is not an email address' from given as g
      where g.target = 'email'
        and automation.normalize_email(g.value) is null
      union all
      select g.field, 'is not a phone number' from given as g
      where g.target = 'phone'
        and automation.normalize_phone(g.value, automation.country_of(form.tenant_id)) is null
      union all
      select 'email', 'an email address or a phone number is needed'
      where not exists (select from given as g where g.target in ('email', 'phone'))
    )
    select jsonb_agg(jsonb_build_object('field', p.field, 'message', p.message) order by p.field)
    from (select distinct on (q.field) q.field, q.message from problem as q order by q.field) as p
  $$;

-- What the columns of contacts get: normalised, and a full name taken apart at its last blank.
create or replace function automation.contact_of_fields(form public.forms, fields jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'first_name', regexp_replace(given ->> 'name', '\s+\S+$', ''),
        'last_name', substring(given ->> 'name' from '\s(\S+)$')))
      || given - 'name' || jsonb_strip_nulls(jsonb_build_object(
        'email', automation.normalize_email(given ->> 'email'),
        'phone', automation.normalize_phone(given ->> 'phone', automation.country_of(form.tenant_id))))
    from (
      select coalesce(jsonb_object_agg(g.target, g.value), '{}') as given
      from automation.contact_fields(form, fields) as g
    ) as g
  $$;

-- An email address is one person's, a phone may be a household's.
create or replace function automation.match_contact(tenant_id uuid, email text, phone text)
  returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      automation.contact_by_email(tenant_id, email, phone),
      automation.contact_by_phone(tenant_id, phone))
  $$;

-- Anybody can post, so what is known of a contact already stays; only blanks are filled.
create or replace function automation.contact_of_form(form public.forms, given jsonb) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  contact uuid;
begin
  for key in select k from unnest(array[given ->> 'email', given ->> 'phone']) as k
    where k is not null order by k loop
    perform automation.lock_inbound(form.tenant_id || key);
  end loop;
  contact := automation.match_contact(form.tenant_id, given ->> 'email', given ->> 'phone');
  if contact is null then
    return automation.create_contact(form.tenant_id, given || '{"source": "form"}');
  end if;
  perform automation.fill_contact(form.tenant_id, contact, given);
  return contact;
end;
$$;

create or replace function automation.submit_form(
  public_key text, origin text, source text, fields jsonb)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  form constant public.forms := automation.find_form(public_key);
  content constant jsonb := fields - form.honeypot;
  accepted constant jsonb := jsonb_build_object(
    'outcome', 'accepted', 'redirect_url', form.redirect_url);
  wait interval;
  problems jsonb;
begin
  if form.id is null then
    return '{"outcome": "unknown_form"}'::jsonb;
  elsif not automation.origin_allowed(form, origin) then
    return '{"outcome": "origin_not_allowed"}'::jsonb;
  elsif btrim(coalesce(fields ->> form.honeypot, '')) <> '' then
    return accepted;
  end if;
  wait := automation.limit_posts(form, source);
  if wait is not null then
    return jsonb_build_object(
      'outcome', 'rate_limited', 'retry_after_seconds', ceil(extract(epoch from wait)));
  end if;
  problems := automation.form_problems(form, content);
  if problems is not null then
    return jsonb_build_object('outcome', 'invalid', 'errors', problems);
  end if;
  if automation.is_first_post(form, content) then
    insert into public.form_submissions (tenant_id, form, contact_id, data)
    values (form.tenant_id, form.name,
      automation.contact_of_form(form, automation.contact_of_fields(form, content)), content);
  end if;
  return accepted;
end;
$$;

comment on function automation.submit_form(text, text, text, jsonb) is
  'Takes a post of a public form: {outcome, redirect_url?, errors?: [{field, message}], '
  'retry_after_seconds?}; outcome: accepted, invalid, rate_limited, unknown_form or '
  'origin_not_allowed. A double post, a filled honeypot and a contact that was known already all '
  'look like any other post.';
