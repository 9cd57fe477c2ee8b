// The draft of a migration: what makes one database of ours into another, from their catalogs.
import type { Sql } from "postgres";
import { type CatalogObject, catalogOf, type Kind, kinds, rowsOfTable } from "./catalog.ts";

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
    return sorted(kind, unique(all)).map((one) =>
      kind === "column" && newTables.has(relationOf(one))
        // The default of a new table may call a function that comes after it.
        ? one.create.replace(/ default .*$/s, "").replace(/ not null$/, "")
        : one.create
    );
  });
  for (const table of newTables) creates.push(...await rowsOfTable(to, table));
  return { statements: [...drops, ...creates], afterwards: generatedBefore, byHand };
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

/** Keys before what refers to them; the rest in the order in which the database was built. */
function sorted(kind: Kind, objects: CatalogObject[]): CatalogObject[] {
  if (kind !== "constraint") return objects;
  return [...objects].sort((a, b) => rank(a) - rank(b));
}
const rank = ({ shape }: CatalogObject) => "puxcz".indexOf(shape[0]!);

/** The draft as a migration's text. */
export function draftScript({ statements, afterwards, byHand }: Draft): string {
  return [
    "set check_function_bodies = off;",
    ...byHand.map((one) => `-- BY HAND: ${one.replaceAll("\n", "\n--   ")}`),
    ...statements.map((one) => `${one.trimEnd()};`),
    "select automation.regenerate_captures();",
    ...afterwards.map((one) => `${one};`),
    "reset check_function_bodies;",
  ].join("\n\n") + "\n";
}
