-- automation.attach_target(): where steps write, and where the CRM shows what was said.

create or replace function automation.attach_target(
  target text, relation regclass, columns jsonb default '{}', words jsonb default '{}', defaults jsonb default '{}')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  made automation.targets;
  known constant text[] := array(select jsonb_object_keys(automation.target_names(target)));
  wrong text;
begin
  if known = '{}' then
    raise exception 'target: "%" is none of task, project, timeline', target using errcode = 'invalid_parameter_value';
  end if;
  made.name := target;
  made.relation := automation.relation_name(relation);
  made.id_column := coalesce(columns ->> 'id', 'id');
  made.columns := automation.target_columns(target, relation, columns);
  made.words := words;
  made.defaults := defaults;
  perform automation.check_columns('columns', relation,
    jsonb_strip_nulls(columns) || jsonb_build_object('id', made.id_column), known || 'id'::text, '{}');
  perform automation.check_columns('columns', relation, made.columns, known,
    case target when 'task' then '{title}' when 'project' then '{name}' else '{contact,content}' end::text[]);
  select k into wrong from jsonb_object_keys(words) as k where not k = any (known) limit 1;
  if wrong is not null then
    raise exception 'words: "%" is none of %', wrong, array_to_string(known, ', ')
      using errcode = 'invalid_parameter_value';
  end if;
  select k into wrong from jsonb_object_keys(defaults) as k
  where automation.column_type(relation, k) is null limit 1;
  if wrong is not null then
    raise exception 'defaults: % has no column "%"', relation, wrong using errcode = 'undefined_column';
  end if;
  wrong := automation.late_constraint(relation);
  if target = 'timeline' and wrong is not null then
    raise exception 'relation: % of % is deferred: a row that breaks it would fail the commit of whoever wrote',
      wrong, relation using errcode = 'invalid_parameter_value', hint = 'Make it initially immediate.';
  end if;
  insert into automation.targets as t (name, relation, columns, words, defaults, id_column)
  values (made.name, made.relation, made.columns, made.words, made.defaults, made.id_column)
  on conflict on constraint targets_pkey do update set
    (relation, columns, words, defaults, id_column) = row (
      excluded.relation, excluded.columns, excluded.words, excluded.defaults, excluded.id_column);
  execute automation.target_function(made);
  perform automation.close_functions();
  if target = 'timeline' then
    perform automation.watch_timeline();
  end if;
end;
$$;

comment on function automation.attach_target(text, regclass, jsonb, jsonb, jsonb) is
  'Where steps write. target: task (create_task and what the office is told), project (create_project) or timeline '
  '(what was sent and received, as the CRM shows it). columns: {field: column} where they differ, null: there is '
  'none; the fields are those of automation.target_names(). words: {field: {our word: the CRM''s}}, such as '
  '{"priority": {"normal": "medium"}, "status": {"open": "todo"}}. defaults: {column: value} for columns of its own '
  'that must not be empty.';

create or replace function automation.detach_target(target text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.targets as t where t.name = target;
  if not found then
    raise exception 'target: "%" is not attached', target using errcode = 'undefined_object';
  end if;
  if target = 'timeline' then
    perform automation.unwatch_timeline();
  end if;
  execute format('drop function if exists automation.write_%s(jsonb, text)', target);
  execute format('drop function if exists automation.write_%ss(jsonb[])', target);
end;
$$;

comment on function automation.detach_target(text) is 'Steps write there no more: those that would, fail and say so.';
