// What the screens of the old application send. Members it did not know were passed over, and are.
import { z } from "zod";
import { plainNumber } from "../../_shared/runtime/json.ts";

const object = z.record(z.string(), z.unknown());
/** 1.50 comes with all its digits. */
const number = z.preprocess(plainNumber, z.number());
const name = z.string().trim().min(1).max(200);

export const id = z.guid();

const page = z.coerce.number().int().min(1).max(100_000).default(1);
const limit = (standard: number) => z.coerce.number().int().min(1).max(100).default(standard);
/** ?status=active,paused */
const listed = z.string().max(1_000).transform((text) =>
  text.split(",").map((one) => one.trim()).filter((one) => one !== "")
);

export const serverList = z.object({
  trigger_type: z.string().max(63).optional(),
  is_active: z.enum(["true", "false"]).transform((text) => text === "true").optional(),
  page,
  limit: limit(20),
});

export const clientList = z.object({
  status: listed.optional(),
  trigger_type: listed.optional(),
  is_template: z.enum(["true", "false"]).optional(),
  search: z.string().max(200).optional(),
  page,
  limit: limit(50),
});

export const runList = z.object({
  status: listed.optional(),
  workflow_id: id.optional(),
  page,
  limit: limit(50),
});

export const serverStep = z.object({
  step_order: number,
  step_type: z.string().min(1).max(50),
  step_config: object,
  delay_minutes: number.default(0),
});
export const serverCreate = z.object({
  name,
  description: z.string().nullish(),
  trigger_type: z.string().min(1).max(50),
  trigger_config: object.default({}),
  is_active: z.boolean().default(true),
  steps: z.array(serverStep).max(1_000).optional(),
});
export const serverPatch = z.object({
  name: name.optional(),
  description: z.string().nullish(),
  is_active: z.boolean().optional(),
  trigger_config: object.optional(),
});

export const action = z.object({
  id: z.string().max(200).optional(),
  type: z.string().min(1).max(63),
  config: object.default({}),
  /** Hours from the start of the run. */
  delay: number.nullish(),
  enabled: z.boolean().nullish(),
  order: number.nullish(),
});
export const condition = z.object({
  id: z.string().max(200).optional(),
  field: z.string().min(1).max(300),
  operator: z.string().min(1).max(63),
  value: z.unknown(),
  logic_gate: z.enum(["AND", "OR"]).nullish(),
});
export const trigger = z.object({
  id: z.string().max(200).optional(),
  type: z.string().min(1).max(63),
  config: object.default({}),
  enabled: z.boolean().nullish(),
});
export const status = z.enum(["active", "draft", "paused", "archived"]);
export const clientDocument = z.object({
  name,
  description: z.string().nullish(),
  status: status.default("draft"),
  trigger,
  actions: z.array(action).max(1_000).default([]),
  conditions: z.array(condition).max(500).nullish(),
});
export const clientPatch = z.object({
  name: name.optional(),
  description: z.string().nullish(),
  status: status.optional(),
  trigger: trigger.optional(),
  actions: z.array(action).max(1_000).optional(),
  conditions: z.array(condition).max(500).nullish(),
});

export const fire = z.object({
  trigger_type: z.string().min(1).max(63),
  trigger_data: object,
});

export const dryRun = z.object({
  trigger_data: object.nullish(),
  context: object.nullish(),
});

export type ClientDocument = z.infer<typeof clientDocument>;
export type ServerDocument = z.infer<typeof serverCreate>;
export type Action = z.infer<typeof action>;
export type Condition = z.infer<typeof condition>;
