-- Back again: what an import made goes, as long as nothing has run of it since.

-- Why it stays; null: it can go.
create or replace function automation.why_kept(import automation.legacy_imports) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when exists (
        select from ridgeline.workflow_executions as e
        -- A shadow has done nothing for anybody.
        where e.workflow_id = import.workflow_id and e.tenant_id = import.tenant_id
          and e.mode not in ('imported', 'shadow')
          and not exists (
            select from automation.legacy_links as l
            where l.tenant_id = e.tenant_id and l.workflow_id = e.workflow_id and l.execution_id = e.id))
        then 'it has run here since'
      when import.revision <> automation.revision_of(w) then 'it was edited here since'
    end
    from ridgeline.workflows as w
    where w.tenant_id = import.tenant_id and w.id = import.workflow_id
  $$;

-- A page of the history of a workflow; how many went.
create or replace function automation.undo_history(tenant_id uuid, workflow_id uuid, most integer default 5000)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gone integer;
begin
  with page as (
    select l.source, l.legacy_id from automation.legacy_links as l
    where l.tenant_id = undo_history.tenant_id and l.workflow_id = undo_history.workflow_id and l.kind = 'history'
    limit most
  ), unlinked as (
    delete from automation.legacy_links as l using page as p
    where l.tenant_id = undo_history.tenant_id and l.source = p.source and l.legacy_id = p.legacy_id
    returning l.execution_id
  )
  delete from ridgeline.workflow_executions as e using unlinked as u
  where e.tenant_id = undo_history.tenant_id and e.id = u.execution_id and e.mode = 'imported';
  get diagnostics gone = row_count;
  return gone;
end;
$$;

create or replace function automation.undo_import(tenant_id uuid, source text, legacy_id text, part integer)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  import automation.legacy_imports;
  link automation.legacy_links;
  given_back integer := 0;
  kept integer := 0;
  reason text;
  secret text;
begin
  select i.* into import from automation.legacy_imports as i
  where (i.tenant_id, i.source, i.legacy_id, i.part)
    = (undo_import.tenant_id, undo_import.source, undo_import.legacy_id, undo_import.part)
  for update;
  if not found then
    return jsonb_build_object('undone', false, 'reason', 'it was not imported');
  end if;
  reason := automation.why_kept(import);
  if reason is not null then
    return jsonb_build_object('undone', false, 'reason', reason, 'given_back', 0, 'workflow_id', import.workflow_id);
  end if;
  -- Whoever writes a record at this moment may have matched it already: what their run refers to goes when nobody can.
  update ridgeline.workflows as w set is_active = false
  where w.tenant_id = import.tenant_id and w.id = import.workflow_id and w.is_active;
  if found then
    return jsonb_build_object('undone', false, 'again', true);
  end if;
  for link in
    select l.* from automation.legacy_links as l
    where l.tenant_id = import.tenant_id and l.workflow_id = import.workflow_id and l.kind = 'in_flight'
  loop
    if automation.give_back_run(link) then
      given_back := given_back + 1;
    else
      kept := kept + 1;
    end if;
  end loop;
  if kept > 0 then
    return jsonb_build_object('undone', false, 'given_back', given_back, 'workflow_id', import.workflow_id,
      'reason', format('%s of the runs that were taken over have gone on here', kept));
  end if;
  -- Its history went before, a page at a time; whatever is left goes along.
  delete from automation.legacy_links as l
  where l.tenant_id = import.tenant_id and l.workflow_id = import.workflow_id;
  foreach secret in array import.secrets loop
    continue when exists (
      select from automation.legacy_imports as i
      where i.tenant_id = import.tenant_id and secret = any (i.secrets) and i.workflow_id <> import.workflow_id);
    perform automation.delete_secret(import.tenant_id, secret);
  end loop;
  update ridgeline.workflows as w set published_version = null
  where w.tenant_id = import.tenant_id and w.id = import.workflow_id;
  delete from ridgeline.workflows as w where w.tenant_id = import.tenant_id and w.id = import.workflow_id;
  return jsonb_build_object('undone', true, 'given_back', given_back);
end;
$$;

comment on function automation.undo_import(uuid, text, text, integer) is
  'Takes out what an import made: {undone, again, reason, given_back}. Runs that were taken over and stand where they '
  'stood go back to the old engine. What has run here since, or was edited, stays as it is. again: it is switched off '
  'now; commit, and call once more.';
