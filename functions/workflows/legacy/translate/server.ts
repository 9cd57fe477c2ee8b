// A. The server's engine: a row of workflows and its rows of workflow_steps.
import { z } from "zod";
import type { Definition, Made, Secret, Step, Target, Translation } from "./definition.ts";
import { keepUnread, keyOf, newStep, nextKey } from "./definition.ts";
import { type Json, type JsonObject, Keys } from "./keys.ts";
import { longest, waitLength } from "./lengths.ts";
import { Notes } from "./notes.ts";
import { comparison, serverSteps, type StepContext } from "./server-steps.ts";
import { serverTrigger, type Trigger } from "./server-trigger.ts";
import { serverVariables } from "./variables.ts";

const id = z.union([z.string(), z.number()]).transform(String);
const json = z.custom<Json>(() => true);

export const ServerStep = z.looseObject({
  id,
  step_order: z.number().nullish(),
  step_type: z.string(),
  step_config: json.optional(),
  delay_minutes: z.number().nullish(),
  created_at: z.string().nullish(),
});
export const ServerWorkflow = z.looseObject({
  id,
  tenant_id: z.string().nullable(),
  name: z.string(),
  description: z.string().nullish(),
  trigger_type: z.string(),
  trigger_config: json.optional(),
  is_active: z.boolean().nullish(),
  is_deleted: z.boolean().nullish(),
  steps: z.array(ServerStep),
});
export type ServerWorkflow = z.infer<typeof ServerWorkflow>;
type ServerStep = z.infer<typeof ServerStep>;

/** In the order that they ran in; which of a tie came first nobody could say. */
const inOrder = (steps: ServerStep[]) =>
  steps.toSorted((a, b) =>
    (a.step_order ?? 0) - (b.step_order ?? 0) ||
    (a.created_at ?? "").localeCompare(b.created_at ?? "") ||
    a.id.localeCompare(b.id)
  );

interface Row {
  row: ServerStep;
  keys: Keys;
  path: string;
  delay: number;
  isTied: boolean;
}

function rowDelay(row: ServerStep, path: string, notes: Notes): number {
  const delay = row.delay_minutes ?? 0;
  if (delay > longest) {
    notes.person(
      `${path}.delay_minutes`,
      `more than ten years: ${longest} minutes are the most`,
      delay,
    );
    return longest;
  }
  if (delay < 0) {
    notes.difference(`${path}.delay_minutes`, "a negative delay is none", "none");
    return 0;
  }
  if (row.delay_minutes !== undefined) {
    notes.translated(`${path}.delay_minutes`, row.delay_minutes, `${delay} minutes`);
  }
  return delay;
}

/** What each step waits for before it, however the delay was meant. */
function delays(rows: Row[], target: Target, notes: Notes): void {
  if (target.choices.delays === "after") {
    // Until February 2026 a delay stood after its step.
    const shifted = [0, ...rows.slice(0, -1).map(({ delay }) => delay)];
    rows.forEach((row, place) => (row.delay = shifted[place]!));
    return;
  }
  const [first] = rows;
  if (first && first.delay > 0) {
    const keep = target.choices.firstDelay === "keep";
    notes.difference(
      `${first.path}.delay_minutes`,
      "the delay of the first step was ignored",
      keep ? "it is kept, as it is described: before the step" : "it is dropped",
      "--first-delay",
    );
    if (!keep) first.delay = 0;
  }
}

function tied(rows: Row[], target: Target, notes: Notes): void {
  rows.forEach((row, place) => {
    if (place === 0 || rows[place - 1]!.row.step_order !== row.row.step_order) return;
    row.isTied = target.choices.ties === "first";
    notes.difference(
      `${row.path}.step_order`,
      "of steps with one step_order only one ever ran, nobody knows which",
      row.isTied ? "the first runs, this one comes switched off" : "all run, one after the other",
      "--ties",
    );
    notes.person(
      `${row.path}.step_order`,
      "say in which order these steps run, and switch on those that should",
      row.row.step_order,
    );
  });
}

function readStep(
  { row, keys, path, delay }: Row,
  context: StepContext,
  target: Target,
  notes: Notes,
): Made {
  notes.translated(`${path}.step_type`, row.step_type, row.step_type);
  const isOurs = row.step_type === "wait"
    ? !keys.has("delay_minutes") && keys.isAny()
    : !serverSteps[row.step_type];
  if (target.screen && isOurs) {
    const step = newStep(context.key, row.step_type, keys.all());
    return { steps: [{ ...step, delay_minutes: delay }], secrets: [], left: {} };
  }
  if (row.step_type === "wait") {
    const config = keys.number("delay_minutes", "the length of the wait");
    const { minutes, differ } = waitLength(delay, config, target.choices.wait);
    if (differ) {
      notes.person(
        `${path}.step_config.delay_minutes`,
        `the wait says ${config} minutes and its row ${delay}: ${minutes} are taken (--wait)`,
        config,
      );
    } else if (delay === 0 && minutes > 0) {
      notes.difference(
        path,
        "a wait does nothing by itself, and its row has no delay: nothing was waited",
        `${minutes} minutes, as it says`,
      );
    }
    const step = newStep(context.key, "wait", { minutes: Math.min(minutes, longest) });
    return { steps: [step], secrets: [], left: keys.rest() };
  }
  const reader = serverSteps[row.step_type];
  if (reader) {
    const made = reader(keys, context);
    made.steps[0]!.delay_minutes = delay;
    keepUnread(made, keys, target);
    return made;
  }
  notes.impossible(
    `${path}.step_type`,
    `there is no step ${row.step_type}: the run failed here, and ends here`,
    row.step_type,
  );
  const step = newStep(context.key, "stop", {
    reason: `The old step ${row.step_type.slice(0, 100)}`,
    outcome: "cancelled",
  });
  return {
    steps: [{ ...step, delay_minutes: delay }],
    secrets: [],
    left: keys.rest(),
    isBroken: true,
  };
}

/**
 * Where the run failed every time it ends here as well, and what stood before goes on as it did. Where nothing stood
 * before, nothing is lost by a draft.
 */
const endsThere = (rows: Row[], place: number, { choices }: Target): boolean =>
  choices.failedStep !== "draft" &&
  rows.slice(0, place).some(({ row, isTied }) => !isTied && row.step_type in serverSteps);

const switchedOff = (steps: Step[]) => steps.map((step) => ({ ...step, enabled: false }));

function endHere(
  { row, path }: Row,
  made: Step[],
  after: Step[],
  taken: Set<string>,
  notes: Notes,
) {
  notes.difference(
    path,
    "the run failed here, every time",
    "it ends here; this step and what stands after it come switched off",
    "--failed-step",
  );
  const [first, ...more] = made as [Step, ...Step[]];
  if (first.step_type === "stop") return [first, ...switchedOff(after)];
  const stop = newStep(first.step_key, "stop", {
    reason: `The old run failed at this step: ${row.step_type.slice(0, 100)}`,
    outcome: "cancelled",
  });
  const was = { ...first, step_key: nextKey(first.step_key, taken), delay_minutes: 0 };
  return [
    { ...stop, delay_minutes: first.delay_minutes },
    ...switchedOff([was, ...more, ...after]),
  ];
}

/** Declared and never carried out: the run failed. What stands after it becomes its branches. */
function readConditional(
  row: Row,
  context: StepContext,
  after: Step[],
  keyById: Map<string, string>,
  target: Target,
): Made {
  const { keys } = row;
  const written = keys.text("condition", "conditions") ?? "";
  const conditions = comparison(written, keys.at("condition"), keys, context.resolve);
  const [then, otherwise] = ["then_step_id", "else_step_id"].map((name) =>
    keyById.get(String(keys.move(name, "a branch")))
  );
  const start = after.findIndex(({ step_key }) => step_key === then);
  const turn = after.findIndex(({ step_key }) => step_key === otherwise);
  const branches = {
    then: after.slice(Math.max(start, 0), turn > start ? turn : undefined),
    else: turn > start ? after.slice(turn) : [],
  };
  const isMeant = target.choices.failedStep === "branch" && conditions !== undefined;
  keys.notes.difference(
    row.path,
    "the run failed here: Unknown step type: conditional",
    isMeant ? "it takes a branch" : "its branches are there, and taken by nobody yet",
    "--failed-step",
  );
  keys.notes.person(
    row.path,
    "look through its condition and branches, and say whether they are meant",
    written,
  );
  const step = newStep(context.key, "conditional", { conditions: conditions ?? [] });
  return {
    steps: [{ ...step, delay_minutes: row.delay, branches }],
    secrets: [],
    left: keys.rest(),
    isBroken: !isMeant,
  };
}

export function translateServer(given: unknown, target: Target): Translation {
  const workflow = ServerWorkflow.parse(given);
  const notes = new Notes();
  const keys = new Keys(workflow, "", notes);
  for (
    const name of [
      "id",
      "tenant_id",
      "name",
      "description",
      "trigger_type",
      "trigger_config",
      "steps",
    ]
  ) keys.take(name);
  for (const name of ["created_at", "updated_at", "is_active", "is_deleted"]) keys.take(name);
  const trigger = serverTrigger(
    workflow.trigger_type,
    workflow.trigger_config,
    notes,
    target.screen !== undefined,
  );
  const resolve = serverVariables(workflow.trigger_type, notes);
  const taken = new Set<string>();
  const rows = inOrder(workflow.steps).map((row, place): Row => {
    const path = `steps[${place}]`;
    return {
      row,
      path,
      isTied: false,
      delay: rowDelay(row, path, notes),
      keys: new Keys(row.step_config, `${path}.step_config`, notes),
    };
  });
  delays(rows, target, notes);
  tied(rows, target, notes);
  const keyById = new Map(rows.map(({ row }) => [row.id, keyOf(row.id, taken)]));
  const secrets: Secret[] = [];
  const left: JsonObject = keys.rest();
  let isBroken = trigger.isBroken ?? false;
  let steps: Step[] = [];
  // From the last to the first, since a conditional takes what stands after it.
  for (const [place, row] of [...rows.entries()].toReversed()) {
    const context = {
      key: keyById.get(row.row.id)!,
      resolve,
      tenantId: workflow.tenant_id,
      label: workflow.name,
    };
    const isConditional = row.row.step_type === "conditional" && !target.screen;
    const made = isConditional
      ? readConditional(row, context, steps, keyById, target)
      : readStep(row, context, target, notes);
    if (isConditional) {
      notes.translated(`${row.path}.step_type`, "conditional", "conditional");
      steps = [];
    }
    if (row.isTied) made.steps.forEach((step) => (step.enabled = false));
    const failed = made.isBroken === true && !row.isTied;
    const isEnd = failed && endsThere(rows, place, target);
    steps = isEnd ? endHere(row, made.steps, steps, taken, notes) : [...made.steps, ...steps];
    secrets.push(...made.secrets);
    isBroken ||= failed && !isEnd;
    if (Object.keys(made.left).length > 0) left[row.path] = made.left;
    if (row.row.step_order !== undefined) {
      notes.translated(`${row.path}.step_order`, row.row.step_order, "its place");
    }
  }
  if (steps.length === 0) {
    notes.person("steps", "there are none: a run did nothing; add one, or leave it out");
    isBroken = true;
  }
  return finish(workflow, trigger, steps, {
    notes,
    secrets,
    left,
    isBroken,
    target,
    stepKeys: Object.fromEntries(keyById),
  });
}

interface Finished {
  notes: Notes;
  secrets: Secret[];
  left: JsonObject;
  isBroken: boolean;
  target: Target;
  stepKeys: Record<string, string>;
}

function finish(
  workflow: ServerWorkflow,
  trigger: Trigger,
  steps: Step[],
  all: Finished,
): Translation {
  const { notes, target } = all;
  const isDeleted = workflow.is_deleted === true;
  if (workflow.is_active === null || workflow.is_active === undefined) {
    notes.difference("is_active", "null: nothing started it", "switched off");
  } else {notes.translated(
      "is_active",
      workflow.is_active,
      workflow.is_active ? "active" : "paused",
    );}
  if (isDeleted) {
    notes.difference(
      "is_deleted",
      "deleted, its history kept",
      "archived, and only if it has history",
    );
  }
  const isOn = workflow.is_active === true && !isDeleted;
  const ranNever = trigger.neverRan !== undefined;
  if (isOn && ranNever) neverRan(notes, trigger.neverRan!, target);
  const definition: Definition = {
    name: workflow.name.trim() === "" ? "Without a name" : workflow.name,
    description: workflow.description ?? null,
    trigger_type: trigger.type,
    trigger_config: trigger.config,
    conditions: trigger.conditions,
    settings: {},
    metadata: { legacy: { source: "server", id: workflow.id, ...all.left } },
    steps,
  };
  notes.translated("name", workflow.name, "name");
  return {
    source: "server",
    legacyId: workflow.id,
    part: 0,
    tenantId: workflow.tenant_id,
    definition,
    wasActive: isOn && (!ranNever || target.choices.neverRan === "activate"),
    isDraft: all.isBroken,
    isDeleted,
    secrets: all.secrets,
    stepKeys: all.stepKeys,
    notes: notes.all,
  };
}

/** Switched on for years and never started: it would begin to write to customers on the day of the import. */
export function neverRan(notes: Notes, why: string, target: Target): void {
  const stays = target.choices.neverRan === "pause";
  notes.difference(
    "is_active",
    `${why}: it was on and never ran`,
    stays ? "it comes switched off" : "it runs from now on",
    "--never-ran",
  );
  if (stays) notes.person("is_active", `${why}: switch it on if it should run from now on`);
}
