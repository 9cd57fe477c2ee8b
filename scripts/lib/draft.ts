// The draft of a migration: what makes one database of ours into another, from their catalogs.
import fs from "node:fs";
import type { Sql } from "postgres";
import { type CatalogObject, catalogOf, type Kind, kinds, rowsOfTable } from "./catalog.ts";

/** Above it a migration says what no draft can know; below it, what its draft says. */
export const MARK =
  "-- DRAFTED from sql/ by scripts/migrations: edit there, or above this line.\n\n";

/** What of a migration is written by hand: it comes first. */
export const handwritten = (file: string) =>
  fs.existsSync(file) ? fs.readFileSync(file, "utf8").split(MARK)[0]! : "";

/** The names of the functions that a script creates itself, rather than through what it calls. */
export function writtenRoutines(script: string): Set<string> {
  const created = script.matchAll(
    /^ *create (?:or replace )?(?:function|procedure|aggregate) ([a-z0-9_.]+)/gm,
  );
  return new Set([...created].map(([, name]) => name!));
}

/** What attach() generates is generated again, not written down: the tables of a host are in it. */
function isGenerated({ name }: CatalogObject, written: ReadonlySet<string>): boolean {
  const routine = /^(?:(?:function|procedure) )?(automation\.\w+)\(/.exec(name)?.[1];
  return routine !== undefined && !written.has(routine);
}

/** Kinds with a statement that changes an object in place, whatever changed but its shape. */
const REPLACED: readonly Kind[] = [
  "routine",
  "default",
  "setting",
  "comment",
  "grants",
  "default privileges",
  "rows",
];
/** What changes in place by hand alone; the rest of it is in kinds of their own. */
const BY_HAND: readonly Kind[] = ["type", "table", "sequence", "column"];
const REBUILT: readonly Kind[] = ["view", "policy"];

export interface Draft {
  /** What nobody else can see yet: new tables, and functions. It is said while the CRM goes on writing. */
  beside: string[];
  /** What locks tables that are in use. */
  statements: string[];
  /** After what is generated has been generated again. */
  afterwards: string[];
  /** What no statement of a draft can do: to be written by hand, in its place. */
  byHand: string[];
}

/** `written`: the functions that the sources of both databases write themselves. */
export async function draftMigration(
  from: Sql,
  to: Sql,
  schemas: readonly string[],
  written: ReadonlySet<string>,
): Promise<Draft> {
  const [before, after] = [await catalogOf(from, schemas), await catalogOf(to, schemas)];
  const own = (one: CatalogObject) => !isGenerated(one, written);
  const gone = [...before.values()].filter((one) => !after.has(idOf(one)));
  const made = [...after.values()].filter((one) => !before.has(idOf(one)) && own(one));
  const kept = [...after.values()].filter((one) => before.has(idOf(one)) && own(one))
    .map((now) => ({ was: before.get(idOf(now))!, now }));
  const changed = kept.filter(({ was, now }) =>
    was.shape !== now.shape ||
    was.create !== now.create && now.kind !== "column" && now.kind !== "table"
  );
  const reshaped = changed.filter(({ was, now }) =>
    was.shape !== now.shape || !REPLACED.includes(now.kind)
  );

  const rebuilt = holdingOn(
    [...gone.filter(own), ...reshaped.map(({ was }) => was)],
    kept.filter(({ now }) => REBUILT.includes(now.kind)),
  );
  const dropped = unique([
    ...gone.filter(own),
    ...reshaped.filter(({ now }) => !BY_HAND.includes(now.kind)).map(({ was }) => was),
    ...rebuilt.map(({ was }) => was),
  ]);
  const droppedTables = gone.filter(({ kind }) => kind === "table").map(({ name }) => name);
  const goesWithTable = ({ kind, name }: CatalogObject) =>
    kind !== "table" && droppedTables.some((table) => name.startsWith(`${table}.`));
  const byHand = reshaped.filter(({ now }) => BY_HAND.includes(now.kind))
    .map(({ was, now }) => `${now.kind} ${now.name}: was ${was.create}, is ${now.create}`);

  const drops = [...kinds].reverse().flatMap((kind) =>
    sorted(kind, dropped.filter((one) => one.kind === kind)).reverse()
      .filter((one) => one.drop !== null && !goesWithTable(one))
      .filter((one) => kind !== "comment" || isStillThere(one, after, dropped))
      .map((one) => one.drop!)
  );
  const generatedBefore = gone.filter((one) => one.kind === "routine" && !own(one))
    .map(({ name }) => `drop function if exists ${name} cascade`);
  const again = new Set(dropped.map(idOf));
  const added = new Set(made.filter(({ kind }) => kind === "column").map(({ name }) => name));
  const newTables = new Set(made.filter(({ kind }) => kind === "table").map(({ name }) => name));
  const isNew = isOfNew(made, new Set(dropped.map(idOf)));
  const creates = [...kinds].flatMap((kind) => {
    const all = [
      ...made.filter((one) =>
        one.kind === kind &&
        !(kind === "default" && added.has(one.name) && !newTables.has(relationOf(one)))
      ),
      ...changed.filter(({ now }) =>
        now.kind === kind &&
        (REPLACED.includes(kind) || again.has(idOf(now)))
      ).map(({ now }) => now),
      ...rebuilt.filter(({ now }) => now.kind === kind).map(({ now }) => now),
      ...[...after.values()].filter((one) =>
        one.kind === kind && (kind === "comment" || kind === "grants") &&
        isOfAny(one, dropped)
      ),
    ];
    if (kind === "grants") all.push(...columnsOf(all, after));
    return sorted(kind, unique(all)).map((one) => ({
      isBeside: isNew(one),
      statement: kind === "column" && newTables.has(relationOf(one))
        // The default of a new table may call a function that comes after it.
        ? one.create.replace(/ default .*$/s, "").replace(/ not null$/, "")
        : kind === "index" && !isNew(one)
        ? builtBefore(one)
        : one.create,
    }));
  });
  const saying = (isBeside: boolean) =>
    creates.filter((one) => one.isBeside === isBeside).map(({ statement }) => statement);
  const beside = saying(true);
  for (const table of newTables) beside.push(...await rowsOfTable(to, table));
  return {
    beside,
    statements: [...drops, ...saying(false)],
    afterwards: generatedBefore,
    byHand,
  };
}

/** Of a table with much in it an index may have been built beforehand, concurrently, with _next after its name. */
function builtBefore({ name, create }: CatalogObject): string {
  return `do $$
begin
  if exists (select from pg_catalog.pg_index as i where i.indexrelid = to_regclass('${name}_next') and i.indisvalid) then
    alter index ${name}_next rename to ${name.split(".").at(-1)};
  else
    drop index if exists ${name}_next;
    ${create};
  end if;
end;
$$`;
}

/**
 * Does making it lock nothing that anybody uses? A function is replaced without a lock; one that is dropped first may be
 * held on to by a policy.
 */
function isOfNew(made: readonly CatalogObject[], dropped: ReadonlySet<string>) {
  const fresh = new Set(
    made.filter(({ kind }) => ["type", "table", "sequence"].includes(kind)).map(({ name }) => name),
  );
  const isRoutine = (name: string) => !dropped.has(`routine ${name}`);
  return (one: CatalogObject): boolean => {
    const { kind, name, create } = one;
    switch (kind) {
      case "routine":
        return isRoutine(name);
      case "type":
      case "table":
      case "sequence":
        return fresh.has(name);
      case "column":
      case "default":
      case "setting":
        return fresh.has(kind === "setting" ? name : relationOf(one));
      case "constraint":
        // A key that refers to a table locks that one, too.
        return fresh.has(relationOf(one)) && !one.shape.startsWith("z");
      case "index":
        return fresh.has(/ ON (?:ONLY )?(\S+) USING /.exec(create)?.[1] ?? "");
      case "rows":
        return fresh.has(name.split(" ")[0]!);
      case "comment":
      case "grants": {
        const [, word, object] = /^(\w+) (\S+(?: .*)?)$/s.exec(name)!;
        if (word === "function" || word === "procedure") return isRoutine(object!);
        const relation = object!.replace(/ .*$/s, "").split(".").slice(0, 2).join(".");
        return fresh.has(relation);
      }
      default:
        return false;
    }
  };
}

interface Pair {
  was: CatalogObject;
  now: CatalogObject;
}

/** A view and a policy hold on to the functions and columns they name, and to views that are built anew. */
function holdingOn(lost: readonly CatalogObject[], among: readonly Pair[]): Pair[] {
  const names = lost.filter(({ kind }) => ["routine", "column", "view"].includes(kind))
    .map(({ name }) => name.replace(/\(.*$/s, "").split(".").at(-1)!);
  const found = among.filter(({ was }) => names.some((name) => was.create.includes(name)));
  const views = found.map(({ was }) => was).filter(({ kind }) => kind === "view")
    .filter((view) => !lost.includes(view));
  return views.length === 0 ? found : holdingOn([...lost, ...views], among);
}

const unique = (objects: CatalogObject[]) => [
  ...new Map(objects.map((one) => [idOf(one), one])).values(),
];
const idOf = ({ kind, name }: CatalogObject) => `${kind} ${name}`;
const relationOf = ({ name }: CatalogObject) => name.split(".").slice(0, 2).join(".");

/** The comment or the grants of an object that was dropped are gone with it. */
function isOfAny({ name }: CatalogObject, dropped: readonly CatalogObject[]): boolean {
  const object = name.replace(/^(table|view|function|procedure|index|sequence|type) /, "");
  return dropped.some((one) =>
    ["routine", "view", "index"].includes(one.kind) && one.name === object
  );
}

function isStillThere(
  { name }: CatalogObject,
  after: ReadonlyMap<string, CatalogObject>,
  dropped: readonly CatalogObject[],
): boolean {
  const [, word, object] = /^(\w+) (.*)$/s.exec(name)!;
  const kind = { function: "routine", procedure: "routine" }[word!] ?? word!;
  return after.has(`${kind} ${object}`) &&
    !dropped.some((one) => one.kind === kind && one.name === object);
}

const isOfColumn = ({ name }: CatalogObject) => name.includes(" (");

/** What is revoked from a table is revoked from its columns: they are granted again. */
function columnsOf(
  grants: readonly CatalogObject[],
  after: ReadonlyMap<string, CatalogObject>,
): CatalogObject[] {
  const tables = new Set(grants.map(({ name }) => name));
  return [...after.values()].filter((one) =>
    one.kind === "grants" && isOfColumn(one) && tables.has(one.name.replace(/ \(.*$/s, ""))
  );
}

/** Keys before what refers to them, tables before their columns; the rest in the order in which the database was built. */
function sorted(kind: Kind, objects: CatalogObject[]): CatalogObject[] {
  if (kind === "grants") {
    return [...objects].sort((a, b) => Number(isOfColumn(a)) - Number(isOfColumn(b)));
  }
  if (kind !== "constraint") return objects;
  return [...objects].sort((a, b) => rank(a) - rank(b));
}
const rank = ({ shape }: CatalogObject) => "puxcz".indexOf(shape[0]!);

/**
 * Everything that is in use is locked at once, or given back at once: whoever writes to the CRM holds its table and then
 * asks ours, the engine does the reverse, and a function that waited in between would go on with what is gone.
 *
 * The CRM's tables come first and soon, or they are given back before anybody's search for a deadlock begins (a
 * second): so it is never a user's write that is ended. The engine's own workers may be: they try again.
 */
const alone =
  `-- From here on the tables of the engine are in use by nobody else, and those it is attached to are only read.
do $$
declare
  most constant text := current_setting('lock_timeout');
  begun constant timestamptz := clock_timestamp();
  until timestamptz;
  tables record;
begin
  loop
    begin
      until := clock_timestamp() + interval '0.8 seconds';
      for tables in
        select c.oid::regclass as name, n.nspname in ('automation', 'ridgeline') as is_ours,
          lag(n.nspname in ('automation', 'ridgeline'), 1, false) over w as was_ours
        from pg_catalog.pg_class as c
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and pg_has_role(c.relowner, 'usage') and (
          n.nspname in ('automation', 'ridgeline') or c.oid in (
            select to_regclass(e.relation) from automation.entities as e
            union all select to_regclass(t.relation) from automation.tenancy as t
            union all select to_regclass(m.relation) from automation.membership as m))
        window w as (order by n.nspname in ('automation', 'ridgeline'), c.oid)
        order by 2, c.oid
      loop
        if tables.is_ours and not tables.was_ours then
          until := clock_timestamp() + interval '2 seconds';
        end if;
        loop
          begin
            perform set_config('lock_timeout', greatest(1, least(700,
              ceil(extract(epoch from until - clock_timestamp()) * 1000)))::text, true);
            -- Of the CRM: nobody writes, and whoever reads does not wait.
            execute format('lock table %s in %s mode', tables.name,
              case when tables.is_ours then 'access exclusive' else 'share row exclusive' end);
            exit;
          exception when lock_not_available then
            if clock_timestamp() >= until then
              raise;
            end if;
          end;
        end loop;
      end loop;
      exit;
    exception when lock_not_available or deadlock_detected then
      if clock_timestamp() > begun + interval '75 seconds' then
        raise exception '% has been in use for too long: nothing is changed', tables.name
          using errcode = 'lock_not_available',
            hint = 'End transactions that are open for long (pg_stat_activity), and push again.';
      end if;
    end;
    perform pg_sleep(0.5 + random());
  end loop;
  perform set_config('lock_timeout', most, true);
end;
$$;`;

/** The draft as a migration's text. */
export function draftScript({ beside, statements, afterwards, byHand }: Draft): string {
  return [
    "set check_function_bodies = off;",
    ...byHand.map((one) => `-- BY HAND: ${one.replaceAll("\n", "\n--   ")}`),
    ...beside.map((one) => `${one.trimEnd()};`),
    alone,
    ...statements.map((one) => `${one.trimEnd()};`),
    "select automation.regenerate_captures();",
    ...afterwards.map((one) => `${one};`),
    "reset check_function_bodies;",
  ].join("\n\n") + "\n";
}
