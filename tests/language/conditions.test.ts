import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Conditions, isPattern } from "./reference/language.ts";
import { useDatabase } from "../support/database.ts";
import { anyDocument, at, context, document, encounter, pattern, zone } from "./arbitraries.ts";
import { type Context, holds, leafHolds } from "./oracle.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(1500);

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

  test("agree on every operator where a value meets its operand", async () => {
    const batch = fc.array(encounter, { minLength: 20, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(batch, zone, at, async (cases, where, when) => {
        const seen = cases.map(({ value, old }) => ({
          contact: { x: value },
          trigger: { entity: "contact", old: { x: old } },
        }));
        const rows = await database().sql<{ holds: boolean }[]>`
          select automation.evaluate_conditions(
            (automation.compile_conditions(c.leaf)).compiled, s.context, ${where}, ${when}) as holds
          from jsonb_array_elements(${JSON.stringify(cases.map(({ leaf }) => leaf))}::text::jsonb)
              with ordinality as c (leaf, position)
            join jsonb_array_elements(${JSON.stringify(seen)}::text::jsonb)
              with ordinality as s (context, position) using (position)
          order by position`;
        expect(rows.map((row, index) => [cases[index], row.holds])).toEqual(
          cases.map((one, index) => [
            one,
            leafHolds(one.leaf, seen[index] ?? {}, { zone: where, at: when }),
          ]),
        );
      }),
      { numRuns: Math.ceil(runs / 3) },
    );
  });

  test("asked of a record in a write, the path of a document says the same or nothing", async () => {
    const words = fc.constantFrom("Σ", "ΑΣ", "a\nΣ", "İ", "K", "\u0001", "won", "WON", 5, null);
    const more = fc.dictionary(fc.constantFrom("stage", "Stage", "score", "note"), words, {
      maxKeys: 3,
      noNullPrototype: true,
    });
    const asked = fc.tuple(document, context, fc.option(more, { nil: {}, freq: 3 }));
    const batch = fc.array(asked, { minLength: 20, maxLength: 20 });
    let [sure, all] = [0, 0];
    await fc.assert(
      fc.asyncProperty(batch, zone, at, async (cases, where, when) => {
        const documents = cases.map(([node]) => node);
        const written = cases.map(([, seen, odd]) => {
          const { trigger, steps: _steps, ...records } = seen;
          const contact = { ...Object(seen.contact ?? {}), ...odd } as Context;
          const old = Object(trigger ?? {}) as Context;
          return {
            ...records,
            entity: "contact",
            contact,
            ...("old" in old && "changed" in old ? { old: old.old, changed: old.changed } : {}),
          } as Context;
        });
        const rows = await database().sql<{ quick: boolean | null; loop: boolean }[]>`
          select
            case when q.folds then automation.folded(d.data) else d.data end @@ q.path as quick,
            automation.evaluate_conditions(c.compiled,
              d.data || jsonb_build_object('trigger', automation.trigger_root(d.data)),
              case when c.compiled ? 'timeless' then 'Pacific/Apia' else ${where}::text end,
              ${when}) as loop
          from jsonb_array_elements(${JSON.stringify(documents)}::text::jsonb)
              with ordinality as n (node, position)
            join jsonb_array_elements(${JSON.stringify(written)}::text::jsonb)
              with ordinality as d (data, position) using (position)
            cross join lateral automation.compile_conditions(n.node) as c
            cross join lateral automation.quick_conditions(c.compiled, 'contact') as q
          order by position`;
        rows.forEach(({ quick, loop }, index) => {
          const data = written[index]!;
          const seen = { ...data, trigger: { ...data, record: data.contact! } };
          const expected = holds(documents[index], seen, { zone: where, at: when });
          expect([documents[index], data, loop]).toEqual([documents[index], data, expected]);
          all++;
          if (quick === null) return;
          sure++;
          expect([documents[index], data, quick]).toEqual([documents[index], data, expected]);
        });
      }),
      { numRuns: Math.ceil(runs / 8) },
    );
    expect(sure).toBeGreaterThan(all / 20);
  });

  test("of every operator where a value meets its operand, too", async () => {
    const batch = fc.array(encounter, { minLength: 40, maxLength: 40 });
    let sure = 0;
    await fc.assert(
      fc.asyncProperty(batch, zone, at, async (cases, where, when) => {
        const written = cases.map(({ value, old }) => ({
          entity: "contact",
          contact: { x: value },
          old: { x: old },
          changed: [],
        }));
        const rows = await database().sql<{ quick: boolean | null }[]>`
          select case when q.folds then automation.folded(d.data) else d.data end @@ q.path as quick
          from jsonb_array_elements(${JSON.stringify(cases.map(({ leaf }) => leaf))}::text::jsonb)
              with ordinality as n (node, position)
            join jsonb_array_elements(${JSON.stringify(written)}::text::jsonb)
              with ordinality as d (data, position) using (position)
            cross join lateral automation.compile_conditions(n.node) as c
            cross join lateral automation.quick_conditions(c.compiled, 'contact') as q
          order by position`;
        rows.forEach(({ quick }, index) => {
          const { leaf } = cases[index]!;
          const data = written[index]! as Context;
          const seen = { ...data, trigger: { ...data, record: data.contact! } };
          if (quick === null) return;
          sure++;
          expect([leaf, data, quick]).toEqual([
            leaf,
            data,
            leafHolds(leaf, seen, { zone: where, at: when }),
          ]);
        });
      }),
      { numRuns: Math.ceil(runs / 10) },
    );
    expect(sure).toBeGreaterThan(runs / 3);
  });

  test("patterns are accepted alike, and match what JavaScript's match", async () => {
    const subjects = ["", "a", "b", "ab", "abab", "aaaa b", "a-b", "AB\n", "]c.5", "1 a"];
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(pattern, async (written) => {
        const valid = isPattern(written);
        accepted += valid ? 1 : 0;
        const rows = await database().sql<{ valid: boolean; matches: boolean | null }[]>`
          select p.compiled is not null as valid,
            automation.text_holds('matches', s.subject, jsonb_build_object('x', p.compiled))
              as matches
          from automation.compile_pattern(${written}) as p,
            unnest(${subjects}::text[]) with ordinality as s (subject, position)
          order by s.position`;
        expect(rows).toEqual(subjects.map((subject) => ({
          valid,
          matches: valid ? new RegExp(written, "is").test(subject) : null,
        })));
      }),
      { numRuns: runs },
    );
    expect(accepted).toBeGreaterThan(runs / 20);
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
