// trigger_config of the server's engine: every key had to be === the key of that name in what a route had sent.
import { legacy, never } from "./conditions.ts";
import type { Condition } from "./definition.ts";
import { type Json, type JsonObject, Keys } from "./keys.ts";
import type { Notes } from "./notes.ts";

/** The six events that some route ever fired. */
export const fired = [
  "contact_created",
  "pipeline_stage_changed",
  "project_won",
  "job_completed",
  "email_opened",
  "email_clicked",
];
const known = [
  ...fired,
  ...[
    "contact_updated",
    "project_created",
    "project_status_changed",
    "call_missed",
    "call_completed",
  ],
  ...["sms_received", "form_submitted"],
];

export interface Trigger {
  type: string;
  config: JsonObject;
  conditions: Condition[];
  /** The old engine never ran it: why. */
  neverRan?: string;
  isBroken?: boolean;
}

const stage = [
  "project_id",
  "project_name",
  "previous_stage",
  "new_stage",
  "contact_id",
  "estimated_value",
  "approved_value",
  "changed_by",
  "changed_at",
];
const email = ["email_id", "contact_id", "activity_id"];
/** What the data of an event held, at its top. */
const held: Record<string, string[]> = {
  contact_created: ["contact_id", "contact", "user_id"],
  pipeline_stage_changed: stage,
  project_won: stage,
  job_completed: ["job_id", "job_number", "project_id", "completion_date", "completed_by"],
  email_opened: [...email, "opened_at"],
  email_clicked: [...email, "link", "clicked_at"],
  contact_updated: ["contact_id", "contact", "changes"],
  project_status_changed: ["project_id", "project", "old_status", "new_status"],
  sms_received: ["from", "body", "contact_id"],
  call_missed: ["call_sid", "to", "contact_id"],
  call_completed: ["call_sid", "to", "contact_id", "duration"],
};

const ofRecord: Record<string, string> = {
  project_id: "trigger.project_id",
  job_id: "trigger.job_id",
  contact_id: "trigger.contact_id",
  user_id: "trigger.user_id",
  email_id: "email.provider_id",
};

/** Where the value of such a key is now, for a condition. */
const fieldOf = (key: string) => ofRecord[key] ?? `trigger.${key}`;

export function serverTrigger(
  type: string,
  config: Json | undefined,
  notes: Notes,
  screen = false,
): Trigger {
  const trigger: Trigger = { type, config: {}, conditions: [] };
  if (!known.includes(type) && !screen) {
    notes.impossible(
      "trigger_type",
      "there is no such event, here or there: it comes as manual, switched off",
      type,
    );
    return {
      type: "manual",
      config: {},
      conditions: [],
      neverRan: `there is no event ${type}`,
      isBroken: false,
    };
  }
  notes.translated("trigger_type", type, type);
  if (!fired.includes(type)) trigger.neverRan = `the old application never fired ${type}`;
  const keys = new Keys(config, "trigger_config", notes);
  const names = config && typeof config === "object" && !Array.isArray(config)
    ? Object.keys(config)
    : [];
  for (const name of names) {
    const value = keys.take(name)!;
    // A list is one of ours, since the old screens write none.
    if (screen && value !== null && typeof value === "object") trigger.config[name] = value;
    else readKey(name, value, keys.at(name), trigger, notes);
  }
  return trigger;
}

function readKey(name: string, value: Json, key: string, trigger: Trigger, notes: Notes): void {
  const stages: Record<string, "to" | "from"> = {
    new_stage: "to",
    previous_stage: "from",
    new_status: "to",
    old_status: "from",
  };
  const end =
    ["pipeline_stage_changed", "project_won", "project_status_changed"].includes(trigger.type)
      ? stages[name]
      : undefined;
  const holds = held[trigger.type]?.includes(name) ?? true;
  if (value !== null && typeof value === "object") {
    notes.difference(
      key,
      "a list or an object is never === anything: it never ran",
      "it never starts either",
    );
    notes.person(key, "write a single value, or remove the key", value);
    trigger.neverRan ??= `${key} could not match`;
    trigger.conditions.push(never("trigger.entity"));
  } else if (end && holds && value !== null) {
    trigger.config[end] = value;
    notes.translated(key, value, `trigger_config.${end}`);
  } else if (holds && name !== "changed_at") {
    trigger.conditions.push({ ...legacy(fieldOf(name), "equals", value), ...joined(trigger) });
    notes.translated(key, value, `the condition ${fieldOf(name)} equals (mode legacy)`);
  } else {
    // {"type": "lead"} on contact_created: meant is contact.type.
    trigger.config[name] = value;
    trigger.neverRan ??= `${key} is no key of what ${trigger.type} sent`;
    notes.difference(
      key,
      `${name} is no key of what ${trigger.type} sent: it never ran`,
      `the record's own ${name}, which is what was meant`,
      "--never-ran",
    );
  }
}

const joined = (trigger: Trigger) =>
  trigger.conditions.length === 0 ? {} : { logic: "and" as const };
