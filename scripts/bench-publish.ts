// What publishing costs by the size of a workflow: linear ones, ones whose steps refer to each other
// and have conditions, branches in a row and inside each other, and one beside 300 other workflows.
// npx tsx scripts/bench-publish.ts [--steps 50,1000] [--repetitions N] [--shapes plain,...] [--debian]
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { median, milliseconds } from "./benchmarks/measure.ts";
import { embeddedBinaries } from "./lib/postgres.ts";
import { cloneDatabase, connect, createTemplate, startScratchServer } from "./lib/scratch.ts";
import { debianBinaries } from "./lib/servers.ts";

export interface Step {
  key: string;
  type: string;
  config: Record<string, unknown>;
  conditions?: unknown[];
  parent?: string;
  branch?: string;
}

const text = (key: string, body: string): Step => ({
  key,
  type: "send_sms",
  config: { body, to: "{{contact.phone}}", purpose: "transactional" },
});
const task = (key: string, title: string): Step => ({
  key,
  type: "create_task",
  config: { title },
});
const many = (steps: number, make: (n: number) => Step | Step[]): Step[] =>
  Array.from({ length: steps }, (_, n) => make(n + 1)).flat().slice(0, steps);

const asked = [
  { field: "contact.type", operator: "equals", value: "lead" },
  { field: "contact.postal_code", operator: "starts_with", value: "787" },
];

/** Workflows of about so many steps, each of another shape. */
export const shapes: Record<string, (steps: number) => Step[]> = {
  plain: (steps) => many(steps, (n) => task(`s${n}`, "Call {{contact.first_name}}")),
  texts: (steps) =>
    many(steps, (n) => ({
      ...text(`s${n}`, "Hi {{contact.first_name | default: 'there'}}, it is {{tenant.name}}."),
      conditions: asked,
    })),
  references: (steps) =>
    many(
      steps,
      (n) => task(`s${n}`, n === 1 ? "Call" : `{{steps.s${n - 1}.task_id}} {{steps.s1.status}}`),
    ),
  // The text of a long sequence: addresses, HTML and plain text.
  emails: (steps) =>
    many(steps, (n) => ({
      key: `s${n}`,
      type: "send_email",
      config: {
        to: "{{contact.first_name}} {{contact.last_name}} <{{contact.email}}>",
        cc: "office@apex.example, {{user.email}}",
        purpose: "transactional",
        subject: `Letter ${n} for {{contact.first_name}}`,
        html: `<p>Hi {{contact.first_name | default: 'there'}},</p><p>Letter ${n}.</p>`,
      },
    })),
  // A question every third step, with a step on either branch.
  branches: (steps) =>
    many(steps, (n) => [
      { key: `q${n}`, type: "conditional", config: { conditions: asked.slice(0, 1) } },
      { ...text(`y${n}`, "Yes {{steps.q1.branch}}"), parent: `q${n}`, branch: "then" },
      { ...task(`z${n}`, "No {{contact.first_name}}"), parent: `q${n}`, branch: "else" },
    ]),
  // Chains of questions inside each other, fifteen deep, one after the other.
  nested: (steps) =>
    many(
      steps,
      (n) =>
        n % 15 === 1
          ? { key: `q${n}`, type: "conditional", config: { conditions: asked.slice(0, 1) } }
          : {
            key: `q${n}`,
            type: "conditional",
            config: { conditions: asked.slice(1) },
            parent: `q${n - 1}`,
            branch: "then",
          },
    ),
  // What each writes could start others.
  writes: (steps) =>
    many(steps, (n) => ({
      key: `s${n}`,
      type: "update_contact",
      config: { fields: { stage: `stage ${n % 20}`, last_name: "{{contact.first_name}}" } },
    })),
};

const tenant = "00000000-0000-0000-0000-00000000000a";

async function draft(
  sql: Sql,
  id: string,
  trigger: string,
  steps: Step[],
  config = {},
): Promise<void> {
  await sql`
    insert into ridgeline.workflows (tenant_id, id, name, trigger_type, trigger_config)
    values (${tenant}, ${id}, ${`Workflow ${id}`}, ${trigger}, ${sql.json(config)})`;
  await sql`
    with given as (
      select s.value as step, s.place, gen_random_uuid() as id
      from jsonb_array_elements(${sql.json(steps as never)}) with ordinality as s (value, place)
    )
    insert into ridgeline.workflow_steps (
      tenant_id, id, workflow_id, step_order, step_key, step_type, step_config, conditions,
      parent_step_id, branch)
    select ${tenant}, g.id, ${id}, g.place, g.step ->> 'key', g.step ->> 'type', g.step -> 'config',
      coalesce(g.step -> 'conditions', '[]'), p.id, g.step ->> 'branch'
    from given as g left join given as p on p.step ->> 'key' = g.step ->> 'parent'
    order by g.place`;
}

async function neighbours(sql: Sql, count: number): Promise<void> {
  for (let n = 1; n <= count; n++) {
    const id = crypto.randomUUID();
    await draft(sql, id, "stage_changed", [{
      key: "move",
      type: "change_stage",
      config: { stage: `stage ${(n + 1) % 20}` },
    }], { to: `stage ${n % 20}` });
    await sql`select automation.publish(${tenant}, ${id}, 'publish')`;
  }
}

/** Publishes the shape anew a few times; the median. */
async function measure(sql: Sql, steps: Step[], repetitions: number): Promise<number> {
  const id = crypto.randomUUID();
  await draft(sql, id, "stage_changed", steps);
  const times: number[] = [];
  for (let n = 0; n < repetitions; n++) {
    await sql`update ridgeline.workflows set name = ${`${id} ${n}`} where id = ${id}`;
    times.push(
      await milliseconds(() =>
        sql`select version from automation.publish(${tenant}, ${id}, 'publish')`
      ),
    );
  }
  await sql`update ridgeline.workflows set is_active = false where id = ${id}`;
  return median(times);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      steps: { type: "string", default: "50,1000" },
      repetitions: { type: "string", default: "3" },
      shapes: { type: "string", default: Object.keys(shapes).join(",") },
      neighbours: { type: "string", default: "300" },
      debian: { type: "boolean" },
    },
  });
  const { server, stop } = await startScratchServer({
    binaries: values.debian ? debianBinaries : embeddedBinaries(),
  });
  try {
    await createTemplate(server.url());
    const sql = connect(await cloneDatabase(server.url(), "bench_publish"), { max: 1 });
    const [version] = await sql<{ server_version: string }[]>`show server_version`;
    const sizes = values.steps.split(",").map(Number);
    await sql`insert into public.tenants (id, name) values (${tenant}, 'Apex Roofing')`;
    const table = async (label: string) => {
      console.log(`Postgres ${version?.server_version}, milliseconds to publish, ${label}`);
      console.log(
        `  ${"steps".padEnd(12)}${sizes.map((size) => String(size).padStart(10)).join("")}`,
      );
      for (const shape of values.shapes.split(",")) {
        const cells: string[] = [];
        for (const size of sizes) {
          cells.push(
            (await measure(sql, shapes[shape]!(size), Number(values.repetitions))).toFixed(0),
          );
        }
        console.log(`  ${shape.padEnd(12)}${cells.map((cell) => cell.padStart(10)).join("")}`);
      }
    };
    await table("alone");
    if (Number(values.neighbours) > 0) {
      await neighbours(sql, Number(values.neighbours));
      await table(`beside ${values.neighbours} others`);
    }
    await sql.end({ timeout: 1 });
  } finally {
    await stop();
  }
}

await main();
