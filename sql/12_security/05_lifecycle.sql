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

grant insert (settings), update (settings) on public.workflows to authenticated;
