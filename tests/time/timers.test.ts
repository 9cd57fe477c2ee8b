// When a date makes a timer due: SQL against a calendar written in TypeScript, over random dates,
// offsets, holidays and zones, as often as not about a change of clocks.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { offset, transitions, zones } from "./zones.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const seed = process.env.RIDGELINE_SOAK ? {} : { seed: 1_270_482_811 };
const runs = propertyRuns(1200);
const batch = 50;
const day = 86_400_000;

/** The instants at which a wall clock shows this, and what became of it in a gap. */
function instants(wall: number, zone: string) {
  const [before, after] = [offset(zone, wall - 2 * day), offset(zone, wall + 2 * day)];
  const shown = [...new Set([wall - before, wall - after])]
    .filter((at) => at + offset(zone, at) === wall)
    .toSorted((left, right) => left - right);
  return { shown, shifted: wall - before, early: wall - after };
}

/** The first time that the clock shows it; else the end of the gap that swallowed it. */
function firstOrGapEnd(wall: number, zone: string): number {
  const { shown, shifted, early } = instants(wall, zone);
  if (shown[0] !== undefined) return shown[0];
  let [low, high] = [early, shifted];
  while (high - low > 60_000) {
    const middle = low + Math.floor((high - low) / 120_000) * 60_000;
    if (offset(zone, middle) === offset(zone, early)) low = middle;
    else high = middle;
  }
  return high;
}

/** As Postgres reads a local time: the later of two, and in a gap by the clock before it. */
function asPostgres(wall: number, zone: string): number {
  const { shown, shifted } = instants(wall, zone);
  return shown.at(-1) ?? shifted;
}

const dateOf = (wall: number) => new Date(wall).toISOString().slice(0, 10);

function businessDay(wall: number, days: number, holidays: readonly string[]): number {
  const step = Math.sign(days) * day;
  let at = wall;
  for (let left = Math.abs(days); left > 0;) {
    at += step;
    const weekday = new Date(at).getUTCDay();
    if (weekday !== 0 && weekday !== 6 && !holidays.includes(dateOf(at))) left--;
  }
  return at;
}

interface Case {
  /** What the record says: a date, or a moment. */
  value: string;
  zone: string;
  unit: "business days" | "days" | "hours";
  count: number;
  at: string | undefined;
  holidays: string[];
}

function oracle({ value, zone, unit, count, at, holidays }: Case): number {
  const from = value.length === 10 ? asPostgres(Date.parse(`${value}Z`), zone) : Date.parse(value);
  const wall = from + offset(zone, from);
  const midnight = (local: number) => Math.floor(local / day) * day;
  const clock = at === undefined
    ? undefined
    : Number(at.slice(0, 2)) * 3_600_000 + Number(at.slice(3)) * 60_000;
  if (unit === "business days") {
    const then = businessDay(wall, count, holidays);
    return firstOrGapEnd(clock === undefined ? then : midnight(then) + clock, zone);
  }
  const then = unit === "hours"
    ? from + count * 3_600_000
    : count === 0
    ? from
    : asPostgres(wall + count * day, zone);
  if (clock === undefined) return then;
  return firstOrGapEnd(midnight(then + offset(zone, then)) + clock, zone);
}

async function ask(cases: Case[]): Promise<(Date | null)[]> {
  const rows = await database().sql<{ due: Date | null }[]>`
    with given as materialized (
      select g.*, gen_random_uuid() as tenant_id
      from jsonb_array_elements(${
    JSON.stringify(cases.map(({ unit, count, at, holidays, value, zone }) => ({
      config: { offset: `${count} ${unit}`, ...(at === undefined ? {} : { at }) },
      value,
      zone,
      holidays,
    })))
  }::text::jsonb) with ordinality as g (given, position)
    ), tenants as (
      insert into public.tenants (id, name, settings)
      select g.tenant_id, 'Apex', jsonb_build_object('holidays', g.given -> 'holidays') from given as g
    )
    select g.tenant_id, g.given, g.position,
      (automation.compile_timer(g.given -> 'config', 'trigger_config')).compiled as compiled
    from given as g`.then((prepared) =>
    database().sql<{ due: Date | null }[]>`
        select automation.timer_due(
          jsonb_populate_record(null::automation.timer_listeners,
            p.row -> 'compiled' || jsonb_build_object('tenant_id', p.row -> 'tenant_id')),
          p.row -> 'given' ->> 'value', p.row -> 'given' ->> 'zone') as due
        from jsonb_array_elements(${JSON.stringify(prepared)}::text::jsonb)
          with ordinality as p (row, place)
        order by (p.row ->> 'position')::int`
  );
  return rows.map(({ due }) => due);
}

// A day that Samoa never had is no business of anybody's.
const here = zones.filter((zone) => zone !== "Pacific/Apia");
const changes = new Map(here.map((zone) => [zone, transitions(zone)]));
const minute = 60_000;

const cases: fc.Arbitrary<Case> = fc.constantFrom(...here).chain((zone) => {
  const any = fc.integer({ min: Date.UTC(2009, 0, 1) / minute, max: Date.UTC(2029, 0, 1) / minute })
    .map((minutes) => minutes * minute);
  const near = changes.get(zone) ?? [];
  const close = near.length === 0 ? any : fc.tuple(
    fc.constantFrom(...near),
    fc.integer({ min: -7 * 1440, max: 7 * 1440 }),
  ).map(([change, minutes]) => change + minutes * minute);
  return fc.oneof(any, close).chain((moment) =>
    fc.record({
      value: fc.constantFrom(new Date(moment).toISOString(), dateOf(moment)),
      zone: fc.constant(zone),
      unit: fc.constantFrom<Case["unit"]>("business days", "business days", "days", "hours"),
      count: fc.oneof(
        fc.integer({ min: -12, max: 12 }),
        fc.integer({ min: -366, max: 366 }),
      ).filter((count) => count !== 0),
      at: fc.option(
        fc.oneof(
          fc.constantFrom("00:00", "00:30", "02:00", "02:30", "09:00"),
          fc.integer({ min: 0, max: 1439 }).map((all) =>
            `${String(Math.floor(all / 60)).padStart(2, "0")}:${String(all % 60).padStart(2, "0")}`
          ),
        ),
        { nil: undefined },
      ),
      holidays: fc.array(
        fc.integer({ min: -20, max: 20 }).map((days) => dateOf(moment + days * day)),
        { maxLength: 6 },
      ),
    })
  );
});

describe("when a date makes a timer due", () => {
  test("is what the calendar says, over weekends, holidays and changes of clocks", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(cases, { minLength: batch, maxLength: batch }),
        async (drawn) => {
          const dues = await ask(drawn);
          const show = (one: Case, due: Date | null | undefined) =>
            `${one.value} ${one.zone} ${one.count} ${one.unit} at ${one.at} but ` +
            `${one.holidays.join(" ")}: ${due?.toISOString()}`;
          expect(drawn.map((one, place) => show(one, dues[place]))).toEqual(
            drawn.map((one) => show(one, new Date(oracle(one)))),
          );
        },
      ),
      { numRuns: Math.ceil(runs / batch), ...seed },
    );
  }, 300_000);

  test("is what the calendar says in the very hours that are left out or come twice", async () => {
    const drawn = here.flatMap((zone) =>
      (changes.get(zone) ?? []).slice(-8).flatMap((change) =>
        [-90, -45, -30, 0, 15, 30, 45, 90].flatMap((minutes): Case[] => {
          const at = change + minutes * minute;
          const local = at + offset(zone, change - minute);
          const common = { zone, holidays: [] };
          return [
            // Three days before, and three business days before, at the time that is in question.
            { ...common, value: dateOf(local - 3 * day), unit: "days", count: 3 },
            {
              ...common,
              value: dateOf(businessDay(local, -3, [])),
              unit: "business days",
              count: 3,
            },
          ].map((one) => ({ ...one, at: new Date(local).toISOString().slice(11, 16) }) as Case);
        })
      )
    );
    const dues = await ask(drawn);
    const show = (one: Case, due: Date | null | undefined) =>
      `${one.value} ${one.zone} ${one.count} ${one.unit} at ${one.at}: ${due?.toISOString()}`;
    expect(drawn.map((one, place) => show(one, dues[place]))).toEqual(
      drawn.map((one) => show(one, new Date(oracle(one)))),
    );
    expect(drawn.length).toBeGreaterThan(1_000);
  });

  test("is a day with business in it, whatever the zone and however far", async () => {
    const drawn = fc.sample(cases, { numRuns: 200, ...seed })
      .map((one): Case => ({ ...one, unit: "business days" }));
    const dues = await ask(drawn);
    for (const [place, one] of drawn.entries()) {
      const due = dues[place]!.getTime();
      const local = due + offset(one.zone, due);
      expect([0, 6]).not.toContain(new Date(local).getUTCDay());
      expect(one.holidays).not.toContain(dateOf(local));
    }
  });
});
