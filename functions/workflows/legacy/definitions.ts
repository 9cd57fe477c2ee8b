// Definitions in both shapes of the old application: a row with its steps, and a document of the browser's engine.
import { createHash } from "node:crypto";
import type { JSONValue, TransactionSql } from "postgres";
import { z } from "zod";
import { type Answered, asked, invalid, notFound, OldError } from "./envelope.ts";
import * as schemas from "./schemas.ts";
import {
  clientDefinition,
  serverDefinition,
  serverTriggerOf,
  shownConfig,
  shownTrigger,
  type Translated,
} from "./old-screens.ts";
import type { Condition, Known, Step as OurStep } from "./translate/definition.ts";

type Json = Record<string, unknown>;

/** What a request works with: the caller's own transaction, and the tenant it means. */
export interface Room {
  sql: TransactionSql;
  tenantId: string;
}

const row = z.object({
  id: z.string(),
  tenant_id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  status: schemas.status,
  trigger_type: z.string(),
  trigger_config: z.record(z.string(), z.unknown()),
  conditions: z.unknown(),
  is_active: z.boolean(),
  metadata: z.record(z.string(), z.unknown()),
  created_at: z.string(),
  updated_at: z.string(),
});
type Row = z.infer<typeof row>;

const step = z.object({
  id: z.string(),
  workflow_id: z.string(),
  step_order: z.number(),
  step_key: z.string().nullable(),
  step_type: z.string(),
  step_config: z.record(z.string(), z.unknown()),
  delay_minutes: z.coerce.number(),
  enabled: z.boolean(),
  conditions: z.unknown(),
  continue_on_error: z.boolean(),
  retry: z.unknown(),
  created_at: z.string(),
  updated_at: z.string(),
});
type Step = z.infer<typeof step>;

/** What an old screen sent, as long as nobody has changed what was made of it. */
const posted = z.object({
  shape: z.enum(["server", "client"]),
  digest: z.string(),
  document: z.record(z.string(), z.unknown()),
  step_keys: z.record(z.string(), z.string()),
});
export type Posted = z.infer<typeof posted>;

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)).map((
      [key, one],
    ) => [key, sorted(one)]),
  );
}

const same = (one: unknown, other: unknown): boolean =>
  JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));

/** Of what runs: a new name leaves it as it is. */
function digestOf(workflow: Row, steps: readonly Step[]): string {
  const runs = [
    workflow.trigger_type,
    workflow.trigger_config,
    workflow.conditions,
    steps.map((one) => [
      one.step_key,
      one.step_type,
      one.step_config,
      one.delay_minutes,
      one.enabled,
      one.conditions,
      one.continue_on_error,
      one.retry,
    ]),
  ];
  return createHash("sha256").update(JSON.stringify(sorted(runs))).digest("hex");
}

export function postedOf(workflow: Row, steps: readonly Step[]): Posted | undefined {
  const parsed = posted.safeParse((workflow.metadata.legacy as Json | undefined)?.posted);
  return parsed.success && parsed.data.digest === digestOf(workflow, steps)
    ? parsed.data
    : undefined;
}

/** Those of the main line: the old shapes have no branches. */
async function stepsOf({ sql, tenantId }: Room, ids: readonly string[]): Promise<Step[]> {
  if (ids.length === 0) return [];
  const rows = await sql<{ step: unknown }[]>`
    select to_jsonb(s) as step from ridgeline.workflow_steps as s
    where s.tenant_id = ${tenantId} and s.parent_step_id is null
      and s.workflow_id in ${sql(ids)}
    order by s.step_order, s.created_at, s.id`;
  return z.array(step).parse(rows.map((one) => one.step));
}

export async function find(room: Room, id: string): Promise<{ workflow: Row; steps: Step[] }> {
  const { sql, tenantId } = room;
  const parsed = schemas.id.safeParse(id);
  const rows = parsed.success
    ? await sql<{ workflow: unknown }[]>`
      select to_jsonb(w) as workflow from ridgeline.workflows as w
      where w.tenant_id = ${tenantId} and w.id = ${parsed.data} and w.status <> 'archived'`
    : [];
  if (!rows[0]) throw notFound("Workflow");
  return { workflow: row.parse(rows[0].workflow), steps: await stepsOf(room, [id]) };
}

// THE SERVER'S SHAPE

function serverSteps(workflow: Row, steps: readonly Step[]): JSONValue {
  const kept = postedOf(workflow, steps);
  const document = kept?.shape === "server"
    ? schemas.serverCreate.safeParse(kept.document).data
    : undefined;
  const written = document?.steps?.toSorted((a, b) => a.step_order - b.step_order);
  return steps.map((one, place) => ({
    id: one.id,
    workflow_id: one.workflow_id,
    step_order: written?.[place]?.step_order ?? one.step_order,
    step_type: one.step_type,
    step_config: (written?.[place]?.step_config ?? one.step_config) as JSONValue,
    delay_minutes: written?.[place]?.delay_minutes ?? one.delay_minutes,
    created_at: one.created_at,
    updated_at: one.updated_at,
  }));
}

/** What an old screen sent as trigger_config, as long as that is what starts the workflow. */
function sentTrigger(workflow: Row): Json | undefined {
  const sent = ((workflow.metadata.legacy as Json | undefined)?.posted as Json | undefined)
    ?.trigger_config;
  if (typeof sent !== "object" || sent === null) return undefined;
  const { config } = serverTriggerOf(workflow.trigger_type, sent as Json, workflow.tenant_id);
  return same(config, workflow.trigger_config) ? sent as Json : undefined;
}

function serverShape(workflow: Row, steps?: readonly Step[]): { [key: string]: JSONValue } {
  const legacy = (workflow.metadata.legacy ?? {}) as Json;
  return {
    id: workflow.id,
    tenant_id: workflow.tenant_id,
    name: workflow.name,
    description: workflow.description,
    trigger_type: workflow.trigger_type,
    trigger_config: (sentTrigger(workflow) ?? workflow.trigger_config) as JSONValue,
    is_active: workflow.is_active,
    created_by: typeof legacy.created_by === "string" ? legacy.created_by : null,
    created_at: workflow.created_at,
    updated_at: workflow.updated_at,
    is_deleted: false,
    ...(steps ? { workflow_steps: serverSteps(workflow, steps) } : {}),
  };
}

export async function listServer({ sql, tenantId }: Room, query: unknown): Promise<Answered> {
  const { trigger_type, is_active, page, limit } = asked(schemas.serverList, query);
  const rows = await sql<{ workflow: unknown; total: string }[]>`
    select to_jsonb(w) as workflow, count(*) over () as total
    from ridgeline.workflows as w
    where w.tenant_id = ${tenantId} and w.status <> 'archived'
      and ${trigger_type === undefined ? sql`true` : sql`w.trigger_type = ${trigger_type}`}
      and ${is_active === undefined ? sql`true` : sql`w.is_active = ${is_active}`}
    order by w.created_at desc, w.id desc
    limit ${limit} offset ${(page - 1) * limit}`;
  const total = Number(rows[0]?.total ?? 0);
  return {
    data: {
      workflows: rows.map((one) => serverShape(row.parse(one.workflow))),
      total,
      page,
      limit,
    },
    pagination: { page, limit, total },
  };
}

export async function getServer(room: Room, id: string): Promise<Answered> {
  const { workflow, steps } = await find(room, id);
  return { data: { workflow: serverShape(workflow, steps) } };
}

interface Saved {
  id: string;
  name: string;
  description: string | null;
  metadata: Json;
  settings?: Json | undefined;
  baseRevision?: string | undefined;
}

/** Another has written it between our look and our save: nothing was written. */
const conflict = () =>
  new OldError(
    409,
    "ALREADY_EXISTS",
    "Somebody else has changed this workflow meanwhile: load it again",
  );

async function write(
  { sql, tenantId }: Room,
  saved: Saved,
  { trigger_type, trigger_config, conditions, steps }: Omit<Translated, "step_keys" | "asked">,
): Promise<void> {
  const [row] = await sql<{ saved: boolean }[]>`
    select (ridgeline.save_workflow(
      ${
    sql.json({
      trigger_type,
      trigger_config,
      conditions,
      steps,
      id: saved.id,
      name: saved.name,
      description: saved.description,
      metadata: saved.metadata,
      settings: saved.settings ?? {},
    } as unknown as JSONValue)
  }, ${saved.baseRevision ?? null}, ${tenantId}) -> 'saved')::boolean as saved`;
  if (row?.saved !== true) throw conflict();
}

/** As a draft; the document it was made of goes along where it is not too long for a row. */
async function save(
  room: Room,
  saved: Saved,
  translated: Translated,
  shape: Posted["shape"],
  document: Json,
) {
  const { sql, tenantId } = room;
  const { posted: _posted, ...before } = (saved.metadata.legacy ?? {}) as Json;
  await write(room, { ...saved, metadata: { ...saved.metadata, legacy: before } }, translated);
  const { workflow, steps } = await find(room, saved.id);
  if (JSON.stringify(document).length > 200_000) return;
  // Beside what it became, so that it is shown only as long as that is what runs.
  await sql`
    update ridgeline.workflows
    set metadata = ${
    sql.json({
      ...saved.metadata,
      legacy: {
        ...before,
        posted: {
          shape,
          digest: digestOf(workflow, steps),
          document,
          step_keys: translated.step_keys,
          trigger_config: shape === "server" ? document.trigger_config : undefined,
        },
      },
    } as unknown as JSONValue)
  }
    where tenant_id = ${tenantId} and id = ${saved.id}`;
}

const sourceStep: z.ZodType<OurStep> = z.lazy(() =>
  z.looseObject({
    step_key: z.string(),
    step_type: z.string(),
    step_config: z.record(z.string(), z.unknown()),
    delay_minutes: z.coerce.number().default(0),
    enabled: z.boolean(),
    conditions: z.unknown(),
    continue_on_error: z.boolean(),
    retry: z.record(z.string(), z.unknown()),
    branches: z.record(z.string(), z.array(sourceStep)).optional(),
  })
) as unknown as z.ZodType<OurStep>;
const source = z.object({
  revision: z.string(),
  definition: z.object({
    trigger_config: z.record(z.string(), z.unknown()),
    conditions: z.unknown(),
    settings: z.record(z.string(), z.unknown()),
    steps: z.array(z.looseObject({ step_key: z.string().optional() })),
  }),
});

interface Source {
  revision: string;
  settings: Json;
  conditions: unknown;
  /** The main line, with all that hangs from it. */
  steps: OurStep[];
}

/** The whole of it, as it is written: what the old shapes have no place for is kept by it. */
async function sourceOf({ sql, tenantId }: Room, id: string): Promise<Source> {
  const [found] = await sql<{ source: unknown }[]>`
    select ridgeline.get_definition(${id}, null, ${tenantId}) as source`;
  const { revision, definition } = source.parse(found?.source);
  return {
    revision,
    settings: definition.settings,
    conditions: definition.conditions,
    steps: definition.steps.map((one, place) =>
      sourceStep.parse({ ...one, step_key: one.step_key ?? `step_${place + 1}` })
    ),
  };
}

async function setStatus({ sql, tenantId }: Room, id: string, status: string): Promise<void> {
  await sql`
    update ridgeline.workflows set status = ${status}, is_active = ${status === "active"}
    where tenant_id = ${tenantId} and id = ${id}`;
}

export async function createServer(room: Room, body: unknown): Promise<Answered> {
  const document = asked(schemas.serverCreate, body);
  const id = crypto.randomUUID();
  const translated = serverDefinition(document, room.tenantId);
  await save(
    room,
    { id, name: document.name, description: document.description ?? null, metadata: {} },
    translated,
    "server",
    document,
  );
  // One without steps is switched on when it has some, as a client that adds them later expects.
  if (document.is_active && translated.steps.length > 0) await setStatus(room, id, "active");
  const { workflow } = await find(room, id);
  return { status: 201, data: { workflow: serverShape(workflow) } };
}

/** The conditions that the trigger_config before had added go; what else is asked stays. */
function conditionsAfter(workflow: Row, added: Condition[]): unknown {
  const sent = sentTrigger(workflow);
  const before = sent
    ? serverTriggerOf(workflow.trigger_type, sent, workflow.tenant_id).conditions
    : [];
  const own = same(before, workflow.conditions) ? [] : workflow.conditions;
  if (same(own, [])) return added;
  return added.length === 0 ? own : { all: [added, own] };
}

export async function patchServer(room: Room, id: string, body: unknown): Promise<Answered> {
  const { sql, tenantId } = room;
  const { workflow } = await find(room, id);
  const patch = asked(schemas.serverPatch, body);
  const shown = serverShape(workflow).trigger_config;
  const isChanged = patch.trigger_config !== undefined && !same(patch.trigger_config, shown);
  const trigger = isChanged
    ? serverTriggerOf(workflow.trigger_type, patch.trigger_config!, tenantId)
    : undefined;
  const legacy = (workflow.metadata.legacy ?? {}) as Json;
  // Made of what was there when it was read: whoever has changed that meanwhile is not written over.
  const made = trigger && {
    trigger_config: sql.json(trigger.config as JSONValue),
    conditions: sql.json(conditionsAfter(workflow, trigger.conditions) as JSONValue),
    metadata: sql.json({
      ...workflow.metadata,
      legacy: {
        ...legacy,
        posted: { ...(legacy.posted as Json | undefined), trigger_config: patch.trigger_config },
      },
    } as JSONValue),
  };
  const given = {
    ...(patch.name === undefined ? {} : { name: patch.name }),
    ...(patch.description === undefined ? {} : { description: patch.description }),
    ...made,
  };
  if (Object.keys(given).length > 0) await update(room, workflow, given, made !== undefined);
  await takeEffect(room, workflow, { isOn: patch.is_active ?? workflow.is_active, isChanged });
  return { data: { workflow: serverShape((await find(room, id)).workflow) } };
}

async function update(
  { sql, tenantId }: Room,
  { id, updated_at }: Row,
  given: Record<string, unknown>,
  asItWas: boolean,
): Promise<void> {
  const changed = await sql`
    update ridgeline.workflows set ${sql(given as Record<string, string>)}
    where tenant_id = ${tenantId} and id = ${id} ${
    asItWas ? sql`and updated_at = ${updated_at}::text::timestamptz` : sql``
  }
    returning id`;
  if (changed.length > 0) return;
  const [now] = await sql<{ is_same: boolean }[]>`
    select updated_at = ${updated_at}::text::timestamptz as is_same from ridgeline.workflows
    where tenant_id = ${tenantId} and id = ${id}`;
  throw now?.is_same === false ? conflict() : invalid("You may not edit this workflow");
}

/** The old engines read their definitions live, so an edit that is saved is what runs from now on. */
async function takeEffect(
  room: Room,
  before: Row,
  { isOn, isChanged, off = "paused" }: { isOn: boolean; isChanged: boolean; off?: string },
): Promise<void> {
  const { sql, tenantId } = room;
  if (isOn && isChanged) {
    await sql`select ridgeline.publish_workflow(${before.id}, null, ${tenantId})`;
  } else if (isOn !== before.is_active) {
    await setStatus(room, before.id, isOn ? "active" : off);
  } else if (!isOn && off !== before.status && off !== "paused") {
    await setStatus(room, before.id, off);
  }
}

/** Softly, as ever: what it did stays on record. */
export async function remove(room: Room, id: string): Promise<Answered> {
  await find(room, id);
  const { sql, tenantId } = room;
  const gone = await sql`
    update ridgeline.workflows set status = 'archived', is_active = false
    where tenant_id = ${tenantId} and id = ${id}
    returning id`;
  if (gone.length === 0) throw invalid("You may not delete this workflow");
  return { data: null };
}

// THE BROWSER'S SHAPE

const round = (hours: number) => Math.round(hours * 1000) / 1000;

/** Minutes from the start of the run until each is due, waits by themselves left out. */
function offsets(steps: readonly { delay_minutes: number }[]): number[] {
  let at = 0;
  return steps.map(({ delay_minutes }) => (at += delay_minutes));
}

/** Of a workflow that no old screen has written: the main line, in hours from the start. */
function actionsOf(steps: readonly Step[]): JSONValue {
  const at = offsets(steps);
  return steps.map((one, order) => ({
    id: one.id,
    type: one.step_type,
    config: { type: one.step_type, ...shownConfig(one) } as JSONValue,
    delay: round(at[order]! / 60),
    enabled: one.enabled,
    order,
  }));
}

function conditionsOf(conditions: unknown): JSONValue {
  const parsed = z.array(z.looseObject({ field: z.string(), operator: z.string() }))
    .safeParse(conditions);
  // A tree has no place in a list of gates.
  if (!parsed.success) return [];
  return parsed.data.map((one, place) => ({
    id: `condition_${place + 1}`,
    field: one.field,
    operator: one.operator,
    value: (one.value ?? null) as JSONValue,
    logic_gate: parsed.data[place + 1]?.logic === "or" ? "OR" : "AND",
  }));
}

interface Counts {
  executions: number;
  last: string | null;
}

async function countsOf({ sql, tenantId }: Room, ids: readonly string[]) {
  if (ids.length === 0) return new Map<string, Counts>();
  const rows = await sql<{ id: string; executions: string; last: Date | null }[]>`
    select e.workflow_id as id, count(*) as executions, max(e.created_at) as last
    from ridgeline.workflow_executions as e
    where e.tenant_id = ${tenantId} and e.workflow_id in ${sql(ids)} and e.mode <> 'shadow'
    group by e.workflow_id`;
  return new Map(rows.map(({ id, executions, last }) => [
    id,
    { executions: Number(executions), last: last === null ? null : new Date(last).toISOString() },
  ]));
}

function clientShape(workflow: Row, steps: readonly Step[], counts?: Counts): JSONValue {
  const kept = postedOf(workflow, steps);
  const document = kept?.shape === "client" ? kept.document : undefined;
  return {
    id: workflow.id,
    tenant_id: workflow.tenant_id,
    name: workflow.name,
    description: workflow.description,
    status: workflow.status,
    trigger: (document?.trigger ?? {
      id: `trigger_${workflow.id}`,
      type: workflow.trigger_type,
      config: {
        type: workflow.trigger_type,
        ...shownTrigger(workflow.trigger_type, workflow.trigger_config),
      },
      enabled: true,
    }) as JSONValue,
    actions: (document?.actions ?? actionsOf(steps)) as JSONValue,
    conditions: (document?.conditions ?? conditionsOf(workflow.conditions)) as JSONValue,
    created_at: workflow.created_at,
    updated_at: workflow.updated_at,
    created_by: ((workflow.metadata.legacy as Json | undefined)?.created_by ?? null) as JSONValue,
    is_template: false,
    execution_count: counts?.executions ?? 0,
    last_executed_at: counts?.last ?? null,
  };
}

export async function listClient(room: Room, query: unknown): Promise<Answered> {
  const { sql, tenantId } = room;
  const { status, trigger_type, is_template, search, page, limit } = asked(
    schemas.clientList,
    query,
  );
  const rows = await sql<{ workflow: unknown; total: string }[]>`
    select to_jsonb(w) as workflow, count(*) over () as total
    from ridgeline.workflows as w
    where w.tenant_id = ${tenantId}
      and ${status?.length ? sql`w.status in ${sql(status)}` : sql`w.status <> 'archived'`}
      and ${trigger_type?.length ? sql`w.trigger_type in ${sql(trigger_type)}` : sql`true`}
      and ${is_template === "true" ? sql`false` : sql`true`}
      and ${
    search
      ? sql`strpos(lower(w.name || ' ' || coalesce(w.description, '')), lower(${search})) > 0`
      : sql`true`
  }
    order by w.created_at desc, w.id desc
    limit ${limit} offset ${(page - 1) * limit}`;
  const workflows = rows.map((one) => row.parse(one.workflow));
  const ids = workflows.map(({ id }) => id);
  const [steps, counts] = [await stepsOf(room, ids), await countsOf(room, ids)];
  const total = Number(rows[0]?.total ?? 0);
  return {
    data: {
      workflows: workflows.map((one) =>
        clientShape(
          one,
          steps.filter(({ workflow_id }) => workflow_id === one.id),
          counts.get(one.id),
        )
      ),
      total,
      page,
      limit,
      has_more: page * limit < total,
    },
    pagination: { page, limit, total },
  };
}

async function answerClient(room: Room, id: string, status = 200): Promise<Answered> {
  const { workflow, steps } = await find(room, id);
  const counts = await countsOf(room, [id]);
  return { status, data: { workflow: clientShape(workflow, steps, counts.get(id)) } };
}

export const getClient = (room: Room, id: string) => answerClient(room, id);

const isOn = ({ status, trigger }: schemas.ClientDocument) =>
  status === "active" && trigger.enabled !== false;

export async function createClient(room: Room, body: unknown): Promise<Answered> {
  const document = asked(schemas.clientDocument, body);
  const id = crypto.randomUUID();
  await save(
    room,
    { id, name: document.name, description: document.description ?? null, metadata: {} },
    clientDefinition(document, room.tenantId, isOn(document)),
    "client",
    document,
  );
  const wanted = isOn(document)
    ? "active"
    : document.status === "active"
    ? "paused"
    : document.status;
  if (wanted !== "draft" && wanted !== "archived") await setStatus(room, id, wanted);
  return await answerClient(room, id, 201);
}

type Action = schemas.Action;

const withoutTime = ({ delay: _delay, order: _order, enabled: _enabled, ...rest }: Action) => rest;

interface Before {
  steps: readonly Step[];
  source: Source;
  /** As the screen was shown it. */
  shown: schemas.ClientDocument;
  kept: Posted | undefined;
}

/** What the screen sends back as it was shown keeps its steps, with all that the screen knows nothing of. */
function knownActions({ steps, source, shown, kept }: Before) {
  const at = offsets(steps);
  return (action: { id?: string | null | undefined; type: string }): Known | undefined => {
    const was = shown.actions.find(({ id }) => id === action.id);
    if (!action.id || !was || was.type !== action.type) return undefined;
    const given = action as Action;
    const isSameTime = (given.delay ?? 0) === (was.delay ?? 0);
    const isSame = same(withoutTime(asked(schemas.action, given)), withoutTime(was));
    if (kept?.shape === "client") {
      const mine = source.steps.filter(({ step_key }) => kept.step_keys[step_key] === action.id);
      return isSame && isSameTime && mine.length > 0 ? { steps: mine } : undefined;
    }
    const place = steps.findIndex(({ id }) => id === action.id);
    const step = source.steps[place];
    if (!step) return undefined;
    const { step_config: _config, step_type: _type, delay_minutes: _delay, enabled: _on, ...rest } =
      step;
    return {
      ...(isSame ? { steps: [step] } : { besides: rest }),
      ...(isSameTime ? { at: at[place]! } : {}),
    };
  };
}

/** A branch that is not shown goes with no edit of what is. */
function checkBranches(before: readonly OurStep[], after: readonly OurStep[]): void {
  const kept = new Set(after.filter(({ branches }) => branches).map(({ step_key }) => step_key));
  for (const { step_key, branches } of before) {
    const isFull = Object.values(branches ?? {}).some((steps) => steps.length > 0);
    if (isFull && !kept.has(step_key)) {
      throw invalid(
        `actions: ${step_key} has branches, which these screens cannot show: leave it as it is, or edit the workflow where it was made`,
      );
    }
  }
}

/** Those that came back as they were shown stay as they are. */
function conditionsFrom(
  { source, shown }: Before,
  given: readonly schemas.Condition[],
  translated: readonly Condition[],
): unknown {
  const parsed = z.array(z.looseObject({ field: z.string() })).safeParse(source.conditions);
  if (!parsed.success) {
    throw invalid(
      "conditions: they are grouped, which these screens cannot show: edit the workflow where it was made",
    );
  }
  return translated.map((one, place) => {
    const { logic_gate: _gate, ...sent } = given[place]!;
    const index = (shown.conditions ?? []).findIndex(({ logic_gate: _shown, ...was }) =>
      same(was, sent)
    );
    const { logic: _logic, ...was } = parsed.data[index] ?? one;
    return { ...was, ...(one.logic ? { logic: one.logic } : {}) };
  });
}

export async function patchClient(room: Room, id: string, body: unknown): Promise<Answered> {
  const { workflow, steps } = await find(room, id);
  const patch = asked(schemas.clientPatch, body);
  const shape = clientShape(workflow, steps) as Json;
  const shown = asked(schemas.clientDocument, shape);
  const document = asked(schemas.clientDocument, {
    ...shape,
    ...Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)),
  });
  const changes = {
    trigger: !same(document.trigger, shown.trigger),
    actions: !same(document.actions, shown.actions),
    conditions: !same(document.conditions ?? [], shown.conditions ?? []),
  };
  const isChanged = changes.trigger || changes.actions || changes.conditions;
  if (isChanged) {
    const source = await sourceOf(room, id);
    const before = { steps, source, shown, kept: postedOf(workflow, steps) };
    await saveEdited(room, workflow, document, before, changes);
  } else if (patch.name !== undefined || patch.description !== undefined) {
    await update(room, workflow, {
      ...(patch.name === undefined ? {} : { name: document.name }),
      ...(patch.description === undefined ? {} : { description: document.description ?? null }),
    }, false);
  }
  if (patch.status === "archived") {
    await setStatus(room, id, "archived");
    return { data: { workflow: { ...shape, status: "archived" } as JSONValue } };
  }
  await takeEffect(room, workflow, {
    isOn: isOn(document),
    isChanged,
    off: document.status === "draft" ? "draft" : "paused",
  });
  return await answerClient(room, id);
}

async function saveEdited(
  room: Room,
  workflow: Row,
  document: schemas.ClientDocument,
  before: Before,
  changes: { trigger: boolean; actions: boolean; conditions: boolean },
): Promise<void> {
  const { source, kept } = before;
  const translated = clientDefinition(
    document,
    room.tenantId,
    isOn(document),
    knownActions(before),
  );
  checkBranches(source.steps, translated.steps);
  const saved = {
    id: workflow.id,
    name: document.name,
    description: document.description ?? null,
    metadata: workflow.metadata,
    settings: source.settings,
    baseRevision: source.revision,
  };
  if (kept?.shape === "client") {
    await save(room, saved, translated, "client", document);
    return;
  }
  // It was written elsewhere: only what the screen changed is.
  const own = changes.conditions
    ? conditionsFrom(before, document.conditions ?? [], translated.asked.own)
    : source.conditions;
  const added = changes.trigger ? translated.asked.trigger : [];
  await write(room, saved, {
    trigger_type: changes.trigger ? translated.trigger_type : workflow.trigger_type,
    trigger_config: changes.trigger ? translated.trigger_config : workflow.trigger_config,
    conditions: added.length === 0 ? own : same(own, []) ? added : { all: [added, own] },
    steps: changes.actions ? translated.steps : source.steps,
  });
}
