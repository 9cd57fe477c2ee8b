-- 02 DEFINITIONS
--
-- What the office sets up, and what the engine makes of it.
--
--   workflows, workflow_steps   authoring rows: people edit them, nothing runs from them
--   workflow_versions           a published workflow: validated, compiled, never changed again
--   active_triggers             which published version listens to which event: what capture reads
--
-- Publishing is the only road from the first to the others. Lock order: the workflows row, then
-- inserts. Nothing outside this chapter writes here, and nothing here waits for an execution.

create table automation.trigger_types (
  name text constraint trigger_types_pkey primary key,
  entity text,
  kind text not null
    constraint trigger_types_kind_known
    check (kind in ('created', 'updated', 'changed', 'becomes', 'time', 'manual')),
  column_name text,
  becomes text,
  on_insert boolean not null default false,
  description text not null,
  constraint trigger_types_column_matches_kind check (
    case kind
      when 'becomes' then column_name is not null and becomes is not null
      else becomes is null
    end)
);

comment on table automation.trigger_types is
  'Every event a workflow can listen to. automation.attach() adds those of an attached table.';

insert into automation.trigger_types (name, entity, kind, description) values
  ('field_changed', null, 'changed', 'A named field of a record changed.'),
  ('time_elapsed', null, 'time', 'A time before or after a date of a record.'),
  ('scheduled', null, 'time', 'A time of day, week or month.'),
  ('manual', null, 'manual', 'Started by hand or by another program.');

create table automation.step_types (
  name text constraint step_types_pkey primary key,
  lane public.automation_lane not null,
  required text[] not null,
  optional text[] not null,
  description text not null
);

comment on table automation.step_types is 'Every step a workflow can take.';
comment on column automation.step_types.required is
  'Keys of step_config that must be there; a|b means either.';

insert into automation.step_types (name, lane, required, optional, description) values
  ('send_sms', 'outbound', '{body}', '{to,from,messaging_service_sid,media_urls}',
   'Sends a text message through Twilio.'),
  ('send_email', 'outbound', '{subject,html|text}', '{to,from,reply_to,cc,bcc,headers}',
   'Sends an email through Resend.'),
  ('webhook', 'outbound', '{url}', '{method,headers,body,secret_name}',
   'Calls a URL, signed the Standard Webhooks way.'),
  ('create_task', 'database', '{title}',
   '{description,priority,assigned_to,due_at,due_in_days,due_in_hours,due_in_minutes}',
   'Creates a task for the office.'),
  ('update_contact', 'database', '{fields}', '{}',
   'Sets fields of the contact.'),
  ('update_project', 'database', '{fields}', '{}',
   'Sets fields of the project.'),
  ('update_field', 'database', '{field,value}', '{entity}',
   'Sets one field of the contact, project or job.'),
  ('change_stage', 'database', '{stage}', '{entity}',
   'Moves the contact or project to another stage.'),
  ('assign_user', 'database', '{user_id|user_ids}', '{entity}',
   'Makes a user responsible for the contact, project or job.'),
  ('add_tag', 'database', '{tag}', '{}', 'Tags the contact; a tag that is new is made.'),
  ('remove_tag', 'database', '{tag}', '{}', 'Takes a tag off the contact.'),
  ('create_project', 'database', '{name}', '{type,status,pipeline_stage,value,description,key}',
   'Creates a project for the contact, once for a key.'),
  ('wait', 'database', '{}',
   '{minutes,hours,days,weeks,duration,until,offset,if_missing,if_past,at,window,zone,event,timeout}',
   'Waits for a duration before the next step.'),
  ('conditional', 'database', '{conditions|branches}', '{}', 'Goes one of several ways.'),
  ('split', 'database', '{branches}', '{}', 'Divides contacts by weight.'),
  ('stop', 'database', '{}', '{reason,outcome}', 'Ends the run.');

create or replace function automation.problem(
  path text, code text, message text, hint text default null, severity text default 'error')
  returns jsonb
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select jsonb_build_object(
      'path', path, 'severity', severity, 'code', code, 'message', message, 'hint', hint)
  $$;

comment on function automation.problem(text, text, text, text, text) is
  'One finding about a definition: where it is, how bad, what is wrong and how to mend it.';

create or replace function automation.raise_problems(problems jsonb, subject text) returns void
  language plpgsql
  set search_path = ''
  as $$
declare
  worst jsonb;
begin
  select p.value into worst
  from jsonb_array_elements(problems) with ordinality as p (value, position)
  where p.value ->> 'severity' = 'error'
  order by p.position
  limit 1;
  if worst is not null then
    raise exception '%: %: %', subject, worst ->> 'path', worst ->> 'message'
      using errcode = 'invalid_parameter_value',
        detail = problems::text,
        hint = coalesce(worst ->> 'hint', 'detail lists every problem with its path');
  end if;
end;
$$;

comment on function automation.raise_problems(jsonb, text) is
  'Raises 22023 with the first error as message and all problems as JSON in detail; '
  'warnings alone raise nothing.';
