-- A CRM as an ORM of the JavaScript world makes it: quoted names in camelCase, keys and times that the program
-- makes (no default in the table), enums in a schema of their own, times without a zone that are UTC.
create schema crm_enums;
create type crm_enums."LeadStage" as enum ('NEW', 'CONTACTED', 'QUOTED', 'WON', 'LOST');
create type crm_enums."TaskStatus" as enum ('BACKLOG', 'IN_PROGRESS', 'DONE');
create type crm_enums."Priority" as enum ('LOW', 'MEDIUM', 'HIGH');
create type crm_enums."Role" as enum ('OWNER', 'ADMIN', 'MEMBER');

create table public."Organization" (
  "id" text not null primary key,
  "name" text not null,
  "timeZone" text not null default 'America/Chicago',
  "createdAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null,
  "deletedAt" timestamp(3)
);
create table public."User" (
  "id" text not null primary key,
  "email" text not null,
  "name" text,
  "hashedPassword" text
);
create table public."Membership" (
  "id" text not null primary key,
  "userId" text not null references public."User" ("id"),
  "organizationId" text not null references public."Organization" ("id") on delete cascade on update cascade,
  "role" crm_enums."Role" not null default 'MEMBER'
);
create table public."Contact" (
  "id" text not null primary key,
  "organizationId" text not null references public."Organization" ("id") on delete cascade on update cascade,
  "firstName" text,
  "lastName" text,
  "email" text,
  "phoneNumber" text,
  "stage" crm_enums."LeadStage" not null default 'NEW',
  "source" text,
  "customFields" jsonb not null default '{}',
  "ownerId" text,
  "followUpAt" timestamp(3),
  "createdAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null,
  "deletedAt" timestamp(3)
);
create table public."Tag" (
  "id" text not null primary key,
  "organizationId" text not null references public."Organization" ("id"),
  "name" text not null
);
create unique index "Tag_organizationId_name_key" on public."Tag" ("organizationId", "name");
create table public."_ContactToTag" (
  "A" text not null references public."Contact" ("id") on delete cascade on update cascade,
  "B" text not null references public."Tag" ("id") on delete cascade on update cascade,
  primary key ("A", "B")
);
create table public."Task" (
  "id" text not null primary key,
  "organizationId" text not null,
  "contactId" text references public."Contact" ("id") on delete set null on update cascade,
  "title" text not null,
  "status" crm_enums."TaskStatus" not null default 'BACKLOG',
  "priority" crm_enums."Priority" not null default 'MEDIUM',
  "dueDate" timestamp(3),
  "assigneeId" text,
  "createdAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null
);

insert into public."Organization" ("id", "name", "updatedAt") values
  ('cm3orgapex0000abcd', 'Apex Roofing', now()), ('cm3orgblue0000abcd', 'Blue Sky', now());
insert into public."User" ("id", "email", "name") values
  ('cm3userolivia00001', 'olivia@apex.example', 'Olivia Owner'), ('cm3usersam00000001', 'sam@apex.example', 'Sam Sales');
insert into public."Membership" values
  ('cm3mem1', 'cm3userolivia00001', 'cm3orgapex0000abcd', 'OWNER'),
  ('cm3mem2', 'cm3usersam00000001', 'cm3orgapex0000abcd', 'MEMBER');
insert into public."Tag" values ('cm3tagvip', 'cm3orgapex0000abcd', 'VIP');
