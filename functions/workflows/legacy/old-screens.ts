// Definitions that the old screens write and are shown. They are translated as an import translates them
// (translate/); what needs a person there is refused here, as whoever writes it is at hand.
import { z } from "zod";
import { invalid } from "./envelope.ts";
import type { ClientDocument, ServerDocument } from "./schemas.ts";
import { translateClient } from "./translate/client.ts";
import {
  type Condition,
  safeChoices,
  type Screen,
  type Step,
  type Translation,
} from "./translate/definition.ts";
import { namesOwn } from "./translate/server-steps.ts";
import { translateServer } from "./translate/server.ts";

type Json = Record<string, unknown>;

export interface Translated {
  trigger_type: string;
  trigger_config: Json;
  conditions: unknown;
  steps: Step[];
  /** Which action each step came from. */
  step_keys: Record<string, string>;
  asked: { trigger: Condition[]; own: Condition[] };
}

// What somebody writes on a screen runs as it stands there.
const choices = { ...safeChoices, ties: "all", neverRan: "activate", failedStep: "draft" } as const;

const dotted = (path: string) => path.replaceAll(/\[(\d+)\]/g, ".$1");

function refuse(key: string, message: string, fix: string): never {
  const path = dotted(key);
  throw invalid(`${path}: ${message}`, { issues: [{ path: path.split("."), message, fix }] });
}

function accepted(made: Translation, isOn: boolean): Translated {
  const secret = made.notes.find(({ was }) => was === "***");
  if (made.secrets.length > 0) {
    refuse(
      secret?.key ?? "actions",
      "a password does not belong in a definition",
      'save it with ridgeline.set_secret() and send headers {"Authorization": {"secret": "<name>", "prefix": "Bearer "}}',
    );
  }
  const impossible = made.notes.find(({ kind }) => kind === "impossible");
  if (impossible) refuse(impossible.key, impossible.becomes, "leave it out, or write another");
  const asking = made.notes.find(({ kind }) => kind === "person");
  if (isOn && made.isDraft && made.definition.steps.length > 0) {
    refuse(asking?.key ?? "steps", asking?.becomes ?? "something is missing", "complete it first");
  }
  const { trigger_type, trigger_config, conditions, steps } = made.definition;
  return {
    trigger_type,
    trigger_config,
    conditions,
    steps,
    step_keys: made.origins ?? {},
    asked: made.asked ?? { trigger: [], own: [] },
  };
}

/** A task belongs to the contact of its run: nobody read the key, and the screens send it. */
function ownContact(config: Json): Json {
  const { contact_id, ...rest } = config;
  return contact_id === null || namesOwn(contact_id, "contact") ? rest : config;
}

export function serverDefinition(document: ServerDocument, tenantId: string): Translated {
  const steps = (document.steps ?? []).map((step, place) => ({
    ...step,
    id: `step_${place + 1}`,
    step_config: step.step_type === "create_task" ? ownContact(step.step_config) : step.step_config,
  }));
  const made = translateServer(
    { ...document, id: "new", tenant_id: tenantId, steps },
    { choices, screen: {} },
  );
  return accepted(made, document.is_active);
}

/** What trigger_config becomes, and the conditions that it adds. */
export function serverTriggerOf(type: string, config: Json, tenantId: string) {
  const { trigger_config, conditions } = serverDefinition(
    { name: "x", trigger_type: type, trigger_config: config, is_active: false },
    tenantId,
  );
  return { config: trigger_config, conditions: conditions as Condition[] };
}

export function clientDefinition(
  document: ClientDocument,
  tenantId: string,
  isOn: boolean,
  known?: Screen["known"],
): Translated {
  const made = translateClient(
    { ...document, id: "new", tenant_id: tenantId },
    { choices, screen: known ? { known } : {} },
    "new",
  );
  return accepted(made, isOn);
}

// SHOWN AGAIN: what no old screen has written, in its words as far as it has any.

const Renamed = z.looseObject({});
const listed = (value: unknown) => Array.isArray(value) ? value : [value];

/** {to: "won"} as {to_stage: ["won"]}, and so on; what has no other word keeps its own. */
function renamed(
  config: Json,
  names: Record<string, string>,
  write: (value: unknown) => unknown = (value) => value,
): Json {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) =>
      names[key] === undefined ? [key, value] : [names[key], write(value)]
    ),
  );
}

const inHours = (minutes: number) => minutes / 60;

export function shownConfig({ step_type: type, step_config }: {
  step_type: string;
  step_config: Json;
}): Json {
  const config = Renamed.parse(step_config);
  switch (type) {
    case "send_sms":
      return renamed(config, { body: "message" });
    case "send_email":
      return "html" in config
        ? renamed(config, { html: "body" })
        : renamed(config, { text: "body" });
    case "create_task": {
      const { due_in_days, due_in_hours, ...rest } = config;
      const due = due_in_days ?? due_in_hours;
      return typeof due !== "number" || !Number.isInteger(due)
        ? config
        : { ...rest, due_date: `+${due} ${due_in_days === undefined ? "hours" : "days"}` };
    }
    case "add_tag":
    case "remove_tag":
      return renamed(config, { tag: "tags" }, listed);
    case "webhook":
      return renamed(config, { body: "payload" });
    case "wait":
      return typeof config.minutes === "number"
        ? renamed(config, { minutes: "duration" }, (minutes) => inHours(minutes as number))
        : config;
    default:
      return config;
  }
}

export function shownTrigger(type: string, config: Json): Json {
  switch (type) {
    case "contact_created":
      return renamed(config, { type: "contact_type" }, listed);
    case "stage_changed":
      return renamed(
        config,
        { from: "from_stage", to: "to_stage", type: "contact_type" },
        listed,
      );
    case "project_status_changed":
      return renamed(config, { from: "from_status", to: "to_status" }, listed);
    case "project_created":
      return renamed(config, { type: "project_type" }, listed);
    default:
      return config;
  }
}
