// Definitions that the old screens write, in the words of ridgeline.save_workflow(). What has no meaning here is refused
// with the reason; a whole database of them comes over with scripts/import-legacy, which reports every difference.
import type { Action, ClientDocument, Condition, ServerDocument } from "./schemas.ts";
import { invalid } from "./envelope.ts";

type Json = Record<string, unknown>;

export interface Step {
  step_key: string;
  step_type: string;
  step_config: Json;
  delay_minutes: number;
  enabled: boolean;
  continue_on_error: boolean;
}

export interface Translated {
  trigger_type: string;
  trigger_config: Json;
  conditions: unknown;
  steps: Step[];
  /** Which action each step came from. */
  step_keys: Record<string, string>;
}

const without = (config: Json, ...keys: string[]): Json =>
  Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key)));

const isTemplate = (value: unknown) =>
  typeof value === "string" && /^\s*\{\{.*\}\}\s*$/.test(value);

function refuse(path: string, message: string, fix: string): never {
  throw invalid(`${path}: ${message}`, { issues: [{ path: path.split("."), message, fix }] });
}

/** A run's own record is named by leaving it out; nobody else's is written to. */
function ownRecord(config: Json, path: string, ...keys: string[]): Json {
  for (const key of keys) {
    if (config[key] !== undefined && config[key] !== null && !isTemplate(config[key])) {
      refuse(`${path}.${key}`, "a step works on the records of its own run", "leave it out");
    }
  }
  return without(config, ...keys);
}

const RENAMED: Json = {
  new_stage: "to",
  previous_stage: "from",
  new_status: "to",
  old_status: "from",
};

export function serverTrigger(config: Json): Json {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) => [String(RENAMED[key] ?? key), value]),
  );
}

type Part = Pick<Step, "step_type" | "step_config"> & Partial<Step>;

function serverPart(type: string, config: Json, delay: number, path: string): Part {
  switch (type) {
    case "send_sms":
    case "send_email":
      return { step_type: type, step_config: without(config, "template_id") };
    case "create_task":
      return {
        step_type: type,
        step_config: {
          priority: "medium",
          ...ownRecord(config, path, "project_id", "contact_id", "tenant_id"),
          // 0 was no date.
          ...(config.due_date_days === 0 ? { due_date_days: null } : {}),
        },
      };
    case "update_contact":
    case "update_project": {
      const key = type === "update_contact" ? "contact_id" : "project_id";
      const { updates, ...rest } = ownRecord(config, path, key);
      return {
        step_type: type,
        step_config: updates === undefined ? rest : { ...rest, fields: updates },
      };
    }
    case "wait": {
      // It did nothing by itself, and its row waited; people wrote the length into either, or both.
      const { delay_minutes, ...rest } = config;
      const minutes = Math.max(Number(delay_minutes ?? 0) || 0, delay);
      if (delay_minutes === undefined && Object.keys(rest).length > 0) {
        return { step_type: type, step_config: rest };
      }
      return { step_type: type, step_config: { ...rest, minutes }, delay_minutes: 0 };
    }
    case "webhook":
      // An answer other than 2xx was no failure; a body that was left out was none.
      return {
        step_type: type,
        step_config: config.body === undefined ? { ...config, body: {} } : config,
        continue_on_error: true,
      };
    default:
      return { step_type: type, step_config: config };
  }
}

export function translateServer(document: ServerDocument): Translated {
  const steps = (document.steps ?? [])
    .map((step, place) => ({ step, place }))
    .toSorted((a, b) => a.step.step_order - b.step.step_order || a.place - b.place)
    .map(({ step, place }, position): Step => {
      const delay = Math.max(step.delay_minutes, 0);
      const part = serverPart(
        step.step_type,
        step.step_config,
        delay,
        `steps.${place}.step_config`,
      );
      return {
        step_key: `step_${position + 1}`,
        delay_minutes: delay,
        enabled: true,
        continue_on_error: false,
        ...part,
      };
    });
  return {
    trigger_type: document.trigger_type,
    trigger_config: serverTrigger(document.trigger_config),
    conditions: [],
    steps,
    step_keys: {},
  };
}

const hours = (value: unknown) => Math.max(Number(value ?? 0) || 0, 0);

/** "+3 days": the old screens' due date. */
function due(value: unknown): Json {
  const found = /^\+\s*(\d+)\s*(hour|day|week)s?$/i.exec(String(value ?? "").trim());
  if (!found) return value === undefined || value === null || value === "" ? {} : { due_at: value };
  const count = Number(found[1]);
  const unit = found[2]!.toLowerCase();
  return unit === "hour"
    ? { due_in_hours: count }
    : { due_in_days: unit === "week" ? 7 * count : count };
}

function clientParts({ type, config: given }: Action, path: string): Part[] {
  const config = without(given, "type", "template_id");
  switch (type) {
    case "send_email": {
      const { from_name, from_email, ...rest } = config;
      const from = from_email === undefined || from_email === ""
        ? {}
        : { from: from_name ? `${from_name} <${from_email}>` : from_email };
      return [{ step_type: type, step_config: { ...rest, ...from } }];
    }
    case "create_task": {
      const { due_date, ...rest } = ownRecord(config, path, "contact_id");
      return [{ step_type: type, step_config: { ...rest, ...due(due_date) } }];
    }
    case "update_field":
      return [{ step_type: type, step_config: { entity: "contact", ...config } }];
    case "change_stage": {
      const { substatus, ...rest } = config;
      const stage = { step_type: type, step_config: { ...rest, entity: "contact" } };
      if (substatus === undefined || substatus === "") return [stage];
      return [stage, {
        step_type: "update_field",
        step_config: { entity: "contact", field: "substatus", value: substatus },
      }];
    }
    case "add_tag":
    case "remove_tag": {
      const { tags, ...rest } = config;
      if (!Array.isArray(tags)) return [{ step_type: type, step_config: rest }];
      return tags.map((tag) => ({ step_type: type, step_config: { ...rest, tag } }));
    }
    case "webhook": {
      const { auth, payload, body, ...rest } = config;
      if (auth !== undefined && auth !== null) {
        refuse(
          `${path}.auth`,
          "a password does not belong in a definition",
          'save it with ridgeline.set_secret() and send headers {"Authorization": {"secret": "<name>", "prefix": "Bearer "}}',
        );
      }
      return [{ step_type: type, step_config: { ...rest, body: body ?? payload ?? {} } }];
    }
    case "create_project":
      return [{ step_type: type, step_config: ownRecord(config, path, "contact_id") }];
    default:
      return [{ step_type: type, step_config: config }];
  }
}

/** Each delay counted from the start of the run; a wait held up what stood after it. */
function inTime(actions: readonly Action[]) {
  let base = 0;
  return actions
    .map((action, place) => ({ action, place }))
    .toSorted((a, b) => (a.action.order ?? 0) - (b.action.order ?? 0) || a.place - b.place)
    .flatMap(({ action, place }) => {
      if (action.type !== "wait" || action.config.duration === undefined) {
        return [{ action, place, at: base + hours(action.delay) }];
      }
      if (action.enabled !== false) base += hours(action.config.duration);
      return [];
    })
    .toSorted((a, b) => a.at - b.at);
}

const cut = (time: unknown) => /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(String(time ?? "09:00"));

function schedule(config: Json): Json {
  const at = cut(config.time) ?? ["", "9", "0"];
  const when = `${Number(at[2])} ${Number(at[1])}`;
  const zone = config.timezone ? { zone: config.timezone } : {};
  switch (config.schedule) {
    case "cron":
      return { cron: config.cron_expression, ...zone };
    case "weekly":
      return { cron: `${when} * * ${config.day_of_week ?? 1}`, ...zone };
    case "monthly":
      return { cron: `${when} ${config.day_of_month ?? 1} * *`, ...zone };
    default:
      return { cron: `${when} * * *`, ...zone };
  }
}

/** What the old engine never looked at is left out; the document that was sent keeps it. */
function clientTrigger({ type, config: given }: ClientDocument["trigger"]) {
  const { contact_type, ...config } = without(given, "type");
  const ofType: Json = contact_type === undefined ? {} : { type: contact_type };
  switch (type) {
    case "contact_created":
      return { config: { ...config, ...ofType }, conditions: [] };
    case "stage_changed":
      return { config: { ...config, ...ofType }, conditions: [] };
    case "contact_updated":
    case "form_submitted":
    case "project_created":
    case "manual":
      return { config: {}, conditions: [] };
    case "field_changed": {
      const { from_value, to_value, operator = "equals", field } = config;
      const from = from_value === undefined ? {} : { from: from_value };
      if (to_value === undefined) return { config: { field, ...from }, conditions: [] };
      if (operator === "equals") {
        return { config: { field, ...from, to: to_value }, conditions: [] };
      }
      return {
        config: { field, ...from },
        conditions: [{ field: `contact.${field}`, operator, value: to_value, mode: "legacy" }],
      };
    }
    case "time_elapsed": {
      const { duration, field, custom_field, contact_stage } = config;
      return {
        config: {
          offset: `${hours(duration)} hours`,
          field: field === "custom" ? `custom_fields.${custom_field}` : field ?? "created_at",
        },
        conditions: Array.isArray(contact_stage)
          ? [{ field: "contact.stage", operator: "in", value: contact_stage, mode: "legacy" }]
          : [],
      };
    }
    case "scheduled":
      return { config: schedule(config), conditions: [] };
    default:
      return { config, conditions: [] };
  }
}

/** A gate joined its condition to the next one; here logic joins to what stands before. */
const clientConditions = (given: readonly Condition[]) =>
  given.map(({ field, operator, value }, place) => ({
    field,
    operator,
    value: value ?? null,
    mode: "legacy",
    logic: place > 0 && given[place - 1]!.logic_gate === "OR" ? "or" : "and",
  }));

export function translateClient(document: ClientDocument): Translated {
  const trigger = clientTrigger(document.trigger);
  const own = clientConditions(document.conditions ?? []);
  const step_keys: Record<string, string> = {};
  let before = 0;
  let count = 0;
  const steps = inTime(document.actions).flatMap(({ action, place, at }) => {
    const parts = clientParts(action, `actions.${place}.config`).map((part, index): Step => {
      const step_key = `step_${++count}`;
      step_keys[step_key] = action.id ?? `action_${place}`;
      return {
        step_key,
        delay_minutes: index === 0 ? Math.round((at - before) * 60 * 1000) / 1000 : 0,
        enabled: action.enabled !== false,
        // A delayed action had a timer of its own: its failure held up no other.
        continue_on_error: hours(action.delay) > 0,
        ...part,
      };
    });
    if (action.enabled !== false && parts.length > 0) before = at;
    return parts;
  });
  return {
    trigger_type: document.trigger.type,
    trigger_config: trigger.config,
    conditions: trigger.conditions.length > 0 && own.length > 0
      ? { all: [trigger.conditions, own] }
      : [...trigger.conditions, ...own],
    steps,
    step_keys,
  };
}
