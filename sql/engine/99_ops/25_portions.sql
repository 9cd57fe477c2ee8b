-- What is being worked on: the engine's own; the service role may look.

alter table automation.portions enable row level security;
alter table automation.suspects enable row level security;
alter table automation.tick_portions enable row level security;
alter table automation.tick_parts enable row level security;
alter table automation.pruned enable row level security;
alter table automation.retention_places enable row level security;

grant select on
  automation.portions, automation.suspects, automation.tick_portions, automation.tick_parts,
  automation.pruned, automation.retention_places
  to service_role;
