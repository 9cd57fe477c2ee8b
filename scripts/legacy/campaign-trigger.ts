// Triggers of campaigns. Of all kinds only a project's change of stage ever fired.
import { campaignCondition } from "../../functions/workflows/legacy/translate/conditions.ts";
import type { Choices, Condition } from "../../functions/workflows/legacy/translate/definition.ts";
import {
  isAbsent,
  isObject,
  type Json,
  type JsonObject,
  Keys,
} from "../../functions/workflows/legacy/translate/keys.ts";
import { minutesOf } from "../../functions/workflows/legacy/translate/lengths.ts";
import type { Trigger } from "../../functions/workflows/legacy/translate/server-trigger.ts";

const projectStages = [
  "prospect",
  "qualified",
  "quote_sent",
  "negotiation",
  "won",
  "production",
  "complete",
  "lost",
];

export interface CampaignTrigger extends Trigger {
  /** The stage that ends a run when a project leaves it. */
  leaves?: Json;
  /** Of several triggers that are one workflow: what each asks for. */
  anyOf?: unknown[];
  left: JsonObject;
}

function stageChange(keys: Keys, trigger: CampaignTrigger): void {
  const entity = keys.text("entity_type", "the trigger type");
  const isProject = entity === "project";
  trigger.type = isProject ? "pipeline_stage_changed" : "stage_changed";
  if (!isProject) trigger.neverRan = "only changes of a project's stage ever fired";
  if (entity === undefined) {
    keys.notes.person(keys.at("entity_type"), "of a contact or a project? a contact's is taken");
  }
  const from = keys.move("from_stage", "trigger_config.from");
  const to = keys.move("to_stage", "trigger_config.to");
  if (!isAbsent(from)) trigger.config.from = from!;
  if (isAbsent(to)) return;
  trigger.config.to = to!;
  if (!isProject) return;
  trigger.leaves = to!;
  if (typeof to === "string" && !projectStages.includes(to)) {
    trigger.neverRan = `${to} is no stage of a project`;
    keys.notes.person(
      keys.at("to_stage"),
      `${to} is no stage of a project: ${projectStages.join(", ")}`,
      to,
    );
    trigger.isBroken = true;
  }
}

function timeBased(keys: Keys, trigger: CampaignTrigger): void {
  trigger.type = "time_elapsed";
  trigger.neverRan = "triggers by time never fired";
  const kind = keys.text("schedule_type", "the trigger type");
  const [field, date] = [
    keys.text("relative_to", "trigger_config.field"),
    keys.take("absolute_date"),
  ];
  const [value, unit] = [
    keys.number("delay_value", "trigger_config.offset"),
    keys.text("delay_unit", "trigger_config.offset"),
  ];
  if (kind === "absolute") {
    Object.assign(trigger, { type: "manual", config: {} });
    keys.notes.person(
      keys.at("absolute_date"),
      "one date, for everybody: enrol the records by hand on that day",
      date,
    );
    return;
  }
  if (!isAbsent(date)) keys.notes.kept(keys.at("absolute_date"), date, "not used when relative");
  trigger.config = {
    entity: "contact",
    field: field ?? "created_at",
    offset: `${value ?? 0} ${unit ?? "days"}`,
  };
  if (["last_contact_date", "last_activity_date"].includes(field ?? "")) {
    keys.notes.person(
      keys.at("relative_to"),
      `contacts have no ${field}: name a date that they have`,
      field,
    );
    trigger.isBroken = true;
  }
}

const events: Record<string, string> = {
  contact_created: "contact_created",
  form_submitted: "form_submitted",
  email_opened: "email_opened",
  email_clicked: "email_clicked",
};

function event(keys: Keys, trigger: CampaignTrigger): void {
  const name = keys.text("event_name", "the trigger type") ?? "";
  trigger.type = events[name] ?? "manual";
  trigger.neverRan = "triggers by event never fired";
  if (!events[name]) {
    keys.notes.person(
      keys.at("event_name"),
      `no event here is called ${name}: choose a trigger; it comes as manual`,
      name,
    );
  }
  const filters = keys.take("event_filters");
  if (isObject(filters) && Object.keys(filters).length > 0) {
    keys.notes.person(
      keys.at("event_filters"),
      "write them as trigger_config or conditions",
      filters,
    );
    trigger.left.event_filters = filters;
  }
}

/** {field: {field?, operator, value}} must hold; {flag: true} keeps out. Stored, and never asked. */
function filters(keys: Keys, trigger: CampaignTrigger, choices: Choices): void {
  const asked: Condition[] = [];
  const included = keys.object("enrollment_conditions");
  for (const name of namesOf(keys.peek("enrollment_conditions"))) {
    const one = included.object(name);
    const field = one.text("field", "field of the contact") ?? name;
    asked.push({
      ...campaignCondition(one, field.includes(".") ? field : `contact.${field}`),
      logic: "and",
    });
    one.rest();
  }
  const excluded = keys.object("exclusion_conditions");
  for (const name of namesOf(keys.peek("exclusion_conditions"))) {
    const value = excluded.move(name, `the condition contact.${name} is not that`);
    asked.push({ field: `contact.${name}`, operator: "not_equals", value, logic: "and" });
  }
  if (asked.length === 0) return;
  const applies = choices.storedFilters === "apply";
  keys.notes.difference(
    keys.path,
    "conditions of enrolment were stored and never asked",
    applies ? "they are asked" : "they are not asked",
    "--stored-filters",
  );
  if (applies) {
    trigger.conditions.push(
      ...asked.map(({ logic, ...one }, place) => place === 0 ? one : { ...one, logic }),
    );
  }
}

const namesOf = (value: Json | undefined) => isObject(value) ? Object.keys(value) : [];

export function campaignTrigger(
  given: JsonObject | undefined,
  keys: Keys,
  choices: Choices,
): CampaignTrigger {
  const trigger: CampaignTrigger = { type: "manual", config: {}, conditions: [], left: {} };
  if (!given) return trigger;
  const type = keys.text("trigger_type", "the trigger type") ?? "";
  const config = keys.object("trigger_config");
  if (type === "stage_change") stageChange(config, trigger);
  else if (type === "time_based") timeBased(config, trigger);
  else if (type === "event") event(config, trigger);
  else if (type === "form_submission" || type === "tag_added") {
    Object.assign(trigger, {
      type: type === "tag_added" ? "manual" : "form_submitted",
      neverRan: `the table refused ${type}`,
    });
    keys.notes.person(keys.at("trigger_type"), "look through what it listens to", type);
  } else {
    config.drop("manual", "a manual trigger");
    if (type !== "manual") {
      keys.notes.person(
        keys.at("trigger_type"),
        "there is no such trigger: it comes as manual",
        type,
      );
    }
    trigger.neverRan = "enrolment by hand never led to a step";
  }
  filters(keys, trigger, choices);
  Object.assign(trigger.left, config.rest());
  if (keys.move("is_active", "whether the workflow is switched on") === false) {
    trigger.neverRan = "the trigger was switched off";
  }
  for (const key of ["is_active", "id", "campaign_id", "created_at", "updated_at"]) keys.take(key);
  keys.drop("priority", "stored and never looked at; kept in metadata.legacy");
  Object.assign(trigger.left, keys.rest());
  return trigger;
}

/** {start 9, end 17, days ["Mon", ...], timezone?} as the window of a wait. */
export function businessHours(value: Json | undefined): Record<string, unknown> {
  const given = isObject(value) ? value : {};
  const hour = (of: Json | undefined, otherwise: number) =>
    `${
      String(typeof of === "number" && of >= 0 && of < 24 ? Math.floor(of) : otherwise).padStart(
        2,
        "0",
      )
    }:00`;
  const days = (Array.isArray(given.days) ? given.days : ["mon", "tue", "wed", "thu", "fri"])
    .map((day) => String(day).slice(0, 3).toLowerCase())
    .filter((day) => ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].includes(day));
  return {
    window: {
      from: hour(given.start, 9),
      to: hour(given.end, 17),
      ...(days.length > 0 ? { days: [...new Set(days)] } : {}),
    },
    ...(typeof given.timezone === "string" && given.timezone !== ""
      ? { zone: given.timezone }
      : {}),
  };
}

export const delayOf = (value: number | null | undefined, unit: string | null | undefined) =>
  Math.max(0, minutesOf(value ?? 0, unit ?? "days") || 0);
