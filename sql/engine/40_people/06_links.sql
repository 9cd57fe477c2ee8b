-- LINKS IN TEXTS
--
-- A text has no images and no headers: whether somebody followed its link is known only where the link leads through
-- us (functions/link). Each link of each rendering has a code of its own. It stands in what was sent, so that an
-- attempt that is repeated repeats it, and a new rendition gets a new one.

alter table ridgeline.messages
  add column clicked_at timestamptz,
  add column step_key text;

comment on column ridgeline.messages.clicked_at is
  'When a person first followed a link of a text whose step says track_links.';
comment on column ridgeline.messages.step_key is 'Of a text that a workflow sent: by which of its steps.';

create table automation.links (
  tenant_id uuid not null,
  code text not null,
  step_id uuid not null,
  contact_id text,
  recipient text,
  url text not null constraint links_url_is_web check (url ~* '^https?://[^\s]+$'),
  created_at timestamptz not null default automation.now(),
  requested_at timestamptz,
  requests integer not null default 0,
  machine_requests integer not null default 0,
  machine_reason text,
  clicked_at timestamptz,
  constraint links_pkey primary key (tenant_id, code)
);

comment on table automation.links is
  'Where the links of texts lead, by the code in them. Kept for the setting keep_links.';
comment on column automation.links.clicked_at is 'When a person first followed it; machines do not count.';
comment on column automation.links.machine_reason is 'Why the last request of a machine was taken for one.';

-- Whoever follows a link does not say whose it is.
create index links_by_code on automation.links (code);
create index links_by_step on automation.links (step_id, tenant_id);
create index links_by_age on automation.links (created_at);

-- Eleven letters and digits are 65 bits. A guess costs a request: with a million links alive, a thousand guesses a
-- second find one in a million years. Shorter would be guessed, longer costs segments. Nothing is derived from it: a
-- code that was made is a code that was stored. None of - and _, which telephones leave out at the end of a link.
create or replace function automation.link_code() returns text
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return left(translate(encode(sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), '+/=', ''), 11);
end;
$$;

-- The hosts that stand whole in what somebody wrote: what follows is no variable, which could make it another's.
create or replace function automation.written_hosts(written text) returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select lower(rtrim(m.found[1], '.,;:!'))
    from regexp_matches(
      written, 'https?://([^][\s/?#{}<>"''`\\()|^]+)(?=[/?#\s"''()<>]|$)', 'gi') as m (found));
end;
$$;

-- A link that leads through us to anywhere is a gift to whoever wants to look like the office: only what leads to a
-- host that the author wrote out (or to the office's own site) does. What a record holds goes out as it is.
create or replace function automation.track_links(
  written text, body text, site text, base text, out tracked text, out links jsonb, out left_out text[])
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  hosts constant text[] := automation.written_hosts(written) || automation.written_hosts(site);
  pattern constant text := '(https?://[^][\s<>"`\\{}|^]+)';
  rest text := body;
  found text;
  url text;
  code text;
begin
  tracked := '';
  links := '[]';
  left_out := '{}';
  loop
    found := (regexp_match(rest, pattern, 'i'))[1];
    exit when found is null;
    tracked := tracked || left(rest, strpos(rest, found) - 1);
    rest := substr(rest, strpos(rest, found) + length(found));
    -- What ends a sentence ends no link.
    url := regexp_replace(found, '[.,;:!?)''’”…]+$', '');
    if lower((regexp_match(url, '^https?://([^/?#]+)', 'i'))[1]) = any (hosts) and length(url) <= 2000 then
      code := coalesce(
        (select l ->> 'code' from jsonb_array_elements(links) as l where l ->> 'url' = url), automation.link_code());
      links := links || case when links @> jsonb_build_array(jsonb_build_object('code', code)) then '[]'
        else jsonb_build_array(jsonb_build_object('code', code, 'url', url)) end;
      tracked := tracked || base || '/' || code || substr(found, length(url) + 1);
    else
      tracked := tracked || found;
      left_out := left_out || url;
    end if;
  end loop;
  tracked := tracked || rest;
end;
$$;

comment on function automation.track_links(text, text, text, text) is
  'A rendered text with links that lead through base. written: what the step says, whose hosts alone are meant; '
  'site: the office''s own. links: [{code, url}]; left_out: links that stay as they were.';

-- The row of a message is written when its dispatcher reports, and somebody may have been quicker.
create or replace function automation.note_early_click(tenant_id uuid, step_id uuid, provider_id text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  update ridgeline.messages as m set clicked_at = l.clicked_at
  from (
    select min(k.clicked_at) as clicked_at from automation.links as k
    where k.step_id = note_early_click.step_id and k.tenant_id = note_early_click.tenant_id
  ) as l
  where m.provider_id = note_early_click.provider_id and m.tenant_id = note_early_click.tenant_id
    and m.direction = 'outbound' and m.clicked_at is null and l.clicked_at is not null;
end;
$$;
