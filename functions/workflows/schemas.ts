// The shapes of requests and answers: what is checked, and what openapi.json is made of.
import { z } from "zod";
import { moment as givenMoment } from "../_shared/runtime/moment.ts";

const id = z.guid();
/** In answers: of the database. What callers name is a `givenMoment`. */
const moment = z.iso.datetime({ offset: true });
/** Anything that JSON can say: it has been parsed already. */
const object = z.record(z.string(), z.unknown());

export const status = z.enum([
  "pending",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
  "skipped",
]);

export const mode = z.enum(["live", "shadow", "test", "imported"]).meta({
  description: "shadow: it did everything but have an effect. imported: history of another system.",
});

const triggerData = object.default({}).meta({
  description: "The records it is about, {contact_id?, project_id?, job_id?, ...}, and any other " +
    "values that templates and conditions read as trigger.*.",
  examples: [{ contact_id: "6f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11" }],
});
const tenantId = id.optional().meta({
  description: "May be left out by a member of one tenant, or where a record tells.",
});

export const execute = z.strictObject({
  workflow_id: id.optional().meta({ description: "Start this workflow, whatever its trigger." }),
  trigger_type: z.string().min(1).max(63).optional().meta({
    description: "Fire every active workflow that listens to this and matches trigger_data.",
    examples: ["contact_created"],
  }),
  trigger_data: triggerData,
  tenant_id: tenantId,
}).superRefine(({ workflow_id, trigger_type }, context) => {
  if ((workflow_id === undefined) !== (trigger_type === undefined)) return;
  context.addIssue({
    code: "custom",
    path: ["workflow_id"],
    message: workflow_id === undefined
      ? "neither workflow_id nor trigger_type is given"
      : "both workflow_id and trigger_type are given",
    params: { fix: "send workflow_id or trigger_type, and not both" },
  });
}).meta({
  id: "Execute",
  oneOf: [{ required: ["workflow_id"] }, { required: ["trigger_type"] }],
});

export const test = z.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  trigger_data: triggerData,
  options: z.strictObject({
    version: z.int().min(1).optional().meta({ description: "A version instead of the draft." }),
    at: givenMoment.optional().meta({ description: "When it begins. Default: now." }),
    events: object.optional().meta({
      description: "What comes for steps that wait for an event, by key; the others time out.",
      examples: [{ reply: { body: "Yes please" } }],
    }),
  }).default({}),
}).meta({ id: "Test" });
export const ofExecution = z.strictObject({ execution_id: id, tenant_id: tenantId }).meta({
  id: "OfExecution",
});
export const publish = z.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  enroll_existing: z.strictObject({
    filter: z.unknown().optional().meta({ description: "Conditions; all records when left out." }),
    entity: z.string().min(1).max(63).optional(),
    per_minute: z.int().min(1).max(100_000).default(600),
  }).optional().meta({ description: "Also enrols records that are there already, throttled." }),
}).meta({ id: "Publish" });

export const move = z.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  to_version: z.int().min(1).optional().meta({ description: "Default: the published one." }),
  execution_ids: z.array(id).min(1).max(10_000).optional().meta({
    description: "Default: all runs in flight, up to 10000.",
  }),
}).meta({ id: "Move" });

export const moved = z.object({
  version: z.int(),
  moved: z.int(),
  kept: z.array(z.object({ execution_id: id, reason: z.string() })),
}).meta({ id: "Moved" });

export const ofWorkflow = z.strictObject({ workflow_id: id, tenant_id: tenantId }).meta({
  id: "OfWorkflow",
});

export const setMode = z.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  mode: z.enum(["live", "shadow"]),
}).meta({ id: "SetMode" });

export const modeSet = z.object({
  workflow_id: id,
  mode: z.enum(["live", "shadow"]),
  in_force: z.enum(["live", "shadow", "off"]).meta({
    description: "What runs begin in: the engine of the tenant may be a shadow, or off.",
  }),
  cancelled_shadows: z.int(),
}).meta({ id: "ModeSet" });

const finding = z.object({
  path: z.string(),
  severity: z.enum(["error", "warning"]),
  code: z.string(),
  message: z.string(),
  hint: z.string().nullable(),
}).meta({ id: "Finding" });

const question = z.looseObject({
  name: z.string(),
  ask: z.string(),
  type: z.string(),
}).meta({
  id: "Question",
  description: "recipes/recipe.schema.json tells the types and the rest.",
});
const document = z.union([z.string().min(1).max(100), object]);
const answers = object.default({}).meta({
  description: "By the names of the questions; a question without an answer has its default.",
  examples: [{ review_url: "https://g.page/r/apex/review" }],
});

export const listRecipes = z.strictObject({
  recipe: z.string().min(1).max(100).optional().meta({ description: "This one alone." }),
  tenant_id: tenantId,
});
export const recipes = z.object({
  recipes: z.array(
    z.object({
      name: z.string(),
      title: z.string(),
      description: z.string().nullable(),
      needs: object.nullable(),
      questions: z.array(question),
      recipe: object,
    }).meta({ id: "Recipe" }),
  ),
}).meta({ id: "Recipes" });

export const installRecipe = z.strictObject({
  recipe: document.meta({ description: "The name of a recipe, or a whole document." }),
  answers,
  tenant_id: tenantId,
}).meta({ id: "InstallRecipe" });
const draft = z.object({
  workflow_id: id,
  revision: z.string(),
  name: z.string(),
  problems: z.array(finding).meta({ description: "Warnings." }),
}).meta({ id: "Draft" });
export const recipeInstalled = z.object({
  recipe: z.string().optional(),
  workflows: z.array(draft),
}).meta({ id: "RecipeInstalled", description: "Drafts: they run once they are published." });

export const importWorkflow = z.strictObject({ document: object, answers, tenant_id: tenantId })
  .meta({ id: "ImportWorkflow" });
export const imported = draft;
export const exported = z.looseObject({
  tenant_id: id,
  name: z.string(),
  questions: z.array(question),
  workflows: z.array(object),
}).meta({ id: "ExportedWorkflow" });

const engineName = z.enum(["off", "shadow", "on"]).meta({
  description: "What this engine does for the tenant beside the one that it replaces.",
});
export const setEngine = z.strictObject({ engine: engineName, tenant_id: tenantId }).meta({
  id: "SetEngine",
});
export const ofTenant = z.strictObject({ tenant_id: tenantId });

const oldCall = z.object({ call: z.string(), where: z.string(), why: z.string() });
export const engineSet = z.looseObject({
  tenant_id: id,
  engine: engineName,
  was: engineName,
  stop_calling: z.array(oldCall).optional().meta({
    description: "What the application must not call any more for this tenant.",
  }),
}).meta({ id: "EngineSet" });
export const engineReport = z.looseObject({
  engine: engineName,
  since: moment.nullable(),
  stop_calling: z.array(oldCall),
  begun_there_since: z.int().nullable().meta({
    description:
      "Runs that the old engine has begun since this one is on: 0, or it is still called.",
  }),
}).meta({ id: "EngineReport" });

export const compare = z.strictObject({
  since: givenMoment.optional().meta({ description: "Default: a week ago." }),
  until: givenMoment.optional().meta({ description: "Default: now." }),
  tolerance_minutes: z.number().min(0).max(10_080).default(5).meta({
    description: "How far apart in time the same step may be.",
  }),
  tenant_id: tenantId,
}).meta({ id: "Compare" });
export const compared = z.looseObject({
  runs: z.int(),
  identical: z.int(),
  differ: z.int(),
  open: z.int(),
  kinds: z.record(z.string(), z.int()),
  text: z.string().meta({
    examples: ["142 runs, 139 identical, 3 differ: 1 missing, 2 with other text"],
  }),
}).meta({ id: "Compared" });

export const enroll = z.strictObject({
  workflow_id: id,
  record_ids: z.array(z.union([z.string().min(1).max(200), z.int()])).min(1).max(25_000).optional()
    .meta({ description: "The records' own keys. Up to a hundred are enrolled at once." }),
  filter: z.union([z.array(z.unknown()), object]).optional().meta({
    description: "Conditions that the records must meet; [] for every record. With record_ids it " +
      "narrows the list down.",
    examples: [[{ field: "contact.postal_code", operator: "equals", value: "78701" }]],
  }),
  entity: z.string().min(1).max(63).optional().meta({
    description: "Whose records they are: without it the workflow's own, or contacts.",
  }),
  per_minute: z.int().min(1).max(100_000).optional().meta({
    description: "The most that are enrolled in a minute.",
  }),
  data: object.default({}).meta({ description: "Goes into the trigger_data of each." }),
  tenant_id: tenantId,
}).superRefine(({ record_ids, filter }, context) => {
  if (record_ids !== undefined || filter !== undefined) return;
  context.addIssue({
    code: "custom",
    path: ["record_ids"],
    message: "neither record_ids nor filter is given",
    params: { fix: "send record_ids, or a filter: conditions, [] for every record" },
  });
}).meta({ id: "Enroll", anyOf: [{ required: ["record_ids"] }, { required: ["filter"] }] });

export const ofEnrollment = z.strictObject({ enrollment_id: id, tenant_id: tenantId }).meta({
  id: "OfEnrollment",
});

/** Query parameters are text. */
export const historyQuery = z.strictObject({
  workflow_id: id.optional(),
  /** Ids of the CRM are text: it may count its contacts. */
  contact_id: z.string().min(1).max(200).optional(),
  execution_id: id.optional(),
  record_id: z.string().min(1).max(200).optional(),
  status: status.optional(),
  trigger_type: z.string().min(1).max(63).optional(),
  mode: mode.optional(),
  since: givenMoment.optional().meta({ description: "Created then or later." }),
  until: givenMoment.optional().meta({ description: "Created before then." }),
  tenant_id: id.optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(500).optional().meta({ description: "next_cursor of the page before." }),
});

const failure = z.looseObject({ code: z.string(), message: z.string() });

export const execution = z.object({
  id,
  tenant_id: id,
  workflow_id: id,
  version: z.int(),
  status,
  trigger_type: z.string(),
  entity: z.string().nullable(),
  record_id: z.string().nullable(),
  contact_id: z.string().nullable(),
  current_step: z.string().nullable(),
  error: failure.nullable(),
  created_at: moment,
  started_at: moment.nullable(),
  finished_at: moment.nullable(),
  /** A database of the release before does not say. */
  mode: mode.default("live"),
}).meta({ id: "Execution" });

export const executed = z.object({ execution_ids: z.array(id), executions: z.array(execution) })
  .meta({ id: "Executed" });
export const oneExecution = z.object({ execution }).meta({ id: "OneExecution" });

export const oneEnrollment = z.object({
  enrollment: z.object({
    id,
    tenant_id: id,
    workflow_id: id,
    kind: z.enum(["manual", "scheduled", "timers"]),
    status: z.enum(["running", "completed", "cancelled", "failed"]),
    entity: z.string(),
    total: z.int().nullable().meta({ description: "How many were listed; null for a filter." }),
    scanned: z.int(),
    enrolled: z.int(),
    skipped: z.int().meta({ description: "Gone, or left out by filter or conditions." }),
    failed: z.int(),
    per_minute: z.int().nullable(),
    error: failure.nullable(),
    created_at: moment,
    finished_at: moment.nullable(),
  }).meta({ id: "Enrollment" }),
}).meta({ id: "OneEnrollment" });

export const published = z.object({
  workflow_id: id,
  version: z.int(),
  trigger_type: z.string(),
  published_at: moment,
  warnings: z.array(finding),
}).meta({ id: "Published" });

export const validated = z.object({ valid: z.boolean(), problems: z.array(finding) })
  .meta({ id: "Validated" });

export const tested = z.looseObject({
  valid: z.boolean(),
  problems: z.array(finding),
  enrolls: z.boolean().optional(),
  path: z.array(z.looseObject({ key: z.string(), type: z.string() })).optional(),
  cost: z.number().optional().meta({
    description: "Of all that would be sent, by the prices there are.",
  }),
  ended: z.looseObject({ status, at: moment }).optional(),
}).meta({ id: "Tested", description: "What would happen, step by step. Nothing did." });

const stepExecution = z.looseObject({
  id,
  step_key: z.string(),
  step_type: z.string(),
  status,
  started_at: moment,
  finished_at: moment.nullable(),
}).meta({ id: "StepExecution" });

export const history = z.object({
  executions: z.array(
    execution.extend({
      workflow_name: z.string(),
      trigger_data: object,
      next_run_at: moment.nullable(),
      steps: z.array(stepExecution),
    }).meta({ id: "PastExecution" }),
  ),
  next_cursor: z.string().nullable(),
}).meta({ id: "History" });

export const health = z.object({ status: z.literal("ok") }).meta({ id: "Health" });

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string().meta({ description: "For programs." }),
  detail: z.string(),
  instance: z.string().meta({ description: "The request, as the log names it." }),
  errors: z.array(z.object({ field: z.string(), message: z.string(), fix: z.string() })).optional(),
}).meta({ id: "Problem" });
