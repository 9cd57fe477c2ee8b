// What each quirk of the older engines means here. Beside each, in words, what it meant there (docs/legacy.md).
import { describe, expect, it } from "vitest";
import {
  type Choices,
  safeChoices,
  type Source,
  type Translation,
} from "../../functions/workflows/legacy/translate/definition.ts";
import type { JsonObject } from "../../functions/workflows/legacy/translate/keys.ts";
import { translate } from "../../scripts/legacy/read.ts";
import { campaign, clientWorkflow, serverWorkflow } from "./shapes.ts";

function all(source: Source, row: unknown, choices: Partial<Choices> = {}): Translation[] {
  return translate({ source, rows: [row] }, {
    choices: { ...safeChoices, ...choices },
    members: { "0b000000-0000-4000-8000-000000000003": { email: "sam@summit.example" } },
  }).map((one) => {
    if ("problem" in one) throw new Error(one.problem);
    return one;
  });
}
const one = (source: Source, row: unknown, choices: Partial<Choices> = {}) =>
  all(source, row, choices)[0]!;

const server = (
  steps: JsonObject[],
  choices: Partial<Choices> = {},
  type = "pipeline_stage_changed",
  config: JsonObject = {},
) => one("server", serverWorkflow(type, config, steps), choices);
const sms = (body: string, more: JsonObject = {}): JsonObject => ({
  step_type: "send_sms",
  step_config: { to: "{{trigger.contact.phone}}", body },
  ...more,
});
const bodies = ({ definition }: Translation) =>
  definition.steps.map(({ step_config }) => step_config.body ?? step_config.title ?? step_config);
const delays = ({ definition }: Translation) =>
  definition.steps.map(({ delay_minutes, step_config }) => step_config.minutes ?? delay_minutes);
const said = ({ notes }: Translation, kind: string) =>
  notes.filter((note) => note.kind === kind).map(({ key }) => key);

describe("variables of the server's engine", () => {
  it.each([
    // Only trigger.* had values.
    [
      "{{trigger.project_name}} {{ trigger.new_stage }}",
      "{{trigger.project_name}} {{trigger.new_stage}}",
    ],
    ["{{trigger.project.contact.first_name}}", "{{contact.first_name}}"],
    // A uuid has no email: it never resolved. Who is responsible is nearest to who did it.
    ["{{trigger.changed_by.email}}", "{{user.email}}"],
    ["{{trigger.changed_by}}", "{{trigger.changed_by}}"],
    [
      "{{trigger.contact.full_name}}",
      "{{trigger.contact.first_name}} {{trigger.contact.last_name}}",
    ],
    ["{{trigger.email_id}}", "{{email.provider_id}}"],
    ["{{trigger.items.0.name}}", "{{trigger.items[0].name}}"],
    ["{{trigger.custom data.x-y}}", '{{trigger["custom data"]["x-y"]}}'],
    // No filters, no blocks: left as written.
    ["{{trigger.a | upper}}", "\\{{trigger.a | upper}}"],
    ["{{#if trigger.a}}x{{/if}}", "\\{{#if trigger.a}}x\\{{/if}}"],
    ["{{{trigger.a}}}", "\\{{{trigger.a}}}"],
    ["a {{ b", "a \\{{ b"],
    // Nothing provides it: somebody has to say what is meant.
    ["{{survey_link}}", "{{custom.survey_link}}"],
  ])("%s is %s", (written, here) => expect(bodies(server([sms(written)]))).toEqual([here]));

  it("a gap in square brackets is for a person to fill", () => {
    expect(said(server([sms("Yours, [Your Name]")]), "person")).toEqual([
      "steps[0].step_config.body",
    ]);
  });
});

describe("order and delay of the server's engine", () => {
  it("ascending step_order, each delay before its step", () => {
    const made = server([
      sms("b", { step_order: 5, delay_minutes: 60 }),
      sms("a", { step_order: 2 }),
    ]);
    expect([bodies(made), delays(made)]).toEqual([["a", "b"], [0, 60]]);
  });
  it("the first step's delay was ignored: kept as it was meant, or dropped when asked", () => {
    expect(delays(server([sms("a", { delay_minutes: 5 })]))).toEqual([5]);
    expect(delays(server([sms("a", { delay_minutes: 5 })], { firstDelay: "drop" }))).toEqual([0]);
  });
  it("before February 2026 a delay stood after its step", () => {
    expect(
      delays(
        server([sms("a", { delay_minutes: 5 }), sms("b", { delay_minutes: 7 })], {
          delays: "after",
        }),
      ),
    ).toEqual([0, 5]);
  });
  it("of a tie one ran: the others come switched off", () => {
    const tied = [sms("a", { step_order: 1 }), sms("b", { step_order: 1 })];
    expect(server(tied).definition.steps.map(({ enabled }) => enabled)).toEqual([true, false]);
    expect(server(tied, { ties: "all" }).definition.steps.map(({ enabled }) => enabled)).toEqual([
      true,
      true,
    ]);
  });
  const wait = (config: JsonObject, row: number): JsonObject => ({
    step_type: "wait",
    step_config: config,
    delay_minutes: row,
  });
  it.each([
    ["config and row say the same: once", wait({ delay_minutes: 1440 }, 1440), 1440, 0],
    [
      "config alone: nothing was waited, three days are meant",
      wait({ delay_minutes: 4320 }, 0),
      4320,
      0,
    ],
    ["row alone", wait({}, 60), 60, 0],
    ["both, and different: the longer, and a person looks", wait({ delay_minutes: 30 }, 60), 60, 1],
  ])("a wait, %s", (_, step, minutes, persons) => {
    const made = server([sms("a"), step]);
    expect(delays(made)[1]).toBe(minutes);
    expect(said(made, "person")).toHaveLength(persons);
  });
  it("a negative delay is none, and one of more than ten years is cut", () => {
    expect(
      delays(
        server([
          sms("a"),
          sms("b", { delay_minutes: -5 }),
          sms("c", { delay_minutes: 99_999_999 }),
        ]),
      ),
    ).toEqual([0, 0, 5_256_000]);
  });
});

describe("triggers of the server's engine", () => {
  const trigger = (type: string, config: JsonObject | null) => {
    const { definition, wasActive } = one("server", serverWorkflow(type, config, [sms("a")]));
    return [definition.trigger_type, definition.trigger_config, definition.conditions, wasActive];
  };
  it.each([
    [
      "stages are what it changed from and to",
      "pipeline_stage_changed",
      { previous_stage: "negotiation", new_stage: "won" },
      { from: "negotiation", to: "won" },
      [],
      true,
    ],
    ["null and {} match all", "project_won", null, {}, [], true],
    ["a literal id", "pipeline_stage_changed", { project_id: "p1" }, {}, [{
      field: "trigger.project_id",
      operator: "equals",
      value: "p1",
      mode: "legacy",
    }], true],
    [
      "{type: lead} never matched, the type is in contact.type: as meant, and off",
      "contact_created",
      { type: "lead" },
      { type: "lead" },
      [],
      false,
    ],
    ["an array never matched", "pipeline_stage_changed", { new_stage: ["won"] }, {}, [{
      field: "trigger.entity",
      operator: "in",
      value: [],
      mode: "legacy",
    }], false],
    ["project_created was never fired", "project_created", {}, {}, [], false],
  ])("%s", (_, type, config, here, conditions, on) => {
    expect(trigger(type, config as JsonObject | null)).toEqual([type, here, conditions, on]);
  });
  it("an unknown one comes as manual, off", () =>
    expect(trigger("moon_rose", {})).toEqual(["manual", {}, [], false]));
  it("null is_active started nothing", () => {
    expect(
      one("server", serverWorkflow("project_won", {}, [sms("a")], { is_active: null })).wasActive,
    ).toBe(false);
  });
});

describe("steps of the server's engine", () => {
  const step = (step_type: string, step_config: JsonObject) =>
    server([{ step_type, step_config }]).definition.steps[0]!;
  it("create_task: due_date_days is due_in_days, medium without a priority, 0 and text no due date", () => {
    const base = { title: "t", tenant_id: "0a000000-0000-4000-8000-000000000001" };
    expect(step("create_task", { ...base, due_date_days: 3 }).step_config).toEqual({
      title: "t",
      due_in_days: 3,
      priority: "medium",
    });
    expect(step("create_task", { ...base, due_date_days: 0 }).step_config).toEqual({
      title: "t",
      priority: "medium",
    });
    expect(step("create_task", { ...base, due_date_days: "3" }).step_config).toEqual({
      title: "t",
      priority: "medium",
    });
  });
  it("update_contact of the run's own contact is fields; of any other it cannot come", () => {
    expect(
      step("update_contact", { contact_id: "{{trigger.contact_id}}", updates: { stage: "won" } })
        .step_config,
    ).toEqual({ fields: { stage: "won" } });
    const other = server([{
      step_type: "update_contact",
      step_config: { contact_id: "0c", updates: { stage: "won" } },
    }]);
    expect([other.isDraft, said(other, "impossible")]).toEqual([true, [
      "steps[0].step_config.contact_id",
    ]]);
  });
  it("another tenant's id in a task cannot come", () => {
    expect(
      server([{
        step_type: "create_task",
        step_config: { title: "t", tenant_id: "0a000000-0000-4000-8000-000000000002" },
      }]).isDraft,
    ).toBe(true);
  });
  it("webhook: no failure on a bad answer, nothing sent without a body, secrets by name", () => {
    const made = server([{
      step_type: "webhook",
      step_config: { url: "https://x.example", headers: { Authorization: "Bearer abc" } },
    }]);
    const [secret] = made.secrets;
    expect(secret!.value).toBe("abc");
    expect(made.definition.steps[0]).toMatchObject({
      continue_on_error: true,
      step_config: {
        method: "POST",
        body: "",
        headers: { Authorization: { secret: secret!.name, prefix: "Bearer " } },
      },
    });
  });
  it("webhook: every value in a body was a text", () => {
    const made = server([{
      step_type: "webhook",
      step_config: {
        url: "https://x.example",
        body: { n: "{{trigger.approved_value}}", t: "a {{trigger.new_stage}}", k: 5 },
      },
    }]);
    expect(made.definition.steps[0]!.step_config.body).toEqual({
      n: "{{trigger.approved_value}}{{#if trigger.approved_value}}{{/if}}",
      t: "a {{trigger.new_stage}}",
      k: 5,
    });
  });
  const words = ({ definition }: Translation) =>
    definition.steps.map(({ step_type, enabled }) => `${step_type}${enabled ? "" : " off"}`);
  it("what the run failed at ends it here too, and what stood before goes on, for a person to mend", () => {
    const steps = [sms("a"), { step_type: "send_fax", step_config: { x: 1 } }, sms("b")];
    const made = server(steps);
    expect([words(made), made.isDraft, said(made, "impossible")]).toEqual([
      ["send_sms", "stop", "send_sms off"],
      false,
      ["steps[1].step_type"],
    ]);
    expect(made.notes.find(({ flag }) => flag === "--failed-step")).toBeDefined();
    expect(server(steps, { failedStep: "draft" }).isDraft).toBe(true);
    // A text that nobody gets, after one that somebody did.
    const nobody = server([sms("a"), { step_type: "send_sms", step_config: { body: "c" } }]);
    expect([words(nobody), nobody.isDraft]).toEqual([["send_sms", "stop", "send_sms off"], false]);
    // A run that stood at the step ends at the stop.
    expect(Object.values(nobody.stepKeys)).toEqual(
      nobody.definition.steps.slice(0, 2).map(({ step_key }) => step_key),
    );
  });
  it("where nothing stood before it, the workflow is a draft", () => {
    expect(server([{ step_type: "send_sms", step_config: { to: "+1" } }]).isDraft).toBe(true);
    expect(
      server([
        { step_type: "wait", step_config: {}, delay_minutes: 5 },
        { step_type: "send_fax", step_config: {} },
      ]).isDraft,
    ).toBe(true);
  });
  it.each<[Choices["failedStep"], string[], boolean]>([
    ["end", ["send_sms", "stop", "conditional off"], false],
    ["branch", ["send_sms", "conditional"], false],
    ["draft", ["send_sms", "conditional"], true],
  ])("a conditional with --failed-step %s", (failedStep, expected, isDraft) => {
    const made = server([
      sms("a"),
      {
        step_type: "conditional",
        step_config: {
          condition: "{{contact.stage}} === 'hot'",
          then_step_id: "y",
          else_step_id: "n",
        },
      },
      sms("yes", { id: "y" }),
      sms("no", { id: "n" }),
    ], { failedStep });
    expect([words(made), made.isDraft]).toEqual([expected, isDraft]);
    expect(Object.values(made.definition.steps.at(-1)!.branches!).flat()).toHaveLength(2);
    expect(said(made, "person")).toContain("steps[1]");
  });
  it("conditional: the condition as written, what follows on its branches", () => {
    const made = server([
      {
        step_type: "conditional",
        step_config: {
          condition: "{{contact.stage}} === 'hot'",
          then_step_id: "yes1",
          else_step_id: "no1",
        },
      },
      sms("yes", { id: "yes1" }),
      sms("no", { id: "no1" }),
    ]);
    expect(made.definition.steps).toMatchObject([{
      step_config: {
        conditions: [{ field: "contact.stage", operator: "equals", value: "hot", mode: "legacy" }],
      },
      branches: {
        then: [{ step_config: { body: "yes" } }],
        else: [{ step_config: { body: "no" } }],
      },
    }]);
    expect(made.isDraft).toBe(true);
  });
});

const client = (
  actions: JsonObject[],
  more: JsonObject = {},
  type = "contact_created",
  config: JsonObject = {},
) => one("client", clientWorkflow(type, config, actions, more));
const text = (message: string, more: JsonObject = {}): JsonObject => ({
  type: "send_sms",
  config: { to: "{{contact.phone}}", message },
  ...more,
});

describe("the browser's engine", () => {
  it("delays are hours from the start, and the order of the list is not the order of time", () => {
    const made = client([
      text("h0"),
      text("h72", { delay: 72 }),
      text("h1", { delay: 1 }),
      text("h72 too", { delay: 72 }),
    ]);
    expect([bodies(made), delays(made)]).toEqual([["h0", "h1", "h72", "h72 too"], [
      0,
      60,
      71 * 60,
      0,
    ]]);
    expect(made.definition.steps.map(({ continue_on_error }) => continue_on_error)).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });
  it("a wait blocks what comes after it; one that is off, or delayed, does not", () => {
    const wait = (more: JsonObject = {}) => ({ type: "wait", config: { duration: 24 }, ...more });
    expect(delays(client([text("a"), wait(), text("b"), text("c", { delay: 2 })]))).toEqual([
      0,
      1440,
      120,
    ]);
    expect(delays(client([wait({ enabled: false }), text("a")]))).toEqual([0]);
    expect(delays(client([wait({ delay: 3 }), text("a")]))).toEqual([0]);
  });
  it("what is switched off stays so and moves no other", () => {
    const made = client([
      text("a"),
      text("off", { delay: 5, enabled: false }),
      text("b", { delay: 6 }),
    ]);
    expect(made.definition.steps.map(({ enabled, delay_minutes }) => [enabled, delay_minutes]))
      .toEqual([[true, 0], [false, 300], [true, 360]]);
  });
  it("a gate joins to the next: [A (OR), B (AND), C] is (A or B) and C", () => {
    const condition = (field: string, logic_gate: string) => ({
      field,
      operator: "equals",
      value: "x",
      logic_gate,
    });
    const made = client([text("a")], {
      conditions: [
        condition("contact.a", "OR"),
        condition("contact.b", "AND"),
        condition("contact.c", "OR"),
      ],
    });
    expect(made.definition.conditions).toEqual([
      { field: "contact.a", operator: "equals", value: "x", mode: "legacy" },
      { field: "contact.b", operator: "equals", value: "x", mode: "legacy", logic: "or" },
      { field: "contact.c", operator: "equals", value: "x", mode: "legacy", logic: "and" },
    ]);
  });
  it("an unknown operator never held", () => {
    const made = client([text("a")], {
      conditions: [{ field: "contact.a", operator: "like", value: "x" }],
    });
    expect(made.definition.conditions).toEqual([{
      field: "contact.a",
      operator: "in",
      value: [],
      mode: "legacy",
    }]);
  });
  it.each([
    ["{{previous_contact.stage}}", "{{trigger.old.stage}}"],
    ["{{stage_change.from}} {{stage_change.to}}", "{{trigger.old.stage}} {{trigger.record.stage}}"],
    ["{{organization.name}}", "{{tenant.name}}"],
    ["{{contact.name}}", "{{contact.first_name}} {{contact.last_name}}"],
    ["{{invoice.number}}", "{{custom.invoice_number}}"],
    ["{{user.sales_manager_id}}", "{{custom.user_sales_manager_id}}"],
  ])(
    "%s is %s",
    (written, here) => expect(bodies(client([text(written)], {}, "stage_changed"))).toEqual([here]),
  );
  it("{{field_change.*}} knows its field", () => {
    const made = client(
      [text("{{field_change.field}}: {{field_change.from}} {{field_change.to}}")],
      {},
      "field_changed",
      { field: "priority" },
    );
    expect(bodies(made)).toEqual([
      "priority: {{trigger.old.priority}} {{trigger.record.priority}}",
    ]);
  });
  const action = (type: string, config: JsonObject) =>
    client([{ type, config }]).definition.steps.map((
      { step_type, step_config },
    ) => [step_type, step_config]);
  it.each([
    ["+3 days", { due_in_days: 3 }],
    ["+12 hours", { due_in_hours: 12 }],
    ["+1 week", { due_in_days: 7 }],
    ["2026-12-01", { due_at: "2026-12-01" }],
    ["+3 months", {}],
    ["soon", {}],
  ])(
    "due_date %s",
    (due_date, here) =>
      expect(action("create_task", { title: "t", due_date })).toEqual([["create_task", {
        title: "t",
        ...here,
      }]]),
  );
  it("update_field: 0 for what is no number; append joins without a blank", () => {
    expect(action("update_field", { field: "lead_score", value: 5, operator: "add" })).toEqual([[
      "update_field",
      {
        entity: "contact",
        field: "lead_score",
        value: "{{ contact.lead_score | default: 0 | plus: 5 }}",
      },
    ]]);
    expect(action("update_field", { field: "lead_score", value: "2", operator: "subtract" })[0]![1])
      .toMatchObject({ value: "{{ contact.lead_score | default: 0 | minus: 2 }}" });
    expect(action("update_field", { field: "notes", value: "!", operator: "append" })[0]![1])
      .toMatchObject({ value: "{{contact.notes}}!" });
    expect(action("update_field", { field: "notes", value: "" })[0]![1]).toMatchObject({
      value: "",
    });
  });
  it("change_stage is the contact's, with its substatus; one step a tag", () => {
    expect(action("change_stage", { stage: "won", substatus: "paid" })).toEqual([
      ["change_stage", { entity: "contact", stage: "won" }],
      ["update_field", { entity: "contact", field: "substatus", value: "paid" }],
    ]);
    expect(action("add_tag", { tags: ["a", "b"] })).toEqual([["add_tag", { tag: "a" }], [
      "add_tag",
      { tag: "b" },
    ]]);
  });
  it("send_email: plain text stays plain, from_name and from_email are one sender", () => {
    const config = {
      to: "{{contact.email}}",
      subject: "s",
      body: "a\nb",
      from_name: "Ortiz, Sam",
      from_email: "s@x.example",
    };
    expect(action("send_email", config)[0]![1]).toEqual({
      to: "{{contact.email}}",
      subject: "s",
      text: "a\nb",
      from: '"Ortiz, Sam" <s@x.example>',
    });
    expect(action("send_email", { ...config, body: "<b>x</b>" })[0]![1]).toMatchObject({
      html: "<b>x</b>",
    });
  });
  it.each([
    [{ type: "bearer", token: "k1" }, "Authorization", "Bearer ", "k1"],
    [{ type: "basic", username: "u", password: "p" }, "Authorization", "Basic ", "dTpw"],
    [{ type: "api_key", api_key: "k2", api_key_header: "X-Key" }, "X-Key", undefined, "k2"],
  ])("webhook auth %j is a secret", (auth, header, prefix, value) => {
    const made = client([{
      type: "webhook",
      config: { url: "https://x.example", method: "POST", payload: {}, auth },
    }]);
    expect(made.secrets.map((secret) => secret.value)).toEqual([value]);
    expect(made.definition.steps[0]!.step_config.headers).toEqual({
      [header]: { secret: made.secrets[0]!.name, ...(prefix ? { prefix } : {}) },
    });
    expect(made.definition.steps[0]!.continue_on_error).toBe(false);
  });
  const trigger = (type: string, config: JsonObject) =>
    client([text("a")], {}, type, config).definition;
  it.each([
    [{ schedule: "daily", time: "08:30" }, "30 8 * * *"],
    [{ schedule: "weekly", time: "08:30", day_of_week: 0 }, "30 8 * * 0"],
    [{ schedule: "monthly" }, "0 9 1 * *"],
    [{ schedule: "cron", cron_expression: "*/5 * * * *" }, "*/5 * * * *"],
  ])(
    "scheduled %j",
    (config, cron) => expect(trigger("scheduled", config).trigger_config).toEqual({ cron }),
  );
  it("triggers name columns, and an empty list matches nothing", () => {
    expect(
      trigger("contact_created", {
        contact_type: ["lead"],
        contact_category: ["homeowner", "adjuster"],
      }).trigger_config,
    )
      .toEqual({ type: "lead", contact_category: ["homeowner", "adjuster"] });
    expect(
      trigger("stage_changed", { from_stage: ["new"], to_stage: ["won", "lost"] }).trigger_config,
    ).toEqual({ from: "new", to: ["won", "lost"] });
    expect(trigger("stage_changed", { to_stage: [] }).conditions).toEqual([{
      field: "contact.id",
      operator: "in",
      value: [],
      mode: "legacy",
    }]);
    expect(trigger("time_elapsed", { duration: 36, field: "updated_at" }).trigger_config).toEqual({
      entity: "contact",
      field: "updated_at",
      offset: "36 hours",
    });
    expect(
      trigger("field_changed", {
        field: "lead_score",
        from_value: 1,
        to_value: "5",
        operator: "greater_than",
      }).conditions,
    ).toEqual([
      { field: "trigger.old.lead_score", operator: "equals", value: 1, mode: "legacy" },
      {
        field: "trigger.record.lead_score",
        operator: "greater_than",
        value: "5",
        mode: "legacy",
        logic: "and",
      },
    ]);
  });
  it("draft, paused and a trigger that is off start nothing", () => {
    expect(client([text("a")], { status: "paused" }).wasActive).toBe(false);
    expect(
      client([text("a")], { trigger: { type: "manual", config: {}, enabled: false } }).wasActive,
    ).toBe(false);
    expect(client([text("a")]).wasActive).toBe(true);
  });
});

describe("campaigns", () => {
  const won: JsonObject = {
    trigger_type: "stage_change",
    trigger_config: { entity_type: "project", to_stage: "won" },
    enrollment_conditions: null,
    exclusion_conditions: null,
  };
  const mail = (more: JsonObject = {}): JsonObject => ({
    step_type: "send_email",
    step_config: { subject: "s", body: "b" },
    ...more,
  });
  const quiet = { respect_business_hours: false };
  const moved = (to_stage: string, more: JsonObject = {}): JsonObject => ({
    ...won,
    trigger_config: { entity_type: "project", to_stage, ...more },
  });
  it("the triggers that fired are one workflow; a project that leaves their stages ends the run", () => {
    const made = all("campaigns", campaign([won, moved("complete")], [mail()], quiet));
    expect(made.map(({ part, definition }) => [part, definition.trigger_config])).toEqual([[0, {
      to: ["won", "complete"],
    }]]);
    expect(made[0]!.definition.settings.exit_events).toEqual([
      { type: "pipeline_stage_changed", config: { from: "won" } },
      { type: "pipeline_stage_changed", config: { from: "complete" } },
    ]);
  });
  it("where each names another way, the workflow asks for one of them", () => {
    const [made] = all(
      "campaigns",
      campaign(
        [
          moved("won", { from_stage: "negotiation" }),
          moved("complete", { from_stage: "production" }),
        ],
        [mail()],
        quiet,
      ),
    );
    const asks = (field: string, value: string) => ({
      field: `trigger.${field}`,
      operator: "equals",
      value,
      mode: "legacy",
    });
    expect([made!.definition.trigger_config, made!.definition.conditions]).toEqual([{}, {
      any: [
        { all: [asks("previous_stage", "negotiation"), asks("new_stage", "won")] },
        { all: [asks("previous_stage", "production"), asks("new_stage", "complete")] },
      ],
    }]);
  });
  it("what never fired is a workflow of its own, after the one with the history", () => {
    const made = all(
      "campaigns",
      campaign([{ trigger_type: "manual", trigger_config: {} }, won], [mail()], quiet),
    );
    expect(made.map(({ part, definition, wasActive }) => [
      part,
      definition.name,
      definition.trigger_type,
      wasActive,
    ])).toEqual([
      [0, "A campaign (1 of 2)", "pipeline_stage_changed", true],
      [1, "A campaign (2 of 2)", "manual", false],
    ]);
  });
  it.each([
    [{ allow_re_enrollment: false }, "never"],
    [{ allow_re_enrollment: true, re_enrollment_delay_days: 30 }, { once_in: "30 days" }],
    [{ allow_re_enrollment: true, re_enrollment_delay_days: null }, "not_while_open"],
  ])("re-enrolment %j", (more, reentry) => {
    expect(one("campaigns", campaign([won], [mail()], { ...quiet, ...more })).definition.settings)
      .toMatchObject({ reentry, dedupe_key: "{{contact.id}}" });
  });
  it("the hours of the office stand before each message", () => {
    const steps =
      one("campaigns", campaign([won], [mail({ delay_value: 1 }), mail({ delay_value: 1 })]))
        .definition.steps;
    expect(steps.map(({ step_type, delay_minutes }) => [step_type, delay_minutes])).toEqual([
      ["wait", 1440],
      ["send_email", 0],
      ["wait", 1440],
      ["send_email", 0],
    ]);
    expect(steps[0]!.step_config).toEqual({
      window: { from: "08:00", to: "18:00", days: ["mon", "sat"] },
      zone: "America/Chicago",
    });
  });
  it("the row's delay and the wait's are one; the builder's 999 is a tie", () => {
    const wait = {
      step_type: "wait",
      step_config: { delay_value: 2, delay_unit: "days" },
      delay_value: 2,
      delay_unit: "days",
    };
    const made = one(
      "campaigns",
      campaign([won], [mail({ step_order: 999 }), { ...wait, step_order: 999 }], quiet),
    );
    expect(
      made.definition.steps.map((
        { step_config, enabled },
      ) => [step_config.minutes ?? null, enabled]),
    ).toEqual([[null, true], [2880, false]]);
  });
  it("only personalization had values; bare names are what they mean", () => {
    const made = one(
      "campaigns",
      campaign([won], [
        mail({
          step_config: {
            subject: "{{offer}}",
            body: "Hi {{first_name}} of {{company_name}}, {{booking_link}}",
            personalization: { offer: "10 {{x}}" },
          },
        }),
      ], quiet),
    );
    expect(made.definition.steps[0]!.step_config).toEqual({
      subject: "10 \\{{x}}",
      text: "Hi {{contact.first_name}} of {{tenant.name}}, {{custom.booking_link}}",
    });
  });
  const step = (step_type: string, step_config: JsonObject) =>
    one("campaigns", campaign([won], [{ step_type, step_config }], quiet)).definition.steps;
  it("notify: single braces, members by their addresses", () => {
    expect(
      step("notify", {
        notify_users: ["0b000000-0000-4000-8000-000000000003"],
        message: "{contact.name} {contact.phone}",
        notification_type: "both",
      }).map(({ step_type, step_config }) => [step_type, step_config]),
    ).toEqual([
      ["send_email", {
        to: ["sam@summit.example"],
        subject: "Notification",
        text: "{{contact.first_name}} {{contact.last_name}} {{contact.phone}}",
      }],
      ["create_task", {
        title: "{{contact.first_name}} {{contact.last_name}} {{contact.phone}}",
        assigned_to: "0b000000-0000-4000-8000-000000000003",
      }],
    ]);
    expect(step("notify", { notify_users: [], message: "x" })[0]!.enabled).toBe(false);
  });
  it("manage_tags, exit_campaign, change_stage, update_field of a project, conditional", () => {
    expect(
      step("manage_tags", { action: "remove", tags: ["a", "b"] }).map((
        { step_type, step_config },
      ) => [step_type, step_config.tag]),
    ).toEqual([["remove_tag", "a"], ["remove_tag", "b"]]);
    expect(
      step("exit_campaign", {
        exit_reason: "done",
        create_task: true,
        task_config: { title: "Look" },
      }).map(({ step_type, step_config }) => [step_type, step_config]),
    ).toEqual([
      ["create_task", { title: "Look", due_in_days: 0 }],
      ["stop", { reason: "done", outcome: "cancelled" }],
    ]);
    expect(step("change_stage", { target_stage: "won" })[0]!.step_config).toEqual({
      entity: "project",
      stage: "won",
    });
    expect(
      step("update_field", { entity_type: "project", field_name: "status", field_value: "x" })[0]!
        .enabled,
    ).toBe(false);
    const conditional = step("conditional", {
      conditions: { rules: [{ field: "stage", operator: "contains", value: "WON" }], logic: "OR" },
    })[0]!;
    expect([conditional.step_config, conditional.branches]).toEqual([{
      conditions: { any: [{ field: "contact.stage", operator: "contains", value: "WON" }] },
    }, undefined]);
  });
  it("a contact's stage never fired, and comes off; a stage that projects do not have is for a person", () => {
    const of = (config: JsonObject) =>
      one("campaigns", campaign([{ ...won, trigger_config: config }], [mail()], quiet));
    expect(of({ entity_type: "contact", to_stage: "new" })).toMatchObject({
      wasActive: false,
      definition: { trigger_type: "stage_changed" },
    });
    expect(of({ entity_type: "project", to_stage: "completed" })).toMatchObject({
      wasActive: false,
      isDraft: true,
    });
    expect(of({ entity_type: "project", to_stage: "won" }).wasActive).toBe(true);
  });
});
