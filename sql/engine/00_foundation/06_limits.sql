-- What a definition, a record and a message may cost. Bytes are those of UTF-8. docs/limits.md is held to
-- this table by a test.

create or replace function automation.limits()
  returns table (name text, most integer, unit text, what text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    values
      ('steps', 1000, 'steps', 'in a workflow'),
      ('branch_depth', 20, 'levels', 'of branches within branches'),
      ('step_config', 262144, 'bytes', 'of a step_config'),
      ('trigger_config', 65536, 'bytes', 'of a trigger_config'),
      ('conditions', 262144, 'bytes', 'of one document of conditions'),
      ('settings', 65536, 'bytes', 'of settings'),
      ('metadata', 262144, 'bytes', 'of metadata'),
      ('definition', 4194304, 'bytes', 'of all the steps of a workflow together'),
      ('condition_count', 500, 'conditions', 'in one document'),
      ('condition_depth', 50, 'levels', 'of groups within groups'),
      ('all_conditions', 5000, 'conditions', 'in a workflow'),
      ('condition_list', 1000, 'values', 'in the list of a condition'),
      ('templates', 200, 'texts', 'with variables in a step_config'),
      ('tags', 500, 'variables and blocks', 'in one text'),
      ('step_tags', 2000, 'variables and blocks', 'in a step_config'),
      ('filters', 10, 'filters', 'on a variable'),
      ('active_workflows', 2000, 'active workflows', 'of a tenant'),
      ('listeners', 500, 'active workflows', 'of a tenant that listen to one event of one entity'),
      ('waits', 1000, 'steps and exits', 'of a tenant''s workflows that wait for one event of one entity'),
      ('value', 65536, 'bytes', 'of a value that a filter takes or gives'),
      ('compared', 65536, 'bytes', 'of a text that a condition looks at'),
      ('compared_list', 1000, 'values', 'of a list that a condition looks at'),
      ('text', 524288, 'bytes', 'of one rendered text'),
      ('step', 1048576, 'bytes', 'of all that a step renders'),
      ('sms', 1600, 'characters', 'of a text message'),
      ('email_subject', 998, 'characters', 'of an email''s subject'),
      ('email_body', 512000, 'bytes', 'of an email''s html, and of its text'),
      ('webhook_body', 262144, 'bytes', 'of what a webhook posts'),
      ('field', 65536, 'bytes', 'of a value that a step writes to a record'),
      ('render_ms', 1000, 'milliseconds', 'to render a step'),
      ('match_ms', 250, 'milliseconds', 'to match one write against the workflows of its tenant'),
      ('conditions_ms', 200, 'milliseconds', 'to evaluate one document of conditions'),
      ('dear_calls', 2, 'calls', 'of a tenant at once that publish, check, try or explain a workflow'),
      ('portion_ms', 200, 'milliseconds', 'of work before the engine commits'),
      ('early_events', 2000, 'reports', 'of a tenant''s own account about messages that are not recorded yet'),
      ('known_events', 100000, 'events', 'of a tenant''s own account that are known when they come again')
  $$;

comment on function automation.limits() is
  'The limits of the engine: how much of what. What is larger is refused with its name and a way out.';

-- Asked in hot paths with a literal name: the planner folds it.
create or replace function automation.at_most(name text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select l.most from automation.limits() as l where l.name = at_most.name $$;

comment on function automation.at_most(text) is 'One of automation.limits().';

-- Compiling a workflow takes long where it is large: one tenant has so many of it under way at
-- once, which leaves connections for the others.
create or replace function automation.take_place(tenant_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  for place in 1 .. automation.at_most('dear_calls') loop
    if pg_try_advisory_xact_lock(hashtextextended(tenant_id::text, 1000 + place)) then
      return;
    end if;
  end loop;
  raise exception 'workflow_id: % workflows of this tenant are being published, checked or tried already',
    automation.at_most('dear_calls')
    using errcode = 'PT429', hint = 'Try again in a moment.';
end;
$$;
