// docs/steps.md is written from the schemas that the database publishes; each of its examples is a
// step that a workflow can be published with.
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { stepTypes } from "../../packages/client/step-schemas.ts";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();
const text = fs.readFileSync(path.resolve(import.meta.dirname, "../../docs/steps.md"), "utf8");

/** The headings of the document, each with its examples. */
const sections = text.split(/^## /m).slice(1).map((section) => ({
  name: /^`(\w+)`/.exec(section)?.[1] ?? "",
  examples: [...section.matchAll(/^```json\n(.*)\n```$/gm)].map(([, json = ""]) =>
    JSON.parse(json) as Record<string, unknown>
  ),
}));
let numbers = 0;
const settings = ["settings", "retry"];
const steps = sections.filter(({ name }) => !settings.includes(name));

/** The branches that an example makes, for a step to stand on each. */
function branchesOf(name: string, example: Record<string, unknown>): string[] {
  const named = (example.branches as { name: string }[] | undefined)?.map((branch) => branch.name);
  if (name === "conditional") return [...named ?? ["then"], "else"];
  if (name === "split") return named ?? [];
  return name === "wait" && "event" in example ? ["event", "timeout"] : [];
}

test("every step there is has its section, with an example", () => {
  expect(steps.map(({ name }) => name)).toEqual(stepTypes.map(({ name }) => name));
  expect(sections.filter(({ examples }) => examples.length === 0)).toEqual([]);
});

describe("published as printed", () => {
  test.each(steps.flatMap(({ name, examples }) => examples.map((one) => [name, one] as const)))(
    "%s %j",
    async (name, example) => {
      const { sql } = database();
      const [tenant] =
        await sql`insert into public.tenants (name) values ('Apex Roofing') returning id`;
      const [workflow] = await sql`
        insert into ridgeline.workflows (tenant_id, name, trigger_type)
        values (${tenant?.id}, 'Example', 'manual') returning id`;
      await sql`insert into ridgeline.senders (tenant_id, channel, address, registration)
        values (${tenant?.id}, 'sms', ${`+1512555${
        String(numbers++).padStart(4, "0")
      }`}, 'registered')`;
      const [step] = await sql`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
        values (${tenant?.id}, ${workflow?.id}, 1, ${name}, ${JSON.stringify(example)}::text::jsonb)
        returning id`;
      for (const branch of branchesOf(name, example)) {
        await sql`
          insert into ridgeline.workflow_steps
            (tenant_id, workflow_id, parent_step_id, branch, step_type, step_config)
          values (${tenant?.id}, ${workflow?.id}, ${step?.id}, ${branch}, 'create_task',
            '{"title": "Call"}')`;
      }
      const [checked] = await sql`select ridgeline.validate_workflow(${workflow?.id}) as verdict`;
      expect(checked?.verdict).toMatchObject({ valid: true, problems: [] });
      await sql`select ridgeline.publish_workflow(${workflow?.id})`;
      const [version] = await sql`
        select coalesce(s ->> 'as', s ->> 'type') as type
        from ridgeline.workflow_versions, lateral (select plan -> 'steps' -> 'step_1' as s) as step
        where workflow_id = ${workflow?.id}`;
      expect(version?.type).toBe(name);
    },
  );
});
