// What publishing calls impossible never holds, and what it calls constant always does: for
// generated conditions on one field, and every value that any of them was made to meet.
import fc from "fast-check";
import { expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { anyDocument, at, encounter, field, zone } from "./arbitraries.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(600);

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

// A check that raised would keep a workflow from being published for no reason that anybody can mend.
test("whatever is written, it can be checked", async () => {
  const steps = fc.array(
    fc.record({
      type: fc.constantFrom(
        "create_task",
        "send_sms",
        "wait",
        "update_contact",
        "update_field",
        "change_stage",
        "stop",
        "conditional",
      ),
      config: fc.oneof(
        fc.dictionary(
          fc.constantFrom("title", "to", "until", "fields", "field", "value", "entity", "stage"),
          fc.oneof(
            field.map((name) => `{{#if ${name}}}{{${name} | default: stge}}{{/if}}`),
            fc.json(),
          )
            .map((text) => text.replace(/\\u(?:0000|d[89a-f][0-9a-f]{2})/gi, "")),
          { noNullPrototype: true },
        ),
        fc.constant({ fields: { "custom_fields.x": 1, "": null } }),
        fc.constant({ fields: [1], field: {}, entity: 5, until: {} }),
      ),
      conditions: anyDocument,
    }),
    { maxLength: 5 },
  );
  const trigger = fc.constantFrom(
    "contact_created",
    "contact_updated",
    "project_won",
    "field_changed",
    "scheduled",
    "time_elapsed",
    "manual",
  );
  await fc.assert(
    fc.asyncProperty(trigger, anyDocument, steps, async (type, conditions, written) => {
      const [row] = await database().sql<{ problems: unknown }[]>`
        with given as (
          select jsonb_populate_record(null::ridgeline.workflows, jsonb_build_object(
            'name', 'x', 'trigger_type', ${type}::text,
            'trigger_config', jsonb_build_object('field', 'stage', 'for_each', jsonb_build_object(
              'conditions', ${JSON.stringify(conditions ?? null)}::text::jsonb)))) as workflow
        ), steps as (
          select s.position, s.step ->> 'type' as type,
            (automation.compile_template(s.step -> 'config', 'c')).compiled as config,
            (automation.compile_conditions(s.step -> 'conditions', 'c')).compiled as conditions
          from jsonb_array_elements(${JSON.stringify(written)}::text::jsonb)
            with ordinality as s (step, position)
        )
        select automation.check_plan(
          g.workflow,
          automation.compile_trigger((g.workflow).trigger_type, (g.workflow).trigger_config),
          (automation.compile_conditions(${
        JSON.stringify(conditions ?? null)
      }::text::jsonb)).compiled,
          jsonb_build_object('first', '1', 'steps', (
            select coalesce(jsonb_object_agg(s.position, jsonb_build_object(
              'key', s.position::text, 'type', s.type, 'next', (s.position + 1)::text,
              'config', s.config, 'conditions', s.conditions,
              'branches', case s.type when 'conditional' then '{"yes": null, "else": "9"}'::jsonb end,
              'cases', case s.type when 'conditional' then jsonb_build_array(
                jsonb_build_object('name', 'yes', 'conditions', s.conditions)) end)), '{}')
            from steps as s))) as problems
        from given as g`;
      expect(row?.problems).toBeInstanceOf(Array);
    }),
    { numRuns: Math.ceil(runs / 5) },
  );
});
