// One tenant against another, over REST, by class; how many attempts of each class were made and held is printed.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Client } from "../../scripts/lib/client.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";
import { waitFor } from "../support/standins.ts";

interface Member {
  client: Client;
  userId: string;
  tenantId: string;
}

let stage: TestStack;
let apex: Member;
let rival: Member;
const tally = new Map<string, { made: number; held: number }>();

/** supabase-js knows the tables' types; an attacker does not keep to them. */
interface Loose {
  from(table: string): {
    insert(row: object): PromiseLike<{ error: object | null }> & {
      select(): PromiseLike<Answer>;
    };
    update(row: object): { neq(column: string, value: string): { select(): PromiseLike<Answer> } };
    delete(): { neq(column: string, value: string): { select(): PromiseLike<Answer> } };
    select(columns?: string): PromiseLike<Answer>;
  };
  rpc(name: string, args?: object): PromiseLike<{ data: unknown; error: object | null }>;
  schema(name: "ridgeline"): Omit<Loose, "schema">;
}
interface Answer {
  data: unknown[] | null;
  error: object | null;
}
const loose = (client: Client) => client as unknown as Loose;

/** Held: refused, or nothing was touched. */
async function attempt(kind: string, what: string, made: PromiseLike<Answer | { data: unknown }>) {
  const answer = await made as { data: unknown; error?: object | null };
  const nothing = answer.data === null || answer.data === false ||
    (Array.isArray(answer.data) && answer.data.length === 0);
  const counted = tally.get(kind) ?? { made: 0, held: 0 };
  counted.made++;
  if (answer.error || nothing) counted.held++;
  tally.set(kind, counted);
  expect([what, Boolean(answer.error) || nothing]).toEqual([what, true]);
}

async function member(role: string, tenantId?: string): Promise<Member> {
  const { client, userId } = await stage.signUp();
  const [tenant] = tenantId
    ? [{ id: tenantId }]
    : await stage.sql`insert into public.tenants (name) values ('Apex Roofing') returning id`;
  await stage.sql`
    insert into public.tenant_members (tenant_id, user_id, role)
    values (${tenant!.id}, ${userId}, ${role})`;
  return { client, userId, tenantId: tenant!.id as string };
}

beforeAll(async () => {
  stage = await startTestStack();
  [apex, rival] = [await member("owner"), await member("owner")];
  await stage.sql`
    insert into ridgeline.senders (tenant_id, channel, address) values
      (${apex.tenantId}, 'sms', '+15125550111'), (${apex.tenantId}, 'email', 'apex.example')`;
  await stage.sql`
    insert into public.contacts (tenant_id, first_name, phone)
    values (${apex.tenantId}, 'Maria', '+15125550100')`;
});
afterAll(async () => {
  for (const [kind, { made, held }] of tally) console.log(`${kind}: ${held} of ${made} held`);
  await stage?.stop();
});

it("another tenant's rows are neither seen nor touched", async () => {
  const mine = loose(rival.client);
  for (
    const table of [
      "contacts",
      "senders",
      "tenant_members",
      "workflows",
      "messages",
      "suppressions",
    ]
  ) {
    const place = ["contacts", "tenant_members"].includes(table) ? mine : mine.schema("ridgeline");
    const { data } = await place.from(table).select("tenant_id");
    const theirs = (data ?? []).filter((row) =>
      (row as { tenant_id: string }).tenant_id === apex.tenantId
    );
    await attempt("rows", `select ${table}`, Promise.resolve({ data: theirs, error: null }));
    await attempt(
      "rows",
      `insert ${table}`,
      place.from(table).insert({ tenant_id: apex.tenantId }).select(),
    );
  }
});

it("nobody becomes a member, or an owner, by themselves", async () => {
  const admin = loose((await member("admin", apex.tenantId)).client);
  const { userId } = await stage.signUp();
  const nobody = randomUUID();
  for (const [who, role] of [[userId, "member"], [userId, "owner"], [nobody, "admin"]] as const) {
    await attempt(
      "membership",
      `add ${role}`,
      admin.from("tenant_members")
        .insert({ tenant_id: apex.tenantId, user_id: who, role }).select(),
    );
  }
  for (const change of [{ role: "owner" }, { user_id: nobody }, { tenant_id: rival.tenantId }]) {
    await attempt(
      "membership",
      JSON.stringify(change),
      admin.from("tenant_members").update(change).neq("role", "none").select(),
    );
  }
  await attempt(
    "membership",
    "delete everybody",
    admin.from("tenant_members").delete().neq("role", "none").select(),
  );
  await attempt(
    "membership",
    "invite an owner",
    admin.rpc("invite_member", {
      email: "mallory@blue.example",
      role: "owner",
    }),
  );
  await attempt("membership", "accept a guess", admin.rpc("accept_invitation", { token: "guess" }));
  const owners = await stage.sql`
    select user_id from public.tenant_members
    where tenant_id = ${apex.tenantId} and role = 'owner'`;
  expect(owners.map(({ user_id }) => user_id)).toEqual([apex.userId]);
});

it("nobody speaks as another's sender, or reads another's secret", async () => {
  const mine = loose(rival.client);
  const tenant_id = rival.tenantId;
  for (
    const row of [
      { channel: "sms", kind: "number", provider: "twilio", address: "+15125550111" },
      { channel: "email", kind: "domain", provider: "resend", address: "apex.example" },
      { channel: "sms", kind: "environment", provider: "twilio", address: "environment" },
    ]
  ) {
    await attempt(
      "senders",
      `register ${row.address}`,
      mine.schema("ridgeline").from("senders").insert({ tenant_id, ...row }).select(),
    );
  }
  for (const [type, from] of [["send_sms", "+15125550111"], ["send_email", "x@apex.example"]]) {
    const id = randomUUID();
    await mine.schema("ridgeline").from("workflows").insert({
      tenant_id,
      id,
      name: "x",
      trigger_type: "manual",
    });
    await mine.schema("ridgeline").from("workflow_steps").insert({
      tenant_id,
      workflow_id: id,
      step_order: 1,
      step_type: type,
      step_config: {
        to: "+15125550199",
        from,
        body: "Hi",
        ...(type === "send_email"
          ? { to: "a@b.example", subject: "Hi", text: "Hi", body: undefined }
          : {}),
      },
    });
    await attempt(
      "senders",
      `publish ${from}`,
      mine.schema("ridgeline").rpc("publish_workflow", { workflow_id: id }),
    );
  }
  await loose(apex.client).schema("ridgeline").rpc("set_secret", { name: "crm", value: "hush" });
  const theirs = apex.tenantId;
  await attempt(
    "secrets",
    "list",
    mine.schema("ridgeline").rpc("list_secrets", { tenant_id: theirs }),
  );
  await attempt(
    "secrets",
    "delete",
    mine.schema("ridgeline").rpc("delete_secret", { name: "crm", tenant_id: theirs }),
  );
  await attempt(
    "secrets",
    "rotate",
    mine.schema("ridgeline").rpc("rotate_webhook_secret", { tenant_id: theirs }),
  );
  await attempt(
    "secrets",
    "read",
    mine.rpc("read_secret", { tenant_id: theirs, name: "crm" }),
  );
  const [kept] = await stage.sql`select automation.read_secret(${theirs}, 'crm') as secret`;
  expect(kept?.secret).toBe("hush");
});

it("what a member writes is no customer's word and no provider's", async () => {
  const mine = loose(apex.client);
  const { tenantId: tenant_id } = apex;
  for (
    const [table, row] of [
      ["messages", { direction: "outbound", provider_id: "SM1" }],
      ["messages", { direction: "inbound", opt_out_type: "STOP", from_number: "+15125550100" }],
      ["emails", { provider_id: "e1" }],
      ["calls", { status: "missed", provider_id: "CA1" }],
      ["suppressions", { channel: "sms", address: "+15125550100", reason: "opt_out" }],
    ] as const
  ) {
    await attempt(
      "provider's words",
      `${table} ${JSON.stringify(row)}`,
      mine.schema("ridgeline").from(table).insert({ tenant_id, ...row }).select(),
    );
  }
  for (const body of ["STOP", "Unsubscribe", "please stop texting me", "START"]) {
    await mine.schema("ridgeline").from("messages")
      .insert({ tenant_id, direction: "inbound", from_number: "+15125550100", body });
    const suppressed = await stage.sql`select 1 from ridgeline.suppressions`;
    await attempt("typed STOP", body, Promise.resolve({ data: [...suppressed], error: null }));
  }
});

it("an id that two tenants hold is nobody's guess", async () => {
  const id = randomUUID();
  await stage.sql`
    insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
    values (${apex.tenantId}, ${id}, 'Welcome', 'manual')`;
  await loose(rival.client).schema("ridgeline").from("workflows")
    .insert({ tenant_id: rival.tenantId, id, name: "Copy", trigger_type: "manual" });
  const service = loose(stage.service());
  for (
    const call of ["execute_workflow", "publish_workflow", "validate_workflow", "test_workflow"]
  ) {
    await attempt("ids", call, service.schema("ridgeline").rpc(call, { workflow_id: id }));
  }
  const { data } = await service.schema("ridgeline").rpc("validate_workflow", {
    workflow_id: id,
    tenant_id: apex.tenantId,
  });
  expect(data).toHaveProperty("valid");
});

// What PostgREST can be asked to do besides the plain calls of supabase-js. lite knows most of it; where it does not, a
// refusal is as good, and tests/security/sweep.test.ts asks the database itself.
describe("tricks of the REST API", () => {
  const SECRET = "TOPSECRET";
  const ids = { workflow: randomUUID(), contact: randomUUID() };
  const theirs = () => `tenant_id=eq.${apex.tenantId}`;
  type Trick = [what: string, path: string, headers?: Record<string, string>, body?: object];
  const full = { prefer: "return=representation" };
  const merge = { prefer: "resolution=merge-duplicates,return=representation" };
  const flow = () => ({ tenant_id: apex.tenantId, id: ids.workflow });

  /** A call as somebody of an office, or as nobody. */
  const as = async (who: Member | null) => {
    const token = (await who?.client.auth.getSession())?.data.session?.access_token;
    return async (
      method: string,
      path: string,
      body?: object,
      headers: Record<string, string> = placeOf(path),
    ) => {
      const answer = await fetch(`${stage.stack.apiUrl}/rest/v1${path}`, {
        method,
        headers: {
          apikey: stage.stack.publishableKey,
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...(body ? { "content-type": "application/json" } : {}),
          ...headers,
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const count = answer.headers.get("content-range")?.split("/")[1];
      return { status: answer.status, text: await answer.text(), count };
    };
  };
  const placeOf = (path: string): Record<string, string> =>
    /^\/(contacts|tenant_(members|invitations)|rpc\/tick)/.test(path)
      ? {}
      : { "accept-profile": "ridgeline", "content-profile": "ridgeline" };
  const all = async () =>
    await Promise.all(
      [
        "public.contacts",
        "public.tenant_members",
        "public.tenant_invitations",
        ...[
          "workflows",
          "workflow_steps",
          "workflow_versions",
          "workflow_executions",
          "messages",
          "senders",
          "forms",
          "tenant_settings",
          "suppressions",
          "consents",
        ].map((name) => `ridgeline.${name}`),
      ].map((name) =>
        stage.sql`select * from ${stage.sql(name)} where tenant_id = ${apex.tenantId} order by 1, 2`
      ),
    );

  beforeAll(async () => {
    const { sql } = stage;
    await sql`
      insert into public.contacts (tenant_id, id, first_name) values (${apex.tenantId}, ${ids.contact}, ${SECRET})`;
    await sql`
      insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
      values (${apex.tenantId}, ${ids.workflow}, ${SECRET}, 'manual')`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${apex.tenantId}, ${ids.workflow}, 'create_task', ${sql.json({ title: SECRET })})`;
    await sql`update ridgeline.workflows set is_active = true where id = ${ids.workflow}`;
    await sql`select ridgeline.execute_workflow(${ids.workflow}, ${
      sql.json({ contact_id: ids.contact })
    }, ${apex.tenantId})`;
    await sql`select automation.tick()`;
    await sql`
      insert into ridgeline.messages (tenant_id, direction, body, from_number)
      values (${apex.tenantId}, 'inbound', ${SECRET}, '+15125550100')`;
    await sql`insert into ridgeline.forms (tenant_id, name) values (${apex.tenantId}, ${SECRET})`;
    await sql`select ridgeline.record_revocation('sms', '+15125550188', ${SECRET}, tenant_id => ${apex.tenantId})`;
  });

  it("show nobody else anything, by rows, counts, orders or errors, and change nothing", async () => {
    const reads: Trick[] = [
      ["embedding", "/workflows?select=*,workflow_steps(*)"],
      ["embedding upwards", "/workflow_steps?select=*,workflows(*)"],
      [
        "embedding what it is found by",
        `/workflow_steps?select=id,workflows!inner(name)&workflows.name=eq.${SECRET}`,
      ],
      ["spreading", "/workflow_steps?select=...workflows(name)"],
      ["a filter", `/contacts?first_name=eq.${SECRET}&select=first_name`],
      ["or", `/messages?or=(body.eq.${SECRET},${theirs().replace("=", ".")})`],
      ["a JSON path", `/workflow_executions?select=trigger_data->contact->>first_name&${theirs()}`],
      ["a computed column", `/workflows?select=name,has_unpublished_changes&${theirs()}`],
      ["one of them", `/workflows?id=eq.${ids.workflow}`, {
        accept: "application/vnd.pgrst.object+json",
      }],
      ["CSV", "/contacts", { accept: "text/csv" }],
      // What lite does not do, and what fails on what is there.
      ["an aggregate", "/workflow_executions?select=count(),trigger_data.max()"],
      ["a plan", "/contacts", { accept: "application/vnd.pgrst.plan+json" }],
      ["embedding what is not told apart", "/contacts?select=*,tenants(*),tasks(*)"],
      ["a cast that fails", "/messages?select=body::int"],
      ["an order", "/forms?order=public_key&select=public_key"],
    ];
    const writes: [method: string, ...Trick][] = [
      ["POST", "into it", "/contacts", full, { tenant_id: apex.tenantId, first_name: "x" }],
      ["POST", "with columns", "/messages?columns=tenant_id,direction,body", full, {
        ...flow(),
        direction: "inbound",
        body: "x",
      }],
      ["POST", "missing=default", "/workflows?columns=tenant_id,name,trigger_type,status", {
        prefer: "missing=default,return=representation",
      }, { tenant_id: apex.tenantId, name: "x", trigger_type: "manual" }],
      ["POST", "merging by its key", "/workflows?on_conflict=tenant_id,id", merge, {
        ...flow(),
        name: "x",
        trigger_type: "manual",
      }],
      ["POST", "merging by another", "/forms?on_conflict=public_key", merge, { name: "x" }],
      ["POST", "rolled back", "/contacts", { prefer: "tx=rollback,return=representation" }, {
        tenant_id: apex.tenantId,
        id: ids.contact,
      }],
      ["PUT", "in its place", `/workflows?${theirs()}&id=eq.${ids.workflow}`, full, {
        ...flow(),
        name: "x",
        trigger_type: "manual",
      }],
      ["PATCH", "all there is", "/workflows?name=neq.none", full, { name: "x" }],
      ["PATCH", "moved over", `/workflow_steps?${theirs()}`, full, { tenant_id: rival.tenantId }],
      ["DELETE", "all of it", `/contacts?${theirs()}`, full],
      ["GET", "run", `/rpc/execute_workflow?workflow_id=${ids.workflow}`],
      [
        "GET",
        "lifted",
        `/rpc/lift_revocation?channel=sms&address=%2B15125550188&reason=x&${
          theirs().replace("eq.", "")
        }`,
      ],
      ["POST", "run", "/rpc/execute_workflow?select=trigger_data", {}, {
        workflow_id: ids.workflow,
        tenant_id: apex.tenantId,
      }],
      ["POST", "read", "/rpc/get_execution_history?select=*", {}, { tenant_id: apex.tenantId }],
    ];
    await waitFor("the run of what was written", async () => {
      const open = await stage.sql`
        select id from ridgeline.workflow_executions
        where tenant_id = ${apex.tenantId} and finished_at is null`;
      return open.length === 0;
    });
    const before = await all();
    const told: unknown[] = [];
    for (const who of [null, rival]) {
      const call = await as(who);
      const tell = async (method: string, [what, path, headers, body]: Trick) => {
        const { status, text, count } = await call(method, path, body, {
          ...placeOf(path),
          ...headers,
        });
        // What is refused may repeat the id that was asked for.
        const isTold = text.includes(SECRET) || status < 300 && text.includes(apex.tenantId);
        if (isTold || Number(count) > 0) {
          told.push([who?.userId, method, what, status, count, text]);
        }
      };
      for (const [what, path, headers] of reads) {
        await tell("GET", [what, path, headers]);
        const counted = `${path}${path.includes("?") ? "&" : "?"}${theirs()}`;
        await tell("HEAD", [what, counted, { ...headers, prefer: "count=exact" }]);
      }
      for (const [method, ...trick] of writes) await tell(method, trick);
    }
    expect(told).toEqual([]);
    expect(await all()).toEqual(before);
    // To its own people they do show it.
    const call = await as(apex);
    const shown = await Promise.all(reads.map(async ([what, path, headers]) => {
      const { text } = await call("GET", path, undefined, { ...placeOf(path), ...headers });
      return text.includes(SECRET) ? [what] : [];
    }));
    expect(shown.flat()).toEqual(reads.slice(0, 10).map(([what]) => what));
  });

  it("serve public by itself, ridgeline by name, and nothing else by any", async () => {
    const call = await as(apex);
    const get = async (path: string, headers: Record<string, string> = {}) => {
      const { status, text } = await call("GET", path, undefined, headers);
      return [status, status < 300 ? undefined : JSON.parse(text).code];
    };
    expect(await get("/contacts?select=id")).toEqual([200, undefined]);
    expect((await get("/workflows?select=id"))[0]).toBe(404);
    expect(await get("/workflows?select=id", { "accept-profile": "ridgeline" })).toEqual([
      200,
      undefined,
    ]);
    for (
      const profile of [
        "automation",
        "auth",
        "vault",
        "pg_catalog",
        "ridgeline_crm",
        "Ridgeline",
        "public, automation",
      ]
    ) {
      for (const path of ["/workflows", "/settings", "/users", "/contacts"]) {
        expect([profile, path, await get(path, { "accept-profile": profile })]).toEqual([
          profile,
          path,
          [406, "PGRST106"],
        ]);
      }
      const { status } = await call("POST", "/rpc/tick", {}, { "content-profile": profile });
      expect([profile, status]).toEqual([profile, 406]);
    }
  });

  it("give a member no column and no row that is not theirs to read or write", async () => {
    const editor = await member("member", apex.tenantId);
    const admin = await member("admin", apex.tenantId);
    await stage
      .sql`insert into public.tenant_invitations (tenant_id, email, role, digest, invited_by, expires_at)
      values (${apex.tenantId}, 'kim@apex.example', 'member', sha256('x'), ${apex.userId}, now() + interval '1 day')`;
    const refused = async (
      who: Member,
      tricks: [method: string, path: string, body?: object, headers?: object][],
    ) => {
      const call = await as(who);
      const before = await all();
      const passed: unknown[] = [];
      for (const [method, path, body, headers] of tricks) {
        const { status, text } = await call(method, path, body, {
          ...placeOf(path),
          ...full,
          ...headers,
        });
        if (status < 400 && text !== "[]") passed.push([method, path, status, text]);
      }
      expect(passed).toEqual([]);
      expect(await all()).toEqual(before);
    };
    await refused(admin, [
      ["GET", "/tenant_invitations?select=digest"],
      ["GET", "/tenant_invitations?select=*"],
      ["GET", "/tenant_invitations?select=email&digest=not.is.null"],
      ["GET", "/tenant_invitations?select=email&order=digest"],
    ]);
    const mine = { tenant_id: apex.tenantId };
    await refused(editor, [
      ["POST", "/workflows?on_conflict=tenant_id,id", {
        ...flow(),
        name: "x",
        trigger_type: "manual",
        published_version: 9,
      }, merge],
      ["POST", "/workflows?columns=tenant_id,name,trigger_type,published_version", {
        ...mine,
        name: "x",
        trigger_type: "manual",
        published_version: 9,
      }],
      ["PATCH", `/workflows?id=eq.${ids.workflow}`, { published_version: 9 }],
      ["PATCH", `/workflows?id=eq.${ids.workflow}`, { tenant_id: rival.tenantId }],
      ["PATCH", "/workflow_versions?version=gt.0", { plan: {} }],
      ["PATCH", "/workflow_executions?version=gt.0", { status: "failed" }],
      ["POST", "/messages", {
        ...mine,
        direction: "inbound",
        opt_out_type: "START",
        from_number: "+15125550188",
      }],
      ["POST", "/messages?on_conflict=tenant_id,id", {
        ...mine,
        direction: "inbound",
        provider_id: "SM1",
      }, merge],
      ["POST", "/suppressions", {
        ...mine,
        channel: "sms",
        address: "+15125550100",
        reason: "opt_out",
      }],
      ["DELETE", "/suppressions?channel=eq.sms"],
      ["PATCH", "/senders?channel=eq.sms", { is_default: true }],
      ["PATCH", "/senders?channel=eq.sms", { verified_at: "2026-01-01" }],
      ["POST", "/senders", { ...mine, channel: "sms", address: "+15125550111" }],
      ["POST", "/forms", { ...mine, name: "x" }],
      ["PATCH", "/forms?name=neq.none", { public_key: "form_x" }],
      ["POST", "/tenant_settings?on_conflict=tenant_id", {
        ...mine,
        settings: { editors_publish: true },
      }, merge],
      ["PATCH", "/tenant_members?role=neq.none", { role: "owner" }],
      ["POST", "/rpc/lift_revocation", { channel: "sms", address: "+15125550188", reason: "x" }],
      ["POST", "/rpc/erase_tenant", mine],
    ]);
    await stage
      .sql`select automation.attach_members('public.tenant_members', roles => '{"member": "viewer"}')`;
    await refused(editor, [
      ["POST", "/workflows", { ...mine, name: "x", trigger_type: "manual" }],
      ["POST", "/workflows?on_conflict=tenant_id,id", {
        ...flow(),
        name: "x",
        trigger_type: "manual",
      }, merge],
      ["PATCH", `/workflows?id=eq.${ids.workflow}`, { name: "x" }],
      ["DELETE", "/workflow_steps?step_order=gte.0"],
      ["POST", "/messages", { ...mine, direction: "outbound", body: "x" }],
      ["POST", "/form_submissions", { ...mine, form: "x", data: {} }],
      ["POST", "/rpc/execute_workflow", { workflow_id: ids.workflow }],
      ["POST", "/rpc/save_workflow", {
        definition: { name: "x", trigger_type: "manual", steps: [] },
      }],
      ["POST", "/rpc/grant_consent", { channel: "sms", address: "+15125550100", wording: "x" }],
    ]);
    await stage.sql`select automation.attach_members('public.tenant_members')`;
  });
});
