// Steps of campaigns, each read as lib/campaigns/execution-engine.ts read it.
import {
  type ActionContext,
  tags,
} from "../../functions/workflows/legacy/translate/client-actions.ts";
import { campaignRules } from "../../functions/workflows/legacy/translate/conditions.ts";
import {
  type Made,
  newStep,
  nextKey,
  type Secret,
  type Step,
  type Target,
} from "../../functions/workflows/legacy/translate/definition.ts";
import { isAbsent, isObject, Keys } from "../../functions/workflows/legacy/translate/keys.ts";
import { headersOf } from "../../functions/workflows/legacy/translate/secrets.ts";
import { translateHeaders } from "../../functions/workflows/legacy/translate/server-steps.ts";
import {
  asTexts,
  bodyKind,
  noteGaps,
  translateText,
  translateValue,
} from "../../functions/workflows/legacy/translate/templates.ts";
import { campaignVariables } from "../../functions/workflows/legacy/translate/variables.ts";

export interface CampaignContext extends ActionContext {
  target: Target;
}
type Reader = (keys: Keys, context: CampaignContext) => Made;

const made = (steps: Step[], keys: Keys, isBroken = false, secrets: Secret[] = []): Made => ({
  steps,
  secrets,
  left: keys.rest(),
  isBroken,
});

/** personalization {name: text}: the only variables that ever had a value. */
function personalized(keys: Keys, { resolve }: CampaignContext): CampaignContext["resolve"] {
  const own = keys.take("personalization");
  if (!isObject(own) || Object.keys(own).length === 0) return resolve;
  keys.notes.translated(keys.at("personalization"), own, "written into the message");
  return campaignVariables(
    Object.fromEntries(Object.entries(own).map(([name, value]) => [name, String(value ?? "")])),
    keys.notes,
  );
}

function text(
  keys: Keys,
  name: string,
  becomes: string,
  resolve: CampaignContext["resolve"],
): string | undefined {
  const written = keys.text(name, becomes);
  if (written === undefined) return undefined;
  noteGaps(written, keys.at(name), keys.notes);
  return translateText(written, keys.at(name), resolve, keys.notes);
}

function unread(keys: Keys, names: Record<string, string>): void {
  for (const [name, why] of Object.entries(names)) {
    if (keys.has(name)) keys.notes.person(keys.at(name), why, keys.take(name));
    else keys.take(name);
  }
}

const sendEmail: Reader = (keys, context) => {
  const resolve = personalized(keys, context);
  const subject = text(keys, "subject", "subject", resolve) ?? "No Subject";
  const body = text(keys, "body", "html, or text where no tag is in it", resolve);
  unread(keys, {
    template_id: "the text of the template is not here: check the message",
    attachments: "emails have no attachments here: link to the files",
  });
  keys.drop("track_opens", "opens are always followed");
  keys.drop("track_clicks", "clicks are always followed");
  if (body === undefined) keys.notes.person(keys.at("body"), "the email had no text: write it");
  return made(
    [newStep(context.key, "send_email", { subject, [bodyKind(body ?? "")]: body })],
    keys,
    body === undefined,
  );
};

const sendSms: Reader = (keys, context) => {
  const body = text(keys, "message", "body", personalized(keys, context));
  unread(keys, { template_id: "the text of the template is not here: check the message" });
  keys.drop("track_replies", "replies are always followed");
  if (body === undefined) keys.notes.person(keys.at("message"), "the text had no words: write it");
  return made([newStep(context.key, "send_sms", { body })], keys, body === undefined);
};

function taskOf(keys: Keys, { resolve }: CampaignContext): Record<string, unknown> {
  const config: Record<string, unknown> = {};
  for (const name of ["title", "description", "priority", "assigned_to"]) {
    const value = text(keys, name, name, resolve);
    if (value) config[name] = value;
  }
  config.due_in_days = keys.number("due_in_days", "due_in_days") ?? 0;
  const type = keys.take("task_type");
  if (!isAbsent(type)) {
    keys.notes.kept(
      keys.at("task_type"),
      type,
      "tasks have the type that automation.attach_target() names",
    );
  }
  keys.notes.difference(
    keys.path,
    "a task was a row of activities, and its title was taken as written",
    "a task, with variables in its title",
  );
  return config;
}

const createTask: Reader = (keys, context) => {
  const config = taskOf(keys, context);
  if (!config.title) keys.notes.person(keys.at("title"), "is missing: write it");
  return made([newStep(context.key, "create_task", config)], keys, !config.title);
};

const updateField: Reader = (keys, context) => {
  const entity = keys.text("entity_type", "entity") ?? "contact";
  const field = keys.text("field_name", "field");
  const written = keys.move("field_value", "value");
  const value = written === undefined
    ? undefined
    : translateValue(written, keys.at("field_value"), context.resolve, keys.notes);
  const step = newStep(context.key, "update_field", { entity, field, value });
  if (entity === "project") {
    step.enabled = false;
    keys.notes.difference(
      keys.path,
      "it looked for a project whose id is the contact's: nothing was done",
      "it comes switched off",
    );
    keys.notes.person(keys.path, "switch it on if the project of the run is meant");
  }
  return made([step], keys, !field || value === undefined);
};

const manageTags: Reader = (keys, context) => {
  const action = keys.text("action", "add_tag or remove_tag") ?? "add";
  return tags(action === "remove" ? "remove_tag" : "add_tag")(keys, context);
};

/** {contact.name}, {contact.email}, {contact.phone}: in single braces, and only here. */
const singleBraces = (message: string): string =>
  message.replaceAll(/(?<!\{)\{(contact\.(?:name|email|phone))\}(?!\})/g, "{{$1}}");

const notify: Reader = (keys, context) => {
  const message = keys.text("message", "the message, with double braces") ?? "";
  const body = translateText(
    singleBraces(message),
    keys.at("message"),
    context.resolve,
    keys.notes,
  );
  const users = (keys.list("notify_users", "to, by their addresses") ?? []).map(String);
  const kind = keys.text("notification_type", "an email, or a task for in_app") ?? "email";
  const members = context.target.members;
  const addresses = users.map((user) => members?.[user]?.email ?? null);
  addresses.forEach((address, place) => {
    if (!address) {
      keys.notes.person(
        `${keys.at("notify_users")}[${place}]`,
        "no member of this id has an address: name one",
        users[place],
      );
    }
  });
  const to = addresses.filter((address) => address !== null);
  const steps: Step[] = [];
  if (kind !== "in_app") {
    steps.push(newStep(context.key, "send_email", { to, subject: "Notification", text: body }));
  }
  if (kind === "in_app" || kind === "both") {
    for (const user of users) {
      const key = steps.length === 0 ? context.key : nextKey(context.key, context.taken);
      steps.push(newStep(key, "create_task", { title: body, assigned_to: user }));
    }
    keys.notes.difference(
      keys.at("notification_type"),
      "a notice on the screen",
      "a task for each of them",
    );
  }
  if (users.length === 0) {
    keys.notes.difference(
      keys.at("notify_users"),
      "nobody was named, and nobody heard of it",
      "it comes switched off",
    );
    keys.notes.person(keys.at("notify_users"), "name who is to hear of it", users);
  }
  if (to.length === 0) steps.forEach((step) => (step.enabled &&= step.step_type !== "send_email"));
  if (steps.length === 0) {
    steps.push({
      ...newStep(context.key, "send_email", { to: [], subject: "Notification", text: body }),
      enabled: false,
    });
  }
  return made(steps, keys);
};

const webhook: Reader = (keys, context) => {
  const secrets: Secret[] = [];
  const url = text(keys, "url", "url", context.resolve);
  const method = (keys.text("method", "method") ?? "POST").toUpperCase();
  const headers = headersOf(keys, context.label, secrets);
  const payload = keys.move("payload", "body");
  const config = {
    url,
    method,
    headers: translateHeaders(headers, keys, context),
    body: isAbsent(payload)
      ? Object.fromEntries([[
        "contact",
        Object.fromEntries(
          ["id", "first_name", "last_name", "email", "phone"].map((
            name,
          ) => [name, `{{contact.${name}}}`]),
        ),
      ]])
      : asTexts(translateValue(payload, keys.at("payload"), context.resolve, keys.notes)),
  };
  if (isAbsent(payload)) {
    keys.notes.difference(
      keys.path,
      "without a payload the whole contact was sent",
      "its id, name, email and phone",
    );
  }
  keys.notes.difference(
    keys.path,
    "an answer that was no JSON failed the step",
    "any 2xx answer will do",
  );
  if (!url) keys.notes.person(keys.at("url"), "is missing: write it");
  return made([newStep(context.key, "webhook", config)], keys, !url, secrets);
};

const conditional: Reader = (keys, context) => {
  const conditions = campaignRules(keys.object("conditions"));
  const paths = ["true_path_step_id", "false_path_step_id"].filter((name) => keys.has(name));
  for (const name of ["true_path_step_id", "false_path_step_id"]) {
    if (keys.has(name)) {
      keys.notes.kept(keys.at(name), keys.take(name), "the steps go on in order, as they did");
    } else keys.take(name);
  }
  keys.notes.difference(
    keys.path,
    "it was evaluated and its result ignored: the steps went on in order",
    "the same: nothing stands on its branches",
  );
  if (paths.length > 0) {
    keys.notes.person(keys.path, "put the steps that are meant on its branches then and else");
  }
  return made([newStep(context.key, "conditional", { conditions })], keys);
};

const exitCampaign: Reader = (keys, context) => {
  const reason = keys.text("exit_reason", "reason") ?? "exit_campaign";
  const steps: Step[] = [];
  const wants = keys.move("create_task", "a task before the stop");
  const task = keys.object("task_config");
  if (wants === true) {
    const config = taskOf(task, context);
    steps.push(newStep(context.key, "create_task", { ...config, title: config.title ?? reason }));
  }
  task.rest();
  steps.push(
    newStep(steps.length === 0 ? context.key : nextKey(context.key, context.taken), "stop", {
      reason,
      outcome: "cancelled",
    }),
  );
  return made(steps, keys);
};

const changeStage: Reader = (keys, context) => {
  const stage = text(keys, "target_stage", "stage of the project", context.resolve);
  for (const name of ["validate_transition", "skip_perfect_packet"]) {
    keys.drop(name, "what the CRM itself refuses is refused");
  }
  keys.notes.difference(
    keys.path,
    "the contact's newest project that is neither complete nor lost; transitions off the pipeline and won to production without its documents were refused",
    "the project of the run, to any stage that the CRM takes",
  );
  return made([newStep(context.key, "change_stage", { entity: "project", stage })], keys, !stage);
};

export const campaignSteps: Record<string, Reader> = {
  send_email: sendEmail,
  send_sms: sendSms,
  create_task: createTask,
  update_field: updateField,
  manage_tags: manageTags,
  notify,
  webhook,
  conditional,
  exit_campaign: exitCampaign,
  change_stage: changeStage,
};
