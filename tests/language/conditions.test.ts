import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Conditions } from "../../functions/_shared/language.ts";
import { useDatabase } from "../support/database.ts";
import { anyDocument, at, context, document, zone } from "./arbitraries.ts";
import { holds } from "./oracle.ts";

const database = useDatabase();
const runs = Number(process.env.RIDGELINE_PROPERTY_RUNS ?? 1500);

interface Verdict {
  holds: boolean;
  explained: boolean;
  errors: number;
}

async function evaluate(node: unknown, seen: unknown, where: string, when: Date): Promise<Verdict> {
  const [row] = await database().sql<Verdict[]>`
    select
      automation.evaluate_conditions(c.compiled, s.context, ${where}, ${when}) as holds,
      (automation.explain_conditions(c.compiled, s.context, ${where}, ${when})
        ->> 'verdict')::boolean as explained,
      jsonb_array_length(jsonb_path_query_array(
        c.problems, '$[*] ? (@.severity == "error")'))::int as errors
    from (select ${JSON.stringify(seen)}::text::jsonb) as s (context),
      automation.compile_conditions(${JSON.stringify(node)}::text::jsonb, 'conditions') as c`;
  if (!row) throw new Error("No verdict came back");
  return row;
}

describe("conditions in SQL and in the oracle", () => {
  test("agree on every document and record", async () => {
    await fc.assert(
      fc.asyncProperty(document, context, zone, at, async (node, seen, where, when) => {
        const expected = holds(node, seen, { zone: where, at: when });
        expect(await evaluate(node, seen, where, when)).toEqual({
          holds: expected,
          explained: expected,
          errors: 0,
        });
      }),
      { numRuns: runs },
    );
  });

  test("zod refuses exactly what compiling refuses", async () => {
    let [accepted, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(anyDocument, async (node) => {
        const valid = Conditions.safeParse(node).success;
        const { errors } = await evaluate(node, {}, "UTC", new Date(0));
        valid ? accepted++ : refused++;
        expect(valid).toBe(errors === 0);
      }),
      { numRuns: runs * 2 },
    );
    expect(Math.min(accepted, refused)).toBeGreaterThan(runs / 20);
  });

  test("whatever the record holds, nothing is raised", async () => {
    await fc.assert(
      fc.asyncProperty(document, fc.json({ maxDepth: 3 }), async (node, written) => {
        // Postgres has no character 0, and refuses half of a surrogate pair.
        const junk = JSON.parse(written.replace(/\\u(?:0000|d[89a-f][0-9a-f]{2})/gi, ""));
        const wild = { contact: { stage: junk, score: junk }, trigger: junk, project: junk };
        expect((await evaluate(node, wild, "Nowhere/Land", new Date(0))).errors).toBe(0);
      }),
      { numRuns: Math.ceil(runs / 3), endOnFailure: true },
    );
  });
});
