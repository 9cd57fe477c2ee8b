-- A call to a URL.

create or replace function automation.fold_webhook(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Its body may be empty.
  config := automation.without_blanks(config, '{body,payload}');
  return automation.fold_key(config, 'body', '{payload}')
    || case when jsonb_typeof(config -> 'method') = 'string'
      then jsonb_build_object('method', upper(config ->> 'method' collate "C")) else '{}' end;
end;
$$;

-- What the transport or the signature sets, as the dispatcher's webhook sender has it.
create or replace function automation.webhook_header_problem(name text, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' then automation.problem(
        path, 'invalid_header', format('"%s" is not the name of a header', left(name, 60)),
        'Letters, digits and -, such as X-Campaign.')
      when name ~* ('^(host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect'
        '|proxy-.*|webhook-.*|ridgeline-.*)$') then automation.problem(
        path, 'invalid_header', format('the header %s is set by the sender', left(name, 60)),
        'Leave it out; what the receiver is to know goes in another header, or in the body.')
    end
  $$;

create or replace function automation.check_webhook_headers(headers jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by h.name), '[]')
    from jsonb_object_keys(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h (name)
    cross join lateral (
      select automation.webhook_header_problem(h.name, path || '.' || h.name) as problem) as p
    where p.problem is not null
  $$;

create or replace function automation.check_webhook(config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_webhook_headers(config -> 'headers', path || '.headers');
end;
$$;

-- A line break in a value would end the header: it is a blank, as in an email's. Secrets are named by objects.
create or replace function automation.header_lines(headers jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_object_agg(h.key, case jsonb_typeof(h.value)
      when 'string' then to_jsonb(automation.one_line(h.value #>> '{}')) else h.value end), '{}')
    from jsonb_each(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h);
end;
$$;

create or replace function automation.webhook_input(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  method constant text := upper(coalesce(input ->> 'method', 'POST'));
begin
  return input
    || jsonb_build_object('method', method, 'headers', case jsonb_typeof(input -> 'headers')
      when 'object' then automation.header_lines(input -> 'headers') else '{}' end)
    || case
      when input ? 'body' or method in ('GET', 'DELETE') then '{}'
      else jsonb_build_object('body', jsonb_build_object(
        'type', execution.trigger_type, 'timestamp', automation.now(),
        'execution_id', execution.id, 'data', execution.trigger_data))
    end;
end;
$$;

-- Headers that hold variables are told when these are known.
create or replace function automation.plain_webhook(config jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not config -> 'base' ? 'body' or exists (
    select from jsonb_array_elements(config -> 'slots') as s
    where ((s ->> 'at')::text[])[1] = 'headers') then
    return null;
  end if;
  return config || jsonb_build_object('base', automation.webhook_input(null, config -> 'base'));
end;
$$;

create or replace function automation.address_webhook(
  execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb,
  known automation.known_records)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.input := automation.webhook_input(execution, prepared.input);
  return prepared;
end;
$$;

create or replace function automation.imagine_webhook(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(execution.trigger_data, '{"http_status": 200, "headers": {}, "body": {}}')::automation.imagined;
end;
$$;

create or replace function automation.limits_webhook(input jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return '{"body": "webhook_body"}'::jsonb;
end;
$$;

create or replace function automation.would_webhook(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- With the answer that a dry run imagines too.
  return jsonb_build_object('method', prepared.input -> 'method', 'url', prepared.input -> 'url',
    'result', '{"http_status": 200, "headers": {}, "body": {}}'::jsonb);
end;
$$;

select automation.register_step('webhook', 'webhook', null,
  'Calls a URL, signed the Standard Webhooks way.', $schema${
  "required": ["url"],
  "properties": {
    "url": {"type": "string", "format": "template", "pattern": "^[hH][tT][tT][pP][sS]?://|^\\{\\{",
      "errorMessage": "url must start with https:// or http://", "description": "Whom to call.",
      "examples": ["https://example.com/hooks/won"]},
    "method": {"enum": ["POST", "PUT", "PATCH", "GET", "DELETE"], "description": "Default: POST."},
    "headers": {"type": "object",
      "additionalProperties": {"type": ["string", "object"], "format": "header", "title": "a header",
        "required": ["secret"],
        "properties": {
          "secret": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,100}$",
            "errorMessage": "secret must be the name of a secret", "description": "Its name in your secrets."},
          "prefix": {"type": "string", "pattern": "^[^{}\\r\\n]{0,100}$", "description": "Such as \"Bearer \"."}
        }},
      "description": "Further headers, by name: a text, or a secret by its name."},
    "body": {"format": "template",
      "description": "What to send. Default: the event and its records; with GET and DELETE nothing."},
    "secret_name": {"type": "string", "format": "template", "minLength": 1,
      "description": "Signs with this secret of yours. Default: your signing secret."}
  },
  "examples": [{"url": "https://example.com/hooks/won", "body": {"id": "{{contact.id}}"}},
    {"url": "https://api.example.com/jobs?email={{ contact.email | url_encode }}", "method": "GET",
      "headers": {"Authorization": {"secret": "crm_api_key", "prefix": "Bearer "}}}]
}$schema$);
