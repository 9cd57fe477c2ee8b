// One tenant against another, over REST, by class; how many attempts of each class were made and held is printed.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Client } from "../../scripts/lib/client.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";

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
