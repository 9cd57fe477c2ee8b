-- A CRM as Ruby on Rails makes it: bigint keys, an account for a tenant, times without a zone and without a default,
-- enums as numbers, tags of every kind of record in one table, telephone numbers in one of their own, an audit that
-- writes rows as JSON.
create table public.accounts (
  id bigserial primary key,
  name varchar not null,
  time_zone varchar default 'America/Denver',
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null,
  discarded_at timestamp(6)
);
create table public.users (
  id bigserial primary key,
  account_id bigint not null references public.accounts (id),
  email text not null,
  name varchar,
  encrypted_password varchar not null default '',
  role integer not null default 0,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null,
  discarded_at timestamp(6)
);
create table public.contacts (
  id bigserial primary key,
  account_id bigint not null references public.accounts (id),
  type varchar,
  first_name varchar,
  last_name varchar,
  status integer not null default 0,
  owner_id bigint references public.users (id),
  search tsvector generated always as (to_tsvector('simple', coalesce(first_name, '') || ' ' || coalesce(last_name, ''))) stored,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null,
  discarded_at timestamp(6)
);
create table public.contact_phones (
  id bigserial primary key,
  contact_id bigint not null references public.contacts (id) on delete cascade,
  number varchar not null,
  "primary" boolean not null default false,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null
);
create table public.tags (
  id bigserial primary key,
  name varchar unique,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null
);
create table public.taggings (
  id bigserial primary key,
  tag_id bigint references public.tags (id),
  taggable_type varchar not null,
  taggable_id bigint not null,
  context varchar(128) not null,
  created_at timestamp(6) not null
);
create unique index taggings_once on public.taggings (tag_id, taggable_id, taggable_type, context);
create table public.tasks (
  id bigserial primary key,
  account_id bigint not null references public.accounts (id),
  contact_id bigint,
  title varchar not null,
  body text,
  status integer not null default 0,
  priority integer not null default 1,
  due_on date,
  user_id bigint references public.users (id),
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null
);
create table public.activities (
  id bigserial,
  account_id bigint not null,
  contact_id bigint,
  kind varchar not null,
  body text,
  occurred_at timestamp(6) not null,
  primary key (id, occurred_at)
) partition by range (occurred_at);
create table public.activities_now partition of public.activities for values from ('2020-01-01') to ('2100-01-01');
create table public.audits (
  id bigserial primary key,
  table_name text not null,
  row_after jsonb
);

create function public.touch() returns trigger language plpgsql
  as $$ begin new.updated_at = now() at time zone 'utc'; return new; end $$;
create function public.audit() returns trigger language plpgsql
  as $$ begin insert into public.audits (table_name, row_after) values (tg_table_name, to_jsonb(new)); return null; end $$;
create trigger contacts_touch before insert or update on public.contacts for each row execute function public.touch();
create trigger contacts_audit after insert or update on public.contacts for each row execute function public.audit();
create trigger tasks_audit after insert or update on public.tasks for each row execute function public.audit();

insert into public.accounts (name, created_at, updated_at) values ('Apex', now(), now()), ('Blue', now(), now());
insert into public.users (account_id, email, name, role, created_at, updated_at) values
  (1, 'olivia@apex.example', 'Olivia', 2, now(), now()), (1, 'sam@apex.example', 'Sam', 0, now(), now());
insert into public.tags (name, created_at, updated_at) values ('vip', now(), now());
