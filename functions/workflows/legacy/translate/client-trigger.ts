// Triggers of the browser's engine: {id, type, config, enabled}, config.type being the type again. A list means "one
// of", and a key left out means any.
import type { Choices, Condition, Target } from "./definition.ts";
import { legacy, never } from "./conditions.ts";
import { type Json, Keys } from "./keys.ts";
import type { Trigger } from "./server-trigger.ts";
import type { ClientScope } from "./variables.ts";

export interface ClientTrigger extends Trigger {
  scope: ClientScope;
  settings: Record<string, unknown>;
}

type Reader = (keys: Keys, trigger: ClientTrigger, choices: Choices) => void;

const joined = (conditions: Condition[]) =>
  conditions.length === 0 ? {} : { logic: "and" as const };
const ask = (trigger: ClientTrigger, condition: Condition) =>
  trigger.conditions.push({ ...condition, ...joined(trigger.conditions) });

/** A list of values of a column: in trigger_config, which means one of as well. */
function oneOf(keys: Keys, key: string, becomes: string, trigger: ClientTrigger): void {
  const values = keys.list(key, `trigger_config.${becomes}`);
  if (values === undefined) return;
  if (values.length === 0) {
    keys.notes.difference(
      keys.at(key),
      "an empty list matches nothing: it never ran",
      "it never starts either",
    );
    keys.notes.person(keys.at(key), "name the values, or remove the key", values);
    trigger.neverRan ??= `${keys.at(key)} is an empty list`;
    ask(trigger, never("contact.id"));
  } else trigger.config[becomes] = values.length === 1 ? values[0]! : values;
}

/** Stored, and never looked at: as meant, or as it was. */
function stored(
  keys: Keys,
  names: Record<string, string>,
  choices: Choices,
  apply: (key: string, column: string) => void,
): void {
  for (const [key, column] of Object.entries(names)) {
    if (!keys.has(key)) continue;
    const applies = choices.storedFilters === "apply";
    keys.notes.difference(
      keys.at(key),
      "stored and never looked at: it ran for every event",
      applies ? "it is asked" : "it is not asked",
      "--stored-filters",
    );
    if (applies) apply(key, column);
    else keys.take(key);
  }
}

const contactCreated: Reader = (keys, trigger) => {
  oneOf(keys, "contact_type", "type", trigger);
  oneOf(keys, "contact_category", "contact_category", trigger);
  oneOf(keys, "source", "source", trigger);
  oneOf(keys, "assigned_to", "assigned_to", trigger);
};

const contactUpdated: Reader = (keys, trigger, choices) => {
  stored(
    keys,
    { contact_type: "type", stage: "stage" },
    choices,
    (key, column) => oneOf(keys, key, column, trigger),
  );
  stored(keys, { fields: "" }, choices, (key) => {
    const fields = keys.list(key, "conditions: any of them changed") ?? [];
    const changed = fields.map((field) => ({ field: `contact.${field}`, operator: "changed" }));
    if (changed.length > 0) trigger.conditions.push({ any: changed } as unknown as Condition);
  });
};

const stageChanged: Reader = (keys, trigger) => {
  oneOf(keys, "from_stage", "from", trigger);
  oneOf(keys, "to_stage", "to", trigger);
  oneOf(keys, "contact_type", "type", trigger);
};

const fieldChanged: Reader = (keys, trigger) => {
  const field = keys.text("field", "trigger_config.field") ?? "";
  trigger.config = { entity: "contact", field };
  trigger.scope.field = field;
  if (!field) {
    keys.notes.person(keys.at("field"), "which field?");
    trigger.isBroken = true;
    return;
  }
  const from = keys.move("from_value", `the condition trigger.old.${field} equals (mode legacy)`);
  if (from !== undefined) ask(trigger, legacy(`trigger.old.${field}`, "equals", from));
  const operator =
    keys.text("operator", `the condition on trigger.record.${field} (mode legacy)`) ?? "equals";
  const to = keys.move("to_value", `the condition on trigger.record.${field} (mode legacy)`);
  if (to === undefined || to === null) return;
  const isKnown = ["equals", "not_equals", "contains", "greater_than", "less_than"].includes(
    operator,
  );
  ask(
    trigger,
    isKnown ? legacy(`trigger.record.${field}`, operator, to) : never(`trigger.record.${field}`),
  );
  if (!isKnown) keys.notes.person(keys.at("operator"), "no such operator: it never held", operator);
  if (
    typeof to === "string" && ["equals", "not_equals"].includes(operator) && to.trim() !== "" &&
    !Number.isNaN(Number(to))
  ) {
    keys.notes.difference(
      keys.at("to_value"),
      `the text "${to}" never equals a number`,
      "kept so; write the number where it was meant",
    );
  }
};

const timeElapsed: Reader = (keys, trigger) => {
  trigger.neverRan = "the route that time_elapsed asked does not exist";
  const hours = keys.number("duration", "trigger_config.offset") ?? 0;
  const field = keys.text("field", "trigger_config.field") ?? "created_at";
  const custom = keys.text("custom_field", "trigger_config.field");
  const column = field === "custom" ? `custom_fields.${custom ?? ""}` : field;
  trigger.config = { entity: "contact", field: column, offset: offsetOf(hours) };
  Object.assign(trigger.scope, { hours, field: column });
  if (hours <= 0) keys.notes.person(keys.at("duration"), "how many hours?", hours);
  if (field === "last_contact_date") {
    keys.notes.person(
      keys.at("field"),
      "contacts have no last_contact_date: name a date that they have",
    );
    trigger.isBroken = true;
  }
  const stages = keys.list("contact_stage", "the condition contact.stage in");
  if (stages !== undefined) ask(trigger, legacy("contact.stage", "in", stages));
};

const offsetOf = (hours: number): string =>
  Number.isInteger(hours) ? `${hours} hours` : `${Math.round(hours * 60)} minutes`;

const scheduled: Reader = (keys, trigger) => {
  const schedule = keys.text("schedule", "trigger_config.cron") ?? "daily";
  const time = keys.text("time", "trigger_config.cron");
  const [, hour = "9", minute = "0"] = /^(\d{1,2}):(\d{2})$/.exec(time ?? "09:00") ?? [];
  const weekday = keys.number("day_of_week", "trigger_config.cron");
  const day = keys.number("day_of_month", "trigger_config.cron");
  const written = keys.text("cron_expression", "trigger_config.cron");
  const at = `${Number(minute)} ${Number(hour)}`;
  const cron: Record<string, string> = {
    daily: `${at} * * *`,
    weekly: `${at} * * ${weekday ?? 1}`,
    monthly: `${at} ${day ?? 1} * *`,
    cron: written ?? "",
  };
  trigger.config = { cron: cron[schedule] ?? "" };
  const zone = keys.text("timezone", "trigger_config.zone");
  if (zone) trigger.config.zone = zone;
  Object.assign(trigger.scope, { schedule, time: time ?? "09:00" });
  keys.notes.difference(
    keys.path,
    "time, day and zone were ignored: every 24 hours, 7 or 30 days from when somebody opened the page",
    `at the time that is written: ${trigger.config.cron}`,
  );
  if (schedule === "weekly" && weekday === undefined) {
    keys.notes.person(keys.at("day_of_week"), "which day? Monday is taken");
  }
  if (schedule === "monthly" && day === undefined) {
    keys.notes.person(keys.at("day_of_month"), "which day? The first is taken");
  }
  if (!trigger.config.cron) {
    keys.notes.person(
      keys.at("schedule"),
      "when? daily, weekly, monthly or a cron expression",
      schedule,
    );
    trigger.isBroken = true;
  }
  keys.notes.person(
    keys.path,
    'it runs once for the office, without a contact; for one run each add for_each: {"entity": "contact", "conditions": [...]}',
  );
};

const formSubmitted: Reader = (keys, trigger, choices) => {
  const name = keys.text("form_name", "the form, by its name");
  const form = keys.text("form_id", "the form, by its id");
  if (!name && !form) return;
  keys.notes.difference(
    keys.path,
    "the form was never looked at: every form started it",
    choices.storedFilters === "apply" ? "this form alone" : "every form",
    "--stored-filters",
  );
  if (choices.storedFilters === "apply") trigger.config.form = (name ?? form)!;
  keys.notes.person(keys.path, "check that this is what the form is called here", name ?? form);
};

const projectCreated: Reader = (keys, trigger, choices) =>
  stored(
    keys,
    { project_type: "type", assigned_to: "assigned_to" },
    choices,
    (key, column) => oneOf(keys, key, column, trigger),
  );

const projectStatusChanged: Reader = (keys, trigger) => {
  trigger.neverRan = "project_status_changed had no handler";
  oneOf(keys, "from_status", "from", trigger);
  oneOf(keys, "to_status", "to", trigger);
};

const readers: Record<string, Reader> = {
  contact_created: contactCreated,
  contact_updated: contactUpdated,
  stage_changed: stageChanged,
  field_changed: fieldChanged,
  time_elapsed: timeElapsed,
  scheduled,
  form_submitted: formSubmitted,
  project_created: projectCreated,
  project_status_changed: projectStatusChanged,
  manual: () => {},
};

export function clientTrigger(
  type: string,
  config: Json | undefined,
  key: string,
  keys: Keys,
  { choices, screen }: Target,
): ClientTrigger {
  const trigger: ClientTrigger = { type, config: {}, conditions: [], scope: {}, settings: {} };
  const reader = readers[type];
  const inside = new Keys(config, key, keys.notes);
  if (inside.peek("type") === type) inside.drop("type", "it repeats the type of the trigger");
  if (reader) {
    keys.notes.translated(`${key.replace(/[._]?config$/, "")}.type`, type, type);
    reader(inside, trigger, choices);
  } else if (screen) {
    trigger.config = inside.all();
    if (trigger.config.type === type) delete trigger.config.type;
  } else {
    keys.notes.impossible(key, "there is no such trigger: it comes as manual, switched off", type);
    Object.assign(trigger, { type: "manual", neverRan: `there is no trigger ${type}` });
  }
  const left = inside.rest();
  if (screen) Object.assign(trigger.config, inside.unread);
  else if (Object.keys(left).length > 0) trigger.settings.left = left;
  return trigger;
}
