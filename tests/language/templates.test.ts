import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { context, field } from "./arbitraries.ts";
import type { Context, Json, Leaf } from "./oracle.ts";
import {
  escapeHtml,
  type Filter,
  type Operand,
  type Options,
  type Piece,
  print,
  render,
} from "./template-oracle.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(600);

/** Names of items, which are fields of nobody outside of an #each. */
const itemField = fc.constantFrom(
  "this",
  "item",
  "row",
  "this.n",
  "item.n",
  "row[0]",
  "this.stage",
);
const asField = fc.oneof({ weight: 3, arbitrary: field }, itemField)
  .map((name): Operand => ({ field: name }));
const literal = fc.constantFrom<string | number | boolean | null>(
  "there",
  'it\'s "quoted" \\',
  "two\nlines",
  "<b>",
  "Ünal",
  "👩‍👩‍👧 🇺🇸🇩🇪 é👍🏽1️⃣ क्षि",
  "a\r\nb\rc & d/e?f=(g)",
  "2026-03-08T06:59:59Z",
  0,
  2,
  -0.5,
  true,
  null,
);
const operand = fc.oneof(
  { weight: 5, arbitrary: asField },
  literal.map((value): Operand => ({ literal: value })),
);
const literals = (...values: (string | number)[]) =>
  fc.constantFrom(...values).map((value): Operand => ({ literal: value }));

const nothing = fc.constant<Operand[]>([]);
const filterArguments: Record<string, fc.Arbitrary<Operand[]>> = {
  default: fc.tuple(operand),
  upper: nothing,
  lower: nothing,
  capitalize: nothing,
  trim: nothing,
  truncate: fc.oneof(
    fc.tuple(literals(0, 1, 3, 10)),
    fc.tuple(literals(2, 5), literals("", "...")),
  ),
  replace: fc.tuple(literals("e", "Le", ""), literals("", "<x>")),
  join: fc.oneof(nothing, fc.tuple(literals(" / "))),
  first: nothing,
  last: nothing,
  plus: fc.tuple(fc.oneof(literals(2, 0.5, "3 days", "36 hours", "90 minutes"), asField)),
  minus: fc.tuple(literals(2, 0.5, "3 days", "36 hours", "90 minutes")),
  times: fc.tuple(fc.oneof(literals(2, 0.5, "x"), asField)),
  url_encode: nothing,
  formatPhone: nothing,
  formatDate: fc.oneof(
    nothing,
    fc.tuple(literals("EEEE, MMMM d", "yyyy-MM-dd'T'HH:mm", "M/d/yyyy h:mm a", "MMM dd")),
    fc.tuple(literals("h:mm a"), literals("Asia/Kolkata")),
  ),
  formatNumber: fc.oneof(nothing, fc.tuple(literals(0, 2))),
  formatCurrency: fc.oneof(nothing, fc.tuple(literals("EUR"))),
};
const filter: fc.Arbitrary<Filter> = fc.constantFrom(...Object.keys(filterArguments)).chain((
  name,
) => (filterArguments[name] ?? nothing).map((args) => ({ name, args })));

const filters = fc.tuple(fc.array(filter, { maxLength: 3 }), fc.boolean()).map((
  [list, breaks],
): Filter[] => breaks ? [...list, { name: "nl2br", args: [] }] : list);

const leaf: fc.Arbitrary<Leaf> = fc.oneof(
  fc.record({
    field: fc.oneof({ weight: 3, arbitrary: field }, itemField),
    operator: fc.constantFrom("equals", "not_equals", "greater_than", "contains"),
    value: fc.constantFrom<Json>("lead", "5", 5, "2026-03-08", "ünal"),
  }),
  fc.record({ field, operator: fc.constantFrom("is_empty", "is_not_empty", "is_true") }),
  fc.record({ field, operator: fc.constant("in"), value: fc.constant<Json>(["lead", 5]) }),
);

const text = fc.constantFrom("Hi ", ", <b>ok</b> & more", " ", "日本 ", "{ }", "\n", "100% {x}");
const places = fc.subarray(["@index", "@number", "@first", "@last"], { maxLength: 2 })
  .map((names) =>
    names.map((name): Piece => ({
      kind: "value",
      operand: { field: name },
      filters: [],
      raw: false,
    }))
  );
const { pieces } = fc.letrec<{ pieces: Piece[]; piece: Piece }>((tie) => ({
  pieces: fc.array(tie("piece"), { maxLength: 4, depthIdentifier: "template" }),
  piece: fc.oneof(
    { maxDepth: 3, depthSize: "small", depthIdentifier: "template" },
    {
      weight: 6,
      arbitrary: fc.record<Piece & { kind: "value" }>({
        kind: fc.constant("value"),
        operand,
        filters,
        raw: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: text.map((one): Piece => ({ kind: "text", text: one })) },
    fc.constantFrom<Piece>({ kind: "braces" }, { kind: "comment", text: "note | x" }),
    fc.record<Piece & { kind: "block" }>({
      kind: fc.constant("block"),
      word: fc.constantFrom("if", "unless"),
      test: fc.oneof(leaf.map((one) => ({ leaf: one })), operand.map((one) => ({ truthy: one }))),
      then: tie("pieces"),
      otherwise: fc.option(tie("pieces")),
    }),
    {
      weight: 2,
      arbitrary: fc.record<Piece & { kind: "each" }>({
        kind: fc.constant("each"),
        list: fc.oneof(
          fc.constantFrom("contact.tags", "steps.quote.items", "this", "contact.custom_fields"),
          field,
        ),
        as: fc.option(fc.constantFrom("item", "row")),
        body: fc.tuple(places, tie("pieces")).map(([place, body]) => [...place, ...body]),
        otherwise: fc.option(tie("pieces")),
      }),
    },
  ),
}));

const options: fc.Arbitrary<Options> = fc.record({
  zone: fc.constantFrom("UTC", "America/New_York", "Europe/Berlin"),
  locale: fc.constantFrom("en-US", "de-DE"),
  currency: fc.constantFrom("USD", "GBP", "JPY", "CHF"),
  html: fc.boolean(),
  now: fc.constant(new Date("2026-03-08T12:00:00Z")),
});

interface Row {
  rendered: Json;
  warnings: { code: string }[];
  problems: { message: string; position: number; path: string }[];
}

async function renderInSql(template: string, seen: unknown, settings: Options): Promise<Row> {
  const { html, ...rest } = settings;
  const given = { ...rest, html_paths: html ? ["body"] : [] };
  const [row] = await database().sql<Row[]>`
    select r.rendered -> 'body' as rendered, r.warnings, t.problems
    from automation.compile_template(${JSON.stringify({ body: template })}::text::jsonb) as t,
      automation.render(t.compiled, ${JSON.stringify(seen)}::text::jsonb,
        ${JSON.stringify(given)}::text::jsonb) as r`;
  if (!row) throw new Error("Nothing came back");
  return row;
}

const plain: Options = {
  zone: "UTC",
  locale: "en-US",
  currency: "USD",
  html: false,
  now: new Date("2026-03-08T12:00:00Z"),
};

describe("templates in SQL and in the oracle", () => {
  test("agree on every template and record", async () => {
    await fc.assert(
      fc.asyncProperty(pieces, context, options, async (template, seen, settings) => {
        const expected = render(template, seen as Context, settings);
        const row = await renderInSql(print(template), seen, settings);
        expect({
          rendered: row.rendered,
          warnings: row.warnings.map(({ code }) => code),
          problems: row.problems,
        }).toEqual({ ...expected, problems: [] });
      }),
      {
        numRuns: runs,
        // Blocks that hold nothing are one token, as a variable is.
        examples: ["each", "block"].map((kind) => [
          [
            kind === "each"
              ? { kind, list: "contact.stage", as: null, body: [], otherwise: null }
              : {
                kind,
                word: "if",
                test: { truthy: { field: "contact.stage" } },
                then: [],
                otherwise: null,
              },
          ] as Piece[],
          {},
          plain,
        ]),
      },
    );
  });

  test("a plain configuration is filled in to what the interpreter makes of it, or left to it", async () => {
    const variable = fc.record<Piece & { kind: "value" }>({
      kind: fc.constant("value"),
      operand: fc.oneof({ weight: 4, arbitrary: field.map((name) => ({ field: name })) }, operand),
      filters: fc.oneof(
        { weight: 8, arbitrary: fc.constant<Filter[]>([]) },
        fc.tuple(operand).map((args): Filter[] => [{ name: "default", args }]),
        filters,
      ),
      raw: fc.nat(9).map((n) => n === 0),
    });
    const written = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.array(
          fc.oneof(variable, text.map((one): Piece => ({ kind: "text", text: one }))),
          {
            minLength: 1,
            maxLength: 4,
          },
        ),
      },
      pieces,
    ).map(print);
    const note = fc.constant('100% \\ "\u0001"');
    const config = fc.oneof(
      fc.record({ title: written, note }),
      fc.record({ title: fc.constant("{{contact.stage}}"), html: written }),
      fc.record({ title: written, description: written, note }, {
        requiredKeys: ["title"],
        noNullPrototype: true,
      }),
      fc.record({
        title: written,
        html: written,
        target: fc.constant("{{contact.note}}"),
        due_in_days: fc.constant("{{contact.score}}"),
      }, { requiredKeys: ["title"], noNullPrototype: true }),
    );
    const said = fc.constantFrom(
      "lead",
      'it\'s "quoted" \\ %s',
      "two\nlines\t\u0001",
      "{{x}} %1$s 100%",
      " Ünal 👍🏽 <b> ",
    );
    const known = fc.record({ stage: said, score: said, tags: said, due: said, note: said });
    const met = fc.tuple(context, fc.option(known, { freq: 5 })).map(([seen, contact]) =>
      contact ? { ...seen, contact } : seen
    );
    let filled = 0;
    await fc.assert(
      fc.asyncProperty(config, met, async (given, seen) => {
        const [row] = await database().sql<
          { filled: Json; fitted: Json; reason: Json; warnings: Json }[]
        >`
          select automation.fill_plain(automation.compile_plain(c.config), s.seen -> 'trigger', 'project',
              s.seen -> 'project', s.seen -> 'contact') as filled, f.fitted, f.reason, r.warnings
          from (select ${JSON.stringify(seen)}::text::jsonb as seen) as s
          cross join automation.compile_template(${JSON.stringify(given)}::text::jsonb) as t
          cross join lateral (
            select t.compiled || jsonb_build_object('fits', automation.compile_fits(
              y.config_schema, t.compiled, false)) as config
            from automation.step_types as y where y.name = 'create_task') as c
          cross join lateral automation.render(c.config, s.seen - array['job', 'steps'],
            '{"html_paths": ["html"], "typed": true}') as r
          cross join lateral automation.fit_input(c.config -> 'fits', r.rendered) as f`;
        if (!row) throw new Error("Nothing came back");
        if (row.filled === null) return;
        filled++;
        expect(row.filled).toEqual(row.fitted);
        expect([row.reason, row.warnings]).toEqual([null, []]);
      }),
      { numRuns: 2 * runs },
    );
    expect(filled).toBeGreaterThan(runs / 10);
  });

  test("any text at all compiles or is refused with a position inside it, and renders", async () => {
    const soup = fc.array(
      fc.constantFrom(
        "{{",
        "}}",
        "{{{",
        "}}}",
        "#if ",
        "/if",
        "else",
        " contact.stage ",
        "|",
        ":",
        "upper",
        '"',
        "'",
        "\\",
        "x",
        " ",
        "==",
        "5",
        "!",
        "é",
        "{{/if}}",
        "{{else}}",
      ),
      { maxLength: 12 },
    ).map((parts) => parts.join(""));
    let [compiled, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(soup, async (template) => {
        const { problems } = await renderInSql(template, {}, plain);
        problems.length ? refused++ : compiled++;
        for (const { position, path } of problems) {
          expect(path).toBe("config.body");
          expect(position).toBeGreaterThan(0);
          expect(position).toBeLessThanOrEqual(Array.from(template).length + 1);
        }
      }),
      { numRuns: runs },
    );
    expect(Math.min(compiled, refused)).toBeGreaterThan(runs / 20);
  });

  test("text that comes from a record is never read as a template or as HTML", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom("{{", "}}", "contact.stage", "<script>", "&", "'", "\\", "é"))
          .map((parts) => parts.join("")),
        async (hostile) => {
          const seen = { contact: { stage: hostile } };
          const row = await renderInSql("<p>{{contact.stage}}</p>", seen, { ...plain, html: true });
          expect(row.rendered).toBe(`<p>${escapeHtml(hostile)}</p>`);
        },
      ),
      { numRuns: Math.ceil(runs / 3) },
    );
  });
});
