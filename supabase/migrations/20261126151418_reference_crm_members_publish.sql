-- Small offices: whoever is a member publishes, as before there was a setting for it.
update automation.settings set value = 'true' where name = 'editors_publish';

-- DRAFTED from sql/ by scripts/migrations: edit there, or above this line.

set check_function_bodies = off;

select automation.regenerate_captures();

reset check_function_bodies;
