// What publishing calls impossible never holds, and what it calls constant always does: for
// generated conditions on one field, and every value that any of them was made to meet.
import fc from "fast-check";
import { expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { at, encounter, zone } from "./arbitraries.ts";

const database = useDatabase();
const runs = Number(process.env.RIDGELINE_PROPERTY_RUNS ?? 1500);

const group = fc.record({
  members: fc.array(encounter, { minLength: 2, maxLength: 4 }),
  joins: fc.constantFrom("all", "all", "any"),
  negated: fc.boolean(),
}).map(({ members, joins, negated }) => {
  const conditions = members.map(({ leaf }) => ({ ...leaf, field: "contact.x" }));
  // Two more groups deep, so that groups of one sense have to be taken apart.
  const joined = { [joins]: [conditions[0], { [joins]: conditions.slice(1) }] };
  return {
    document: negated ? { not: joined } : joined,
    values: [null, "", ...members.flatMap(({ value, old }) => [value, old])],
  };
});

interface Weighed {
  document: string;
  verdict: "never" | "always";
  value: string;
  holds: boolean;
}

test("a verdict on conditions is true of every record", async () => {
  const verdicts = { never: 0, always: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(group, { minLength: 20, maxLength: 20 }),
      zone,
      at,
      async (groups, where, when) => {
        const rows = await database().sql<Weighed[]>`
          select g ->> 'document' as document, w.verdict, v.value::text as value,
            automation.evaluate_conditions(c.compiled, jsonb_build_object(
              'contact', jsonb_build_object('x', v.value),
              'trigger', jsonb_build_object('entity', 'contact', 'changed', '["x"]'::jsonb,
                'record', jsonb_build_object('x', v.value),
                'old', jsonb_build_object('x', o.value))), ${where}, ${when}) as holds
          from jsonb_array_elements(${JSON.stringify(groups)}::text::jsonb) as g
          cross join lateral automation.compile_conditions(g -> 'document') as c
          cross join lateral automation.weigh_all(c.compiled -> 'tree', c.compiled -> 'code', false,
            jsonb_build_object('columns', '{"contact": {"x": "json"}}'::jsonb, 'entity', 'contact',
              'lenient', true, 'zone', ${where}::text), true, 0, '[]') as w
          cross join lateral jsonb_array_elements(g -> 'values') as v (value)
          cross join lateral jsonb_array_elements(g -> 'values') as o (value)
          where w.verdict is not null`;
        for (const { verdict } of rows) verdicts[verdict]++;
        expect(rows.filter(({ verdict, holds }) => holds !== (verdict === "always"))).toEqual([]);
      },
    ),
    { numRuns: Math.ceil(runs / 6), endOnFailure: true },
  );
  expect(verdicts.never).toBeGreaterThan(runs);
  expect(verdicts.always).toBeGreaterThan(runs / 10);
});
