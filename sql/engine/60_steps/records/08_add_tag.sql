-- A tag of the contact, put on.

create or replace function automation.fold_add_tag(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  return automation.fold_key(config, 'tag', '{tag_name,name}');
end;
$$;

create or replace function automation.check_add_tag(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_target_of(config, 'contact', path);
end;
$$;

-- A table of contacts may have no tags, or keep keys of tags in its list.
create or replace function automation.needs_tags(step jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.has_own_tags() or exists (
    select from automation.entities as e where e.name = 'contact' and e.tags is not null) then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    automation.step_path(step) || '.step_type', 'no_tags',
    format('%s has nothing to write to: contacts have no list of texts as tags, and no table that links them',
      step ->> 'type'),
    'Attach the table of contacts with {"tags": ...}, which says where they are: docs/attach.md.', 'warning'));
end;
$$;

create or replace function automation.needs_add_tag(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_record(step, scope, 'contact') || automation.needs_target(workflow, step, 'contact')
    || automation.needs_tags(step);
end;
$$;

create or replace function automation.imagine_add_tag(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tags jsonb := automation.present_tags(execution, input);
begin
  tags := automation.without_tag(tags, input ->> 'tag') || to_jsonb(btrim(input ->> 'tag'));
  if automation.has_own_tags() then
    perform automation.rehearse_fields(execution, 'contact', jsonb_build_object('tags', tags), input => input);
  end if;
  if automation.is_of_another(execution, 'contact', input) then
    return row(execution.trigger_data, '{}')::automation.imagined;
  end if;
  return row(automation.imagine_fields(execution.trigger_data, 'contact', jsonb_build_object('tags', tags)),
    '{}')::automation.imagined;
end;
$$;

create or replace function automation.perform_add_tag(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.add_tag(execution, input);
end;
$$;

create or replace function automation.holds_add_tag(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.has_own_tags();
end;
$$;

create or replace function automation.ready_add_tag(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.skip_untaggable(execution, prepared);
end;
$$;

create or replace function automation.would_add_tag(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('tag', btrim(prepared.input ->> 'tag'), 'added', true)
    || automation.would_target(execution, 'contact', prepared.input);
end;
$$;

select automation.register_step('add_tag', 'database', null,
  'Tags the contact; a tag that is new is made.', $schema${
  "required": ["tag"],
  "properties": {
    "tag": {"type": ["string", "number"], "minLength": 1, "format": "template", "description": "Its name."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another contact."}
  },
  "examples": [{"tag": "spring-campaign"}]
}$schema$);
