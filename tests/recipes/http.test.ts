// Recipes over the HTTP API: listed, installed, exported and imported, each with the caller's own rights.
import type { JSONValue } from "postgres";
import { beforeAll, describe, expect, it } from "vitest";
import { apiOf, type Call, caller } from "../api/support.ts";
import { Office, useStack } from "../stories/support.ts";

interface Drafts {
  recipe: string;
  workflows: { workflow_id: string; name: string; problems: { severity: string }[] }[];
}
type Document = {
  questions: { name: string }[];
  workflows: JSONValue[];
};
interface Refusal {
  code: string;
  errors: { field: string; message: string; fix: string }[];
}

const stage = useStack(() => ({ heartbeat: false }));
let apex: Office;
let asApex: Call;
let asBlue: Call;
let asService: Call;

beforeAll(async () => {
  apex = await Office.open(stage(), "Apex Roofing");
  const blue = await Office.open(stage(), "Blue Ridge Solar");
  await stage().sql`update public.tenants set address = '1 Main St, Austin TX'`;
  const { publishableKey: apikey, secretKey } = stage().stack;
  const token = async ({ client }: Office) =>
    (await client.auth.getSession()).data.session!.access_token;
  asApex = caller(apiOf(stage()), { token: await token(apex), apikey });
  asBlue = caller(apiOf(stage()), { token: await token(blue), apikey });
  asService = caller(apiOf(stage()), { apikey: secretKey });
});

const drafts = async () =>
  Number((await stage().sql`select count(*) from ridgeline.workflows`)[0]?.count);

describe("recipes over HTTP", () => {
  it("are listed with what they need and ask", async () => {
    const { status, body } = await asApex<
      { recipes: { name: string; questions: { ask: string }[] }[] }
    >(
      "GET",
      "/recipes",
    );
    expect([status, body.recipes.length]).toEqual([200, 10]);
    const one = await asApex<typeof body>("GET", "/recipes?recipe=review-request");
    expect(one.body.recipes.map(({ name }) => name)).toEqual(["review-request"]);
    expect(one.body.recipes[0]!.questions[0]).toMatchObject({
      ask: "Where do customers write a review?",
    });
  });

  it("say what is not answered, and write nothing", async () => {
    const before = await drafts();
    const { status, body } = await asApex<Refusal>("POST", "/recipes/install", {
      recipe: "review-request",
      answers: { send_at: "late", balence: "x" },
    });
    expect([status, body.code]).toEqual([422, "invalid_request"]);
    expect(body.errors.map(({ field }) => field)).toEqual([
      "answers.balence",
      "answers.review_url",
      "answers.send_at",
    ]);
    expect(body.errors[1]!.fix).toBe("Where do customers write a review?");
    for (
      const [recipe, expected] of [
        ["no-such-recipe", 404],
        [{ name: "x", workflows: "all" }, 422],
        [{ name: "x".repeat(1_100_000), workflows: [] }, 413],
        [7, 422],
      ] as const
    ) {
      expect((await asApex("POST", "/recipes/install", { recipe })).status).toBe(expected);
    }
    expect(await drafts()).toBe(before);
  });

  it("become drafts, which are exported, and imported where they came from and elsewhere", async () => {
    const installed = await asApex<Drafts>("POST", "/recipes/install", {
      recipe: "review-request",
      answers: { review_url: "https://g.page/r/apex" },
    });
    expect(installed.status).toBe(200);
    expect(installed.body).toMatchObject({
      recipe: "review-request",
      workflows: [{ name: "Review request" }],
    });
    const { workflow_id } = installed.body.workflows[0]!;
    const [row] = await stage().sql`
      select tenant_id::text, status, is_active from ridgeline.workflows where id = ${workflow_id}`;
    expect(row).toEqual({ tenant_id: apex.tenantId, status: "draft", is_active: false });
    // Another office's workflow does not exist.
    expect((await asBlue("GET", `/export?workflow_id=${workflow_id}`)).status).toBe(404);
    const exported = await asApex<Document>("GET", `/export?workflow_id=${workflow_id}`);
    expect(exported.body.questions).toEqual([]);
    for (const call of [asApex, asBlue]) {
      const imported = await call<{ workflow_id: string }>("POST", "/import", {
        document: exported.body,
      });
      expect(imported.status).toBe(200);
      const again = await call<Document>("GET", `/export?workflow_id=${imported.body.workflow_id}`);
      expect(again.body.workflows).toEqual(exported.body.workflows);
    }
  });

  it("want a tenant from the service", async () => {
    const recipe = "review-request";
    const answers = { review_url: "https://g.page/r/apex" };
    expect((await asService("POST", "/recipes/install", { recipe, answers })).status).toBe(422);
    expect(
      (await asService("POST", "/recipes/install", { recipe, answers, tenant_id: apex.tenantId }))
        .status,
    )
      .toBe(200);
  });
});
