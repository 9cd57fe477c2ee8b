-- Identifiers of rows that are written at a high rate are time-ordered (UUID version 7, RFC 9562),
-- so that an insert touches the last page of an index and not a random one. Postgres has
-- uuidv7() from 18; before that the same layout is put together from its parts: 48 bits of milliseconds,
-- the version, 12 bits of their fraction (so that what one transaction writes keeps its order), and lot.

do $$
begin
  if current_setting('server_version_num')::int >= 180000 then
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return uuidv7();
  else
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return (
        overlay(
          lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0')
          placing '7' from 13 for 0)
        || substr(gen_random_uuid()::text, 20))::uuid;
  end if;
end;
$$;

comment on function automation.new_id() is
  'A time-ordered UUID (version 7). The body is bound when it is created, so it needs no '
  'search_path of its own and can be inlined into column defaults.';
