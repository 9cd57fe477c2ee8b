// Nothing is dropped silently: every key of every shape is in the definition, or in the report.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  safeChoices,
  type Source,
  type Translation,
} from "../../functions/workflows/legacy/translate/definition.ts";
import {
  isObject,
  type Json,
  type JsonObject,
} from "../../functions/workflows/legacy/translate/keys.ts";
import { translate } from "../../scripts/legacy/read.ts";
import * as shapes from "./shapes.ts";

const become = (source: Source, row: unknown): Translation[] =>
  translate({ source, rows: [row] }, { choices: safeChoices }).map((one) => {
    if ("problem" in one) throw new Error(one.problem);
    return one;
  });

/** Every key with a value, by its path. */
function leaves(value: Json, path = ""): string[] {
  if (value === null || value === "") return [];
  if (Array.isArray(value)) {
    return value.flatMap((item, place) => isObject(item) ? leaves(item, `${path}[${place}]`) : [])
      .concat(path);
  }
  if (!isObject(value)) return [path];
  return Object.entries(value).flatMap(([key, item]) =>
    leaves(item, path ? `${path}.${key}` : key)
  );
}

// What is the row's own: who it is, when it was written.
const itself =
  /(^|\.|\])(id|tenant_id|created_at|updated_at|campaign_id)$|^description$|^is_deleted$/;

function silent(row: JsonObject, made: Translation[]): string[] {
  const notes = made.flatMap(({ notes }) => notes);
  const below = (path: string, key: string) =>
    path.startsWith(`${key}.`) || path.startsWith(`${key}[`);
  return leaves(row).filter((path) =>
    !(itself.test(path) && !path.includes("config")) &&
    // Said of itself, of what is in it, or with the whole that it stands in; what is only said about the whole says
    // nothing about its keys.
    !notes.some(({ key, was }) =>
      key === path || below(key, path) || (was !== undefined && below(path, key))
    )
  );
}

const delayed = { delay_minutes: 60 };
const everything: [string, Source, JsonObject][] = [
  ...Object.entries(shapes.serverTriggers).map(([type, config]): [string, Source, JsonObject] => [
    `server trigger ${type}`,
    "server",
    shapes.serverWorkflow(type, config, [{
      step_type: "send_sms",
      step_config: shapes.serverSteps.send_sms!,
    }]),
  ]),
  ...Object.entries(shapes.serverSteps).map(([type, config]): [string, Source, JsonObject] => [
    `server step ${type}`,
    "server",
    shapes.serverWorkflow("contact_created", {}, [{
      step_type: type,
      step_config: config,
      ...delayed,
    }]),
  ]),
  ...Object.entries(shapes.clientTriggers).map(([type, config]): [string, Source, JsonObject] => [
    `client trigger ${type}`,
    "client",
    shapes.clientWorkflow(type, config, [{
      type: "send_sms",
      config: shapes.clientActions.send_sms!,
    }]),
  ]),
  ...Object.entries(shapes.clientActions).map(([type, config]): [string, Source, JsonObject] => [
    `client action ${type}`,
    "client",
    shapes.clientWorkflow("manual", {}, [{ type, config, delay: 2 }, {
      type: "add_tag",
      config: { tags: ["x"] },
      enabled: false,
    }], {
      conditions: [{
        id: "c1",
        field: "contact.stage",
        operator: "in",
        value: "a,b",
        logic_gate: "OR",
      }, { id: "c2", field: "contact.x", operator: "like", value: 1, logic_gate: "AND" }],
    }),
  ]),
  ...shapes.campaignTriggers.map((trigger): [string, Source, JsonObject] => [
    `campaign trigger ${JSON.stringify(trigger)}`,
    "campaigns",
    shapes.campaign([trigger], [{
      step_type: "send_sms",
      step_config: shapes.campaignSteps.send_sms!,
    }]),
  ]),
  ...Object.entries(shapes.campaignSteps).map(([type, config]): [string, Source, JsonObject] => [
    `campaign step ${type}`,
    "campaigns",
    shapes.campaign([shapes.campaignTriggers[0]!], [{
      step_type: type,
      step_config: config,
      delay_value: 1,
      conditions: { a: 1 },
      parent_step_id: "p",
    }]),
  ]),
  ["automation", "automations", shapes.automation()],
];

describe("every key of", () => {
  it.each(everything)("%s is translated or reported", (_, source, row) => {
    const made = become(source, row);
    expect(silent(row, made)).toEqual([]);
  });

  it("no secret is in a definition or in a report", () => {
    for (const [, source, row] of everything) {
      const made = become(source, row);
      expect(
        JSON.stringify(made.map(({ definition, notes }) => [definition, notes])),
        JSON.stringify(row),
      ).not.toMatch(/sekrit|bWU6c2Vrcml0/);
    }
    expect(
      become("server", everything.find(([name]) => name === "server step webhook")![2])[0]!.secrets
        .map(({ value }) => value),
    ).toEqual(["sekrit-1"]);
  });

  it("whatever else stands in it is kept, and said", () => {
    const key = fc.stringMatching(/^zz_[a-z]{1,8}$/);
    const value = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.integer(),
      fc.boolean(),
      fc.array(fc.integer(), { maxLength: 2 }),
      fc.dictionary(fc.string(), fc.integer(), { maxKeys: 2, noNullPrototype: true, minKeys: 1 }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...everything),
        key,
        value,
        fc.nat(),
        ([, source, row], name, more, where) => {
          const changed = structuredClone(row);
          const places: JsonObject[] = [changed];
          const walk = (at: Json) => {
            if (Array.isArray(at)) at.forEach(walk);
            else if (isObject(at)) {
              Object.values(at).forEach((item) => {
                if (isObject(item)) places.push(item);
                walk(item);
              });
            }
          };
          walk(changed);
          places[where % places.length]![name] = more as Json;
          const made = become(source, changed);
          const said = made.some(({ definition, notes }) =>
            notes.some(({ key, was }) =>
              key.includes(name) || (JSON.stringify(was) ?? "").includes(name)
            ) || JSON.stringify(definition).includes(name)
          );
          expect(said, `${name} in ${JSON.stringify(changed)}`).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("whatever it is given", () => {
  it("it answers, and stops for none of the others", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<Source>("server", "client", "campaigns", "automations"),
        fc.oneof(
          fc.jsonValue(),
          fc.constantFrom(...everything.map(([, , row]) => row)),
        ),
        fc.jsonValue(),
        fc.nat(),
        (source, row, junk, where) => {
          const changed = structuredClone(row) as Json;
          // One value of a good definition becomes rubbish.
          const spots: [JsonObject | Json[], string | number][] = [];
          const walk = (at: Json) => {
            if (Array.isArray(at)) {
              at.forEach((
                item,
                place,
              ) => (spots.push([at, place]), walk(item)));
            } else if (isObject(at)) {
              Object.entries(at).forEach((
                [name, item],
              ) => (spots.push([at, name]), walk(item)));
            }
          };
          walk(changed);
          if (spots.length > 0) {
            const [owner, name] = spots[where % spots.length]!;
            (owner as JsonObject)[name as string] = junk as Json;
          }
          const made = translate({ source, rows: [changed] }, { choices: safeChoices });
          expect(made.length).toBeGreaterThan(0);
          for (const one of made) {
            if ("problem" in one) expect(one.problem).not.toBe("");
            else expect(one.definition.steps.length).toBeGreaterThan(0);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
