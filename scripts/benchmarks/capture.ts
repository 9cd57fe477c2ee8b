// (a) and (b): what the capture triggers cost the writer.
import type { Sql } from "postgres";
import {
  type Bench,
  createTenant,
  type Database,
  followUp,
  setDoorbell,
  type Workflow,
} from "./bench.ts";
import { alternate, median, milliseconds, ratio } from "./measure.ts";
import { atMost, microseconds, type Row } from "./report.ts";

const unmatched: Workflow[] = [
  ...["angi", "referral", "website"].map((source) => ({
    trigger_type: "contact_created",
    trigger_config: { type: "lead", source },
    steps: [followUp],
  })),
  ...["customer", "vendor", "partner"].map((type) => ({
    trigger_type: "contact_created",
    trigger_config: { type },
    steps: [followUp],
  })),
  ...["won", "lost"].map((stage) => ({
    trigger_type: "stage_changed",
    trigger_config: { to: stage },
    steps: [followUp],
  })),
  { trigger_type: "field_changed", trigger_config: { field: "assigned_to" }, steps: [followUp] },
  { trigger_type: "project_won", steps: [followUp] },
];

const falseConditions: Workflow[] = Array.from({ length: 10 }, (_, index) => ({
  trigger_type: "contact_created",
  conditions: [{ field: "contact.lead_score", operator: "greater_than", value: 100 + index }],
  steps: [followUp],
}));

/** Twenty questions of several kinds; all but the last hold for the lead that is inserted. */
const twentyConditions = (last: boolean) => [
  ...Array.from({ length: 5 }, (_, n) => [
    { field: "contact.lead_score", operator: "greater_than", value: n },
    { field: "contact.city", operator: "in", value: ["Austin", "Dallas", `Town ${n}`] },
    { field: "contact.custom_fields.roof", operator: "not_equals", value: `kind ${n}` },
    { field: "contact.email", operator: "contains", value: "example" },
  ]).flat().slice(0, 19),
  { field: "contact.source", operator: last ? "is_not_empty" : "is_empty" },
];

const matched: Workflow[] = [
  { trigger_type: "contact_created", trigger_config: { type: "lead" }, steps: [followUp] },
];

const variants = {
  none: { what: "no workflow", workflows: [], aim: { single: 1.05, bulk: 1.5 } },
  unmatched: {
    what: "ten workflows that do not match",
    workflows: unmatched,
    aim: { single: 1.05, bulk: 1.5 },
  },
  conditions: {
    what: "ten whose conditions are false",
    workflows: falseConditions,
    aim: undefined,
  },
  twentyFalse: {
    what: "one of twenty conditions, false at the last",
    workflows: [{
      trigger_type: "contact_created",
      conditions: twentyConditions(false),
      steps: [followUp],
    }],
    aim: undefined,
  },
  twentyTrue: {
    what: "one of twenty conditions that all hold",
    workflows: [{
      trigger_type: "contact_created",
      conditions: twentyConditions(true),
      steps: [followUp],
    }],
    aim: undefined,
  },
  matched: {
    what: "one that matches, doorbell none",
    workflows: matched,
    aim: { single: 1.4, bulk: 5 },
  },
  notify: {
    what: "one that matches, doorbell notify",
    workflows: matched,
    aim: { single: 1.4, bulk: 5 },
  },
} as const satisfies Record<string, {
  what: string;
  workflows: Workflow[];
  aim: { single: number; bulk: number } | undefined;
}>;
type Variant = keyof typeof variants;
const names = Object.keys(variants) as Variant[];

const columns = `tenant_id, type, stage, first_name, last_name, email, phone, city, state, source,
  lead_score, custom_fields`;

const insertOne = `insert into public.contacts (${columns})
  values ($1, 'lead', 'new', 'Maria', 'Lopez', 'maria.lopez@example.com', '+14155550142', 'Austin',
    'TX', 'facebook', 40, '{"roof": "asphalt", "stories": 2}')`;

const insertMany = `insert into public.contacts (${columns})
  select $1::uuid, 'lead', 'new', 'Maria', 'Lopez', 'maria.lopez@example.com',
    '+1415555' || lpad((n % 10000)::text, 4, '0'), 'Austin', 'TX', 'facebook', 40,
    '{"roof": "asphalt", "stories": 2}'::jsonb
  from generate_series(1, $2::integer) as n`;

// Without a client: only what the server does, so the triggers weigh as much as they ever can.
const insertLoop = `create procedure public.bench_insert(tenant uuid, times integer)
  language plpgsql as $$
  begin
    for n in 1..times loop
      ${insertOne.replace("$1", "tenant")};
      commit;
    end loop;
  end $$`;

async function prepare(sql: Sql): Promise<Record<Variant, string>> {
  const tenants = {} as Record<Variant, string>;
  for (const name of names) tenants[name] = await createTenant(sql, variants[name].workflows);
  await sql.unsafe(insertLoop);
  return tenants;
}

async function setTriggers(sql: Sql, state: "enable" | "disable"): Promise<void> {
  await sql.unsafe(`alter table public.contacts ${state} trigger automation_capture_insert`);
}

type Insert = (tenant: string) => Promise<unknown>;

/** Each variant on its own tenant, and "bare": the same table with the capture triggers disabled. */
function against(
  { sql }: Database,
  tenants: Record<Variant, string>,
  insert: Insert,
  before: () => Promise<unknown>,
  measured: readonly Variant[] = names,
): Partial<Record<Variant, () => Promise<number>>> & { bare: () => Promise<number> } {
  const run = async (tenant: string) => {
    await before();
    return await milliseconds(() => insert(tenant));
  };
  const timed = Object.fromEntries(measured.map((name) => [name, async () => {
    await setDoorbell(sql, name === "notify" ? "notify" : "none");
    return await run(tenants[name]);
  }])) as Partial<Record<Variant, () => Promise<number>>>;
  const bare = async () => {
    await setTriggers(sql, "disable");
    try {
      return await run(tenants.none);
    } finally {
      await setTriggers(sql, "enable");
    }
  };
  return { bare, ...timed };
}

function rows(
  row: string,
  measured: Partial<Record<Variant, number[]>> & { bare: number[] },
  each: number,
  label: string,
  aim: "single" | "bulk" | undefined,
): Row[] {
  const show = (times: readonly number[]) => microseconds(median(times) / each);
  return names.flatMap((name) => {
    const times = measured[name];
    if (!times) return [];
    const limit = aim && variants[name].aim?.[aim];
    return {
      row,
      what: `${label}: ${variants[name].what}`,
      ours: `${show(times)} a row`,
      against: `${show(measured.bare)}, triggers disabled`,
      ratio: ratio(times, measured.bare),
      ...(limit === undefined ? {} : { aim: atMost(limit) }),
    };
  });
}

export async function singleRows({ sizes, database }: Bench): Promise<Row[]> {
  const opened = await database("bench_a");
  const { sql } = opened;
  const tenants = await prepare(sql);
  const block = sizes.singleBlock;
  const writer = opened.session();
  const one = (tenant: string) => writer.unsafe(insertOne, [tenant], { prepare: true });
  // Enabling and disabling a trigger makes every session plan anew: that is not what is measured.
  const warm = async () => {
    for (let n = 0; n < 10; n++) await one(tenants.none);
  };
  const client = await alternate(
    against(opened, tenants, async (tenant) => {
      for (let n = 0; n < block; n++) await one(tenant);
    }, warm),
    sizes.singleRounds,
  );
  const loop = (tenant: string, times: number) =>
    writer.unsafe(`call public.bench_insert('${tenant}', ${times})`);
  const server = await alternate(
    against(opened, tenants, (tenant) => loop(tenant, 5 * block), () => loop(tenants.none, 20)),
    sizes.singleRounds,
  );
  await opened.drop();
  return [
    ...rows("a", client, block, "single-row commits", "single"),
    ...rows("a", server, 5 * block, "the same, no client", undefined),
  ];
}

export async function bulkRows({ sizes, database }: Bench): Promise<Row[]> {
  const opened = await database("bench_b");
  const { sql } = opened;
  const tenants = await prepare(sql);
  const writer = opened.session();
  const empty = async () => {
    await sql`truncate public.contacts, ridgeline.workflow_executions, ridgeline.scheduled_steps cascade`;
    await sql`checkpoint`;
  };
  const measured = await alternate(
    against(
      opened,
      tenants,
      (tenant) => writer.unsafe(insertMany, [tenant, sizes.bulkRows], { prepare: true }),
      empty,
      names.filter((name) => !["conditions", "twentyFalse", "twentyTrue"].includes(name)),
    ),
    sizes.bulkRounds,
  );
  await opened.drop();
  const label = `${sizes.bulkRows.toLocaleString("en-US")} rows in one statement`;
  return rows("b", measured, sizes.bulkRows, label, "bulk");
}
