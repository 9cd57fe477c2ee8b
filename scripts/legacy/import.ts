// The import itself: reads, translates, and, unless it is a dry run, writes through the public functions, one
// definition a transaction. Killed halfway and run again it goes on where it stood.
import { createHash } from "node:crypto";
import type { JSONValue, Sql, TransactionSql } from "postgres";
import type {
  Choices,
  Source,
  Step,
  Target,
  Translation,
} from "../../functions/workflows/legacy/translate/definition.ts";
import { readSources, translate, type Unreadable } from "./read.ts";
import {
  type Entry,
  type History,
  needsPerson,
  type Problem,
  type Report,
  type Taken,
} from "./report.ts";

export interface Order {
  from: string[];
  tenants: string[] | null;
  choices: Choices;
  apply: boolean;
  activate: boolean;
  overwrite: boolean;
  history: boolean;
  /** Of which tenant the documents of a file are that name none. */
  say?: (line: string) => void;
  /** A dry run on a copy that nothing can be written to: nothing is validated either, for that writes and undoes. */
  isReadOnly?: boolean;
}

const asJson = (sql: Sql | TransactionSql, value: unknown) => sql.json(value as JSONValue);

async function membersOf(sql: Sql, tenantId: string): Promise<Target["members"]> {
  const rows = await sql<{ user_id: string; email: string | null }[]>`
    select m.user_id::text, m.email from automation.read_members(array[${tenantId}::uuid], null::uuid[]) as m`;
  return Object.fromEntries(rows.map(({ user_id, email }) => [user_id, { email }]));
}

const stepWords = (steps: Step[]): string[] =>
  steps.map((step) => {
    const delay = step.delay_minutes > 0 ? `after ${step.delay_minutes} min ` : "";
    const below = Object.entries(step.branches ?? {}).map(([name, inner]) =>
      ` ${name}: [${stepWords(inner).join(", ")}]`
    );
    return `${delay}${step.step_type}${step.enabled ? "" : " (off)"}${below.join("")}`;
  });

const inOrder = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(inOrder)
    : typeof value === "object" && value !== null
    ? Object.fromEntries(
      Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1).map((
        [key, item],
      ) => [key, inOrder(item)]),
    )
    : value;

/** What a definition is recognised by: all that would be written of it, secrets by their names. */
const digestOf = ({ definition, wasActive, isDraft, isDeleted, stepKeys }: Translation): string =>
  createHash("sha256").update(
    JSON.stringify(inOrder({ definition, wasActive, isDraft, isDeleted, stepKeys })),
  ).digest("hex");

const isUnreadable = (one: Translation | Unreadable): one is Unreadable => "problem" in one;

function unreadable(one: Unreadable, apply: boolean): Entry {
  return {
    source: one.source,
    legacyId: one.legacyId,
    part: 0,
    tenantId: null,
    name: one.name || one.legacyId,
    outcome: apply ? "refused" : "would_be_refused",
    workflowId: null,
    becomes: "",
    isOn: false,
    isDraft: true,
    secrets: [],
    notes: [{ kind: "impossible", key: "", becomes: `this is no definition: ${one.problem}` }],
    problems: [],
  };
}

function entryOf(one: Translation): Entry {
  const { definition } = one;
  return {
    source: one.source,
    legacyId: one.legacyId,
    part: one.part,
    tenantId: one.tenantId,
    name: definition.name,
    outcome: "",
    workflowId: null,
    becomes: `${definition.trigger_type} ${JSON.stringify(definition.trigger_config)} > ${
      stepWords(definition.steps).join(" > ")
    }`.slice(0, 4000),
    isOn: one.wasActive,
    isDraft: one.isDraft,
    secrets: one.secrets.map(({ name }) => name),
    notes: one.notes,
    problems: [],
  };
}

interface Written {
  outcome: string;
  workflow_id: string;
  problems?: Problem[];
}

async function write(sql: Sql, one: Translation, order: Order): Promise<Written> {
  const facts = {
    digest: digestOf(one),
    was_active: one.wasActive,
    is_draft: one.isDraft,
    is_deleted: one.isDeleted,
    step_keys: one.stepKeys,
    secrets: one.secrets.map(({ name }) => name),
    notes: one.notes,
  };
  return await sql.begin(async (tx) => {
    for (const { name, value } of one.secrets) {
      await tx`select ridgeline.set_secret(${name}, ${value}, ${one.tenantId}::uuid)`;
    }
    const [row] = await tx<{ written: Written }[]>`
      select automation.import_definition(${one.tenantId}::uuid, ${one.source}, ${one.legacyId}, ${one.part},
        ${asJson(tx, one.definition)}, ${asJson(tx, facts)},
        ${asJson(tx, { activate: order.activate, overwrite: order.overwrite })}) as written`;
    return row!.written;
  });
}

interface Known {
  digest: string | null;
  is_edited: boolean | null;
  found: { problems: Problem[] } | null;
}

function wouldBe({ digest, is_edited }: Known, one: Translation, order: Order): string {
  if (digest === null) return "would_be_created";
  if (digest === digestOf(one)) return "would_be_unchanged";
  return is_edited && !order.overwrite ? "would_be_edited" : "would_be_updated";
}

/** What would be written, and what publishing would say to it; nothing stays. */
async function look(sql: Sql, one: Translation, order: Order): Promise<Written> {
  const [row] = await sql<Known[]>`
    select i.digest, i.revision <> automation.revision_of(w) as is_edited, ${
    order.isReadOnly
      ? sql`null`
      : sql`ridgeline.validate_definition(${asJson(sql, one.definition)}, ${one.tenantId}::uuid)`
  } as found
    from (select) as always
    left join automation.legacy_imports as i on i.tenant_id = ${one.tenantId}::uuid and i.source = ${one.source}
      and i.legacy_id = ${one.legacyId} and i.part = ${one.part}
    left join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id`;
  return {
    outcome: wouldBe(row!, one, order),
    workflow_id: "",
    problems: row!.found?.problems ?? [],
  };
}

async function handle(sql: Sql, one: Translation, order: Order): Promise<Entry> {
  const entry = entryOf(one);
  try {
    if (!one.tenantId) throw new Error("it names no tenant: say which with --tenant");
    const written = order.apply ? await write(sql, one, order) : await look(sql, one, order);
    entry.outcome = written.outcome;
    entry.workflowId = written.workflow_id || null;
    entry.problems = written.problems ?? [];
    if (["edited", "would_be_edited"].includes(written.outcome)) {
      entry.notes.push({
        kind: "person",
        key: "",
        becomes:
          "it was edited here since it was imported, and there as well: nothing was written (--overwrite takes theirs)",
      });
    }
  } catch (error) {
    const { message, detail, hint } = error as { message: string; detail?: string; hint?: string };
    entry.outcome = order.apply ? "refused" : "would_be_refused";
    entry.problems = [{
      path: "",
      severity: "error",
      code: "refused",
      message: [message, detail].filter(Boolean).join(": ").slice(0, 2000),
      hint: hint ?? null,
    }];
  }
  return entry;
}

type Page = { last: string | null; seen: number; imported: number; foreign?: number };

const wholePage = 5000;

/** The id of the row after that one, which could not be brought. */
async function nextRow(sql: Sql, table: string, after: string | null): Promise<string | null> {
  const [row] = await sql<{ id: string }[]>`
    select p ->> 'id' as id from automation.legacy_page(automation.legacy_table(${table}), ${after}, 1) as p`;
  return row?.id ?? null;
}

/** Page by page; a row that cannot be brought is named, and stops none of the others. */
async function walk(
  sql: Sql,
  table: string,
  failed: History["failed"],
  page: (after: string | null, most: number) => Promise<Page>,
  note: (page: Page) => void,
): Promise<void> {
  let [after, most]: [string | null, number] = [null, wholePage];
  for (;;) {
    try {
      const one = await page(after, most);
      note(one);
      if (one.last === null) return;
      after = one.last;
      most = Math.min(wholePage, most * 2);
    } catch (error) {
      const { message, code } = error as { message: string; code?: string };
      // What is wrong with the data of a row: of class 22 or 23, or a limit of ours.
      if (!/^(?:22|23|54|P0)/.test(code ?? "")) throw error;
      if (most > 1) most = Math.ceil(most / 8);
      else {
        const id = await nextRow(sql, table, after);
        if (id === null) return;
        failed.push({ table, id, message: message.slice(0, 500) });
        after = id;
      }
    }
  }
}

async function bringHistory(sql: Sql, source: string, order: Order): Promise<History> {
  const found: History = { source, runs: 0, steps: 0, foreign: 0, failed: [] };
  const [runs, steps] = source === "campaigns"
    ? ["campaign_enrollments", "campaign_step_executions"] as const
    : ["workflow_executions", "workflow_step_executions"] as const;
  await walk(sql, runs, found.failed, async (after, most) => {
    const [row] = await sql<
      { page: Page }[]
    >`select automation.import_runs(${source}, ${after}, ${most}, ${order.tenants}::uuid[]) as page`;
    return row!.page;
  }, (page) => {
    found.runs += page.imported;
    found.foreign += page.foreign ?? 0;
    if (page.imported > 0) order.say?.(`${found.runs} runs`);
  });
  await walk(sql, steps, found.failed, async (after, most) => {
    const [row] = await sql<
      { page: Page }[]
    >`select automation.import_steps(${source}, ${after}, ${most}, ${order.tenants}::uuid[]) as page`;
    return row!.page;
  }, (page) => {
    found.steps += page.imported;
    if (page.imported > 0) order.say?.(`${found.steps} steps`);
  });
  return found;
}

async function takeOver(sql: Sql, tenantId: string, source: string): Promise<Taken> {
  const taken: Taken = { tenantId, source, outcomes: {} };
  // While the old engine is at work its runs stay where they are: ridgeline.set_engine() takes them over.
  const table = source === "campaigns" ? "campaign_enrollments" : "workflow_executions";
  const [engine] = await sql<{ is_on: boolean; is_there: boolean }[]>`
    select automation.engine_of(${tenantId}::uuid) = 'on' as is_on,
      automation.legacy_table(${table}) is not null as is_there`;
  if (!engine?.is_there) return taken;
  if (!engine.is_on) {
    const [open] = await sql<{ count: number }[]>`
      select count(*)::int from ${sql(`public.${table}`)} as r
      where r.tenant_id::text = ${tenantId} and automation.is_open_there(r.status::text)`;
    if (open?.count) {
      taken.outcomes["left: the old engine is still at work for this tenant"] = open.count;
    }
    return taken;
  }
  for (let after: string | null = null, first = true; first || after !== null; first = false) {
    const rows: { page: { last: string | null; outcomes: Record<string, number> } }[] = await sql`
      select automation.take_over_runs(${tenantId}::uuid, ${source}, ${after}, 200) as page`;
    const { page } = rows[0]!;
    for (const [outcome, count] of Object.entries(page.outcomes)) {
      taken.outcomes[outcome] = (taken.outcomes[outcome] ?? 0) + count;
    }
    after = page.last;
  }
  return taken;
}

const stored = (source: Source): boolean => source === "server" || source === "campaigns";

/** Deleted there: it is brought only where it has history to carry. */
async function isWorthIt(sql: Sql, one: Translation, order: Order): Promise<boolean> {
  if (!one.isDeleted) return true;
  if (!order.history || !stored(one.source)) return false;
  const [table, column] = one.source === "server"
    ? ["workflow_executions", "workflow_id"]
    : ["campaign_enrollments", "campaign_id"];
  const [there] = await sql<
    { is: boolean }[]
  >`select automation.legacy_table(${table!}) is not null as is`;
  if (!there?.is) return false;
  const rows = await sql`
    select 1 from ${sql(`public.${table}`)} as r where r.${
    sql(column!)
  }::text = ${one.legacyId} limit 1`;
  return rows.length > 0;
}

/** Imported once, and no longer in the old tables: it stays here, and is named. */
async function goneThere(
  sql: Sql,
  sources: string[],
  tenants: string[] | null,
  seen: Set<string>,
): Promise<Entry[]> {
  const rows = await sql<
    {
      tenant_id: string;
      source: Source;
      legacy_id: string;
      part: number;
      workflow_id: string;
      name: string;
      is_active: boolean;
    }[]
  >`
    select i.tenant_id, i.source, i.legacy_id, i.part, i.workflow_id, w.name, w.is_active
    from automation.legacy_imports as i
    join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id
    where i.source = any (${sources.filter((source) => source !== "client")}::text[])
      and (${tenants}::uuid[] is null or i.tenant_id = any (${tenants}::uuid[]))
    order by i.tenant_id, i.source, i.legacy_id, i.part`;
  return rows.filter(({ source, legacy_id, part }) => !seen.has(`${source}/${legacy_id}/${part}`))
    .map((
      row,
    ) => ({
      source: row.source,
      legacyId: row.legacy_id,
      part: row.part,
      tenantId: row.tenant_id,
      name: row.name,
      outcome: "gone_there",
      workflowId: row.workflow_id,
      becomes: "",
      isOn: row.is_active,
      isDraft: false,
      secrets: [],
      notes: [{
        kind: "difference",
        key: "",
        old: "its row, or the trigger that it was made of, is gone since it was imported",
        becomes: "it stays as it is",
      }],
      problems: [],
    }));
}

const tablesOf: Record<string, string[]> = {
  server: ["workflows", "workflow_steps", "workflow_executions", "workflow_step_executions"],
  campaigns: [
    ...["campaigns", "campaign_triggers", "campaign_steps"],
    ...["campaign_enrollments", "campaign_step_executions"],
  ],
  automations: ["automations"],
};

/** What would go wrong halfway, or bring too little without a word, is said before anything is done. */
async function checkRole(sql: Sql, order: { from: string[]; apply: boolean }): Promise<boolean> {
  const [role] = await sql<{ name: string; may: boolean; is_read_only: boolean }[]>`
    select current_user as name,
      has_schema_privilege('automation', 'usage') and has_function_privilege(
        'automation.import_definition(uuid, text, text, integer, jsonb, jsonb, jsonb)', 'execute') as may,
      pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as is_read_only`;
  if (!role!.may) {
    throw new Error(
      `The role ${role!.name} may not import: connect as the role that installed Ridgeline.`,
    );
  }
  if (role!.is_read_only && order.apply) {
    throw new Error(
      "This database is read-only (a replica?): --apply needs the primary; --dry-run is possible here.",
    );
  }
  const rows = await sql<{ name: string; may: boolean; is_hidden: boolean }[]>`
    select t.name, has_table_privilege(c.oid, 'select') as may, row_security_active(c.oid) as is_hidden
    from unnest(${order.from.flatMap((one) => tablesOf[one] ?? [])}::text[]) as t (name)
    join pg_catalog.pg_class as c on c.oid = to_regclass(format('public.%I', t.name))`;
  for (const { name, may, is_hidden } of rows) {
    if (!may) {
      throw new Error(`The role ${role!.name} may not read public.${name}: grant it select.`);
    }
    if (is_hidden) {
      throw new Error(
        `Row level security hides rows of public.${name} from the role ${
          role!.name
        }: connect as their owner, or as one with bypassrls.`,
      );
    }
  }
  return role!.is_read_only;
}

export async function importLegacy(sql: Sql, given: Order): Promise<Report> {
  const order = { ...given, isReadOnly: await checkRole(sql, given) };
  const target: Target = { choices: order.choices };
  const report: Report = {
    mode: order.apply ? "apply" : "dry-run",
    choices: { ...order.choices, activate: String(order.activate), history: String(order.history) },
    entries: [],
    history: [],
    taken: [],
    undone: [],
    isValidated: true,
    needsPerson: false,
  };
  const found = await readSources(sql, order.from, order.tenants);
  const only = order.tenants?.length === 1 ? order.tenants[0]! : null;
  const members = new Map<string, Target["members"]>();
  const tenants = new Set<string>();
  for (const source of found) {
    for (const row of source.rows) {
      const tenantId = (row as { tenant_id?: string } | null)?.tenant_id ?? only;
      const given = source.source === "client" && only && typeof row === "object"
        ? { ...row, tenant_id: only }
        : row;
      if (tenantId && /^[0-9a-f-]{36}$/i.test(tenantId) && !members.has(tenantId)) {
        members.set(tenantId, await membersOf(sql, tenantId));
      }
      const known = {
        ...target,
        ...(tenantId && members.has(tenantId) ? { members: members.get(tenantId)! } : {}),
      };
      for (const one of translate({ source: source.source, rows: [given] }, known)) {
        if (isUnreadable(one)) report.entries.push(unreadable(one, order.apply));
        else if (await isWorthIt(sql, one, order)) {
          report.entries.push(await handle(sql, one, order));
          if (one.tenantId) tenants.add(one.tenantId);
        } else {
          report.entries.push({
            ...entryOf(one),
            outcome: "left_out",
            notes: [...one.notes, {
              kind: "kept",
              key: "is_deleted",
              becomes: "deleted there, and it never ran: it stays there",
            }],
          });
        }
      }
    }
  }
  const seen = new Set(
    report.entries.map(({ source, legacyId, part }) => `${source}/${legacyId}/${part}`),
  );
  report.entries.push(
    ...await goneThere(sql, found.map(({ source }) => source), order.tenants, seen),
  );
  if (order.apply && order.history) {
    for (const { source } of found) {
      if (stored(source)) report.history.push(await bringHistory(sql, source, order));
    }
  }
  if (order.apply && order.activate) {
    for (const { source } of found) {
      for (const tenant of stored(source) ? tenants : []) {
        const one = await takeOver(sql, tenant, source);
        if (Object.keys(one.outcomes).length > 0) report.taken.push(one);
      }
    }
  }
  report.isValidated = !order.isReadOnly;
  report.needsPerson = report.entries.some(needsPerson) ||
    report.history.some(({ failed }) => failed.length > 0);
  return report;
}

export async function undoLegacy(
  sql: Sql,
  from: string[],
  tenants: string[] | null,
): Promise<Report> {
  await checkRole(sql, { from: [], apply: true });
  const sources = from.map((one) =>
    ["server", "campaigns", "automations"].includes(one) ? one : "client"
  );
  const rows = await sql<
    {
      tenant_id: string;
      source: string;
      legacy_id: string;
      part: number;
      workflow_id: string;
      name: string;
    }[]
  >`
    select i.tenant_id, i.source, i.legacy_id, i.part, i.workflow_id, w.name
    from automation.legacy_imports as i join ridgeline.workflows as w on w.tenant_id = i.tenant_id and w.id = i.workflow_id
    where (${tenants}::uuid[] is null or i.tenant_id = any (${tenants}::uuid[]))
      and (${sources.length === 0} or i.source = any (${sources}::text[]))
    order by i.tenant_id, i.source, i.legacy_id, i.part`;
  const report: Report = {
    mode: "undo",
    choices: {},
    entries: [],
    history: [],
    taken: [],
    undone: [],
    isValidated: true,
    needsPerson: false,
  };
  for (const row of rows) {
    const [asked] = await sql<{ kept: string | null }[]>`
      select automation.why_kept(i) as kept from automation.legacy_imports as i
      where i.tenant_id = ${row.tenant_id} and i.source = ${row.source} and i.legacy_id = ${row.legacy_id} and i.part = ${row.part}`;
    for (let gone = 1; asked?.kept === null && gone > 0;) {
      const [page] = await sql<
        { gone: number }[]
      >`select automation.undo_history(${row.tenant_id}, ${row.workflow_id}) as gone`;
      gone = page?.gone ?? 0;
    }
    let done: { undone: boolean; again?: boolean; reason?: string; given_back?: number };
    let isSwitchedOff = false;
    do {
      const [answer] = await sql<{ done: typeof done }[]>`
        select automation.undo_import(${row.tenant_id}, ${row.source}, ${row.legacy_id}, ${row.part}) as done`;
      done = answer!.done;
      isSwitchedOff ||= done.again === true;
    } while (done.again);
    // It is as it was where it stays after all: a lead came in between.
    if (isSwitchedOff && !done.undone) {
      await sql`
        update ridgeline.workflows set is_active = true
        where tenant_id = ${row.tenant_id} and id = ${row.workflow_id}`;
    }
    report.undone.push({
      legacyId: row.legacy_id,
      source: row.source,
      name: row.name,
      ...done,
    });
  }
  report.needsPerson = report.undone.some(({ undone }) => !undone);
  return report;
}
