// C. A campaign with its triggers and steps: a workflow for each trigger, of the same steps.
import { z } from "zod";
import { legacy } from "../../functions/workflows/legacy/translate/conditions.ts";
import { campaignSteps } from "./campaign-steps.ts";
import {
  businessHours,
  type CampaignTrigger,
  campaignTrigger,
  delayOf,
} from "./campaign-trigger.ts";
import {
  keyOf,
  newStep,
  nextKey,
  type Secret,
  type Step,
  type Target,
  type Translation,
} from "../../functions/workflows/legacy/translate/definition.ts";
import {
  isAbsent,
  type Json,
  type JsonObject,
  Keys,
} from "../../functions/workflows/legacy/translate/keys.ts";
import { longest, waitLength } from "../../functions/workflows/legacy/translate/lengths.ts";
import { Notes } from "../../functions/workflows/legacy/translate/notes.ts";
import { neverRan } from "../../functions/workflows/legacy/translate/server.ts";
import { campaignVariables } from "../../functions/workflows/legacy/translate/variables.ts";

const id = z.union([z.string(), z.number()]).transform(String);
const json = z.custom<Json>(() => true);

export const CampaignStep = z.looseObject({
  id,
  step_order: z.number().nullish(),
  step_type: z.string(),
  step_config: json.optional(),
  delay_value: z.number().nullish(),
  delay_unit: z.string().nullish(),
  is_deleted: z.boolean().nullish(),
  created_at: z.string().nullish(),
});
export const Campaign = z.looseObject({
  id,
  tenant_id: z.string().nullable(),
  name: z.string(),
  description: z.string().nullish(),
  status: z.string().nullish(),
  allow_re_enrollment: z.boolean().nullish(),
  re_enrollment_delay_days: z.number().nullish(),
  respect_business_hours: z.boolean().nullish(),
  business_hours: json.optional(),
  enrollment_type: z.string().nullish(),
  is_deleted: z.boolean().nullish(),
  triggers: z.array(z.looseObject({ id: id.nullish() })),
  steps: z.array(CampaignStep),
});
export type Campaign = z.infer<typeof Campaign>;

interface Steps {
  steps: Step[];
  secrets: Secret[];
  stepKeys: Record<string, string>;
  left: JsonObject;
  isBroken: boolean;
}

const counters = ["total_executed", "total_succeeded", "total_failed"];

/** How long before a step, and of a wait how long it lasts: in its row, in its configuration, never in both. */
function delayOfStep(
  step: z.infer<typeof CampaignStep>,
  path: string,
  isFirst: boolean,
  keys: Keys,
  target: Target,
  notes: Notes,
): number {
  const row = delayOf(step.delay_value, step.delay_unit);
  if (row === 0 && step.delay_value !== undefined) {
    notes.translated(`${path}.delay_value`, step.delay_value, "no delay");
  }
  if (!isAbsent(step.delay_unit)) {
    notes.translated(`${path}.delay_unit`, step.delay_unit, "minutes");
  }
  if (row > 0) {
    notes.translated(
      `${path}.delay_value`,
      `${step.delay_value} ${step.delay_unit ?? "days"}`,
      `${row} minutes`,
    );
  }
  if (step.step_type === "wait") {
    const [value, unit] = [
      keys.number("delay_value", "the length of the wait"),
      keys.text("delay_unit", "the length of the wait"),
    ];
    const until = keys.take("wait_until");
    if (!isAbsent(until)) {
      notes.person(
        `${path}.step_config.wait_until`,
        "write until, at or window into the wait",
        until,
      );
    }
    const { minutes, differ } = waitLength(
      row,
      value === undefined ? undefined : delayOf(value, unit ?? step.delay_unit),
      target.choices.wait,
    );
    if (differ) {
      notes.person(
        path,
        `the wait and its row name different lengths: ${minutes} minutes are taken (--wait)`,
      );
    } else if (row === 0 && minutes > 0) {
      notes.difference(
        path,
        "a wait does nothing by itself: nothing was waited",
        `${minutes} minutes, as it says`,
      );
    }
    return Math.min(minutes, longest);
  }
  if (row > longest) {
    notes.person(`${path}.delay_value`, "more than ten years: that is the most", step.delay_value);
  }
  if (!isFirst || row === 0) return Math.min(row, longest);
  const keep = target.choices.firstDelay === "keep";
  notes.difference(
    `${path}.delay_value`,
    "the delay of the first step was ignored",
    keep ? "it is kept" : "it is dropped",
    "--first-delay",
  );
  return keep ? Math.min(row, longest) : 0;
}

/** Stored and never honoured: messages within the hours of the office. */
function hours(
  campaign: Campaign,
  target: Target,
  notes: Notes,
): Record<string, unknown> | undefined {
  if (campaign.respect_business_hours === false) {
    notes.translated("respect_business_hours", false, "no window");
    return undefined;
  }
  const applies = target.choices.storedFilters === "apply";
  const wait = businessHours(campaign.business_hours);
  notes.difference(
    "respect_business_hours",
    "stored and never looked at: messages went out at any hour",
    applies ? `a wait before each message: ${JSON.stringify(wait)}` : "messages go out at any hour",
    "--stored-filters",
  );
  if (!isAbsent(campaign.business_hours)) {
    notes.translated("business_hours", campaign.business_hours, JSON.stringify(wait));
  }
  return applies ? wait : undefined;
}

function stepsOf(campaign: Campaign, target: Target, notes: Notes): Steps {
  const all: Steps = { steps: [], secrets: [], stepKeys: {}, left: {}, isBroken: false };
  const taken = new Set<string>();
  const resolve = campaignVariables({}, notes);
  const window = hours(campaign, target, notes);
  const rows = campaign.steps.map((step, place) => ({ step, path: `steps[${place}]` }))
    .toSorted((a, b) =>
      (a.step.step_order ?? 0) - (b.step.step_order ?? 0) ||
      (a.step.created_at ?? "").localeCompare(b.step.created_at ?? "") ||
      a.step.id.localeCompare(b.step.id)
    );
  let before: number | null | undefined;
  let isFirst = true;
  for (const { step, path } of rows) {
    const outer = new Keys(step, path, notes);
    for (
      const key of [
        "id",
        "campaign_id",
        "step_order",
        "step_type",
        "step_config",
        "delay_value",
        "delay_unit",
        "is_deleted",
        "created_at",
        "updated_at",
      ]
    ) {
      outer.take(key);
    }
    if (step.is_deleted === false) notes.translated(`${path}.is_deleted`, false, "it is brought");
    counters.forEach((key) => outer.drop(key, "a counter; kept in metadata.legacy"));
    if (step.is_deleted) {
      outer.rest();
      notes.kept(path, step.step_type, "deleted: it is left out");
      continue;
    }
    const keys = new Keys(step.step_config, `${path}.step_config`, notes);
    if (keys.peek("type") === step.step_type) keys.drop("type", "it repeats the type of the step");
    const key = keyOf(step.id, taken);
    const delay = delayOfStep(step, path, isFirst, keys, target, notes);
    notes.translated(`${path}.step_type`, step.step_type, step.step_type);
    notes.translated(`${path}.step_order`, step.step_order, "its place");
    if (isFirst && step.step_order === 1) {
      notes.difference(
        `${path}.step_order`,
        "a first step numbered 1 ran twice: at once, and after its delay",
        "once",
      );
    }
    const reader = campaignSteps[step.step_type];
    const made = step.step_type === "wait"
      ? { steps: [newStep(key, "wait", { minutes: delay })], secrets: [], left: keys.rest() }
      : reader?.(keys, {
        key,
        taken,
        resolve,
        tenantId: campaign.tenant_id,
        label: campaign.name,
        target,
      });
    if (!made) {
      notes.impossible(`${path}.step_type`, `there is no step ${step.step_type}`, step.step_type);
      all.isBroken = true;
      all.left[path] = { type: step.step_type, ...keys.rest(), ...outer.rest() };
      continue;
    }
    if (step.step_type !== "wait" && made.steps[0]) made.steps[0].delay_minutes = delay;
    if (window) made.steps = withWindow(made.steps, window, taken);
    const isTied = !isFirst && before === step.step_order;
    if (isTied) tie(made.steps, `${path}.step_order`, step.step_order, target, notes);
    [before, isFirst] = [step.step_order, false];
    if (made.steps[0]) all.stepKeys[step.id] = made.steps[0].step_key;
    all.steps.push(...made.steps);
    all.secrets.push(...made.secrets);
    all.isBroken ||= "isBroken" in made && made.isBroken === true &&
      made.steps.some(({ enabled }) => enabled);
    const left = { ...made.left, ...outer.rest() };
    if (Object.keys(left).length > 0) all.left[path] = left;
  }
  return all;
}

function tie(steps: Step[], key: string, order: unknown, target: Target, notes: Notes): void {
  const isOff = target.choices.ties === "first";
  if (isOff) steps.forEach((step) => (step.enabled = false));
  notes.difference(
    key,
    "of steps with one step_order only one ever ran; the builder numbered every new step 999",
    isOff ? "the first runs, this one comes switched off" : "all run, one after the other",
    "--ties",
  );
  notes.person(key, "say in which order these steps run, and switch on those that should", order);
}

/** A wait for the hours of the office before each message; the delay is the wait's. */
function withWindow(steps: Step[], window: Record<string, unknown>, taken: Set<string>): Step[] {
  return steps.flatMap((step) => {
    if (step.step_type !== "send_email" && step.step_type !== "send_sms") return [step];
    const wait = {
      ...newStep(nextKey(`${step.step_key}_hours`, taken), "wait", window),
      delay_minutes: step.delay_minutes,
      enabled: step.enabled,
    };
    return [wait, { ...step, delay_minutes: 0 }];
  });
}

function reentry(
  campaign: Campaign,
  trigger: CampaignTrigger,
  notes: Notes,
): Record<string, unknown> {
  const days = campaign.re_enrollment_delay_days;
  const rule = campaign.allow_re_enrollment !== true
    ? "never"
    : typeof days === "number" && days > 0
    ? { once_in: `${days} days` }
    : "not_while_open";
  notes.translated(
    "allow_re_enrollment",
    campaign.allow_re_enrollment ?? false,
    `settings.reentry ${JSON.stringify(rule)}`,
  );
  if (!isAbsent(days)) {
    notes.translated("re_enrollment_delay_days", days, `settings.reentry ${JSON.stringify(rule)}`);
  }
  if (rule !== "never") {
    notes.difference(
      "allow_re_enrollment",
      "a contact never entered a second time, whatever it said",
      "as it says",
    );
  }
  const byContact = !["contact_created", "stage_changed", "time_elapsed"].includes(trigger.type);
  return { reentry: rule, ...(byContact ? { dedupe_key: "{{contact.id}}" } : {}) };
}

const only = [
  "id",
  "tenant_id",
  "name",
  "description",
  "status",
  "allow_re_enrollment",
  "re_enrollment_delay_days",
  "respect_business_hours",
  "business_hours",
  "is_deleted",
  "triggers",
  "steps",
  "created_at",
  "updated_at",
];
const numbers = [
  "total_enrolled",
  "total_completed",
  "total_revenue",
  "goal_type",
  "goal_target",
  "max_enrollments",
  "campaign_type",
];

export function translateCampaign(given: unknown, target: Target): Translation[] {
  const campaign = Campaign.parse(given);
  const shared = new Notes();
  const keys = new Keys(campaign, "", shared);
  only.forEach((key) => keys.take(key));
  const made = stepsOf(campaign, target, shared);
  const isManual = campaign.enrollment_type === "manual";
  keys.move("enrollment_type", isManual ? "a manual trigger" : "its triggers");
  const left: JsonObject = { ...made.left };
  for (const key of numbers) {
    const value = keys.peek(key);
    if (value !== undefined && value !== null) left[key] = value;
    keys.drop(key, "nothing acted on it; kept in metadata.legacy");
  }
  Object.assign(left, keys.rest());
  const rows = isManual || campaign.triggers.length === 0 ? [undefined] : campaign.triggers;
  const triggers = rows.map((row, place) => {
    const notes = new Notes();
    return {
      notes,
      trigger: campaignTrigger(
        row as JsonObject | undefined,
        new Keys(row, `triggers[${place}]`, notes),
        target.choices,
      ),
    };
  });
  const stages = triggers.flatMap(({ trigger }) =>
    trigger.leaves === undefined ? [] : [trigger.leaves]
  );
  const workflows = merged(triggers);
  return workflows.map(({ trigger, notes }, place) =>
    workflowOf(
      campaign,
      { trigger, notes, shared, made, left, stages, target },
      place,
      workflows.length,
    )
  );
}

interface Triggered {
  trigger: CampaignTrigger;
  notes: Notes;
}

const alike = (values: unknown[]) => new Set(values.map((one) => JSON.stringify(one))).size === 1;

/** What a change of stage has to be for one of several triggers. */
function askedOf({ config, conditions }: CampaignTrigger): unknown {
  const of = (field: string, value: Json | undefined) =>
    value === undefined ? [] : [legacy(field, "equals", value)];
  return {
    all: [
      ...of("trigger.previous_stage", config.from),
      ...of("trigger.new_stage", config.to),
      ...(conditions.length > 0 ? [conditions] : []),
    ],
  };
}

/**
 * A contact was in a campaign once, whichever of its triggers fired. Those that did fire are one workflow, the first,
 * which has the history; what never fired is one each.
 */
function merged(triggers: Triggered[]): Triggered[] {
  const fired = triggers.filter(({ trigger }) => trigger.neverRan === undefined);
  const never = triggers.filter(({ trigger }) => trigger.neverRan !== undefined);
  const [first, ...others] = fired;
  if (!first || others.length === 0) return [...fired, ...never];
  const all = fired.map(({ trigger }) => trigger);
  const notes = new Notes();
  notes.all.push(...fired.flatMap((one) => one.notes.all));
  const isList = alike(all.map(({ config }) => config.from ?? null)) &&
    alike(all.map(({ conditions }) => conditions));
  const { to: _to, ...config } = first.trigger.config;
  const stages = all.map(({ config }) => config.to);
  const trigger: CampaignTrigger = {
    ...first.trigger,
    config: isList
      ? { ...config, ...(stages.includes(undefined) ? {} : { to: [...new Set(stages)] as Json[] }) }
      : {},
    conditions: isList ? first.trigger.conditions : [],
    ...(isList ? {} : { anyOf: all.map(askedOf) }),
    left: all.some(({ left }) => Object.keys(left).length > 0)
      ? { triggers: all.map(({ left }) => left) }
      : {},
  };
  notes.translated(
    "triggers",
    stages,
    `one workflow that each of these ${fired.length} triggers starts`,
  );
  return [{ trigger, notes }, ...never];
}

interface Parts {
  trigger: CampaignTrigger;
  notes: Notes;
  shared: Notes;
  made: Steps;
  left: JsonObject;
  stages: Json[];
  target: Target;
}

function workflowOf(campaign: Campaign, parts: Parts, place: number, count: number): Translation {
  const { trigger, notes, shared, made, left, stages, target } = parts;
  const settings = reentry(campaign, trigger, notes);
  if (stages.length > 0) {
    settings.exit_events = [...new Set(stages.map(String))].slice(0, 20).map((from) => ({
      type: "pipeline_stage_changed",
      config: { from },
    }));
    notes.translated("triggers", stages, "settings.exit_events: a project leaves the stage");
  }
  if (count > 1) {
    notes.difference(
      "triggers",
      "several triggers, one enrolment for each contact in all of them",
      `those that ever fired are one workflow, each of the others is one of its own (${
        place + 1
      } of ${count}), which whoever was in the campaign does not enter`,
    );
  }
  const status = campaign.status ?? "draft";
  notes.translated("status", status, status);
  notes.translated("name", campaign.name, "name");
  const isOn = status === "active" && campaign.is_deleted !== true;
  if (isOn && trigger.neverRan) neverRan(notes, trigger.neverRan, target);
  const steps = structuredClone(made.steps);
  if (steps.length === 0) {
    notes.person("steps", "there are none: add one, or leave it out");
    steps.push(newStep("nothing", "stop", { reason: "There was nothing to do" }));
  }
  return {
    source: "campaigns",
    legacyId: campaign.id,
    part: place,
    tenantId: campaign.tenant_id,
    definition: {
      name: count > 1 ? `${campaign.name} (${place + 1} of ${count})` : campaign.name,
      description: campaign.description ?? null,
      trigger_type: trigger.type,
      trigger_config: trigger.config,
      conditions: trigger.anyOf ? { any: trigger.anyOf } : trigger.conditions,
      settings,
      metadata: {
        legacy: {
          source: "campaigns",
          id: campaign.id,
          ...left,
          ...(Object.keys(trigger.left).length > 0 ? { trigger: trigger.left } : {}),
        },
      },
      steps,
    },
    wasActive: isOn && (!trigger.neverRan || target.choices.neverRan === "activate"),
    isDraft: made.isBroken || trigger.isBroken === true || made.steps.length === 0,
    isDeleted: campaign.is_deleted === true,
    secrets: made.secrets,
    stepKeys: made.stepKeys,
    notes: [...shared.all, ...notes.all],
  };
}
