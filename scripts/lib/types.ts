// TypeScript types of the schemas public and ridgeline in the shape that supabase-js expects, from the catalogs.
import type { Sql } from "postgres";
import { z } from "zod";

const Column = z.object({
  name: z.string(),
  type: z.string(),
  nullable: z.boolean(),
  optional: z.boolean(),
  generated: z.boolean(),
});
const Relationship = z.object({
  foreignKeyName: z.string(),
  columns: z.array(z.string()),
  isOneToOne: z.boolean(),
  referencedRelation: z.string(),
  referencedColumns: z.array(z.string()),
});
const Relation = z.object({
  name: z.string(),
  writable: z.boolean(),
  is_view: z.boolean(),
  columns: z.array(Column),
  relationships: z.array(Relationship),
});
const Routine = z.object({
  name: z.string(),
  arguments: z.array(z.object({ name: z.string(), type: z.string(), optional: z.boolean() })),
  returned: z.array(z.object({ name: z.string(), type: z.string() })),
  type: z.string(),
  relation: z.string().nullable(),
  is_set: z.boolean(),
});
const Enumeration = z.object({ name: z.string(), labels: z.array(z.string()) });
const Catalog = z.object({
  relations: z.array(Relation),
  routines: z.array(Routine),
  enumerations: z.array(Enumeration),
});
type Catalog = z.infer<typeof Catalog>;

// A type's name is resolved through domains and arrays: "text", "text[]", or for an
// enumeration of these schemas "enum:schema:name".
const catalogQuery = `
with named_type as (
  select t.oid,
    case
      when t.typelem <> 0 and t.typcategory = 'A' then coalesce(e.name, format_type(t.typelem, null)) || '[]'
      else coalesce(e2.name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null))
    end as name
  from pg_type t
  left join lateral (
    select format('enum:%s:%s', n.nspname, x.typname) as name
    from pg_type x join pg_namespace n on n.oid = x.typnamespace
    where x.oid = t.typelem and x.typtype = 'e' and n.nspname in ('public', 'ridgeline')
  ) e on true
  left join lateral (
    select format('enum:%s:%s', n.nspname, x.typname) as name
    from pg_type x join pg_namespace n on n.oid = x.typnamespace
    where x.oid = t.oid and x.typtype = 'e' and n.nspname in ('public', 'ridgeline')
  ) e2 on true
),
relation as (
  select c.oid, c.relname::text as name, c.relkind in ('v', 'm') as is_view,
    c.relkind in ('r', 'p') as writable
  from pg_class c
  where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and not c.relispartition
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
),
relation_column as (
  select a.attrelid, jsonb_agg(jsonb_build_object(
    'name', a.attname, 'type', t.name, 'nullable', not a.attnotnull,
    'optional', a.atthasdef or a.attidentity <> '' or not a.attnotnull,
    'generated', a.attgenerated <> '' or a.attidentity = 'a'
  ) order by a.attname collate "C") as columns
  from pg_attribute a join named_type t on t.oid = a.atttypid
  where a.attnum > 0 and not a.attisdropped
  group by a.attrelid
),
relationship as (
  select k.conrelid, jsonb_agg(jsonb_build_object(
    'foreignKeyName', k.conname,
    'columns', own.names,
    'isOneToOne', exists (
      select from pg_index i
      where i.indrelid = k.conrelid and i.indisunique and i.indpred is null
        and i.indnkeyatts = cardinality(k.conkey)
        and (select array_agg(n order by n) from unnest(i.indkey::int2[]) n)
          = (select array_agg(n order by n) from unnest(k.conkey) n)
    ),
    'referencedRelation', f.relname,
    'referencedColumns', other.names
  ) order by k.conname collate "C") as relationships
  from pg_constraint k
  join pg_class f on f.oid = k.confrelid and f.relnamespace = $1::regnamespace
  cross join lateral (
    select array_agg(a.attname order by n.position) as names
    from unnest(k.conkey) with ordinality as n(attnum, position)
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.attnum
  ) own
  cross join lateral (
    select array_agg(a.attname order by n.position) as names
    from unnest(k.confkey) with ordinality as n(attnum, position)
    join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.attnum
  ) other
  where k.contype = 'f' and k.conparentid = 0
  group by k.conrelid
),
routine as (
  select p.oid, p.proname::text as name, p.proretset as is_set, t.name as type,
    r.name as relation,
    coalesce((
      select jsonb_agg(jsonb_build_object(
        'name', coalesce(nullif(p.proargnames[n], ''), ''), 'type', argument.name,
        'optional', n > p.pronargs - p.pronargdefaults
      ) order by n)
      from generate_series(1, p.pronargs) n
      join named_type argument on argument.oid = p.proargtypes[n - 1]
    ), '[]') as arguments,
    coalesce((
      select jsonb_agg(jsonb_build_object('name', p.proargnames[n], 'type', argument.name) order by n)
      from generate_subscripts(p.proallargtypes, 1) n
      join named_type argument on argument.oid = p.proallargtypes[n]
      where p.proargmodes[n] in ('t', 'o')
    ), '[]') as returned
  from pg_proc p
  join named_type t on t.oid = p.prorettype
  left join pg_type pt on pt.oid = p.prorettype
  left join relation r on r.oid = pt.typrelid
  where p.pronamespace = $1::regnamespace and p.prokind = 'f'
    and p.prorettype <> 'trigger'::regtype
    and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)
select jsonb_build_object(
  'relations', coalesce((
    select jsonb_agg(jsonb_build_object(
      'name', r.name, 'is_view', r.is_view, 'writable', r.writable, 'columns', c.columns,
      'relationships', coalesce(f.relationships, '[]')
    ) order by r.name collate "C")
    from relation r
    join relation_column c on c.attrelid = r.oid
    left join relationship f on f.conrelid = r.oid
  ), '[]'),
  'routines', coalesce((
    select jsonb_agg(to_jsonb(routine) - 'oid' order by name collate "C", arguments::text) from routine
  ), '[]'),
  'enumerations', coalesce((
    select jsonb_agg(jsonb_build_object('name', t.typname, 'labels', (
      select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid
    )) order by t.typname collate "C")
    from pg_type t where t.typtype = 'e' and t.typnamespace = $1::regnamespace
  ), '[]')
) as catalog`;

const numbers = new Set([
  "smallint",
  "integer",
  "bigint",
  "real",
  "double precision",
  "numeric",
  "oid",
]);

function typescriptOf(type: string): string {
  if (type.endsWith("[]")) return `${typescriptOf(type.slice(0, -2))}[]`;
  const [, schema, name] = /^enum:(\w+):(\w+)$/.exec(type) ?? [];
  if (schema && name) return `Database["${schema}"]["Enums"]["${name}"]`;
  if (numbers.has(type)) return "number";
  if (type === "boolean") return "boolean";
  if (type === "json" || type === "jsonb") return "Json";
  if (type === "void") return "undefined";
  if (type === "record") return "Record<string, unknown>";
  return "string";
}

const quoted = (names: string[]) => `[${names.map((name) => JSON.stringify(name)).join(", ")}]`;

function relation({ columns, relationships, writable, is_view }: Catalog["relations"][number]) {
  const value = (column: z.infer<typeof Column>) =>
    typescriptOf(column.type) + (column.nullable ? " | null" : "");
  const row = columns.map((column) => `${column.name}: ${value(column)}`);
  const written = (optional: (column: z.infer<typeof Column>) => boolean) =>
    columns.map((column) =>
      column.generated
        ? `${column.name}?: never`
        : `${column.name}${optional(column) ? "?" : ""}: ${value(column)}`
    );
  const members = [`Row: {\n${row.map((line) => `${line};`).join("\n")}\n};`];
  if (writable && !is_view) {
    const insert = written((column) => column.optional);
    const update = written(() => true);
    members.push(`Insert: {\n${insert.map((line) => `${line};`).join("\n")}\n};`);
    members.push(`Update: {\n${update.map((line) => `${line};`).join("\n")}\n};`);
  }
  const links = relationships.map((link) =>
    `{\nforeignKeyName: ${JSON.stringify(link.foreignKeyName)};\n` +
    `columns: ${quoted(link.columns)};\nisOneToOne: ${link.isOneToOne};\n` +
    `referencedRelation: ${JSON.stringify(link.referencedRelation)};\n` +
    `referencedColumns: ${quoted(link.referencedColumns)};\n},`
  );
  members.push(links.length ? `Relationships: [\n${links.join("\n")}\n];` : "Relationships: [];");
  return members.join("\n");
}

function routine(schema: string, one: Catalog["routines"][number]): string {
  const named = one.arguments.filter((argument) => argument.name);
  const parameters = named.map(({ name, type, optional }) =>
    `${name}${optional ? "?" : ""}: ${typescriptOf(type)};`
  );
  const row = one.relation
    ? `Database["${schema}"]["Tables"]["${one.relation}"]["Row"]`
    : one.returned.length
    ? `{\n${one.returned.map(({ name, type }) => `${name}: ${typescriptOf(type)};`).join("\n")}\n}`
    : typescriptOf(one.type);
  const head = parameters.length ? `Args: {\n${parameters.join("\n")}\n};` : "Args: never;";
  const options = one.relation
    ? `\nSetofOptions: {\nfrom: "*";\nto: "${one.relation}";\n` +
      `isOneToOne: ${!one.is_set};\nisSetofReturn: ${one.is_set};\n};`
    : "";
  return `${head}\nReturns: ${row}${one.is_set ? "[]" : ""};${options}`;
}

const group = (name: string, members: [name: string, body: string][]) =>
  members.length === 0
    ? `${name}: Record<never, never>;`
    : `${name}: {\n${members.map(([key, body]) => `${key}: ${body};`).join("\n")}\n};`;

function indent(source: string): string {
  let depth = 0;
  return source.split("\n").map((line) => {
    if (/^[}\]]/.test(line)) depth--;
    const indented = line ? "  ".repeat(depth) + line : line;
    if (/[{[]$/.test(line)) depth++;
    return indented;
  }).join("\n");
}

async function schemaTypes(sql: Sql, schema: string): Promise<string> {
  const [row] = await sql.unsafe(catalogQuery, [schema]);
  const { relations, routines, enumerations } = Catalog.parse(row?.catalog);
  const entry = (one: Catalog["relations"][number]): [string, string] => [
    one.name,
    `{\n${relation(one)}\n}`,
  ];
  const overloads = new Map<string, Catalog["routines"]>();
  for (const one of routines) overloads.set(one.name, [...overloads.get(one.name) ?? [], one]);
  return [
    `${schema}: {`,
    group("Tables", relations.filter((one) => !one.is_view).map(entry)),
    group("Views", relations.filter((one) => one.is_view).map(entry)),
    group(
      "Functions",
      [...overloads].map(([name, ones]) => [
        name,
        ones.map((one) => `{\n${routine(schema, one)}\n}`).join("\n| "),
      ]),
    ),
    group(
      "Enums",
      enumerations.map(({ name, labels }) => [
        name,
        labels.map((label) => JSON.stringify(label)).join(" | "),
      ]),
    ),
    "CompositeTypes: Record<never, never>;",
    "};",
  ].join("\n");
}

export async function databaseTypes(sql: Sql): Promise<string> {
  return indent([
    "// Generated from the database by scripts/types. Do not edit.",
    "",
    "export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];",
    "",
    "export type Database = {",
    await schemaTypes(sql, "public"),
    await schemaTypes(sql, "ridgeline"),
    "};",
    "",
  ].join("\n"));
}
