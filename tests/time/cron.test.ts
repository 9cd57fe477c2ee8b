// When a cron expression fires next: SQL against croner, over random expressions, zones and moments.
import { Cron } from "croner";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { transitions, zones } from "./zones.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
// The same cases on every run, one of which once found a mistake; new ones in the soak.
const seed = process.env.RIDGELINE_SOAK ? {} : { seed: -2134994557 };
const runs = propertyRuns(1200);
const batch = 50;

const monthNames = [
  "JAN",
  "feb",
  "Mar",
  "APR",
  "may",
  "JUN",
  "jul",
  "AUG",
  "sep",
  "OCT",
  "nov",
  "DEC",
];
const dayNames = ["SUN", "mon", "Tue", "WED", "thu", "FRI", "sat"];

/** Parts of one field: values, ranges, steps; `name` spells some of the numbers out. */
function field(
  low: number,
  high: number,
  { names, extra, star = 3 }: { names?: string[]; extra?: fc.Arbitrary<string>; star?: number } =
    {},
): fc.Arbitrary<string> {
  const spelled = (value: number) => names?.[value - (low === 0 ? 0 : 1)] ?? String(value);
  const number = fc.tuple(fc.integer({ min: low, max: high }), fc.boolean())
    .map(([value, named]) => named && names ? spelled(value) : String(value));
  const range = fc.tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }))
    .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`);
  const step = fc.integer({ min: 1, max: high - Math.max(low, 0) }).map(String);
  const part = fc.oneof(
    { weight: 5, arbitrary: number },
    { weight: 2, arbitrary: range },
    { weight: 2, arbitrary: fc.tuple(range, step).map(([a, b]) => `${a}/${b}`) },
    { weight: 1, arbitrary: step.map((every) => `*/${every}`) },
    ...(extra ? [{ weight: 3, arbitrary: extra }] : []),
  );
  const list = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(","));
  return fc.oneof(
    { weight: star, arbitrary: fc.constantFrom("*", "*", "?") },
    { weight: 5, arbitrary: list },
  );
}

const weekdayExtra = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 1, max: 5 })).map(([day, nth]) =>
    `${day}#${nth}`
  ),
  fc.tuple(fc.constantFrom(...dayNames), fc.integer({ min: 1, max: 5 })).map(([day, nth]) =>
    `${day}#${nth}`
  ),
  fc.integer({ min: 0, max: 7 }).map((day) => `${day}L`),
  fc.constantFrom("MON-FRI", "fri-sun", "1-5#L", "5-6#2", "FRI#L"),
);

const nicknames = fc.constantFrom(
  "@yearly",
  "@annually",
  "@monthly",
  "@weekly",
  "@daily",
  "@Midnight",
  "@hourly",
);
const expression = fc.oneof(
  { weight: 1, arbitrary: nicknames },
  {
    weight: 20,
    arbitrary: fc.tuple(
      field(0, 59, { star: 1 }),
      field(0, 23, { star: 1 }),
      field(1, 31, { extra: fc.constant("L"), star: 6 }),
      field(1, 12, { names: monthNames, star: 8 }),
      field(0, 7, { names: dayNames, extra: weekdayExtra, star: 6 }),
    ).map((fields) => fields.join(" ")),
  },
  // The small hours, where clocks change.
  {
    weight: 10,
    arbitrary: fc.tuple(field(0, 59, { star: 1 }), field(0, 3, { star: 1 }))
      .map(([minute, hour]) => `${minute} ${hour} * * *`),
  },
);

const changes = new Map(zones.map((zone) => [zone, transitions(zone)]));

/** A zone and a moment, as often as not within hours of a change of its clocks. */
const encounter = fc.constantFrom(...zones).chain((zone) => {
  const near = changes.get(zone) ?? [];
  const any = fc.integer({ min: Date.UTC(2008, 0, 1) / 1000, max: Date.UTC(2030, 0, 1) / 1000 })
    .map((seconds) => seconds * 1000);
  const close = near.length === 0 ? any : fc.tuple(
    fc.constantFrom(...near),
    fc.integer({ min: -100_000, max: 12_000 }),
  ).map(([change, seconds]) => change + seconds * 1000);
  return fc.record({ zone: fc.constant(zone), after: fc.oneof(any, close), expression });
});

const oracle = (written: string, zone: string, after: number) =>
  new Cron(written, { timezone: zone, mode: "5-part", fixedTimeRule: "no-wildcard" })
    .nextRun(new Date(after));

async function ask(cases: { expression: string; zone: string; after: number }[]) {
  return await database().sql<{ fires: Date | null }[]>`
    select automation.next_fire(c.expression, c.zone, c.after) as fires
    from rows from (jsonb_to_recordset(${
    JSON.stringify(
      cases.map((one) => ({ ...one, after: new Date(one.after).toISOString() })),
    )
  }::text::jsonb) as (expression text, zone text, after timestamptz)) with ordinality
      as c (expression, zone, after, position)
    order by c.position`;
}

describe("the next time a cron expression fires", () => {
  test("is what croner says, for any expression, zone and moment", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(encounter, { minLength: batch, maxLength: batch }),
        async (cases) => {
          const rows = await ask(cases);
          const show = (one: typeof cases[number], fires: Date | null | undefined) =>
            `${one.expression} | ${one.zone} | after ${new Date(one.after).toISOString()} | ` +
            (fires?.toISOString() ?? "never");
          expect(cases.map((one, index) => show(one, rows[index]?.fires))).toEqual(
            cases.map((one) => show(one, oracle(one.expression, one.zone, one.after))),
          );
        },
      ),
      { numRuns: Math.ceil(runs / batch), ...seed },
    );
  }, 300_000);

  test("follows croner through every minute of the days on which clocks change", async () => {
    const expressions = ["30 2 * * *", "0,30 1,2 * * *", "*/20 * * * *", "0 * * * *", "15 0 * * *"];
    for (
      const zone of ["America/New_York", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia"]
    ) {
      for (const change of changes.get(zone)?.slice(0, 2) ?? []) {
        for (const written of expressions) {
          const moments = Array.from({ length: 60 }, (_, index) => change + (index - 40) * 420_000);
          const cases = moments.map((after) => ({ expression: written, zone, after }));
          const rows = await ask(cases);
          expect(rows.map((row) => row.fires?.toISOString()), `${written} in ${zone}`).toEqual(
            cases.map((one) => oracle(written, zone, one.after)?.toISOString()),
          );
        }
      }
    }
  }, 120_000);

  test("refuses what croner refuses", async () => {
    const garbled = fc.tuple(
      expression.filter((written) => !written.startsWith("@")),
      fc.integer({ min: 0, max: 4 }),
      fc.constantFrom(
        "60",
        "-1",
        "99",
        "5-1",
        "*/0",
        "*/99",
        "5/2",
        "a",
        "1,",
        ",1",
        "1-",
        "MONDAY",
        "x-y",
        "1#0",
        "1#6",
        "L5",
        "1.5",
        "1--2",
        "1-2-3",
        "1/2/3",
        "$",
        "",
      ),
    ).map(([written, place, bad]) =>
      written.split(" ").map((part, index) => index === place ? bad : part).join(" ")
    );
    const refused = (written: string) => {
      try {
        new Cron(written, { mode: "5-part" });
        return false;
      } catch {
        return true;
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.array(garbled, { minLength: 20, maxLength: 20 }), async (written) => {
        const rows = await database().sql<{ problems: number; hinted: boolean }[]>`
          select jsonb_array_length(c.problems) as problems,
            c.problems #>> '{0,path}' = 'trigger_config.cron' as hinted
          from jsonb_array_elements_text(${JSON.stringify(written)}::text::jsonb)
              with ordinality as w (expression, position),
            automation.compile_cron(w.expression, 'trigger_config.cron') as c
          order by w.position`;
        expect(rows.map((row, index) => [written[index], row.problems > 0])).toEqual(
          written.map((one) => [one, refused(one)]),
        );
        expect(rows.every((row) => row.problems === 0 || row.hinted)).toBe(true);
      }),
      { numRuns: Math.ceil(runs / 60), ...seed },
    );
  }, 120_000);

  test("is never, and the search for it ends, for a day that no year has", async () => {
    for (const never of ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"]) {
      const [row] = await ask([{ expression: never, zone: "UTC", after: Date.UTC(2026, 0, 1) }]);
      expect(row?.fires, never).toBe(null);
    }
    const [leap] = await ask([
      { expression: "0 0 29 2 *", zone: "UTC", after: Date.UTC(2096, 2, 1) },
    ]);
    expect(leap?.fires).toEqual(new Date(Date.UTC(2104, 1, 29)));
    const [fifth] = await ask([
      { expression: "0 0 * 2 MON#5", zone: "UTC", after: Date.UTC(2072, 2, 1) },
    ]);
    expect(fifth?.fires).toEqual(oracle("0 0 * 2 MON#5", "UTC", Date.UTC(2072, 2, 1)));
  });
});
