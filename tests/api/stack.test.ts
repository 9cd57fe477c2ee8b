// The HTTP API on the whole stack: two offices, their people, and what each may do.
import { createHmac, randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { got, Office, useStack } from "../stories/support.ts";
import { waitFor } from "../support/standins.ts";
import { apiOf, type Call, caller, unsigned } from "./support.ts";

interface Execution {
  id: string;
  tenant_id: string;
  status: string;
  trigger_type: string;
}

interface Executed {
  execution_ids: string[];
  executions: Execution[];
}

const stage = useStack(() => ({ heartbeat: false }));
const task = { step_type: "create_task", step_config: { title: "Call {{contact.first_name}}" } };
const never = { step_type: "wait", step_config: { days: 10 } };

let apex: Office;
let blue: Office;
let asApex: Call;
let asBlue: Call;
let asService: Call;
let apexToken: string;
let maria: string;
let welcome: string;

async function tokenOf(office: Office): Promise<string> {
  const { data } = await office.client.auth.getSession();
  if (!data.session) throw new Error("Nobody is signed in");
  return data.session.access_token;
}

beforeAll(async () => {
  apex = await Office.open(stage(), "Apex Roofing");
  blue = await Office.open(stage(), "Blue Ridge Solar");
  const { publishableKey, secretKey } = stage().stack;
  apexToken = await tokenOf(apex);
  asApex = caller(apiOf(stage()), { token: apexToken, apikey: publishableKey });
  asBlue = caller(apiOf(stage()), { token: await tokenOf(blue), apikey: publishableKey });
  asService = caller(apiOf(stage()), { apikey: secretKey });
  maria = await apex.lead();
  welcome = await apex.workflow({ trigger_type: "manual", steps: [task] });
});

const executionsOf = async (office: Office) =>
  Number(
    (await stage().sql`
      select count(*) from ridgeline.workflow_executions where tenant_id = ${office.tenantId}`)[0]
      ?.count,
  );

describe("starting workflows", () => {
  it("starts one workflow for a contact", async () => {
    const { status, body } = await asApex<Executed>("POST", "/execute", {
      workflow_id: welcome,
      trigger_data: { contact_id: maria },
    });
    expect(status).toBe(200);
    expect(body.executions).toMatchObject([{
      id: body.execution_ids[0],
      tenant_id: apex.tenantId,
      workflow_id: welcome,
      trigger_type: "manual",
      record_id: maria,
    }]);
    await stage().sql`select automation.tick()`;
    const [done] = await stage().sql`
      select title from public.tasks where execution_id = ${body.execution_ids[0]!}`;
    expect(done).toEqual({ title: "Call Maria" });
  });

  it("fires every workflow that listens to a trigger", async () => {
    const ids = await Promise.all(
      [1, 2].map((one) =>
        apex.workflow({ name: `Won ${one}`, trigger_type: "project_won", steps: [task] })
      ),
    );
    const { status, body } = await asApex<Executed>("POST", "/execute", {
      trigger_type: "project_won",
      trigger_data: { contact_id: maria },
    });
    expect(status).toBe(200);
    expect(body.executions).toHaveLength(2);
    expect(body.executions).toEqual(
      expect.arrayContaining(ids.map((id) => expect.objectContaining({ workflow_id: id }))),
    );
  });

  it("starts for the service with a key, which names the tenant", async () => {
    const body = { trigger_type: "call_completed", trigger_data: {} };
    await apex.workflow({ trigger_type: "call_completed", steps: [never] });
    const unnamed = await asService("POST", "/execute", body);
    expect(unnamed).toMatchObject({
      status: 422,
      body: { errors: [{ field: "tenant_id", message: "which tenant is meant?" }] },
    });
    const named = await asService<Executed>("POST", "/execute", {
      ...body,
      tenant_id: apex.tenantId,
    });
    expect(named).toMatchObject({ status: 200, body: { executions: [{ status: "pending" }] } });
    const other = await asService<Executed>("POST", "/execute", {
      ...body,
      tenant_id: blue.tenantId,
    });
    expect(other).toMatchObject({ status: 200, body: { execution_ids: [] } });
  });

  it("undoes what it started when the workflow turns out to be another tenant's", async () => {
    const before = await executionsOf(apex);
    const { status } = await asService("POST", "/execute", {
      workflow_id: welcome,
      trigger_data: { contact_id: maria },
      tenant_id: blue.tenantId,
    });
    expect(status).toBe(404);
    expect(await executionsOf(apex)).toBe(before);
  });

  it("answers what cannot be: unknown trigger, unknown record, inactive workflow", async () => {
    expect(await asApex("POST", "/execute", { trigger_type: "full_moon" })).toMatchObject({
      status: 422,
      body: {
        errors: [{ field: "trigger_type", fix: expect.stringContaining("contact_created") }],
      },
    });
    const gone = randomUUID();
    expect(
      await asApex("POST", "/execute", {
        workflow_id: welcome,
        trigger_data: { contact_id: gone },
      }),
    ).toMatchObject({
      status: 404,
      body: { code: "not_found", errors: [{ field: "contact_id" }] },
    });
    const draft = await apex.workflow({ trigger_type: "manual", steps: [task] });
    got(
      await apex.client.schema("ridgeline").from("workflows").update({ is_active: false }).eq(
        "id",
        draft,
      ).select(),
    );
    expect(
      await asApex("POST", "/execute", { workflow_id: draft, trigger_data: { contact_id: maria } }),
    ).toMatchObject({
      status: 409,
      body: { code: "conflict", errors: [{ field: "workflow_id" }] },
    });
  });
});

describe("enrolling many records", () => {
  interface Enrolled {
    enrollment: Record<string, unknown> & { id: string };
    errors?: { field: string; fix: string }[];
    code?: string;
  }
  let storm: string;
  let leads: string[];
  beforeAll(async () => {
    storm = await apex.workflow({ name: "Storm", trigger_type: "manual", steps: [task] });
    const rows = got(
      await apex.client.from("contacts").insert(
        ["78701", "78701", "10001"].map((postal_code, place) => ({
          tenant_id: apex.tenantId,
          first_name: `Storm ${place}`,
          postal_code,
        })),
      ).select("id"),
    );
    leads = rows.map(({ id }) => id);
  });
  const inAustin = [{ field: "contact.postal_code", operator: "equals", value: "78701" }];
  const runs = async () =>
    (await stage().sql<{ first_name: string; note: string | null }[]>`
      select trigger_data #>> '{contact,first_name}' as first_name, trigger_data ->> 'note' as note
      from ridgeline.workflow_executions
      where workflow_id = ${storm} order by id`).map(({ first_name, note }) =>
      note ? `${first_name} ${note}` : first_name
    );

  it("takes a list at once, with data of its own, once for a key", async () => {
    const key = randomUUID();
    const body = {
      workflow_id: storm,
      record_ids: [leads[0]!, randomUUID()],
      data: { note: "hail" },
    };
    const first = await asApex<Enrolled>("POST", "/enroll", body, { key });
    expect(first).toMatchObject({
      status: 200,
      body: {
        enrollment: {
          workflow_id: storm,
          kind: "manual",
          status: "completed",
          entity: "contact",
          total: 2,
          enrolled: 1,
          skipped: 1,
          failed: 0,
          finished_at: expect.any(String),
        },
      },
    });
    const again = await asApex<Enrolled>("POST", "/enroll", body, { key });
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await runs()).toEqual(["Storm 0 hail"]);
  });

  it("takes a filter as the ticks go on, and tells how far it has come", async () => {
    const before = (await runs()).length;
    const started = await asApex<Enrolled>("POST", "/enroll", {
      workflow_id: storm,
      filter: inAustin,
      per_minute: 60,
    });
    expect(started).toMatchObject({
      status: 200,
      body: { enrollment: { status: "running", scanned: 0, total: null, per_minute: 60 } },
    });
    const path = `/enroll?enrollment_id=${started.body.enrollment.id}`;
    await stage().sql`select automation.tick()`;
    expect(await asApex<Enrolled>("GET", path)).toMatchObject({
      status: 200,
      body: { enrollment: { status: "completed", enrolled: 2, error: null } },
    });
    expect((await runs()).slice(before).toSorted()).toEqual(["Storm 0", "Storm 1"]);
  });

  it("is stopped where it stands, and stopping it twice is no error", async () => {
    const before = await runs();
    const started = await asApex<Enrolled>("POST", "/enroll", { workflow_id: storm, filter: [] });
    const enrollment_id = started.body.enrollment.id;
    for (const _ of [1, 2]) {
      expect(await asApex<Enrolled>("POST", "/enroll/cancel", { enrollment_id })).toMatchObject({
        status: 200,
        body: { enrollment: { status: "cancelled", error: { code: "cancelled" } } },
      });
    }
    await stage().sql`select automation.tick()`;
    expect(await runs()).toEqual(before);
  });

  it.each<[string, object, string]>([
    ["no records", {}, "record_ids"],
    ["an empty list", { record_ids: [] }, "record_ids"],
    ["a pace that is none", { filter: [], per_minute: 0 }, "per_minute"],
    ["a member too many", { filter: [], speed: 1 }, "speed"],
    [
      "a filter that cannot be read",
      { filter: [{ field: "stage", operator: "is like" }] },
      "filter[0].operator",
    ],
    ["an entity there is none of", { filter: [], entity: "yacht" }, "entity"],
  ])("names the mistake: %s", async (_name, request, field) => {
    const { status, body } = await asApex<Enrolled>("POST", "/enroll", {
      workflow_id: storm,
      ...request,
    } as never);
    expect(status).toBe(422);
    expect(body.code).toBe("invalid_request");
    expect(body.errors!.map((error) => error.field)).toContain(field);
  });

  it("answers 409 for a workflow that is off", async () => {
    const off = await apex.workflow({ trigger_type: "manual", steps: [task] });
    got(
      await apex.client.schema("ridgeline").from("workflows").update({ is_active: false }).eq(
        "id",
        off,
      ).select(),
    );
    expect(await asApex("POST", "/enroll", { workflow_id: off, filter: [] })).toMatchObject({
      status: 409,
      body: { errors: [{ field: "workflow_id" }] },
    });
  });

  it("is nobody else's: not to start, not to read, not to stop", async () => {
    const started = await asApex<Enrolled>("POST", "/enroll", { workflow_id: storm, filter: [] });
    const enrollment_id = started.body.enrollment.id;
    const denied = [
      await asBlue("POST", "/enroll", { workflow_id: storm, filter: [] }),
      await asBlue("GET", `/enroll?enrollment_id=${enrollment_id}`),
      await asBlue("POST", "/enroll/cancel", { enrollment_id }),
      await asService("POST", "/enroll", {
        workflow_id: storm,
        filter: [],
        tenant_id: blue.tenantId,
      }),
    ];
    expect(denied.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
    const theirs = await blue.lead();
    const foreign = await asApex<Enrolled>("POST", "/enroll", {
      workflow_id: storm,
      record_ids: [theirs],
    });
    expect(foreign.body.enrollment).toMatchObject({ enrolled: 0, skipped: 1 });
    expect(await asService<Enrolled>("GET", `/enroll?enrollment_id=${enrollment_id}`))
      .toMatchObject({ status: 200, body: { enrollment: { id: enrollment_id } } });
    await asApex("POST", "/enroll/cancel", { enrollment_id });
  });
});

describe("stopping, retrying, publishing, checking", () => {
  it("cancels an execution and retries a failed one", async () => {
    const slow = await apex.workflow({ trigger_type: "manual", steps: [never] });
    const { body } = await asApex<Executed>("POST", "/execute", {
      workflow_id: slow,
      trigger_data: { contact_id: maria },
    });
    const id = body.execution_ids[0]!;
    expect(await asApex("POST", "/retry", { execution_id: id })).toMatchObject({
      status: 409,
      body: { errors: [{ field: "execution_id" }] },
    });
    expect(await asApex("POST", "/cancel", { execution_id: id })).toMatchObject({
      status: 200,
      body: { execution: { id, status: "cancelled", finished_at: expect.any(String) } },
    });
    await stage().sql`
      update ridgeline.workflow_executions
      set status = 'failed', error = '{"code": "broken", "message": "it broke"}'
      where id = ${id}`;
    expect(await asApex("POST", "/retry", { execution_id: id })).toMatchObject({
      status: 200,
      body: { execution: { id, status: "pending", error: null } },
    });
  });

  it("publishes a workflow, or says everything that is wrong with it", async () => {
    expect(await asApex("POST", "/publish", { workflow_id: welcome })).toMatchObject({
      status: 200,
      body: { workflow_id: welcome, version: 1, trigger_type: "manual" },
    });
    const { id } = got(
      await apex.client.schema("ridgeline").from("workflows")
        .insert({ tenant_id: apex.tenantId, name: "Broken", trigger_type: "manual" })
        .select("id").single(),
    );
    const wrong = { tenant_id: apex.tenantId, workflow_id: id, step_type: "create_task" };
    got(
      await apex.client.schema("ridgeline").from("workflow_steps").insert([
        { ...wrong, step_order: 1, step_config: {} },
        { ...wrong, step_order: 2, step_config: { title: "{{ broken" } },
      ]).select("id"),
    );
    const refused = await asApex<{ errors: unknown[] }>("POST", "/publish", { workflow_id: id });
    expect(refused).toMatchObject({ status: 422, body: { code: "invalid_workflow" } });
    expect(refused.body.errors.length).toBeGreaterThan(1);
    const checked = await asApex<{ problems: unknown[] }>("POST", "/validate", { workflow_id: id });
    expect(checked).toMatchObject({ status: 200, body: { valid: false } });
    expect(checked.body.problems.length).toBe(refused.body.errors.length);
    expect(await asApex("POST", "/test", { workflow_id: id })).toMatchObject({
      status: 200,
      body: { valid: false },
    });
  });

  it("tries a workflow without doing anything", async () => {
    const before = await executionsOf(apex);
    const { status, body } = await asApex("POST", "/test", {
      workflow_id: welcome,
      trigger_data: { contact_id: maria },
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      valid: true,
      enrolls: true,
      path: [{ type: "create_task", input: { title: "Call Maria" } }],
    });
    expect(await executionsOf(apex)).toBe(before);
  });

  it("publishes, enrols who is there already, and moves runs to the new version", async () => {
    const id = await apex.workflow({
      name: "Wait and call",
      trigger_config: { source: "fair" },
      steps: [
        { step_type: "wait", step_config: { days: 3 } },
        { step_type: "create_task", step_config: { title: "Call" } },
      ],
    });
    const contact = await apex.lead({ source: "fair" });
    const runs = async () =>
      got(
        await apex.client.schema("ridgeline").from("workflow_executions").select(
          "id, version, record_id",
        )
          .eq("workflow_id", id).order("created_at"),
      );
    got(
      await apex.client.schema("ridgeline").from("workflow_steps").update({
        step_config: { title: "Ring" },
      })
        .eq("workflow_id", id).eq("step_type", "create_task").select("id"),
    );
    expect(
      await asApex("POST", "/publish", {
        workflow_id: id,
        enroll_existing: {
          filter: [{ field: "contact.source", operator: "equals", value: "fair" }],
          per_minute: 600,
        },
      }),
    ).toMatchObject({ status: 200, body: { version: 2 } });
    await stage().sql`select automation.tick()`;
    expect((await runs()).map(({ version, record_id }) => [version, record_id]))
      .toEqual([[1, contact], [2, contact]]);
    expect(await asApex("POST", "/move", { workflow_id: id })).toEqual(
      expect.objectContaining({ status: 200, body: { version: 2, moved: 1, kept: [] } }),
    );
    expect((await runs()).map(({ version }) => version)).toEqual([2, 2]);
    expect(
      await asApex("POST", "/test", {
        workflow_id: id,
        trigger_data: { contact_id: contact },
        options: { version: 1, at: "2026-12-24T09:00:00Z" },
      }),
    ).toMatchObject({
      status: 200,
      body: {
        path: [{ at: "2026-12-24T09:00:00+00:00" }, { input: { title: "Call" } }],
        ended: { status: "completed" },
      },
    });
    for (
      const [path, request, field] of [
        ["/test", { workflow_id: id, options: { clock: 1 } }, /options/],
        ["/test", { workflow_id: id, options: { version: "latest" } }, /options.version/],
        ["/publish", { workflow_id: id, enroll_existing: { per_minute: 0 } }, /per_minute/],
        ["/move", { workflow_id: id, execution_ids: ["all"] }, /execution_ids/],
      ] as const
    ) {
      const answer = await asApex<{ errors: { field: string }[] }>("POST", path, request);
      expect([path, answer.status]).toEqual([path, 422]);
      expect(answer.body.errors[0]?.field).toMatch(field);
    }
    expect(await asApex("POST", "/move", { workflow_id: id, to_version: 9 }))
      .toMatchObject({ status: 404 });
  });
});

describe("history", () => {
  interface History {
    executions: (Execution & { steps: unknown[]; workflow_name: string })[];
    next_cursor: string | null;
  }

  it("pages through a hundred executions of one moment, each once, newest first", async () => {
    const bulk = await apex.workflow({ name: "Bulk", steps: [never] });
    got(
      await apex.client.from("contacts").insert(
        Array.from({ length: 100 }, () => ({ tenant_id: apex.tenantId, first_name: "Bulk" })),
      ).select("id"),
    );
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: string | null = ""; cursor !== null; pages++) {
      const { status, body }: { status: number; body: History } = await asApex<History>(
        "GET",
        `/history?workflow_id=${bulk}&limit=30${cursor ? `&cursor=${cursor}` : ""}`,
      );
      expect(status).toBe(200);
      seen.push(...body.executions.map(({ id }) => id));
      cursor = body.next_cursor;
    }
    expect(pages).toBe(4);
    expect(new Set(seen).size).toBe(100);
    expect(seen).toEqual(seen.toSorted().toReversed());
  });

  it("is what SQL answers: one function, whoever asks, and ids of the CRM as text", async () => {
    const { body } = await asApex<History>("GET", "/history?limit=5");
    const asked = got(
      await apex.client.schema("ridgeline").rpc("get_execution_history", { max_rows: 5 }),
    ) as { id: string }[];
    expect(asked.length).toBe(5);
    expect(body.executions.map(({ id }) => id)).toEqual(asked.map(({ id }) => id));
    expect(Object.keys(body.executions[0] ?? {}).toSorted()).toEqual(
      Object.keys(asked[0] ?? {}).toSorted(),
    );
    expect(await asApex("GET", "/history?contact_id=4711")).toMatchObject({
      status: 200,
      body: { executions: [] },
    });
  });

  it("narrows by contact, status, trigger and execution, with the steps", async () => {
    const contact = await apex.lead({ first_name: "Otto" });
    const { body: { execution_ids: [id] } } = await asApex<Executed>("POST", "/execute", {
      workflow_id: welcome,
      trigger_data: { contact_id: contact },
    });
    await stage().sql`select automation.tick()`;
    for (
      const query of [
        `contact_id=${contact}&workflow_id=${welcome}`,
        `execution_id=${id}`,
        `record_id=${contact}&trigger_type=manual&status=completed`,
      ]
    ) {
      const { body } = await asApex<History>("GET", `/history?${query}`);
      expect(body).toMatchObject({
        executions: [{
          id,
          status: "completed",
          workflow_name: "Greet",
          steps: [{ step_type: "create_task", status: "completed" }],
        }],
        next_cursor: null,
      });
    }
    const none = await asApex<History>("GET", `/history?contact_id=${contact}&status=failed`);
    expect(none.body.executions).toEqual([]);
  });

  it.each([
    "+275760-09-13T00:00:00.000Z",
    "0000-01-01T00:00:00Z",
    "-000001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2026-01-01T00:00:00+23:59",
    "2026-01-01T00:00:00-16:00",
    `2026-01-01T00:00:00.${"0".repeat(300)}Z`,
    "infinity",
    "-infinity",
    "now",
    "2026-02-30T00:00:00Z",
    "",
    "8640000000000000",
  ])("refuses the date %s wherever one is named", async (date) => {
    for (const name of ["since", "until"]) {
      const answer = await asApex("GET", `/history?${name}=${encodeURIComponent(date)}`);
      expect(answer).toMatchObject({
        status: 422,
        body: { code: "invalid_request", errors: [{ field: name }] },
      });
    }
    const tried = await asApex("POST", "/test", {
      workflow_id: welcome,
      trigger_data: { contact_id: maria },
      options: { at: date },
    });
    expect(tried).toMatchObject({ status: 422, body: { errors: [{ field: "options.at" }] } });
  });

  it("wants a tenant from the service and refuses what it does not know", async () => {
    expect(await asService("GET", "/history")).toMatchObject({
      status: 422,
      body: { errors: [{ field: "tenant_id" }] },
    });
    expect(await asService("GET", `/history?tenant_id=${apex.tenantId}`)).toMatchObject({
      status: 200,
    });
    expect(await asApex("GET", "/history?limit=1000&colour=red&cursor=x")).toMatchObject({
      status: 422,
      body: {
        errors: expect.arrayContaining([
          expect.objectContaining({ field: "limit" }),
          expect.objectContaining({ field: "colour" }),
        ]),
      },
    });
    expect(await asApex("GET", "/history?cursor=x")).toMatchObject({
      status: 422,
      body: { errors: [{ field: "cursor" }] },
    });
  });
});

describe("whose rights count", () => {
  it("another office's workflows, executions and history do not exist", async () => {
    const { body } = await asApex<Executed>("POST", "/execute", {
      workflow_id: welcome,
      trigger_data: { contact_id: maria },
    });
    const execution_id = body.execution_ids[0]!;
    const before = await executionsOf(apex);
    for (
      const [path, request] of [
        ["/execute", { workflow_id: welcome, trigger_data: { contact_id: maria } }],
        ["/execute", { trigger_type: "manual", tenant_id: apex.tenantId }],
        ["/test", { workflow_id: welcome }],
        ["/publish", { workflow_id: welcome }],
        ["/move", { workflow_id: welcome }],
        ["/validate", { workflow_id: welcome }],
        ["/cancel", { execution_id }],
        ["/retry", { execution_id }],
      ] as const
    ) {
      const answer = await asBlue("POST", path, request);
      expect([path, answer.status, answer.body.code]).toEqual([path, 404, "not_found"]);
    }
    for (const query of [`?execution_id=${execution_id}`, `?tenant_id=${apex.tenantId}`]) {
      const answer = await asBlue("GET", `/history${query}`);
      expect(answer).toMatchObject({ status: 200, body: { executions: [] } });
    }
    expect(await executionsOf(apex)).toBe(before);
  });

  it("a user who carries the secret key as well still acts as the user", async () => {
    const { secretKey } = stage().stack;
    const answer = await asBlue("POST", "/validate", { workflow_id: welcome }, {
      apikey: secretKey,
    });
    expect(answer.status).toBe(404);
  });

  it("nobody gets in without credentials, or with the publishable key alone", async () => {
    const { publishableKey } = stage().stack;
    const bare = caller(apiOf(stage()));
    for (
      const options of [{}, { apikey: publishableKey }, {
        apikey: publishableKey,
        token: publishableKey,
      }, { token: stage().stack.secretKey }]
    ) {
      const answer = await bare("POST", "/validate", { workflow_id: welcome }, options);
      expect(answer).toMatchObject({ status: 401, body: { code: "unauthorized" } });
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    }
  });

  it("forged tokens are refused by the real Auth server", async () => {
    const payload: Record<string, unknown> = JSON.parse(
      Buffer.from(apexToken.split(".")[1]!, "base64url").toString(),
    );
    const [header, , signature] = apexToken.split(".");
    const reuse = (claims: object) =>
      `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`;
    const hs256 = (claims: object, secret: string) => {
      const content = unsigned({ alg: "HS256", typ: "JWT" }, claims).replace(/\.$/, "");
      return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
    };
    const forged = {
      "alg none": unsigned({ alg: "none", typ: "JWT" }, payload),
      "alg None with a signature": unsigned({ alg: "None" }, payload, signature),
      "another payload": reuse({ ...payload, role: "service_role" }),
      "another user": reuse({ ...payload, sub: randomUUID() }),
      "wrong secret": hs256(payload, "not the secret of this project, but as long as one"),
      "the key as secret": hs256(payload, stage().stack.publishableKey),
      "self-made service_role": hs256({ ...payload, role: "service_role" }, "guess"),
      "expired": hs256({ ...payload, exp: 1 }, "guess"),
      "an unknown key": unsigned({ alg: "ES256", kid: "mine" }, payload, signature),
      "no JWT": "abc",
    };
    for (const [name, token] of Object.entries(forged)) {
      const answer = await asApex("POST", "/validate", { workflow_id: welcome }, { token });
      expect([name, answer.status, answer.body.code]).toEqual([name, 401, "invalid_token"]);
    }
  });
});

describe("Idempotency-Key", () => {
  const request = () => ({ workflow_id: welcome, trigger_data: { contact_id: maria } });

  it("does the work once and answers the same, whatever the order of members", async () => {
    const key = randomUUID();
    const before = await executionsOf(apex);
    const first = await asApex("POST", "/execute", request(), { key });
    expect(first.status).toBe(200);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const { workflow_id, trigger_data } = request();
    const again = await asApex("POST", "/execute", { trigger_data, workflow_id }, {
      key: `"${key}"`,
    });
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await executionsOf(apex)).toBe(before + 1);
  });

  it("refuses the key for another body, and for another path", async () => {
    const key = randomUUID();
    await asApex("POST", "/execute", request(), { key });
    const other = { workflow_id: welcome, trigger_data: { contact_id: maria, note: "2" } };
    expect(await asApex("POST", "/execute", other, { key })).toMatchObject({
      status: 422,
      body: { code: "idempotency_key_reused", errors: [{ field: "Idempotency-Key" }] },
    });
    expect(await asApex("POST", "/api/automations/execute", other, { key })).toMatchObject({
      status: 400,
      body: { success: false, error: { code: "VALIDATION_ERROR" } },
    });
  });

  it("keeps the keys of users and tenants apart", async () => {
    const key = randomUUID();
    const mine = await asApex<Executed>("POST", "/execute", request(), { key });
    const theirs = await blue.workflow({ trigger_type: "manual", steps: [task] });
    const otto = await blue.lead();
    const blues = await asBlue<Executed>("POST", "/execute", {
      workflow_id: theirs,
      trigger_data: { contact_id: otto },
    }, { key });
    expect(blues.status).toBe(200);
    expect(blues.body.execution_ids).not.toEqual(mine.body.execution_ids);
    const service = await asService("POST", "/execute", request(), { key });
    expect(service.headers.get("idempotency-replayed")).toBeNull();
  });

  it("carries out one of many that arrive at once", async () => {
    const key = randomUUID();
    const before = await executionsOf(apex);
    const all = await Promise.all(
      Array.from({ length: 8 }, () => asApex("POST", "/execute", request(), { key })),
    );
    expect(all.every(({ status }) => status === 200 || status === 409)).toBe(true);
    expect(all.some(({ status }) => status === 200)).toBe(true);
    expect(await executionsOf(apex)).toBe(before + 1);
  });

  it("answers 409 while the first is under way", async () => {
    const key = randomUUID();
    const { data } = await apex.client.auth.getUser();
    await stage().sql.begin(async (sql) => {
      await sql`
        select automation.begin_request(${`user:${data.user!.id}`}, ${key}, '{}'::jsonb)`;
      expect(await asApex("POST", "/execute", request(), { key })).toMatchObject({
        status: 409,
        body: { code: "request_in_flight" },
      });
    });
    expect((await asApex("POST", "/execute", request(), { key })).status).toBe(200);
  });

  it("a request that failed has kept nothing: mended, it goes through", async () => {
    const key = randomUUID();
    const gone = { workflow_id: welcome, trigger_data: { contact_id: randomUUID() } };
    expect((await asApex("POST", "/execute", gone, { key })).status).toBe(404);
    expect((await asApex("POST", "/execute", request(), { key })).status).toBe(200);
  });

  it("forgets a key after a day, and the row with it", async () => {
    const key = randomUUID();
    const first = await asApex<Executed>("POST", "/execute", request(), { key });
    await stage().sql`update automation.idempotency_keys set expires_at = automation.now()`;
    const second = await asApex<Executed>("POST", "/execute", request(), { key });
    expect(second.body.execution_ids).not.toEqual(first.body.execution_ids);
    const [left] = await stage().sql`select count(*)::int as keys from automation.idempotency_keys`;
    expect(left).toEqual({ keys: 1 });
  });
});

describe("which engine works", () => {
  it("is said and asked by owners, each of their own office", async () => {
    expect(await asApex("POST", "/engine", { engine: "shadow" })).toMatchObject({
      status: 200,
      body: { tenant_id: apex.tenantId, engine: "shadow", was: "on" },
    });
    expect(await asApex("GET", "/engine")).toMatchObject({
      status: 200,
      body: { engine: "shadow", begun_there_since: null },
    });
    expect(await asBlue("GET", "/engine")).toMatchObject({ body: { engine: "on" } });
    expect(await asBlue("POST", "/engine", { engine: "off", tenant_id: apex.tenantId }))
      .toMatchObject({
        status: 404,
      });
    expect(await asApex("POST", "/engine", { engine: "loud" })).toMatchObject({
      status: 422,
      body: { errors: [{ field: "engine" }] },
    });
    expect(await asApex("POST", "/compare", { tolerance_minutes: 30 })).toMatchObject({
      status: 200,
      body: { runs: 0, text: "0 runs, 0 identical, 0 differ" },
    });
    expect(await asService("POST", "/compare", {})).toMatchObject({
      status: 422,
      body: { errors: [{ field: "tenant_id" }] },
    });
    expect(await asApex("POST", "/engine", { engine: "on" })).toMatchObject({
      status: 200,
      body: { was: "shadow", stop_calling: [{ call: "/api/cron/process-workflows" }] },
    });
  });
});

describe("what anybody may ask", () => {
  it("health and the document need no credentials", async () => {
    const anybody = caller(apiOf(stage()));
    expect(await anybody("GET", "/health")).toMatchObject({ status: 200, body: { status: "ok" } });
    expect(await anybody("GET", "/openapi.json")).toMatchObject({
      status: 200,
      body: { openapi: "3.1.0" },
    });
  });

  it("a monitor hears whether something ticks, and nothing else", async () => {
    const anybody = caller(apiOf(stage()));
    const { sql } = stage();
    const asked = () => anybody("GET", "/health/engine");
    await sql`select automation.tick()`;
    expect(await asked()).toMatchObject({ status: 200, body: { status: "ok" } });
    // Whatever ticks here does so again at once.
    await waitFor("a moment in which nothing has ticked for an hour", async () => {
      await sql`update automation.heartbeats set at = now() - interval '1 hour' where name = 'tick'`;
      const { status, body } = await asked();
      return status === 503 && (body as { code?: string }).code === "engine_stopped";
    });
    await sql`select automation.beat('tick')`;
    expect(await asked()).toMatchObject({ status: 200 });
    expect(await anybody("POST", "/health/engine")).toMatchObject({ status: 405 });
  });

  it("supabase-js calls it from a page, preflight included", async () => {
    const { data, error } = await apex.client.functions.invoke("workflows/validate", {
      body: { workflow_id: welcome },
    });
    expect(error).toBeNull();
    expect(data).toMatchObject({ valid: true });
    const preflight = await fetch(`${apiOf(stage())}/execute`, { method: "OPTIONS" });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-headers")).toContain("idempotency-key");
  });
});
