// The steps of the server's engine: `to`, `body` and so on, each read as lib/automation/executors.ts read it.
import { clientConditions, fieldOf } from "./conditions.ts";
import type { Made, Secret } from "./definition.ts";
import { newStep } from "./definition.ts";
import { isAbsent, isObject, type Json, Keys } from "./keys.ts";
import { headersOf } from "./secrets.ts";
import {
  asTexts,
  noteGaps,
  onlyVariable,
  type Resolve,
  translateText,
  translateValue,
} from "./templates.ts";

export interface StepContext {
  key: string;
  resolve: Resolve;
  tenantId: string | null;
  label: string;
}

type Reader = (keys: Keys, context: StepContext) => Made;

const text = (
  keys: Keys,
  name: string,
  becomes: string,
  { resolve }: StepContext,
): string | undefined => {
  const written = keys.text(name, becomes);
  if (written === undefined) return undefined;
  noteGaps(written, keys.at(name), keys.notes);
  return translateText(written, keys.at(name), resolve, keys.notes);
};

const made = (
  step: ReturnType<typeof newStep>,
  keys: Keys,
  isBroken = false,
  secrets: Secret[] = [],
): Made => ({
  steps: [step],
  secrets,
  left: keys.rest(),
  isBroken,
});

/** What the old executor refused: the run failed there, every time. */
function missing(keys: Keys, names: string[]): boolean {
  for (const name of names) {
    keys.notes.person(
      keys.at(name),
      "is missing: the old run failed here; write it, or remove the step",
    );
  }
  return names.length > 0;
}

function recipient(keys: Keys, context: StepContext): Json | undefined {
  const to = keys.peek("to");
  if (Array.isArray(to)) {
    keys.move("to", "to");
    return translateValue(to, keys.at("to"), context.resolve, keys.notes);
  }
  return text(keys, "to", "to", context);
}

const sendSms: Reader = (keys, context) => {
  const [to, body] = [text(keys, "to", "to", context), text(keys, "body", "body", context)];
  const lacks = missing(keys, [...(to ? [] : ["to"]), ...(body ? [] : ["body"])]);
  return made(newStep(context.key, "send_sms", { to, body }), keys, lacks);
};

const sendEmail: Reader = (keys, context) => {
  const to = recipient(keys, context);
  const config: Record<string, unknown> = {
    to,
    subject: text(keys, "subject", "subject", context),
  };
  const [html, plain] = [text(keys, "html", "html", context), text(keys, "text", "text", context)];
  if (html !== undefined) config.html = html;
  if (plain !== undefined) config.text = plain;
  if (html?.includes("{{")) {
    keys.notes.difference(
      keys.at("html"),
      "values were put into the HTML as they are",
      "they are escaped",
    );
  }
  const lacks = missing(keys, [
    ...(isAbsent(to) ? ["to"] : []),
    ...(config.subject ? [] : ["subject"]),
    ...(html ?? plain ? [] : ["html"]),
  ]);
  return made(newStep(context.key, "send_email", config), keys, lacks);
};

/** Whether a text names a record of the run itself, and not any other. */
export function namesOwn(value: unknown, entity: string): boolean {
  const variable = onlyVariable(value);
  return variable !== undefined && new RegExp(
    `^(?:trigger\\.)?(?:${entity}_id|${entity}\\.id|(?:project|job)\\.${entity}_id|trigger\\.record\\.${entity}_id)$`,
  ).test(variable);
}

/** project_id, contact_id, tenant_id: our steps know them; any other than the run's own has no equivalent. */
export function ownRecord(
  keys: Keys,
  name: string,
  entity: string,
  tenantId: string | null,
): boolean {
  const value = keys.take(name);
  if (isAbsent(value)) return true;
  const isOwn = entity === "tenant"
    ? value === tenantId || onlyVariable(value)?.includes("tenant") === true
    : namesOwn(value, entity);
  if (isOwn) keys.notes.translated(keys.at(name), value, `the run's own ${entity}`);
  else {keys.notes.impossible(
      keys.at(name),
      `steps act on the ${entity} of their run, and on no other`,
      value,
    );}
  return isOwn;
}

const createTask: Reader = (keys, context) => {
  const config: Record<string, unknown> = { title: text(keys, "title", "title", context) };
  const description = text(keys, "description", "description", context);
  const assigned = text(keys, "assigned_to", "assigned_to", context);
  if (description) config.description = description;
  if (assigned) config.assigned_to = assigned;
  const days = keys.move("due_date_days", "due_in_days");
  if (typeof days === "number" && days > 0) config.due_in_days = days;
  else if (!isAbsent(days)) {
    keys.notes.difference(
      keys.at("due_date_days"),
      "only a number above 0 makes a due date",
      "no due date either",
    );
  }
  config.priority = text(keys, "priority", "priority", context) ?? "medium";
  const hadTenant = keys.has("tenant_id");
  const own = [
    ownRecord(keys, "tenant_id", "tenant", context.tenantId),
    ownRecord(keys, "project_id", "project", context.tenantId),
  ].every(Boolean);
  if (!hadTenant) {
    keys.notes.difference(
      keys.path,
      "without tenant_id the task could not be created, and the run failed",
      "it is created",
    );
  }
  keys.notes.difference(
    keys.path,
    "a task belonged to no contact",
    "it belongs to the contact of the run",
  );
  const lacks = missing(keys, config.title ? [] : ["title"]);
  return made(newStep(context.key, "create_task", config), keys, lacks || !own);
};

const update = (entity: "contact" | "project"): Reader => (keys, context) => {
  const name = `${entity}_id`;
  const lacks = missing(keys, [
    ...(keys.has(name) ? [] : [name]),
    ...(isObject(keys.peek("updates")) ? [] : ["updates"]),
  ]);
  const own = ownRecord(keys, name, entity, context.tenantId);
  const updates = keys.move("updates", "fields");
  const fields = isObject(updates)
    ? translateValue(updates, keys.at("updates"), context.resolve, keys.notes)
    : {};
  return made(newStep(context.key, `update_${entity}`, { fields }), keys, lacks || !own);
};

const webhook: Reader = (keys, context) => {
  const secrets: Secret[] = [];
  const url = text(keys, "url", "url", context);
  const method = (text(keys, "method", "method", context) ?? "POST").toUpperCase();
  const headers = headersOf(keys, context.label, secrets);
  const config: Record<string, unknown> = {
    url,
    method,
    headers: translateHeaders(headers, keys, context),
  };
  const body = keys.move("body", "body");
  let isBroken = missing(keys, url ? [] : ["url"]);
  if (isAbsent(body) && method !== "GET") {
    config.body = "";
    keys.notes.difference(
      keys.path,
      "without a body nothing is sent",
      "the same; left out it would be the event",
    );
  } else if (!isAbsent(body)) {
    config.body = asTexts(translateValue(body, keys.at("body"), context.resolve, keys.notes));
    if (method === "GET") {
      keys.notes.person(
        keys.at("body"),
        "GET with a body failed the step; choose another method, or leave the body out",
      );
      isBroken = true;
    }
  }
  keys.notes.difference(
    keys.path,
    "an answer that is not 2xx was no failure",
    "the run goes on after one (continue_on_error)",
  );
  const step = { ...newStep(context.key, "webhook", config), continue_on_error: true };
  return made(step, keys, isBroken, secrets);
};

export const translateHeaders = (
  headers: Record<string, unknown>,
  keys: Keys,
  { resolve }: StepContext,
) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === "string"
        ? translateText(value, `${keys.at("headers")}.${name}`, resolve, keys.notes)
        : value,
    ]),
  );

/** "{{contact.status}} === 'hot'"; the type was declared and never carried out. */
export function comparison(written: string, key: string, keys: Keys, resolve: Resolve): unknown {
  const found =
    /^\s*\{\{([^}]+)\}\}\s*(===?|!==?|>=?|<=?)\s*(?:'([^']*)'|"([^"]*)"|(-?[0-9.]+|true|false|null))\s*$/
      .exec(written);
  if (!found) return undefined;
  const [, field = "", sign = "", single, double, bare] = found;
  const operator = { "=": "equals", "!": "not_equals" }[sign[0]!] ??
    `${sign[0] === ">" ? "greater_than" : "less_than"}${sign.endsWith("=") ? "_or_equal" : ""}`;
  return clientConditions(
    [{
      field: fieldOf(field, key, resolve, keys.notes),
      operator,
      value: single ?? double ?? JSON.parse(bare ?? "null") as Json,
    }],
    key,
    (path) => ({ path }),
    keys.notes,
  );
}

export const serverSteps: Record<string, Reader> = {
  send_sms: sendSms,
  send_email: sendEmail,
  create_task: createTask,
  update_contact: update("contact"),
  update_project: update("project"),
  webhook,
};
