-- automation.attach_target(): where steps write, and where the CRM shows what was said.

-- Words that the table cannot hold. What every new row of it says is refused, for nothing could be written; the
-- others are named. What a check refuses, a trigger of the table's own may put right before.
create or replace function automation.check_words(made automation.targets) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  relation constant regclass := made.relation::regclass;
  wrong record;
begin
  for wrong in
    select w.field, w.ours, automation.misfit_of(relation, c.name, to_jsonb(s.said)) as misfit,
      automation.judge_row(relation, jsonb_build_object(c.name, s.said), array[c.name]) as refused
    from automation.target_words(made.name) as w
    cross join lateral (
      select made.columns ->> w.field as name, coalesce(made.words #>> array[w.field, w.ours], w.ours) as said) as c
    cross join lateral (select c.said) as s
    where made.columns ? w.field
    order by w.place
  loop
    if wrong.misfit is not null and wrong.ours in ('open', 'new') then
      raise exception 'words.%: % cannot hold "%" in %: %', wrong.field, relation, coalesce(
          made.words #>> array[wrong.field, wrong.ours], wrong.ours), made.columns ->> wrong.field, wrong.misfit
        using errcode = 'invalid_parameter_value', hint = format('Say what it is called there, {"%s": {"%s": "..."}}, '
          'or that no column is meant: columns {"%1$s": null}.', wrong.field, wrong.ours);
    elsif wrong.refused is not null then
      raise warning 'automation: words.%: "%" cannot be written to %: %', wrong.field, wrong.ours, relation,
        wrong.refused
        using hint = format('Say what it is called there: {"%s": {"%s": "..."}}.', wrong.field, wrong.ours);
    end if;
  end loop;
end;
$$;

-- The words that rows of a target may say.
create or replace function automation.target_words(target text) returns table (field text, ours text, place bigint)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select w.field, w.ours, row_number() over ()
    from (values ('task', 'status', 'open'), ('task', 'priority', 'normal'), ('task', 'priority', 'low'),
      ('task', 'priority', 'high'), ('task', 'priority', 'urgent'), ('project', 'status', 'open'),
      ('project', 'stage', 'new'), ('timeline', 'type', 'sms'), ('timeline', 'type', 'email'),
      ('timeline', 'type', 'call'), ('timeline', 'direction', 'inbound'), ('timeline', 'direction', 'outbound'))
      as w (target, field, ours)
    where w.target = target_words.target
  $$;

-- A row that lacks what its table needs fails the step that writes it: that is said when the table is attached.
create or replace function automation.warn_unfilled(target automation.targets, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  empty constant text := (
    select string_agg(a.attname, ', ' order by a.attnum)
    from pg_catalog.pg_attribute as a
    where a.attrelid = to_regclass(target.relation) and a.attnum > 0 and not a.attisdropped and a.attnotnull
      and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
      and not a.attname in (
        select c.value from jsonb_each_text(target.columns) as c
        union all select jsonb_object_keys(target.defaults)
        union all select f.name from automation.filled_of_target(target) as f));
begin
  if empty is not null then
    raise warning 'automation: nothing is written to % of %, which must not be empty: unless a trigger fills it, the '
      'row is refused', empty, target.relation
      using hint = 'Say which field it is, such as {"tenant": "<column>"}, or what it holds: defaults => '
        '{"<column>": "<value>"}.';
  elsif not target.columns ? 'tenant' and not columns ? 'tenant'
    and exists (select from automation.tenancy as y where y.sole is null) then
    raise warning 'automation: no column of % says whose a row is', target.relation
      using hint = 'Name it, {"tenant": "<column>"}, or say that there is none: {"tenant": null}.';
  end if;
end;
$$;

-- What steps say of a task and nothing takes, or what a task of the office's own, which is nobody's, lacks.
create or replace function automation.tell_of_tasks(target automation.targets, columns jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  lost constant text := (
    select string_agg(f.field, ', ' order by f.place)
    from (select t.field, t.place from automation.told_of_task() as t union all values ('contact', 0)) as f
    where f.field in ('contact', 'due', 'assigned_to') and not target.columns ? f.field and not columns ? f.field);
  needed text;
begin
  if target.name <> 'task' then
    return;
  end if;
  if lost is not null then
    raise notice 'automation: no column of % is known as %: what a task says of that is written nowhere',
      target.relation, lost
      using hint = format('Say which it is, {"%s": "<column>"}, or that there is none: null.',
        split_part(lost, ', ', 1));
  end if;
  for needed in
    select target.columns ->> f.field from automation.told_of_task() as f
    where automation.must_be_said(target, f.field) order by f.place
  loop
    raise warning 'automation: % of % must not be empty: a step that does not say it is refused, and so is what the '
      'office is told', needed, target.relation
      using hint = format('Say what it is then: defaults => {"%s": "<value>"}.', needed);
  end loop;
end;
$$;

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
  made.times_zone := automation.zone_of_times(columns);
  made.words := words;
  made.defaults := defaults;
  perform automation.check_columns('columns', relation,
    jsonb_strip_nulls(columns) - 'timestamps' || jsonb_build_object('id', made.id_column),
    known || '{id,timestamps}'::text[], '{}');
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
  perform automation.check_tenant_type(relation, made.columns ->> 'tenant');
  perform automation.warn_hidden(relation);
  perform automation.warn_unfilled(made, columns);
  perform automation.tell_of_tasks(made, columns);
  perform automation.tell_of_times(relation, made.times_zone,
    array(select c.value from jsonb_each_text(made.columns) as c));
  wrong := automation.late_constraint(relation);
  if target = 'timeline' and wrong is not null then
    raise exception 'relation: % of % is deferred: a row that breaks it would fail the commit of whoever wrote',
      wrong, relation using errcode = 'invalid_parameter_value', hint = 'Make it initially immediate.';
  end if;
  insert into automation.targets as t (name, relation, columns, words, defaults, id_column, times_zone)
  values (made.name, made.relation, made.columns, made.words, made.defaults, made.id_column, made.times_zone)
  on conflict on constraint targets_pkey do update set
    (relation, columns, words, defaults, id_column, times_zone) = row (
      excluded.relation, excluded.columns, excluded.words, excluded.defaults, excluded.id_column, excluded.times_zone);
  perform automation.remember_host_path();
  perform automation.guard_host_path();
  perform automation.check_words(made);
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
  'that must not be empty, and for those of fields that a step leaves out.';

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
