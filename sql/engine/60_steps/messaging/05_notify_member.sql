-- A text or an email to a member of the office. What runs is a send_sms or send_email to {{user.phone}} or
-- {{user.email}}, in which {{user.*}} is that member: gate, sender and dispatcher know nothing else of it.

-- It is internal, whatever it says: nobody's consent, hours of its own, no cap, footer or link.
create or replace function automation.fold_notify_member(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.fold_key(automation.without_blanks(config), 'body', '{message,text,html}');
  return '{"purpose": "internal"}'::jsonb || config;
end;
$$;

create or replace function automation.check_notify_member(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := case jsonb_typeof(config -> 'user_id') when 'string' then btrim(config ->> 'user_id') end;
begin
  return case
      when given like '%{{%' or lower(given) in ('owner', 'admin') or automation.is_member_key(given)
        or coalesce(given, '') = '' then '[]'
      else jsonb_build_array(automation.problem(path || '.user_id', 'invalid_id',
        format('user_id: "%s" is no member', left(given, 60)),
        coalesce('Did you mean ' || automation.meant_key(lower(given), '{owner,admin}') || '?',
          'Write a member''s id, a variable such as "{{contact.assigned_to}}", or owner or admin.'))) end
    || case
      when config ->> 'channel' = 'email' and not config ? 'subject' then jsonb_build_array(automation.problem(
        path || '.subject', 'missing', 'notify_member needs subject: an email has one',
        'For example {"subject": "{{contact.first_name}} has answered"}.'))
      when config ->> 'channel' = 'sms' and config ? 'subject' then jsonb_build_array(automation.problem(
        path || '.subject', 'unknown_key', 'a text has no subject', 'Leave it out, or write it into body.', 'warning'))
      else '[]' end;
end;
$$;

create or replace function automation.compile_notify_member(config jsonb, path text, shared jsonb)
  returns automation.compiled_config
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_email constant boolean := coalesce(config ->> 'channel' = 'email', false);
  member constant record := automation.compile_template(
    jsonb_build_object('user_id', config -> 'user_id'), path, shared -> 'texts');
  written constant jsonb := config - '{user_id,channel,subject,body}'::text[];
  more constant jsonb := jsonb_build_object('as', 'notify_member', 'member', member.compiled,
    'type', case when is_email then 'send_email' else 'send_sms' end,
    'lane', case when is_email then 'email' else 'sms' end);
  read record;
begin
  if not is_email then
    return row(
      written || jsonb_build_object('to', '{{user.phone}}', 'body', config -> 'body'), config, more,
      automation.template_roots(member.compiled), member.problems)::automation.compiled_config;
  end if;
  read := automation.compile_addresses(
    written || jsonb_build_object('to', '{{user.email}}', 'subject', config -> 'subject',
      automation.body_kind(config -> 'body'), config -> 'body'),
    path, shared -> 'addresses');
  return row(read.compiled, config, more, automation.template_roots(member.compiled),
    member.problems || read.problems)::automation.compiled_config;
end;
$$;

-- html -> body, to.0.address -> user_id: what people wrote, of what it was compiled into.
create or replace function automation.place_notify_member(at text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when at ~ '^(html|text)$' then 'body'
    when at ~ '^to($|\.)' then 'user_id'
    else automation.place_send_email(at) end;
end;
$$;

create or replace function automation.needs_notify_member(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := btrim(step #>> '{member,base,user_id}');
  at constant text := automation.step_path(step) || '.step_config';
begin
  return case
      when automation.is_member_key(given) and lower(given) not in ('owner', 'admin')
          and not automation.is_member(workflow.tenant_id, given)
        then jsonb_build_array(automation.problem(at || '.user_id', 'not_a_member',
          format('user_id: "%s" is not a member of the office', given),
          'Name one who is, a variable such as "{{contact.assigned_to}}", or owner or admin.'))
      else '[]' end
    || case when exists (
        select from automation.membership as m
        where m.columns ? (case step ->> 'lane' when 'email' then 'email' else 'phone' end)
          or jsonb_path_exists(m.further, case step ->> 'lane'
            when 'email' then '$[*].columns.email' else '$[*].columns.phone' end::jsonpath))
      then '[]'
      else jsonb_build_array(automation.problem(at || '.channel', 'no_recipient',
        format('notify_member reaches nobody: members have no %s', case step ->> 'lane'
          when 'email' then 'email' else 'phone' end),
        'automation.attach_members() says which column it is, or in which further table.')) end
    || case when step #> '{config,base}' ? 'from'
      then coalesce(automation.as_list(automation.foreign_sender_problem(workflow, step)), '[]') else '[]' end;
end;
$$;

-- Who is told: by id, or by role. Of several with a role the first by name who can be reached, and where none of
-- them can, one of the other role. {id, ...} as {{user.*}} shows it, or {code, message} where there is nobody.
create or replace function automation.member_to_notify(
  execution ridgeline.workflow_executions, step jsonb, context jsonb, options jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := btrim(automation.text_of(
    (automation.render(step -> 'member', context, options)).rendered -> 'user_id'));
  name constant text := case step ->> 'lane' when 'email' then 'email' else 'phone' end;
  member automation.member;
begin
  if coalesce(given, '') = '' then
    return '{"code": "no_member", "message": "user_id: it is empty; there is nobody to tell"}'::jsonb;
  elsif lower(given) in ('owner', 'admin') then
    select m.* into member from automation.read_members(array[execution.tenant_id], null) as m
    where m.role in ('owner', 'admin')
    order by coalesce(btrim(case name when 'email' then m.email else m.phone end), '') = '', m.role <> lower(given),
      m.full_name, m.user_id
    limit 1;
  else
    select m.* into member
    from automation.read_members(array[execution.tenant_id], array[automation.key_uuid(given)]) as m
    limit 1;
  end if;
  if member.user_id is null then
    return jsonb_build_object('code', 'no_member', 'message',
      format('user_id: "%s" is not a member of the office', left(given, 60)));
  elsif coalesce(btrim(case name when 'email' then member.email else member.phone end), '') = '' then
    return jsonb_build_object('code', 'no_recipient', 'message',
      format('user_id: %s has no %s',
        coalesce(nullif(btrim(left(member.full_name, 60)), ''), member.user_id::text), name));
  end if;
  return member.record;
end;
$$;

select automation.register_step('notify_member', 'sms', null,
  'Texts or emails a member of the office, whom {{user.*}} means in it.', $schema${
  "required": ["user_id", "channel", "body"],
  "properties": {
    "user_id": {"type": "string", "format": "template", "minLength": 1,
      "description": "Who: a member's id, such as {{contact.assigned_to}}, or owner or admin."},
    "channel": {"enum": ["sms", "email"], "description": "How."},
    "body": {"type": "string", "format": "template", "minLength": 1,
      "description": "The message; in an email one with tags in it is HTML."},
    "subject": {"type": "string", "format": "template", "minLength": 1, "description": "Of an email, which needs one."},
    "from": {"type": "string", "format": "template", "minLength": 1,
      "description": "One of your senders. Default: your default sender."},
    "purpose": {"enum": ["internal"],
      "description": "It is nothing else: no consent, cap or footer, and hours of its own."},
    "expires_at": {"type": "string", "format": "moment", "minLength": 1, "description": "Not sent after then."},
    "expires_after": {"type": ["string", "object"], "format": "length-of-time",
      "description": "Not sent when it was held for longer."}
  },
  "examples": [
    {"user_id": "{{contact.assigned_to}}", "channel": "sms",
      "body": "{{contact.first_name}} has not been called yet: {{contact.phone}}"},
    {"user_id": "owner", "channel": "email", "subject": "A lead is waiting",
      "body": "Hi {{user.full_name}}, nobody has called {{contact.first_name}}."}
  ]
}$schema$);
