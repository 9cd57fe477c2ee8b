// B. The browser's engine: a document, from a file. Its delays are hours from the start of the run, not from the action
// before, so the order of time is not the order of the list.
import { z } from "zod";
import { type ActionContext, clientActions } from "./client-actions.ts";
import { type ClientTrigger, clientTrigger } from "./client-trigger.ts";
import { clientConditions } from "./conditions.ts";
import {
  type Condition,
  keepUnread,
  keyOf,
  type Known,
  type Made,
  newStep,
  type Screen,
  type Secret,
  type Source,
  type Step,
  type Target,
  type Translation,
} from "./definition.ts";
import { isAbsent, type Json, type JsonObject, Keys } from "./keys.ts";
import { longest } from "./lengths.ts";
import { Notes } from "./notes.ts";
import { neverRan } from "./server.ts";
import { clientVariables } from "./variables.ts";

const id = z.union([z.string(), z.number()]).transform(String);
const json = z.custom<Json>(() => true);

export const ClientAction = z.looseObject({
  id: id.nullish(),
  type: z.string(),
  config: json.optional(),
  delay: z.number().nullish(),
  enabled: z.boolean().nullish(),
  order: z.number().nullish(),
});
export const ClientWorkflow = z.looseObject({
  id: id.nullish(),
  tenant_id: z.string().nullish(),
  name: z.string().nullish(),
  description: z.string().nullish(),
  status: z.string().nullish(),
  trigger: z.looseObject({
    type: z.string(),
    config: json.optional(),
    enabled: z.boolean().nullish(),
  }),
  actions: z.array(ClientAction),
  conditions: json.optional(),
});
export type ClientWorkflow = z.infer<typeof ClientWorkflow>;
type ClientAction = z.infer<typeof ClientAction>;

interface Timed {
  action: ClientAction;
  path: string;
  keys: Keys;
  /** Minutes from the start of the run. */
  at: number;
  isDelayed: boolean;
  known?: Known;
}

/**
 * When each action is due. A wait blocks the loop that starts the others, so that what stands after it counts from
 * its end; a delayed wait blocks nobody.
 */
function timed(actions: ClientAction[], notes: Notes, screen?: Screen): Timed[] {
  let base = 0;
  const inOrder = actions
    .map((action, place) => ({ action, path: `actions[${place}]` }))
    .toSorted((a, b) => (a.action.order ?? 0) - (b.action.order ?? 0));
  const found: Timed[] = [];
  for (const { action, path } of inOrder) {
    const keys = new Keys(action, path, notes);
    const own = new Keys(action.config, `${path}.config`, notes);
    for (const key of ["id", "type", "config", "delay", "enabled", "order"]) keys.take(key);
    const delay = Math.max(action.delay ?? 0, 0) * 60;
    if (action.order !== undefined) {
      notes.translated(`${path}.order`, action.order, "its place, after the time it is due");
    }
    if (action.enabled !== undefined) {
      notes.translated(`${path}.enabled`, action.enabled, `enabled: ${action.enabled !== false}`);
    }
    if (action.delay) {
      notes.translated(`${path}.delay`, action.delay, `${delay} minutes from the start of the run`);
    }
    if (own.peek("type") === action.type) own.drop("type", "it repeats the type of the action");
    const known = screen?.known?.(action);
    const isOurs = screen && (known !== undefined || !own.has("duration"));
    if (action.type === "wait" && !isOurs) {
      const hours = own.number("duration", "the delay of what comes after it") ?? 0;
      own.rest();
      notes.translated(`${path}.type`, "wait", "the delay of what comes after it");
      if (delay > 0) {
        notes.difference(path, "a wait with a delay of its own held nobody up", "it is left out");
      } else if (action.enabled !== false) base += Math.max(hours, 0) * 60;
    } else {
      found.push({
        action,
        path,
        keys: own,
        at: known?.at ?? base + delay,
        isDelayed: delay > 0,
        ...(known ? { known } : {}),
      });
    }
    keys.rest();
  }
  return found.toSorted((a, b) => a.at - b.at);
}

interface Steps {
  steps: Step[];
  secrets: Secret[];
  left: JsonObject;
  stepKeys: Record<string, string>;
  origins: Record<string, string>;
  isBroken: boolean;
}

function readAction(
  { action, keys, known }: Timed,
  context: ActionContext,
  target: Target,
): Made | undefined {
  if (known?.steps) return { steps: structuredClone(known.steps), secrets: [], left: {} };
  const reader = action.type === "wait" ? undefined : clientActions[action.type];
  const made = reader?.(keys, context) ?? (target.screen
    ? {
      steps: [newStep(context.key, action.type, oursOf(action.type, keys))],
      secrets: [],
      left: {},
    }
    : undefined);
  if (made && reader) keepUnread(made, keys, target);
  if (made?.steps[0]) Object.assign(made.steps[0], known?.besides);
  return made;
}

/** A step that only ours know. A wait may have been shown by its hours. */
function oursOf(type: string, keys: Keys): Record<string, unknown> {
  const { type: written, duration, ...config } = keys.all();
  const named = written === undefined || written === type ? {} : { type: written };
  if (duration === undefined) return { ...config, ...named };
  return {
    ...config,
    ...named,
    ...(type === "wait" ? { minutes: Number(duration) * 60 } : { duration }),
  };
}

function stepsOf(
  workflow: ClientWorkflow,
  trigger: ClientTrigger,
  notes: Notes,
  target: Target,
): Steps {
  const all: Steps = {
    steps: [],
    secrets: [],
    left: {},
    stepKeys: {},
    origins: {},
    isBroken: false,
  };
  const inTime = timed(workflow.actions, notes, target.screen);
  const taken = new Set(inTime.flatMap(({ known }) => [
    ...(known?.steps ?? []).map(({ step_key }) => step_key),
    ...(known?.besides?.step_key ? [known.besides.step_key] : []),
  ]));
  const resolve = clientVariables(trigger.scope);
  let before = 0;
  for (const one of inTime) {
    const { action, path, keys, at, isDelayed, known } = one;
    const key = known?.steps ? "" : known?.besides?.step_key ?? keyOf(action.id ?? path, taken);
    const context = {
      key,
      taken,
      resolve,
      tenantId: workflow.tenant_id ?? null,
      label: workflow.name ?? "",
    };
    const made = readAction(one, context, target);
    if (!made) {
      notes.impossible(`${path}.type`, `there is no action ${action.type}`, action.type);
      all.isBroken = true;
      all.left[path] = { type: action.type, ...keys.rest() };
      continue;
    }
    notes.translated(`${path}.type`, action.type, action.type);
    const isOn = action.enabled !== false;
    const delay = Math.min(at - before, longest);
    if (at - before > longest) {
      notes.person(`${path}.delay`, "more than ten years: that is the most", action.delay);
    }
    made.steps.forEach((step, place) => {
      step.enabled = isOn;
      step.delay_minutes = place === 0 ? Math.round(delay * 1000) / 1000 : 0;
      // Each delayed action had a timer of its own, and its failure held up no other.
      if (!known) step.continue_on_error ||= isDelayed;
      all.origins[step.step_key] = action.id ?? path;
    });
    if (isOn && made.steps.length > 0) before = at;
    if (made.steps[0]) all.stepKeys[action.id ?? path] = made.steps[0].step_key;
    all.steps.push(...made.steps);
    all.secrets.push(...made.secrets);
    all.isBroken ||= isOn && made.isBroken === true;
    if (Object.keys(made.left).length > 0) all.left[path] = made.left;
  }
  return all;
}

function askAll(trigger: ClientTrigger, conditions: Condition[]): unknown {
  if (trigger.conditions.length === 0) return conditions;
  if (conditions.length === 0) return trigger.conditions;
  return { all: [trigger.conditions, conditions] };
}

const ignored = [
  "id",
  "tenant_id",
  "name",
  "description",
  "status",
  "trigger",
  "actions",
  "conditions",
  "created_at",
  "updated_at",
];

/** `place`: what a document without an id is known by. */
export function translateClient(
  given: unknown,
  target: Target,
  place: string,
  as: Source = "client",
): Translation {
  const workflow = ClientWorkflow.parse(given);
  const notes = new Notes();
  const keys = new Keys(workflow, "", notes);
  ignored.forEach((key) => keys.take(key));
  const outer = new Keys(workflow.trigger, "trigger", notes);
  for (const key of ["id", "type", "config", "enabled"]) outer.take(key);
  const trigger = clientTrigger(
    workflow.trigger.type,
    workflow.trigger.config,
    "trigger.config",
    outer,
    target,
  );
  const made = stepsOf(workflow, trigger, notes, target);
  const resolve = clientVariables(trigger.scope);
  const conditions = clientConditions(workflow.conditions, "conditions", resolve, notes);
  const status = workflow.status ?? "draft";
  notes.translated("status", status, status);
  notes.translated("name", workflow.name, "name");
  if (workflow.trigger.enabled !== undefined) {
    notes.translated(
      "trigger.enabled",
      workflow.trigger.enabled,
      workflow.trigger.enabled === false ? "switched off" : "as status says",
    );
  }
  const isOn = status === "active" && workflow.trigger.enabled !== false;
  if (isOn && trigger.neverRan) neverRan(notes, trigger.neverRan, target);
  if (made.steps.length === 0) {
    notes.person("actions", "there are none: a run did nothing; add one, or leave it out");
    if (!target.screen) {
      made.steps.push(newStep("nothing", "stop", { reason: "There was nothing to do" }));
    }
    made.isBroken = true;
  }
  const left = { ...keys.rest(), ...outer.rest(), ...made.left, ...trigger.settings };
  return {
    source: as,
    legacyId: workflow.id ?? place,
    part: 0,
    tenantId: workflow.tenant_id ?? null,
    definition: {
      name: isAbsent(workflow.name?.trim()) ? "Without a name" : workflow.name!,
      description: workflow.description ?? null,
      trigger_type: trigger.type,
      trigger_config: trigger.config,
      conditions: askAll(trigger, conditions),
      settings: {},
      metadata: { legacy: { source: as, id: workflow.id ?? place, ...left } },
      steps: made.steps,
    },
    wasActive: isOn && (!trigger.neverRan || target.choices.neverRan === "activate"),
    isDraft: made.isBroken || trigger.isBroken === true,
    isDeleted: false,
    secrets: made.secrets,
    stepKeys: made.stepKeys,
    origins: made.origins,
    asked: { trigger: trigger.conditions, own: conditions },
    notes: notes.all,
  };
}
