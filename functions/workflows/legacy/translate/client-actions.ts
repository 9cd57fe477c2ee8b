// Actions of the browser's engine, each read as lib/automation/action-executor.ts read it.
import { type Made, newStep, nextKey, type Secret, type Step } from "./definition.ts";
import { isAbsent, type Json, Keys } from "./keys.ts";
import { dueDate } from "./lengths.ts";
import { authHeader, headersOf } from "./secrets.ts";
import { ownRecord, type StepContext, translateHeaders } from "./server-steps.ts";
import { asTexts, bodyKind, noteGaps, translateText, translateValue } from "./templates.ts";

export interface ActionContext extends StepContext {
  taken: Set<string>;
}
type Reader = (keys: Keys, context: ActionContext) => Made;

const text = (
  keys: Keys,
  name: string,
  becomes: string,
  { resolve }: ActionContext,
): string | undefined => {
  const written = keys.text(name, becomes);
  if (written === undefined) return undefined;
  noteGaps(written, keys.at(name), keys.notes);
  return translateText(written, keys.at(name), resolve, keys.notes);
};

/** What is needed and not there. */
function lacks(keys: Keys, needed: Record<string, unknown>): boolean {
  const missing = Object.entries(needed).filter(([, value]) => isAbsent(value)).map(([name]) =>
    name
  );
  for (const name of missing) {
    keys.notes.person(keys.at(name), "is missing: write it, or remove the action");
  }
  return missing.length > 0;
}

function template(keys: Keys): void {
  const id = keys.take("template_id");
  if (!isAbsent(id)) {
    keys.notes.person(
      keys.at("template_id"),
      "the text of the template is not here: check the message",
      id,
    );
  }
}

const made = (steps: Step[], keys: Keys, isBroken = false, secrets: Secret[] = []): Made => ({
  steps,
  secrets,
  left: keys.rest(),
  isBroken,
});

const sendEmail: Reader = (keys, context) => {
  const [to, subject] = [
    text(keys, "to", "to", context),
    text(keys, "subject", "subject", context),
  ];
  const body = text(keys, "body", "html, or text where no tag is in it", context);
  const config: Record<string, unknown> = { to, subject };
  if (body !== undefined) config[bodyKind(body)] = body;
  const [name, address] = [
    text(keys, "from_name", "from", context),
    text(keys, "from_email", "from", context),
  ];
  if (address) config.from = name ? `${quoted(name)} <${address}>` : address;
  else if (name) {
    keys.notes.difference(
      keys.at("from_name"),
      "a name without an address",
      "the default sender, under its own name",
    );
  }
  template(keys);
  if (typeof to === "string" && /\}\}@/.test(to)) {
    keys.notes.person(
      keys.at("to"),
      "an address put together from an id is nobody's: name a variable that is one",
      to,
    );
  }
  const broken = lacks(keys, { to, subject, body });
  return made([newStep(context.key, "send_email", config)], keys, broken);
};

const quoted = (name: string) =>
  /[",<>;:@()\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "")}"` : name;

const sendSms: Reader = (keys, context) => {
  const [to, body] = [text(keys, "to", "to", context), text(keys, "message", "body", context)];
  template(keys);
  const broken = lacks(keys, { to, message: body });
  return made([newStep(context.key, "send_sms", { to, body })], keys, broken);
};

const createTask: Reader = (keys, context) => {
  const config: Record<string, unknown> = { title: text(keys, "title", "title", context) };
  for (const name of ["description", "assigned_to", "priority"]) {
    const value = text(keys, name, name, context);
    if (value) config[name] = value;
  }
  const due = text(keys, "due_date", "due_in_days, due_in_hours or due_at", context);
  const read = due === undefined ? undefined : dueDate(due);
  Object.assign(config, read ?? {});
  if (due !== undefined && !read) {
    keys.notes.difference(
      keys.at("due_date"),
      `${JSON.stringify(due)} cannot be read: no due date`,
      "no due date either",
    );
    keys.notes.person(
      keys.at("due_date"),
      'write "+3 days", "+12 hours", "+1 week" or a date',
      due,
    );
  }
  const isOwn = ownRecord(keys, "contact_id", "contact", context.tenantId);
  const broken = lacks(keys, { title: config.title });
  return made([newStep(context.key, "create_task", config)], keys, broken || !isOwn);
};

const updateField: Reader = (keys, context) => {
  const field = keys.text("field", "field, of the contact") ?? "";
  const operator = keys.text("operator", "operator") ?? "set";
  const written = keys.move("value", "value");
  const value = written === undefined
    ? undefined
    : translateValue(written, keys.at("value"), context.resolve, keys.notes);
  const column = field.replace(/^contact\./, "");
  const sign: Record<string, string> = { add: "plus", subtract: "minus" };
  const config: Record<string, unknown> = { entity: "contact", field: column, value };
  if (sign[operator]) {
    // Theirs took 0 for what is no number.
    const number = Number(value);
    if (Number.isFinite(number)) {
      config.value = `{{ contact.${column} | default: 0 | ${sign[operator]}: ${number} }}`;
    } else keys.notes.person(keys.at("value"), "a number is needed to add or take away", written);
  } else if (operator === "append") config.value = `{{contact.${column}}}${value ?? ""}`;
  else if (operator !== "set") {
    keys.notes.person(keys.at("operator"), "set, add, subtract or append; set is taken", operator);
  }
  const broken = lacks(keys, { field, ...(value === "" || value === null ? {} : { value }) });
  return made([newStep(context.key, "update_field", config)], keys, broken);
};

const changeStage: Reader = (keys, context) => {
  const stage = text(keys, "stage", "stage, always of the contact", context);
  const steps = [newStep(context.key, "change_stage", { entity: "contact", stage })];
  const substatus = text(keys, "substatus", "a step of its own: update_field substatus", context);
  if (substatus) {
    steps.push(newStep(nextKey(context.key, context.taken), "update_field", {
      entity: "contact",
      field: "substatus",
      value: substatus,
    }));
  }
  return made(steps, keys, lacks(keys, { stage }));
};

const assignUser: Reader = (keys, context) => {
  const user = text(keys, "user_id", "user_id", context);
  return made(
    [newStep(context.key, "assign_user", { entity: "contact", user_id: user })],
    keys,
    lacks(keys, { user_id: user }),
  );
};

/** One step a tag. */
export const tags = (type: "add_tag" | "remove_tag"): Reader => (keys, context) => {
  const names = (keys.list("tags", `${type}, one step a tag`) ?? []).filter((tag) =>
    !isAbsent(tag)
  );
  const steps = names.map((tag, place) =>
    newStep(place === 0 ? context.key : nextKey(context.key, context.taken), type, {
      tag: translateText(String(tag), keys.at("tags"), context.resolve, keys.notes),
    })
  );
  if (steps.length > 0) return made(steps, keys);
  keys.notes.difference(
    keys.at("tags"),
    "no tags: nothing was done",
    "nothing is done: there is no such step",
  );
  return made([], keys);
};

const webhook: Reader = (keys, context) => {
  const secrets: Secret[] = [];
  const url = text(keys, "url", "url", context);
  const method = (text(keys, "method", "method", context) ?? "POST").toUpperCase();
  const headers = headersOf(keys, context.label, secrets);
  if (keys.has("auth")) {
    Object.assign(headers, authHeader(keys.object("auth"), context.label, secrets));
  } else keys.take("auth");
  const config: Record<string, unknown> = {
    url,
    method,
    headers: translateHeaders(headers, keys, context),
  };
  const payload = keys.move("payload", "body");
  if (method === "GET") {
    if (!isAbsent(payload)) {
      keys.notes.difference(keys.at("payload"), "GET sent no body", "none is sent");
    }
  } else if (isAbsent(payload)) {
    config.body = "";
    keys.notes.difference(
      keys.path,
      "without a payload nothing is sent",
      "the same; left out it would be the event",
    );
  } else {config.body = asTexts(
      translateValue(payload, keys.at("payload"), context.resolve, keys.notes),
    );}
  return made([newStep(context.key, "webhook", config)], keys, lacks(keys, { url }), secrets);
};

const createProject: Reader = (keys, context) => {
  const config: Record<string, unknown> = { name: text(keys, "name", "name", context) };
  const description = text(keys, "description", "description", context);
  if (description) config.description = description;
  for (const name of ["template_id", "assigned_to"]) {
    const value = keys.take(name);
    if (!isAbsent(value)) {
      keys.notes.person(
        keys.at(name),
        "create_project has no such setting: set it in a step after it",
        value,
      );
    }
  }
  const isOwn = ownRecord(keys, "contact_id", "contact", context.tenantId);
  keys.notes.difference(
    keys.path,
    "each run made a project",
    "a contact gets one project of a name; set key for more",
  );
  return made(
    [newStep(context.key, "create_project", config)],
    keys,
    lacks(keys, { name: config.name }) || !isOwn,
  );
};

export const clientActions: Record<string, Reader> = {
  send_email: sendEmail,
  send_sms: sendSms,
  create_task: createTask,
  update_field: updateField,
  change_stage: changeStage,
  assign_user: assignUser,
  add_tag: tags("add_tag"),
  remove_tag: tags("remove_tag"),
  webhook,
  create_project: createProject,
};

export type { Json };
