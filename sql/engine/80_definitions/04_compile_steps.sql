-- step_config -> the configuration a step runs with: other spellings folded into one, and that
-- checked against the step's schema, the grammars it names, and the names in the database.

create or replace function automation.fold_step_config(step_type text, config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.step_fold(step_type, automation.without_own_type(step_type, config));
end;
$$;

comment on function automation.fold_step_config(text, jsonb) is
  'A step_config in the one spelling that its schema describes; the older engines had others.';

-- What the schema and its grammars say, and then whether what it names is there.
create or replace function automation.check_step_config(step_type text, config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select automation.check_schema(t.config_schema, config, path)
      || automation.check_step_entity(config, path)
      || case when config ? 'event' and t.config_schema -> 'properties' ? 'event'
        then automation.check_event(config -> 'event', path || '.event') else '[]' end
      || automation.step_check(step_type, config, path)
    from automation.step_types as t
    where t.name = step_type);
end;
$$;

comment on function automation.check_step_config(text, jsonb, text) is
  'What is wrong with a folded step_config, apart from its templates.';

create or replace function automation.check_step_entity(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when jsonb_typeof(config -> 'entity') = 'string' and config ->> 'entity' not like '%{{%'
      then automation.check_entity(config ->> 'entity', path || '.entity')
    else '[]'
  end;
end;
$$;

-- What is wrong with an event that has the shape of one; its schema says whether it has.
create or replace function automation.check_event(event jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(event) = 'string' or jsonb_typeof(event -> 'type') = 'string'
          and coalesce(jsonb_typeof(event -> 'config'), 'object') = 'object'
        then (automation.compile_event(event, path)).problems
      else '[]'
    end
  $$;
