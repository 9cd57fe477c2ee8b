// The package for callers: what it says of a step is what publishing says, as far as a schema can tell.
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { checkStepConfig, stepTypes } from "../../packages/client/index.ts";

describe("checkStepConfig", () => {
  it.each(stepTypes.map(({ name, config_schema }) => [name, config_schema.examples] as const))(
    "takes the examples of %s",
    (name, examples) => {
      for (const example of examples) expect(checkStepConfig(name, example)).toEqual([]);
    },
  );

  it("names what is missing or wrong", () => {
    expect(checkStepConfig("send_sms", {})).toMatchObject([{ path: "body" }]);
    expect(checkStepConfig("send_sms", { body: "" })).toEqual([
      { path: "body", message: "must NOT have fewer than 1 characters" },
    ]);
    expect(checkStepConfig("create_task", { title: { a: 1 } })).toMatchObject([{ path: "title" }]);
    expect(checkStepConfig("wait", { timeout: "1 day" }).length).toBeGreaterThan(0);
  });

  it("says which types of steps there are", () => {
    expect(() => checkStepConfig("send_fax" as never, {})).toThrow(/send_fax.*send_sms/);
  });
});

it("is where everything is that no function imports", () => {
  const functions = path.resolve(import.meta.dirname, "../../functions");
  const files = fs.readdirSync(functions, { recursive: true, encoding: "utf8" })
    .filter((name) => /(?<!\.d)\.ts$/.test(name)).map((name) => path.join(functions, name));
  const reached = new Set(files.filter((file) => file.endsWith("/index.ts")));
  for (const file of reached) {
    for (const [, to] of fs.readFileSync(file, "utf8").matchAll(/(?:from|import) "(\.[^"]+)"/g)) {
      reached.add(path.resolve(path.dirname(file), to!));
    }
  }
  expect(files.filter((file) => !reached.has(file))).toEqual([]);
  expect([...reached].filter((file) => !files.includes(file))).toEqual([]);
});
