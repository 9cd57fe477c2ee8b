// Workflows of any shape, run for real and dry, against a walk through the tree that knows no plans,
// pointers or queues.
import { createHash } from "node:crypto";
import fc from "fast-check";
import type { JSONValue, Sql } from "postgres";
import { describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";

interface Question {
  operator: "greater_than" | "less_or_equal" | "is_empty";
  value: number;
}
interface Node {
  type: "add_tag" | "conditional" | "cases" | "split" | "wait" | "stop";
  enabled: boolean;
  skip: boolean;
  minutes: number;
  questions: [Question, Question];
  weights: [number, number];
  outcome: "completed" | "cancelled";
  branches: Node[][];
}

const question: fc.Arbitrary<Question> = fc.record({
  operator: fc.constantFrom("greater_than", "less_or_equal", "is_empty"),
  value: fc.integer({ min: 0, max: 3 }),
});
/** Steps with branches up to `depth` levels deep. */
const stepsOf = (depth: number): fc.Arbitrary<Node[]> => fc.array(nodeOf(depth), { maxLength: 4 });
const nodeOf = (depth: number): fc.Arbitrary<Node> =>
  fc.record({
    type: fc.oneof(
      { weight: 5, arbitrary: fc.constant("add_tag" as const) },
      {
        weight: depth > 0 ? 4 : 0,
        arbitrary: fc.constantFrom("conditional" as const, "cases" as const, "split" as const),
      },
      { weight: 2, arbitrary: fc.constant("wait" as const) },
      { weight: 1, arbitrary: fc.constant("stop" as const) },
    ),
    enabled: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
    skip: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    minutes: fc.integer({ min: 1, max: 5000 }),
    questions: fc.tuple(question, question),
    weights: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
    outcome: fc.constantFrom("completed" as const, "cancelled" as const),
    branches: depth > 0
      ? fc.array(stepsOf(depth - 1), { minLength: 3, maxLength: 3 })
      : fc.constant([]),
  });
/** Published workflows have at least one step that is switched on. */
const workflow = fc.tuple(nodeOf(0).map((node) => ({ ...node, enabled: true })), stepsOf(3))
  .map(([first, rest]) => [...rest, first]);

const names: Partial<Record<Node["type"], string[]>> = {
  conditional: ["then", "else"],
  cases: ["hot", "warm", "else"],
  split: ["a", "b"],
};
const condition = ({ operator, value }: Question) => [{
  field: "contact.lead_score",
  operator,
  ...(operator === "is_empty" ? {} : { value }),
}];

function configOf({ type, questions, weights, minutes, outcome }: Node): JSONValue {
  switch (type) {
    case "add_tag":
      return { tag: "seen" };
    case "wait":
      return { minutes };
    case "stop":
      return { outcome };
    case "conditional":
      return { conditions: condition(questions[0]) };
    case "cases":
      return {
        branches: [{ name: "hot", conditions: condition(questions[0]) }, {
          name: "warm",
          conditions: condition(questions[1]),
        }],
      };
    case "split":
      return { branches: [{ name: "a", weight: weights[0] }, { name: "b", weight: weights[1] }] };
  }
}

/** A key for each step: k0, k1 ... in the order of writing. */
function keyed(steps: Node[], next = { key: 0 }): Map<Node, string> {
  const keys = new Map<Node, string>();
  for (const step of steps) {
    keys.set(step, `k${next.key++}`);
    for (const branch of step.branches.slice(0, names[step.type]?.length ?? 0)) {
      for (const [node, key] of keyed(branch, next)) keys.set(node, key);
    }
  }
  return keys;
}

async function write(sql: Sql, tenant: string, workflowId: string, steps: Node[]) {
  const keys = keyed(steps);
  const add = async (list: Node[], parent: string | null, branch: string | null) => {
    for (const [order, node] of list.entries()) {
      const [row] = await sql`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type,
          step_config, enabled, conditions, parent_step_id, branch)
        values (${tenant}, ${workflowId}, ${order}, ${keys.get(node)!},
          ${node.type === "cases" ? "conditional" : node.type}, ${sql.json(configOf(node))},
          ${node.enabled},
          ${
        sql.json(
          node.skip ? [{ field: "contact.first_name", operator: "equals", value: "Nobody" }] : [],
        )
      }, ${parent}, ${branch}) returning id`;
      for (const [index, name] of (names[node.type] ?? []).entries()) {
        await add(node.branches[index] ?? [], row?.id, name);
      }
    }
  };
  await add(steps, null, null);
  return keys;
}

const holds = ({ operator, value }: Question, score: number | null) =>
  operator === "is_empty"
    ? score === null
    : score !== null && (operator === "greater_than" ? score > value : score <= value);

/** What the walk does: the steps in order, how it ends, and after how many minutes. */
function walk(
  steps: Node[],
  keys: Map<Node, string>,
  score: number | null,
  lot: (key: string) => number,
) {
  const way: string[] = [];
  let minutes = 0;
  let ended: string | undefined;
  const follow = (list: Node[]) => {
    for (const node of list) {
      if (ended) return;
      const key = keys.get(node)!;
      if (!node.enabled) continue;
      way.push(node.skip ? `${key} skipped` : key);
      if (node.skip) continue;
      const [first, second] = node.questions;
      if (node.type === "wait") minutes += node.minutes;
      if (node.type === "stop") ended = node.outcome;
      if (node.type === "conditional") follow(node.branches[holds(first, score) ? 0 : 1] ?? []);
      if (node.type === "cases") {
        follow(node.branches[holds(first, score) ? 0 : holds(second, score) ? 1 : 2] ?? []);
      }
      if (node.type === "split") {
        const [a, b] = node.weights;
        follow(node.branches[lot(key) * (a + b) < a ? 0 : 1] ?? []);
      }
    }
  };
  follow(steps);
  return { way, minutes, ended: ended ?? "completed" };
}

const database = useDatabase();

describe("a workflow of any shape", () => {
  it("goes the way that a walk through its tree goes, for real and dry", async () => {
    const { sql } = database();
    const [tenant] =
      await sql`insert into tenants (name, timezone) values ('Apex', 'UTC') returning id`;
    const score = fc.oneof(fc.constant(null), fc.integer({ min: 0, max: 4 }));
    await fc.assert(
      fc.asyncProperty(workflow, score, async (steps, lead_score) => {
        const [written] = await sql`
          insert into ridgeline.workflows (tenant_id, name, trigger_type) values (${tenant?.id}, 'Any', 'manual')
          returning id`;
        const id = written?.id as string;
        const keys = await write(sql, tenant?.id, id, steps);
        const [contact] = await sql`
          insert into contacts (tenant_id, first_name, lead_score)
          values (${tenant?.id}, 'Maria', ${lead_score}) returning id`;
        const lot = (key: string) =>
          createHash("sha256").update(`${id}/${key}/contact ${contact?.id}`).digest()
            .readUIntBE(0, 6) / 2 ** 48;
        const expected = walk(steps, keys, lead_score, lot);
        const data = sql.json({ contact_id: contact?.id });

        const [dry] = await sql`select ridgeline.test_workflow(${id}, ${data}) as run`;
        const said = dry?.run.path.map(({ key, verdict }: Record<string, string>) =>
          verdict === "skip" ? `${key} skipped` : key
        );
        expect(said).toEqual(expected.way);
        expect(dry?.run.ended.status).toBe(expected.ended);

        await sql`update ridgeline.workflows set is_active = true where id = ${id}`;
        const [run] = await sql`select * from ridgeline.execute_workflow(${id}, ${data})`;
        for (;;) {
          await sql`select automation.run_database_steps()`;
          const [next] = await sql`
            select run_at - automation.now() as ahead from ridgeline.scheduled_steps
            where execution_id = ${run?.id}`;
          if (!next) break;
          await sql`select automation.advance_clock(${next.ahead}::interval + '1 ms')`;
        }
        const ledger = await sql`
          select step_key || case status when 'completed' then '' else ' ' || status end as said
          from ridgeline.workflow_step_executions where execution_id = ${run?.id} order by id`;
        expect(ledger.map((row) => row.said)).toEqual(expected.way);
        const [ended] = await sql`
          select status, extract(epoch from finished_at - created_at) / 60 as minutes
          from ridgeline.workflow_executions where id = ${run?.id}`;
        expect(ended?.status).toBe(expected.ended);
        // A wait that is the last step ends the run at once: nothing comes after it.
        expect(Number(ended?.minutes)).toBeLessThan(expected.minutes + 1);
        await sql`update ridgeline.workflows set is_active = false where id = ${id}`;
      }),
      { numRuns: process.env.RIDGELINE_SOAK ? 1000 : 60 },
    );
  }, 120_000);
});
