// The package for callers: what it says of a step is what publishing says, as far as a schema can tell.
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
