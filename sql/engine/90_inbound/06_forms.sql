-- A form on a tenant's web site. Whoever posts learns one thing: that it was taken, or what is
-- wrong with it. Never whether a contact was known.

create or replace function automation.find_form(public_key text) returns ridgeline.forms
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f from ridgeline.forms as f
    where f.public_key = find_form.public_key and f.is_active and not automation.is_tenant_gone(f.tenant_id)
  $$;

create or replace function automation.origin_allowed(form ridgeline.forms, origin text)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select origin is null or '*' = any (form.allowed_origins) or exists (
      select from unnest(form.allowed_origins) as o (allowed)
      cross join lateral (select automation.normalize_origin(origin) as asking) as a
      where a.asking !~ '\*' and (a.asking = o.allowed
        or o.allowed like '%://*.%'
          and a.asking like replace(replace(o.allowed, '_', '\_'), '://*.', '://%.')))
  $$;

create or replace function automation.form_accepts(public_key text, origin text) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  form constant ridgeline.forms := automation.find_form(public_key);
begin
  if form.id is null then
    return false;
  elsif not automation.origin_allowed(form, origin) then
    -- A browser that is told no does not send the post: that somebody tried is all there is to tell.
    perform automation.hold_foreign(form, origin, '{}');
    return false;
  end if;
  return true;
end;
$$;

comment on function automation.form_accepts(text, text) is
  'May a page of this origin post to this form? What a browser asks before it posts.';

-- One hour at a time, counted from its first post. Returns how long to wait, or null: go on.
create or replace function automation.count_post(form ridgeline.forms, source bytea, at_most integer)
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
create or replace function automation.limit_posts(form ridgeline.forms, source text) returns interval
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

create or replace function automation.is_first_post(form ridgeline.forms, fields jsonb) returns boolean
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
  values (form.tenant_id, form.id, automation.post_digest(form, fields), automation.now())
  on conflict on constraint form_posts_pkey do update set received_at = excluded.received_at
    where p.received_at <= excluded.received_at - form.duplicate_window;
  return found;
end;
$$;

-- Where a mail to this address ends up: jo+roof@example.com is jo@example.com, and so is every spelling
-- with dots at Gmail.
create or replace function automation.mailbox_of(email text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when m.host in ('gmail.com', 'googlemail.com') then replace(m.name, '.', '') || '@gmail.com'
      else m.name || '@' || m.host end
    from (
      select split_part(split_part(lower(email), '@', 1), '+', 1) as name,
        split_part(lower(email), '@', 2) as host
    ) as m
  $$;

-- Counts a post that is to fire, and says what stands against it: too many within the hour to one address,
-- through one form or for the tenant.
create or replace function automation.count_reach(
  tenant_id uuid, what text, which text, at_most integer)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  since constant timestamptz := automation.now() - interval '1 hour';
begin
  insert into automation.form_reach as r (tenant_id, scope, window_start, posts)
  values (count_reach.tenant_id, sha256(convert_to(what || ' ' || which, 'UTF8')), automation.now(), 1)
  on conflict on constraint form_reach_pkey do update
    set posts = case when r.window_start > since then r.posts + 1 else 1 end,
      window_start = case when r.window_start > since then r.window_start else automation.now() end
    where r.posts < at_most or r.window_start <= since;
  return case when not found then format('more than %s posts within the hour %s', at_most, what) end;
end;
$$;

create or replace function automation.limit_reach(form ridgeline.forms, given jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  of_tenant constant integer := coalesce((
    select (t.settings #>> '{forms,max_fired_per_hour}')::integer
    from automation.read_tenants(array[form.tenant_id]) as t
    where t.settings #>> '{forms,max_fired_per_hour}' ~ '^\d{1,6}$'), 200);
begin
  delete from automation.form_reach as r
  where (r.tenant_id, r.scope) in (
    select o.tenant_id, o.scope from automation.form_reach as o
    where o.window_start < automation.now() - interval '1 hour'
    order by o.window_start limit 20 for update skip locked);
  return coalesce(
    case when given ? 'email' then automation.count_reach(form.tenant_id, 'with this email address',
      automation.mailbox_of(given ->> 'email'), form.max_per_address_per_hour) end,
    case when given ? 'phone' then automation.count_reach(form.tenant_id, 'with this phone number',
      given ->> 'phone', form.max_per_address_per_hour) end,
    automation.count_reach(
      form.tenant_id, 'through this form', form.id::text, form.max_fired_per_hour),
    automation.count_reach(form.tenant_id, 'through all forms', '', of_tenant));
end;
$$;

-- An email address is one person's, a phone may be a household's.
create or replace function automation.match_contact(tenant_id uuid, email text, phone text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      automation.contact_by_email(tenant_id, email, phone),
      automation.contact_by_phone(tenant_id, phone))
  $$;

-- Anybody can post: a contact that was known is linked and stays as it is, unless the form is trusted
-- to fill its blanks.
create or replace function automation.contact_of_form(
  form ridgeline.forms, given jsonb, out contact text, out is_new boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  for key in select k from unnest(array[given ->> 'email', given ->> 'phone']) as k
    where k is not null order by k loop
    perform automation.lock_inbound(form.tenant_id || key);
  end loop;
  contact := automation.match_contact(form.tenant_id, given ->> 'email', given ->> 'phone');
  is_new := contact is null;
  if is_new then
    contact := automation.create_contact(form.tenant_id, given || '{"source": "form"}');
  elsif form.trusted then
    perform automation.fill_contact(form.tenant_id, contact, given);
  end if;
end;
$$;

-- Where a post says something else than is known of its contact: {column: {known, given}}. Numbers,
-- addresses and names are compared as what they mean.
create or replace function automation.differences(tenant_id uuid, contact text, given jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(d.name, jsonb_build_object('known', d.known, 'given', d.given)), '{}')
    from (
      select g.key as name, g.value as given,
        nullif(btrim(r.record ->> automation.own_name(e, g.key)), '') as known
      from automation.entities as e
      cross join lateral (
        select automation.read_record('contact', tenant_id, contact) as record) as r
      cross join lateral jsonb_each_text(given) as g
      where e.name = 'contact' and automation.own_name(e, g.key) = any (e.columns)
    ) as d
    where case d.name
      when 'phone' then coalesce(automation.normal_number(
        d.known, automation.country_of(differences.tenant_id)), d.known) is distinct from d.given
      else lower(d.known) is distinct from lower(d.given) end
  $$;

-- What differs is the office's to judge.
create or replace function automation.propose(
  form ridgeline.forms, contact text, given jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  differences constant jsonb := automation.differences(form.tenant_id, contact, given);
  told constant text := (
    select string_agg(format('%s: %s (known: %s)', d.key, d.value ->> 'given',
      coalesce(d.value ->> 'known', 'nothing')), E'\n' order by d.key)
    from jsonb_each(differences) as d);
begin
  if told is not null then
    perform automation.tell_office(form, contact,
      format('The form "%s" says something else of a contact', form.name), told);
  end if;
end;
$$;

-- A task for the office, once a day for the same.
create or replace function automation.tell_office(
  form ridgeline.forms, contact text, title text, told text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.tell_office(form.tenant_id, 'form', concat_ws('/', contact, md5(title || told)), '1 day',
      contact, title, told)
  $$;

-- Kept for a month, and told of where nobody else was told. What one form can put here within an hour is
-- bounded: a robot's posts are not worth more; those of pages that may not post least, and they take no room
-- from the others.
create or replace function automation.hold_submission(
  form ridgeline.forms, reason text, problem text, data jsonb, raw text default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from ridgeline.held_submissions as h
  where (h.tenant_id, h.id) in (
    select o.tenant_id, o.id from ridgeline.held_submissions as o
    where o.created_at < automation.now() - interval '30 days'
    order by o.created_at limit 20 for update skip locked);
  insert into ridgeline.held_submissions (tenant_id, form_id, form, reason, problem, data, raw)
  select form.tenant_id, form.id, form.name, reason, left(problem, 1000), coalesce(data, '{}'), left(raw, 20000)
  where (
    select count(*) from ridgeline.held_submissions as h
    where h.form_id = form.id and h.tenant_id = form.tenant_id
      and (h.reason = 'origin') = (hold_submission.reason = 'origin')
      and h.created_at > automation.now() - interval '1 hour') < case reason when 'origin' then 20 else 200 end;
  if found and reason in ('limit', 'unreadable') then
    perform automation.tell_office(form, null, format('Posts of the form "%s" are held', form.name),
      format('They fired no workflow (%s). Look at held_submissions and release what is a lead.', reason));
  end if;
end;
$$;

-- The page is told, and its visitor perhaps not. Either a stranger tries something, or the office's site has moved:
-- then these are leads. Told of without the address, which the caller chose.
create or replace function automation.hold_foreign(
  form ridgeline.forms, origin text, fields jsonb, raw text default null)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_robot(form, coalesce(fields, '{}')) then
    return;
  end if;
  perform automation.tell_office(form, null, format('Posts of the form "%s" are refused', form.name),
    'They come from a page that its allowed_origins do not name. Look at held_submissions: is your site at '
    'another address now?');
  if fields <> '{}' or raw <> '' then
    perform automation.hold_submission(form, 'origin',
      format('%s is not in allowed_origins', left(origin, 300)), fields - form.honeypot, raw);
  end if;
end;
$$;

-- What people do not see they do not fill; a box that was not ticked is not filled either.
create or replace function automation.is_robot(form ridgeline.forms, fields jsonb) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(not automation.is_declined('ok', fields -> form.honeypot), false) $$;

-- A box that was ticked is consent, in the words that stood beside it. Somebody who said stop may change their mind
-- here for email; a text to a number that anybody may type in waits for the number itself to say so.
create or replace function automation.consent_of_form(
  form ridgeline.forms, content jsonb, given jsonb, submission_id uuid, contact_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel text;
  address text;
begin
  if form.consent is null or automation.is_declined('ok', content -> (form.consent ->> 'field')) is not false then
    return;
  end if;
  foreach channel in array '{sms,email}'::text[] loop
    address := automation.normal_address(
      form.tenant_id, channel, given ->> case channel when 'sms' then 'phone' else 'email' end);
    continue when address is null
      or form.consent ? 'channels' and not form.consent -> 'channels' ? channel
      or automation.suppression_of(form.tenant_id, channel, address) is not null;
    perform automation.record_consent(form.tenant_id, channel, address,
      case when form.consent -> 'double_opt_in' = 'true' then 'pending' else 'granted' end, 'marketing', 'form',
      jsonb_build_object('form', form.name, 'form_id', form.id, 'submission_id', submission_id,
        'wording', form.consent -> 'wording', 'field', form.consent -> 'field',
        'value', content -> (form.consent ->> 'field')), contact_id);
  end loop;
exception when others then
  raise warning 'automation: the consent of a form could not be recorded: %', sqlerrm;
end;
$$;

create or replace function automation.accept_submission(form ridgeline.forms, content jsonb) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant jsonb := automation.contact_of_fields(form, content);
  linked record;
  submission_id constant uuid := automation.new_id();
begin
  linked := automation.contact_of_form(form, given);
  if linked.contact is not null and not linked.is_new then
    perform automation.propose(form, linked.contact, given);
  end if;
  insert into ridgeline.form_submissions (
    tenant_id, id, form, contact_id, data, email, phone, understood, is_trusted, is_contact_new)
  values (form.tenant_id, submission_id, form.name, linked.contact, content, given ->> 'email',
    given ->> 'phone', given, form.trusted, linked.is_new);
  perform automation.consent_of_form(form, content, given, submission_id, linked.contact);
  return submission_id;
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
  form constant ridgeline.forms := automation.find_form(public_key);
  content constant jsonb := fields - form.honeypot;
  accepted constant jsonb := jsonb_build_object(
    'outcome', 'accepted', 'redirect_url', form.redirect_url);
  wait interval;
  problems jsonb;
  reached text;
begin
  if form.id is null then
    return '{"outcome": "unknown_form"}'::jsonb;
  elsif not automation.origin_allowed(form, origin) then
    perform automation.hold_foreign(form, origin, fields);
    return '{"outcome": "origin_not_allowed"}'::jsonb;
  elsif automation.is_robot(form, fields) then
    perform automation.hold_submission(form, 'honeypot',
      format('the hidden field %s was filled', form.honeypot), fields);
    return accepted;
  end if;
  wait := automation.limit_posts(form, source);
  if wait is not null then
    return jsonb_build_object(
      'outcome', 'rate_limited', 'retry_after_seconds', ceil(extract(epoch from wait)));
  end if;
  problems := automation.form_problems(form, content);
  if problems is not null then
    if content <> '{}' and automation.is_first_post(form, content) then
      perform automation.hold_submission(form, 'invalid', (
        select string_agg(format('%s %s', p ->> 'field', p ->> 'message'), '; ')
        from jsonb_array_elements(problems) as p), content);
    end if;
    return jsonb_build_object('outcome', 'invalid', 'errors', problems);
  elsif automation.is_first_post(form, content) then
    reached := automation.limit_reach(form, automation.contact_of_fields(form, content));
    if reached is null then
      perform automation.accept_submission(form, content);
    else
      perform automation.hold_submission(form, 'limit', reached, content);
    end if;
  end if;
  return accepted;
end;
$$;

comment on function automation.submit_form(text, text, text, jsonb) is
  'Takes a post of a public form: {outcome, redirect_url?, errors?: [{field, message}], '
  'retry_after_seconds?}; outcome: accepted, invalid, rate_limited, unknown_form or '
  'origin_not_allowed. A double post, a filled honeypot, one post too many to an address and a contact '
  'that was known already all look like any other post.';

-- What could not be read as fields is kept as it came: the visitor is told, and the office may know
-- better.
create or replace function automation.keep_unreadable(
  public_key text, origin text, source text, problem text, data jsonb, raw text)
  returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  form constant ridgeline.forms := automation.find_form(public_key);
begin
  if form.id is null then
    return 'unknown_form';
  elsif not automation.origin_allowed(form, origin) then
    perform automation.hold_foreign(form, origin, data, raw);
    return 'origin_not_allowed';
  elsif automation.limit_posts(form, source) is not null then
    return 'rate_limited';
  end if;
  perform automation.hold_submission(form, case when automation.is_robot(form, data) then 'honeypot'
    else 'unreadable' end, problem, data, raw);
  return 'held';
end;
$$;

comment on function automation.keep_unreadable(text, text, text, text, jsonb, text) is
  'Keeps a post that could not be read in held_submissions: held, unknown_form, origin_not_allowed or '
  'rate_limited.';

-- A person looked at it and took it for a lead.
create or replace function automation.release_submission(held_id uuid, data jsonb default null)
  returns ridgeline.form_submissions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  held ridgeline.held_submissions;
  form ridgeline.forms;
  submission ridgeline.form_submissions;
begin
  select h.* into held
  from ridgeline.held_submissions as h
  where h.id = held_id and automation.may_use(h.tenant_id)
  for update;
  if not found then
    perform automation.raise_not_found('held_id', held_id);
  end if;
  perform automation.check_editor(held.tenant_id, 'releasing a submission');
  perform automation.check_not_forgotten(held.tenant_id);
  if held.submission_id is null then
    select f.* into form from ridgeline.forms as f where f.tenant_id = held.tenant_id and f.id = held.form_id;
    held.submission_id := automation.accept_submission(
      form, coalesce(release_submission.data, held.data) - form.honeypot);
    update ridgeline.held_submissions as h
    set submission_id = held.submission_id, released_at = automation.now()
    where h.tenant_id = held.tenant_id and h.id = held.id;
  end if;
  select s.* into submission from ridgeline.form_submissions as s
  where s.tenant_id = held.tenant_id and s.id = held.submission_id;
  return submission;
end;
$$;

create or replace function ridgeline.release_submission(held_id uuid, data jsonb default null)
  returns ridgeline.form_submissions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.release_submission(held_id, data) $$;

comment on function ridgeline.release_submission(uuid, jsonb) is
  'Makes a submission of a held one, which fires workflows like any other; data: its fields, put right. '
  'Once: a second call answers the same submission.';
