// (a) and (b): what the capture triggers cost the writer.
import { makeWorkerUtils } from "graphile-worker";
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

/**
 * Twenty questions of several kinds; all but the last hold for the lead that is inserted. A pattern is
 * nothing that a path can answer, so that a document of them goes to the loop.
 */
const twentyConditions = (last: boolean, loop = false) => [
  ...Array.from({ length: 5 }, (_, n) => [
    loop
      ? { field: "contact.first_name", operator: "matches", value: `^M|${n}` }
      : { field: "contact.lead_score", operator: "greater_than", value: n },
    { field: "contact.city", operator: "in", value: ["Austin", "Dallas", `Town ${n}`] },
    {
      field: "contact.custom_fields.roof",
      operator: loop ? "matches" : "not_equals",
      value: loop ? `^asphalt$|${n}` : `kind ${n}`,
    },
    {
      field: "contact.email",
      operator: loop ? "matches" : "contains",
      value: "example",
    },
  ]).flat().slice(0, 19),
  { field: "contact.source", operator: last ? "is_not_empty" : "is_empty" },
];

const oneFalse = [{ field: "contact.lead_score", operator: "greater_than", value: 100 }];

const matched: Workflow[] = [
  { trigger_type: "contact_created", trigger_config: { type: "lead" }, steps: [followUp] },
];

const variants = {
  none: { what: "no workflow", workflows: [], aim: { bulk: 1.4 } },
  unmatched: {
    what: "ten workflows that do not match",
    workflows: unmatched,
    aim: { bulk: 1.4 },
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
    aim: { bulk: 7 },
  },
  notify: {
    what: "one that matches, doorbell notify",
    workflows: matched,
    aim: { bulk: 7 },
  },
} as const satisfies Record<string, {
  what: string;
  workflows: Workflow[];
  aim: { bulk: number } | undefined;
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
  await sql.unsafe(
    ["insert", "update", "delete"].map((op) =>
      `alter table public.contacts ${state} trigger automation_capture_${op}`
    ).join(";"),
  ).simple();
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
  aim: "bulk" | undefined,
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
    ...rows("a", client, block, "single-row commits", undefined),
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

const asked = {
  nothing: { what: "no listener", workflows: [] as Workflow[] },
  unmatched: { what: "ten that do not match", workflows: unmatched },
  oneFalse: {
    what: "one false condition",
    workflows: [{ trigger_type: "contact_created", conditions: oneFalse, steps: [followUp] }],
  },
  twenty: {
    what: "twenty conditions, false at the last",
    workflows: [{
      trigger_type: "contact_created",
      conditions: twentyConditions(false),
      steps: [followUp],
    }],
  },
  loop: {
    what: "the same, most of them patterns: the loop",
    workflows: [{
      trigger_type: "contact_created",
      conditions: twentyConditions(false, true),
      steps: [followUp],
    }],
  },
  match: { what: "a match", workflows: matched },
} as const satisfies Record<string, { what: string; workflows: readonly Workflow[] }>;
type Asked = keyof typeof asked;

const enqueue = `create function public.bench_enqueue() returns trigger language plpgsql as $$
  begin
    perform graphile_worker.add_job('follow_up', jsonb_build_object(
      'tenant_id', new.tenant_id, 'contact_id', new.id, 'contact', to_jsonb(new))::json);
    return null;
  end $$;
  create trigger bench_enqueue after insert on public.contacts
    for each row execute function public.bench_enqueue();
  alter table public.contacts disable trigger bench_enqueue`;

/**
 * The two rows of a match, with their keys and indexes, from a trigger that asks nothing: what is left of it when
 * everything else is free.
 */
async function createTwoRows(sql: Sql, tenant: string): Promise<void> {
  const [version] = await sql<[{ workflow_id: string; step: string }]>`
    select v.workflow_id, v.plan ->> 'first' as step
    from ridgeline.workflow_versions as v where v.tenant_id = ${tenant}`;
  await sql.unsafe(`create function public.bench_two_rows() returns trigger language plpgsql as $$
    declare
      run constant uuid := automation.new_id();
    begin
      insert into ridgeline.workflow_executions (
        tenant_id, id, workflow_id, version, trigger_type, trigger_data, entity, record_id, contact_id,
        current_step, created_at, changed_at)
      values (
        new.tenant_id, run, '${version.workflow_id}', 1, 'contact_created', jsonb_build_object('contact', new.*),
        'contact', new.id::text, new.id::text, '${version.step}', now(), now());
      insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at)
      values (new.tenant_id, run, run, '${version.step}', 'database', now());
      return null;
    end $$;
    create trigger bench_two_rows after insert on public.contacts
      for each row execute function public.bench_two_rows();
    alter table public.contacts disable trigger bench_two_rows`).simple();
}

/** Milliseconds that the server's process was on a processor, where the system counts them; else those of a clock. */
async function processorTime(sql: Sql, work: () => Promise<unknown>): Promise<number> {
  const read = async () => {
    const [row] = await sql<[{ at: number }]>`
      select coalesce(
        split_part(pg_read_file('/proc/self/schedstat', 0, 100, true), ' ', 1)::float8 / 1e6,
        extract(epoch from clock_timestamp())::float8 * 1000) as at`;
    return row.at;
  };
  const before = await read();
  await work();
  return await read() - before;
}

/** (k) What capture adds to a bare insert, committed row by row in the server, beside an add_job trigger. */
export async function added({ sizes, database }: Bench): Promise<Row[]> {
  const opened = await database("bench_g");
  const { sql } = opened;
  const utils = await makeWorkerUtils({ connectionString: opened.url });
  await utils.migrate();
  await utils.release();
  await sql.unsafe(`${enqueue}; ${insertLoop}`).simple();
  const tenants = {} as Record<Asked, string>;
  for (const [name, { workflows }] of Object.entries(asked)) {
    tenants[name as Asked] = await createTenant(sql, workflows);
  }
  await createTwoRows(sql, tenants.match);
  await sql.unsafe("vacuum (analyze)");
  const writer = opened.session();
  const times = 5 * sizes.singleBlock;
  const loop = async (tenant: string) => {
    await writer.unsafe(`call public.bench_insert('${tenant}', 20)`);
    return await processorTime(
      writer,
      () => writer.unsafe(`call public.bench_insert('${tenant}', ${times})`),
    );
  };
  const without = async (extra: string, tenant = tenants.nothing) => {
    await setTriggers(sql, "disable");
    if (extra) await sql.unsafe(`alter table public.contacts enable trigger ${extra}`);
    try {
      return await loop(tenant);
    } finally {
      if (extra) await sql.unsafe(`alter table public.contacts disable trigger ${extra}`);
      await setTriggers(sql, "enable");
    }
  };
  const measured = await alternate({
    bare: () => without(""),
    job: () => without("bench_enqueue"),
    rows: () => without("bench_two_rows", tenants.match),
    ...Object.fromEntries(
      Object.entries(tenants).map(([name, tenant]) => [name, () => loop(tenant)]),
    ) as Record<Asked, () => Promise<number>>,
  }, sizes.singleRounds);
  await opened.drop();
  const over = (name: Asked | "job" | "rows", base: Asked | "bare") =>
    measured[name].map((time, round) => (time - (measured[base][round] ?? NaN)) / times);
  const atMostAdded = (
    name: Asked,
    base: Asked | "bare",
    limit: number | undefined,
  ): Row => {
    const cost = median(over(name, base)) * 1000;
    return {
      row: "k",
      what: `added to a bare insert: ${asked[name].what}`,
      ours: `${cost.toFixed(0)} us more`,
      against: base === "bare"
        ? `${microseconds(median(measured.bare) / times)}, triggers disabled`
        : `${microseconds(median(measured[base]) / times)}, ${asked[base].what}`,
      ratio: ratio(measured[name], measured[base]),
      ...(limit === undefined
        ? {}
        : { aim: { text: `at most ${limit} us more`, met: () => cost <= limit } }),
    };
  };
  const besideJob = (name: "match" | "rows", what: string, limit: number | undefined): Row => ({
    row: "k",
    what: `added to a bare insert: ${what}`,
    ours: `${microseconds(median(over(name, "bare")))} more`,
    against: `${microseconds(median(over("job", "bare")))} more, an add_job trigger`,
    ratio: ratio(over(name, "bare"), over("job", "bare")),
    ...(limit === undefined ? {} : { aim: atMost(limit) }),
  });
  return [
    atMostAdded("nothing", "bare", 15),
    atMostAdded("unmatched", "bare", 20),
    atMostAdded("oneFalse", "nothing", 30),
    atMostAdded("twenty", "bare", 80),
    atMostAdded("loop", "bare", undefined),
    besideJob("match", "a match", 0.35),
    besideJob("rows", "its two rows alone, by a trigger that asks nothing", undefined),
  ];
}

/** (l) A large update that no workflow waits for. */
export async function updates({ sizes, database }: Bench): Promise<Row[]> {
  const opened = await database("bench_h");
  const { sql } = opened;
  const never: Workflow = {
    trigger_type: "contact_updated",
    trigger_config: { type: "customer" },
    steps: [followUp],
  };
  const tenants = {
    bare: await createTenant(sql, []),
    nobody: await createTenant(sql, []),
    never: await createTenant(sql, [never]),
  };
  const writer = opened.session();
  let city = 0;
  const run = (tenant: string) => async () => {
    await sql.unsafe("truncate public.contacts cascade");
    await setTriggers(sql, "disable");
    await sql.unsafe(insertMany, [tenant, sizes.bulkRows]);
    if (tenant !== tenants.bare) await setTriggers(sql, "enable");
    await sql.unsafe("checkpoint");
    try {
      return await processorTime(
        writer,
        () =>
          writer.unsafe("update public.contacts set city = $2 where tenant_id = $1", [
            tenant,
            `Town ${city++}`,
          ]),
      );
    } finally {
      await setTriggers(sql, "enable");
    }
  };
  const measured = await alternate({
    bare: run(tenants.bare),
    nobody: run(tenants.nobody),
    never: run(tenants.never),
  }, sizes.bulkRounds);
  await opened.drop();
  const row = (what: string, times: readonly number[], limit: number): Row => ({
    row: "l",
    what: `an update of ${sizes.bulkRows.toLocaleString("en-US")} rows: ${what}`,
    ours: `${microseconds(median(times) / sizes.bulkRows)} a row`,
    against: `${microseconds(median(measured.bare) / sizes.bulkRows)}, triggers disabled`,
    ratio: ratio(times, measured.bare),
    aim: atMost(limit),
  });
  return [
    row("no listener", measured.nobody, 1.5),
    row("a listener that never holds", measured.never, 2.5),
  ];
}
