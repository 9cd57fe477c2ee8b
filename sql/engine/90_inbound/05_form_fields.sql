-- What a post says, whatever form builder wrote it: which of its fields is the email address, which the
-- name. Builders put fields into brackets (form_fields[email]), numbers in front (q3_name[first]), the
-- whole into a JSON of their own ({"payload": {"data": {...}}}) or each field into an object
-- ({"label": "Email", "value": ...}).

create or replace function automation.as_jsonb(given text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return given::jsonb;
exception when data_exception or statement_too_complex then
  return null;
end;
$$;

comment on function automation.as_jsonb(text) is 'The text as JSON; null when it is none.';

-- fields[email][value] is fields, email, value.
create or replace function automation.field_path(name text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(p.part order by p.place), '{}')
    from regexp_split_to_table(replace(name, ']', ''), '[\[.]') with ordinality as p (part, place)
    where btrim(p.part) <> ''
  $$;

-- {"label": "Email", "type": "email", "value": "jo@example.com"}, in the spellings of several builders.
create or replace function automation.labelled_value(
  given jsonb, out label text, out hint text, out value jsonb)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(given ->> 'name', given ->> 'label', given ->> 'title', given ->> 'column_id',
        given #>> '{field,title}', given #>> '{field,ref}', given ->> 'key', given ->> 'ref',
        given ->> 'question', given ->> 'id'),
      lower(given ->> 'type'),
      coalesce(given -> 'value', given -> 'values', given -> 'raw_value', given -> 'string_value',
        given -> 'answer', case when jsonb_typeof(given -> 'field') = 'object' then given -> (given ->> 'type') end)
    where jsonb_typeof(given) = 'object'
      and (given ? 'field' or not given ?| '{email,phone,first_name,last_name}')
  $$;

create or replace function automation.field_children(given jsonb)
  returns table (key text, hint text, value jsonb)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select l.label, l.hint, l.value
    from automation.labelled_value(given) as l
    where l.label is not null and l.value is not null
    union all
    select c.key, null, c.value
    from (
      select o.key, o.value from jsonb_each(
        case jsonb_typeof(given) when 'object' then given else '{}' end) as o
      union all
      select (a.place - 1)::text, a.value from jsonb_array_elements(
        case jsonb_typeof(given) when 'array' then given else '[]' end) with ordinality as a (value, place)
    ) as c
    where not exists (
      select from automation.labelled_value(given) as l where l.label is not null and l.value is not null)
  $$;

-- Every field of a post: field names it as the post does, path is its words. A list of plain values
-- (checkboxes) is one field.
create or replace function automation.form_leaves(data jsonb)
  returns table (field text, path text[], hint text, value jsonb)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive walk (field, path, hint, value, depth) as (
      select e.key, automation.field_path(e.key), null::text, e.value, 0
      from jsonb_each(data) as e
      union all
      select w.field || '.' || c.key, w.path || automation.field_path(c.key), c.hint, c.value, w.depth + 1
      from walk as w
      cross join lateral automation.field_children(case
        when jsonb_typeof(w.value) <> 'string' then w.value
        -- The whole post once more, as JSON in a field.
        when w.value #>> '{}' ~ '^\s*\{' then automation.as_jsonb(w.value #>> '{}')
      end) as c
      where w.depth < 16
        and not (jsonb_typeof(w.value) = 'array' and jsonb_path_exists(w.value, '$[*] ? (@.type() != "object")'))
    )
    select l.field, case when l.last in ('value', 'raw_value') then trim_array(l.path, 1) else l.path end,
      l.hint, l.value
    from (
      select w.*, w.path[cardinality(w.path)] as last,
        bool_or(w.path[cardinality(w.path)] = 'value') over (partition by trim_array(w.path, 1)) as is_described
      from walk as w
      where cardinality(w.path) > 0 and (jsonb_typeof(w.value) in ('string', 'number', 'boolean')
        or (jsonb_typeof(w.value) = 'array'
          and jsonb_path_exists(w.value, '$[*] ? (@.type() != "object")')))
    ) as l
    -- fields[email][type] and the like are said about the field that fields[email][value] is.
    where not (l.is_described and l.last in ('id', 'type', 'title', 'label', 'required', 'raw_value', 'name'))
    limit 500
  $$;

comment on function automation.form_leaves(jsonb) is
  'The fields of a post: as the post names each, the words of that, what kind the builder says it is, and '
  'the value. At most 500.';

-- The words of a name that say what it is: no numbers, no "your", no containers.
create or replace function automation.field_words(path text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(regexp_replace(w.word, '(?<=[a-z])1$', '') order by p.place, w.place), '{}')
    from unnest(path) with ordinality as p (part, place)
    cross join lateral regexp_split_to_table(
      translate(lower(regexp_replace(regexp_replace(p.part, '^q\d+_', ''), '([a-z])([A-Z])', '\1 \2', 'g')),
        'áàâäãéèêëíìîïóòôöõúùûüñç', 'aaaaaeeeeiiiiooooouuuunc'),
      '[^a-z0-9]+') with ordinality as w (word, place)
    where w.word <> '' and w.word !~ '^(0|1|\d{2,})$'
      and lower(p.part) <> all ('{data,payload,fields,form_fields,form_response,formresponse,form_data,formdata,
        answers,submission,values,body,entry,rawrequest,item_meta,wpforms,field_data,user_column_data,
        human_fields,response,responses,questions,properties,form,lead,contact,record,object,input,inputs}'
        ::text[])
      and w.word <> all ('{your,my,the,contact,customer,client,lead,visitor,homeowner,applicant,please,enter,
        required,optional,field,fields,input,text,primary,main,full,billing}'::text[])
  $$;

-- The names that web forms use for what a contact has.
create or replace function automation.contact_column(words text[]) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when plain in ('email', 'emailaddress', 'mail', 'emailid', 'workemail', 'homeemail', 'personalemail',
        'businessemail', 'correo', 'correoelectronico', 'courriel', 'useremail') then 'email'
      when plain in ('phone', 'phonenumber', 'phoneno', 'tel', 'telephone', 'telephonenumber', 'mobile',
        'mobilenumber', 'mobilephone', 'mobilephonenumber', 'cell', 'cellphone', 'cellnumber', 'cellphonenumber',
        'homephone', 'workphone', 'dayphone', 'daytimephone', 'bestphone', 'bestphonenumber', 'telefon',
        'telefono', 'handy', 'celular', 'phonefull', 'phonenumberfull', 'phonephone', 'phonenumberphone',
        'whatsapp', 'whatsappnumber') then 'phone'
      when plain in ('firstname', 'first', 'namefirst', 'givenname', 'given', 'fname', 'vorname', 'prenom',
        'primernombre', 'forename') then 'first_name'
      when plain in ('lastname', 'last', 'namelast', 'familyname', 'surname', 'lname', 'nachname',
        'apellido', 'apellidos', 'nomdefamille') then 'last_name'
      when plain in ('name', 'fullname', 'nombre', 'nom', 'naam', 'nombrecompleto', 'nomcomplet',
        'firstandlastname', 'firstlastname') then 'name'
      when plain in ('company', 'companyname', 'organization', 'organisation', 'organizationname', 'business',
        'businessname', 'firma', 'empresa') then 'company'
      when plain in ('address', 'addressline', 'addressaddrline', 'addrline', 'street', 'streetaddress',
        'addressstreet', 'addressaddress', 'propertyaddress', 'homeaddress', 'serviceaddress', 'direccion')
        then 'address_line1'
      when plain in ('city', 'addresscity', 'town', 'ciudad') then 'city'
      when plain in ('state', 'region', 'province', 'addressstate', 'stateprovince') then 'state'
      when plain in ('zip', 'zipcode', 'postalcode', 'postcode', 'postal', 'addresszip', 'addresspostal',
        'addresszipcode', 'addresspostalcode', 'plz') then 'postal_code'
    end
    from (select array_to_string(words, '') as plain) as p
  $$;

create or replace function automation.contact_column(field text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select automation.contact_column(automation.field_words(automation.field_path(field))) $$;

-- Gravity Forms numbers the parts of a field: input_1.3 is a first name, or the city of an address.
create or replace function automation.numbered_part(path text[], parts text[]) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when '5' = any (parts) and '3' = any (parts) then (array['address_line1', null, 'city', 'state',
        'postal_code'])[nullif(part, '6')::integer]
      when '6' = any (parts) and '3' = any (parts) and not '1' = any (parts)
        then case part when '3' then 'first_name' when '6' then 'last_name' end
    end
    from (select path[cardinality(path)] as part) as p
    where part ~ '^[1-6]$'
  $$;

-- A field whose name alone does not tell, by what the builder says of it and how it looks.
create or replace function automation.looks_like(words text[], hint text, given text, country text)
  returns text
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when words && '{friend,friends,spouse,partner,emergency,referrer,referral,referred,agent,confirm,
        confirmation,fax}'::text[] then null
      when hint is null and words && '{from,to,cc,bcc,reply,notification,admin,sender,recipient,site,page,user,
        owner,account,ip}'::text[] then null
      when automation.normalize_email(given) is not null then 'email'
      when automation.normalize_phone(given, country) is null or given ~ '^\d{4}-\d\d-\d\d' then null
      when hint ~ 'phone|^tel$' or words && '{phone,tel,telephone,mobile,cell,telefon,telefono,celular,whatsapp}'
        or given ~ '^\+?[\d\s().-]{10,20}$' and given ~ '[+() .-]' then 'phone'
    end
  $$;

-- rank: how sure it is. What the form's own field_map names, a usual name, a part by number, a look.
create or replace function automation.contact_candidates(form ridgeline.forms, fields jsonb)
  returns table (field text, target text, value text, rank integer, depth integer)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with leaf as (
      select l.*, automation.field_words(l.path) as words, trim_array(l.path, 1) as parent,
        automation.tidy_words(case jsonb_typeof(l.value)
          when 'array' then l.value ->> 0 else l.value #>> '{}' end, 400) as given
      from automation.form_leaves(fields) as l
      where jsonb_typeof(l.value) <> 'boolean' and cardinality(l.path) > 0
    ), part as (
      select l.*, array_agg(l.path[cardinality(l.path)]) over (partition by l.parent) as parts,
        max(l.given) filter (where l.path[cardinality(l.path)] = 'area') over (partition by l.parent) as area
      from leaf as l
    )
    select p.field, c.target,
      case when c.target = 'phone' and p.path[cardinality(p.path)] = 'phone' then coalesce(p.area, '') || p.given
        else p.given end,
      c.rank, cardinality(p.path)
    from part as p
    cross join lateral (
      select m.target, m.rank
      from (values
        (coalesce(form.field_map ->> p.field, form.field_map ->> array_to_string(p.path, '.'),
          form.field_map ->> p.path[cardinality(p.path)]), 0),
        (automation.contact_column(p.words), 1),
        (automation.numbered_part(p.path, p.parts), 2),
        (automation.looks_like(p.words, p.hint, p.given, automation.country_of(form.tenant_id)), 3)) as m (target, rank)
      where m.target is not null
      order by m.rank limit 1
    ) as c
    where p.given is not null and c.target in ('email', 'phone', 'first_name', 'last_name', 'name', 'company',
      'address_line1', 'city', 'state', 'postal_code')
  $$;

create or replace function automation.contact_fields(form ridgeline.forms, fields jsonb)
  returns table (field text, target text, value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct on (c.target) c.field, c.target, c.value
    from automation.contact_candidates(form, fields) as c
    order by c.target, c.rank, c.depth desc, c.field
  $$;

-- Addresses are no names, and neither are advertisements: what a stranger calls himself is what the
-- office will call him.
create or replace function automation.is_usable_name(given text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select given is not null and given !~ '@|<[a-zA-Z/!]' and not automation.has_link(given) $$;

-- What the columns of contacts get: normalised, cut, and a full name taken apart.
create or replace function automation.contact_of_fields(form ridgeline.forms, fields jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(automation.split_name(given ->> 'name'), '{}') || (given - 'name')
      || jsonb_strip_nulls(jsonb_build_object(
        'email', automation.normalize_email(given ->> 'email'),
        'phone', automation.normalize_phone(given ->> 'phone', automation.country_of(form.tenant_id))))
    from (
      select coalesce(jsonb_object_agg(g.target, case
          when g.target in ('email', 'phone') then g.value
          when g.target in ('first_name', 'last_name', 'name') then automation.tidy_words(g.value, 100)
          else automation.tidy_words(g.value, 200) end), '{}') as given
      from automation.contact_fields(form, fields) as g
      where g.target in ('email', 'phone') or automation.is_usable_name(g.value)
    ) as g
  $$;

-- A box that was not ticked, as forms say it.
create or replace function automation.is_declined(name text, given jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case jsonb_typeof(given)
      when 'array' then not exists (
        select from jsonb_array_elements(given) as e where not automation.is_declined(name, e))
      when 'object' then given = '{}'
      else coalesce(w.word, '') in ('', 'false', 'off', 'unchecked', 'null', 'undefined')
        or (w.word ~ '^(0+|f|n|none|never|nein|non|nao|não|-|declined?|denied|disagree|(no|not|nope)([ ,.!].*)?|'
            'i (do not|don.?t|decline|refuse|disagree|opt out).*|(do not|don.?t|opt out|opted out).*)$'
          and name ~* ('consent|agree|accept|terms|tos|privacy|policy|gdpr|opt.?in|permi|tcpa|market|acknowledg|'
            'subscri|confirm|authori[sz]|allow|newsletter|sms|texts?_?(ok|me)|\mok\M|_ok$|^ok_|may_we|checkbox|'
            'legal|disclaimer|einwillig|datenschutz|zustimm|acepto|consentim|accord'))
    end
    from (select lower(btrim(given #>> '{}')) as word) as w
  $$;

-- What the post has under a required name: its own spelling, or what was understood of it.
create or replace function automation.is_given(form ridgeline.forms, fields jsonb, name text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from automation.form_leaves(fields) as l
      where (l.field = name or array_to_string(l.path, '.') = name or l.path[cardinality(l.path)] = name)
        and not automation.is_declined(name, l.value)
    ) or exists (
      select from automation.contact_fields(form, fields) as c where c.target = name)
  $$;

create or replace function automation.form_problems(form ridgeline.forms, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with given as (
      select g.* from automation.contact_fields(form, fields) as g
    ), problem as (
      select r.field, 'is required' as message
      from unnest(form.required_fields) as r (field)
      where not automation.is_given(form, fields, r.field)
      union all
      select g.field, 'is not an email address' from given as g
      where g.target = 'email' and automation.normalize_email(g.value) is null
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

-- What tells two posts apart. A captcha's answer, a nonce, a time stamp and what an advertisement added are
-- different each time a button is pressed.
create or replace function automation.is_noise(name text, value jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select name ~* ('captcha|turnstile|csrf|xsrf|nonce|token|altcha|honeypot|^(utm_|_gl$|gclid|gbraid|wbraid|fbclid|'
        'msclkid|ttclid|_ga|_fbp|_fbc)|verification|form_build_id|ak_js|ak_bib|ak_bfs|ak_b[a-z]+$|'
        '(^|[._\]\[])(id|uuid|ts|timestamp|time_?stamp|submitted_?at|created_?at|event_?id|event_?time|request_?id|'
        'submission_?id|response_?id|entry_?id|landed_?at|ip|user_?agent|referr?er)\]?$')
      -- A machine's: long, without a blank, with digits and letters.
      or jsonb_typeof(value) = 'string' and value #>> '{}' ~ '^[A-Za-z0-9_=+/|.~-]{24,}$'
        and value #>> '{}' ~ '\d' and value #>> '{}' ~ '[A-Za-z]' and value #>> '{}' !~ '@|://'
  $$;

create or replace function automation.post_digest(form ridgeline.forms, fields jsonb) returns bytea
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select sha256(convert_to(coalesce(
      jsonb_object_agg(l.field, coalesce(u.value, regexp_replace(btrim(l.value #>> '{}'), '\s+', ' ', 'g'))), '{}'
    )::text, 'UTF8'))
    from automation.form_leaves(fields) as l
    left join (
      select c.field, automation.contact_of_fields(form, fields) ->> c.target as value
      from automation.contact_fields(form, fields) as c where c.target in ('email', 'phone')
    ) as u on u.field = l.field
    where u.field is not null or not automation.is_noise(l.field, l.value)
  $$;
