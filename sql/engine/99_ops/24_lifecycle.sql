-- What the engine remembers of runs in flight: nobody's but its own, and the service role may look.

alter table automation.signals enable row level security;
alter table automation.run_events enable row level security;
alter table automation.entries enable row level security;
alter table automation.rotations enable row level security;
alter table automation.split_assignments enable row level security;
alter table automation.activations enable row level security;
alter table automation.created_projects enable row level security;

grant select on
  automation.signals, automation.run_events, automation.entries, automation.rotations,
  automation.split_assignments, automation.activations, automation.created_projects
  to service_role;

grant insert (settings), update (settings) on ridgeline.workflows to authenticated;

alter table automation.notices enable row level security;
alter table ridgeline.workflow_holds enable row level security;
create policy workflow_holds_members_read on ridgeline.workflow_holds for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
revoke all on ridgeline.workflow_holds from anon, authenticated, service_role;
grant select on ridgeline.workflow_holds to authenticated, service_role;
alter table automation.troubles enable row level security;
grant select on automation.notices, automation.troubles to service_role;

alter table ridgeline.stage_changes enable row level security;
create policy stage_changes_members_read on ridgeline.stage_changes for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
revoke all on ridgeline.stage_changes from anon, authenticated, service_role;
grant select on ridgeline.stage_changes to authenticated, service_role;

alter table automation.inboxes enable row level security;
alter table automation.inbox_waiting enable row level security;
grant select on automation.inboxes, automation.inbox_waiting to service_role;

alter table automation.heartbeats enable row level security;
grant select on automation.heartbeats to service_role;

-- Who changed what is for those who may change it all.
alter table ridgeline.changes enable row level security;
create policy changes_admins_read on ridgeline.changes for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));
revoke all on ridgeline.changes from anon, authenticated, service_role;
grant select on ridgeline.changes to authenticated, service_role;
revoke all on function ridgeline.release_workflow(uuid) from public, anon;
grant execute on function ridgeline.release_workflow(uuid), automation.release_workflow(uuid)
  to authenticated, service_role;

alter table ridgeline.sending_pauses enable row level security;
create policy sending_pauses_members_read on ridgeline.sending_pauses for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
revoke all on ridgeline.sending_pauses from anon, authenticated, service_role;
grant select on ridgeline.sending_pauses to authenticated, service_role;
revoke all on function ridgeline.pause_sending(text, uuid), ridgeline.resume_sending(uuid) from public, anon;
grant execute on function
  automation.pause_sending(uuid, text), automation.resume_sending(uuid),
  ridgeline.pause_sending(text, uuid), ridgeline.resume_sending(uuid)
  to authenticated, service_role;

-- Where numbers are and which hours are open: facts that whoever looks after the installation keeps up to date.
alter table automation.area_codes enable row level security;
alter table automation.regions enable row level security;
alter table automation.open_hours enable row level security;
grant select on automation.area_codes, automation.regions, automation.open_hours to service_role;

-- Evidence is added, by functions that know who adds it, and never changed or deleted.
alter table ridgeline.consents enable row level security;
alter table automation.revoked_people enable row level security;
alter table automation.doubtful_stops enable row level security;
create policy consents_members_read on ridgeline.consents for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
revoke all on ridgeline.consents from anon, authenticated, service_role;
grant select on ridgeline.consents to authenticated, service_role;
grant select on automation.revoked_people, automation.doubtful_stops to service_role;
revoke all on function
  ridgeline.record_revocation(text, text, text, text, uuid), ridgeline.lift_revocation(text, text, text, uuid),
  ridgeline.grant_consent(text, text, text, text, text, uuid), ridgeline.answer_doubt(text, boolean, uuid)
  from public, anon;
grant execute on function
  automation.record_revocation(uuid, text, text, text, text), automation.lift_revocation(uuid, text, text, text),
  automation.grant_consent(uuid, text, text, text, text, text), automation.answer_doubt(uuid, text, boolean),
  ridgeline.record_revocation(text, text, text, text, uuid), ridgeline.lift_revocation(text, text, text, uuid),
  ridgeline.grant_consent(text, text, text, text, text, uuid), ridgeline.answer_doubt(text, boolean, uuid)
  to authenticated, service_role;

alter table automation.unsubscribe_secret enable row level security;
alter table automation.unsubscribe_tokens enable row level security;
revoke all on automation.unsubscribe_secret from service_role;
revoke execute on function automation.unsubscribe_token(uuid, text, bytea), automation.unsubscribe_secret(),
  automation.kept_unsubscribe_secret() from service_role;
grant execute on function automation.unsubscribe(text, text) to service_role;

alter table automation.links enable row level security;
grant execute on function automation.find_link(text), automation.record_click(text, text, text) to service_role;

alter table automation.marketing_sent enable row level security;
alter table automation.sender_slots enable row level security;
alter table automation.sender_days enable row level security;
alter table automation.sender_blocks enable row level security;
alter table automation.receiver_rests enable row level security;
alter table automation.daily_caps enable row level security;
alter table automation.prices enable row level security;
alter table automation.undecided enable row level security;
alter table automation.workflow_fuses enable row level security;
grant select on automation.daily_caps, automation.prices to service_role;
revoke all on function ridgeline.decide_consent(text, uuid) from public, anon;
grant execute on function automation.decide_consent(uuid, text), ridgeline.decide_consent(text, uuid)
  to authenticated, service_role;

alter table automation.merged_contacts enable row level security;
alter table automation.merges_due enable row level security;
grant select on automation.merged_contacts to service_role;
grant execute on function
  automation.merge_contacts(uuid, text, text), automation.contact_is_there(uuid, text),
  ridgeline.merge_contacts(text, text, uuid)
  to authenticated, service_role;
