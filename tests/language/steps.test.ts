// The configuration of steps in SQL and in TypeScript: the same documents are accepted, and of those
// that are refused the same is said.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  checkRetry,
  checkSettings,
  checkStepConfig,
  pathText,
  type Problem,
  StepConfig,
  StepRetry,
  WorkflowSettings,
} from "./reference/steps.ts";
import { hazardWords, htmlHazard } from "./reference/html.ts";
import { settingSchemas, stepTypes } from "../../packages/client/step-schemas.ts";
import { templateProblem } from "./reference/template.ts";
import { useDatabase } from "../support/database.ts";
import { retry, settings, stepDocument } from "./step-arbitraries.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(1500);

interface Found {
  path: string;
  severity: string;
  code: string;
  message: string;
}

// Told by the database alone: which tables, columns and events there are.
const namesInTheDatabase = ["unknown_entity", "unknown_field", "unknown_event", "missing_field"];

/** What the two say in the same words; of conditions and templates only that they are wrong. */
function comparable(problems: Found[]): string[] {
  return problems
    .filter(({ path, code }) => !/conditions/.test(path) && code !== "invalid_template")
    .map(({ path, severity, code, message }) => `${path} ${severity} ${code}: ${message}`)
    .sort();
}

const inTypeScript = (problems: Problem[]): Found[] =>
  problems.map((problem) => ({ ...problem, path: pathText(["p", ...problem.path]) }));

const errorsOf = (problems: Found[]) => problems.filter(({ severity }) => severity === "error");

async function checkInSql(type: string, config: unknown): Promise<Found[]> {
  const [row] = await database().sql<{ problems: Found[] }[]>`
    select automation.check_schema(t.config_schema, f.config, 'p') || c.problems as problems
    from automation.step_types as t
    cross join lateral (
      select automation.fold_step_config(t.name, ${JSON.stringify(config)}::text::jsonb) as config
    ) as f
    cross join lateral automation.compile_template(
      case t.name when 'conditional' then '{}' else f.config end, 'p') as c
    where t.name = ${type}`;
  if (!row) throw new Error("Nothing came back");
  return row.problems;
}

async function settingInSql(name: "settings" | "retry", value: unknown): Promise<Found[]> {
  const sql = database().sql;
  const written = JSON.stringify(value);
  const [row] = name === "settings"
    ? await sql<{ problems: Found[] }[]>`
      select automation.check_settings(${written}::text::jsonb, 'p') as problems`
    : await sql<{ problems: Found[] }[]>`
      select automation.check_retry(${written}::text::jsonb, 'p') as problems`;
  return row?.problems ?? [];
}

describe("zod and SQL", () => {
  test("accept and refuse the same configurations of every step, and say the same", async () => {
    const verdicts = new Map(stepTypes.map(({ name }) => [name as string, [0, 0]]));
    await fc.assert(
      fc.asyncProperty(stepDocument, async ({ type, config }) => {
        const inSql = await checkInSql(type, config);
        const accepted = StepConfig[type].safeParse(config).success;
        const counts = verdicts.get(type);
        if (counts) counts[accepted ? 0 : 1]! += 1;
        expect(accepted).toBe(errorsOf(inSql).length === 0);
        expect(comparable(inTypeScript(checkStepConfig(type, config)))).toEqual(comparable(inSql));
      }),
      { numRuns: runs * 2 },
    );
    for (const [type, counts] of verdicts) {
      expect(Math.min(...counts), `${type}: ${counts}`).toBeGreaterThan(runs / 300);
    }
  });

  test("tell a slip in the name of a setting from a name of something else", async () => {
    const slips = fc.constantFrom("title", "due_in_days", "priority", "DueAt", "é_title", "key")
      .chain((name) =>
        fc.tuple(fc.nat(name.length), fc.nat(2), fc.constantFrom("", "x", "_", "T", "é")).map(
          ([place, cut, letter]) => name.slice(0, place) + letter + name.slice(place + cut),
        )
      );
    const said = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(slips, { minLength: 1, maxLength: 8 }), async (names) => {
        const config = { title: "Call", ...Object.fromEntries(names.map((name) => [name, "x"])) };
        const inSql = comparable(await checkInSql("create_task", config));
        for (const one of inSql) if (/unknown_key/.test(one)) said.add(one.split(" ")[1] ?? "");
        expect(comparable(inTypeScript(checkStepConfig("create_task", config)))).toEqual(inSql);
      }),
      { numRuns: Math.ceil(runs / 10) },
    );
    expect([...said].sort()).toEqual(["error", "warning"]);
  });

  test("accept and refuse the same settings", async () => {
    let [accepted, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(settings, async (value) => {
        const inSql = (await settingInSql("settings", value))
          .filter(({ path, code }) =>
            !namesInTheDatabase.includes(code) && !path.includes(".config.")
          );
        const valid = WorkflowSettings.safeParse(value).success;
        valid ? accepted++ : refused++;
        expect(valid).toBe(errorsOf(inSql).length === 0);
        expect(comparable(inTypeScript(checkSettings(value)))).toEqual(comparable(inSql));
      }),
      { numRuns: runs },
    );
    expect(Math.min(accepted, refused)).toBeGreaterThan(runs / 10);
  });

  test("accept and refuse the same retries", async () => {
    let [accepted, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(retry, async (value) => {
        const inSql = await settingInSql("retry", value);
        const valid = StepRetry.safeParse(value).success;
        valid ? accepted++ : refused++;
        expect(valid).toBe(errorsOf(inSql).length === 0);
        expect(comparable(inTypeScript(checkRetry(value)))).toEqual(comparable(inSql));
      }),
      { numRuns: Math.ceil(runs / 3) },
    );
    expect(Math.min(accepted, refused)).toBeGreaterThan(runs / 30);
  });

  test("find the same wrong with any text as a template, at the same character", async () => {
    const piece = fc.constantFrom(
      ..."{{ }} {{{ }}} {{{{ {{! \\{{ | : , . == != >= [0] [1234567] ['k'] ! # / é 😀 null now"
        .split(" "),
      ..."upper truncate default formatDate replace plus first true equals in matches".split(" "),
      ..."between before within_last is_empty".split(" "),
      ...["#each ", "/each", " as row", " this.a ", "@index", " nl2br ", "url_encode"],
      ...["#if ", "#unless ", "/if", "/unless", "else", "else if ", " contact.stage ", " x "],
      ...['"a"', "'EEEE, d'", '"', "'", "\\", ' "UTC" ', ' "Mars" ', '"3 days"', '"a**"', " 5 "],
      ...[" -1.5 ", " ", "\n", "{{/if}}", "{{else}}", "{{#if contact.a}}", "{{contact.a}}"],
      ...['"it\\"s\\n"', "formatDate: 'q'", "x".repeat(201), "contact.a > 5", "a".repeat(700)],
    );
    const block = fc.constantFrom(
      "{{#if contact.a}}",
      "{{#unless a}}",
      "{{else}}",
      "{{else if contact.b}}",
      "{{/if}}",
      "{{/unless}}",
      "{{#each contact.tags}}",
      "{{#each contact.tags as row}}",
      "{{/each}}",
      "{{@index}}{{row.a}}{{#if this.b}}",
      "x",
    );
    const join = (parts: string[], between = " ") => parts.join(between);
    const text = fc.oneof(
      { weight: 8, arbitrary: fc.array(piece, { maxLength: 10 }).map((parts) => join(parts, "")) },
      { weight: 8, arbitrary: fc.array(piece, { maxLength: 8 }).map((p) => `a{{${join(p)}}}b`) },
      {
        weight: 8,
        arbitrary: fc.array(piece, { maxLength: 6 }).map((p) => `{{#if ${join(p)}}}{{/if}}`),
      },
      {
        weight: 4,
        arbitrary: fc.array(piece, { maxLength: 6 }).map((p) =>
          `{{#each a as row}}{{#if ${join(p)}}}{{/if}}{{/each}}{{#each ${join(p)}}}{{/each}}`
        ),
      },
      {
        weight: 8,
        arbitrary: fc.array(piece, { maxLength: 5 }).map((p) => `{{ contact.a | ${join(p)} }}`),
      },
      { weight: 8, arbitrary: fc.array(block, { maxLength: 8 }).map((parts) => join(parts, "")) },
      // Where what is allowed ends: levels of blocks, and words in a tag.
      fc.integer({ min: 20, max: 21 }).map((deep) =>
        "{{#if a}}".repeat(deep) + "{{/if}}".repeat(deep)
      ),
      fc.tuple(fc.integer({ min: 29, max: 31 }), fc.constantFrom("", " x")).map(([many, more]) =>
        `{{a${" | trim".repeat(many)}${more}}}`
      ),
    );
    let [sound, wrong] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.array(text, { minLength: 10, maxLength: 10 }), async (batch) => {
        const rows = await database().sql<{ problem: string | null; position: number | null }[]>`
          select p.problem, p.position
          from unnest(${batch}::text[]) with ordinality as t (source, place),
            automation.parse_template(t.source) as p
          order by t.place`;
        batch.forEach((source, index) => {
          const problem = templateProblem(source);
          problem ? wrong++ : sound++;
          expect([source, problem?.position ?? null]).toEqual([source, rows[index]?.position]);
          // A comparison is refused by the condition language, which has its own words.
          if (!/#|else/.test(source)) {
            expect([source, problem?.message ?? null]).toEqual([source, rows[index]?.problem]);
          }
        });
      }),
      { numRuns: Math.ceil(runs / 2) },
    );
    expect(Math.min(sound, wrong)).toBeGreaterThan(runs / 4);
  });
});

describe("a variable in HTML", () => {
  test("is found in the same place where it must not stand", async () => {
    const piece = fc.constantFrom(
      ..."<a <p> </a> <script> </script> <SCRIPT\nsrc= <!-- --> > / = ' \" {{x}} {{{y.z}}} {{x"
        .split(" "),
      ..."href= onclick= ON-x='{{x}}' data-on= srcdoc='{{x}}' title= javascript: vbscript data:text/html, &colon;"
        .split(" "),
      ..."java&#x9;script data: data:image/png;base64, https://a.b/ {{#if\u00a0x}} {{/if}} {{else}} 😀 & \\{{"
        .split(" ").map((text) => text.replace("\u00a0", " ")),
      ...[
        " ",
        "\n",
        "\u0001",
        "on",
        '{{ x | default: "a>b" }}',
        "{{!a}}",
        'href="',
        'onclick="',
        "<a ",
      ],
    );
    const attribute = fc.array(piece, { maxLength: 4 }).map((parts) =>
      `<a href="${parts.join("")}">`
    );
    const html = fc.oneof(
      fc.array(piece, { maxLength: 12 }).map((parts) => parts.join("")),
      fc.array(fc.oneof(attribute, piece), { maxLength: 6 }).map((parts) => parts.join("")),
    );
    const places = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(html, { minLength: 20, maxLength: 20 }), async (batch) => {
        const rows = await database().sql<{ found: Found[] }[]>`
          select automation.check_html(t.source, 'p') as found
          from unnest(${batch}::text[]) with ordinality as t (source, place) order by t.place`;
        batch.forEach((source, index) => {
          const hazard = htmlHazard(source);
          const place = hazard?.place ?? "none";
          places.set(place, (places.get(place) ?? 0) + 1);
          const said = hazard && hazard.place === "unquoted"
            ? `p ${hazardWords(hazard)}`
            : hazard && `p: ${hazardWords(hazard)}`;
          // A template that cannot be read is told as that.
          if (templateProblem(source)) return;
          expect([source, said ?? null]).toEqual([source, rows[index]?.found[0]?.message ?? null]);
        });
      }),
      { numRuns: Math.ceil(runs / 2) },
    );
    for (const place of ["none", "script", "program", "page", "address", "unquoted"]) {
      expect(places.get(place) ?? 0, place).toBeGreaterThan(5);
    }
  });
});

describe("the published schemas", () => {
  test("are JSON Schema that another implementation reads the same way, formats left aside", async () => {
    // zod's own reader knows neither our formats nor keywords that speak of keys alone; whatever else
    // it reads, it must accept what we accept.
    const unread = ["oneOf", "dependentSchemas", "dependentRequired"];
    const readers = new Map(stepTypes.map(({ name, config_schema }) => {
      const plain = JSON.parse(
        JSON.stringify(config_schema),
        (key, value: unknown) => unread.includes(key) ? undefined : value,
      );
      return [name as string, z.fromJSONSchema(plain)];
    }));
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(stepDocument, async ({ type, config }) => {
        const [row] = await database().sql<{ folded: unknown }[]>`
          select automation.fold_step_config(${type}, ${
          JSON.stringify(config)
        }::text::jsonb) as folded`;
        if (!StepConfig[type].safeParse(config).success) return;
        compared += 1;
        expect(readers.get(type)?.safeParse(row?.folded).error).toBeUndefined();
      }),
      { numRuns: Math.ceil(runs / 2) },
    );
    expect(compared).toBeGreaterThan(runs / 10);
  });

  test("every example is accepted without so much as a warning", async () => {
    for (const { name, config_schema: { examples } } of stepTypes) {
      for (const example of examples) {
        expect(await checkInSql(name, example), name).toEqual([]);
        expect(checkStepConfig(name, { ...example }), name).toEqual([]);
      }
    }
    for (const name of ["settings", "retry"] as const) {
      for (const example of settingSchemas[name].config_schema.examples) {
        expect(await settingInSql(name, example), name).toEqual([]);
      }
    }
  });
});
