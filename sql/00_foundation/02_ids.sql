-- Identifiers of rows that are written at a high rate are time-ordered (UUID version 7, RFC 9562),
-- so that an insert touches the last page of an index and not a random one. Postgres has
-- uuidv7() from 18; before that the same layout is put together from its parts.

do $$
begin
  if current_setting('server_version_num')::int >= 180000 then
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return uuidv7();
  else
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return encode(
        set_bit(
          set_bit(
            overlay(
              uuid_send(gen_random_uuid())
              placing substring(
                int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
            52, 1),
          53, 1),
        'hex')::uuid;
  end if;
end;
$$;

comment on function automation.new_id() is
  'A time-ordered UUID (version 7). The body is bound when it is created, so it needs no '
  'search_path of its own and can be inlined into column defaults.';
