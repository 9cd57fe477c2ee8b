-- What came from older engines is the owner's and the service role's to look at.
alter table automation.legacy_imports enable row level security;
alter table automation.legacy_links enable row level security;
