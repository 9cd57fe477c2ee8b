// The platform as supabase-js sees it on the embedded stack.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStack, type TestStack } from "../support/stack.ts";

let running: TestStack;

beforeAll(async () => {
  running = await startTestStack({
    prepare: (sql) =>
      sql.unsafe(`
        create function public.kind_of(value jsonb) returns text language sql
          as $$ select jsonb_typeof(value) $$;
        grant execute on function public.kind_of(jsonb) to service_role`).simple(),
  });
});
afterAll(() => running?.stop());

async function tenantOf(userId: string, name: string): Promise<string> {
  const { data, error } = await running.service().from("tenants").insert({ name }).select()
    .single();
  if (error) throw error;
  const member = await running.service().from("tenant_members")
    .insert({ tenant_id: data.id, user_id: userId, role: "owner" });
  if (member.error) throw member.error;
  return data.id;
}

describe("the embedded platform", () => {
  it("lets a signed-up member write and read the tenant's contacts, and nobody else", async () => {
    const apex = await running.signUp();
    const blue = await running.signUp();
    const tenantId = await tenantOf(apex.userId, "Apex Roofing");
    await tenantOf(blue.userId, "Blue Ridge Solar");

    const written = await apex.client.from("contacts")
      .insert({ tenant_id: tenantId, first_name: "Maria" }).select().single();
    expect(written.error).toBeNull();
    expect(written.data?.first_name).toBe("Maria");

    const seen = await blue.client.from("contacts").select();
    expect(seen.data).toEqual([]);
    const intrusion = await blue.client.from("contacts").insert({ tenant_id: tenantId });
    expect(intrusion.error?.code).toBe("42501");
    const anonymous = await running.client().from("contacts").select();
    expect(anonymous.error?.code).toBe("42501");
  });

  it("serves the CRM unless a client names the engine's schema, to a member with one and the same token", async () => {
    const apex = await running.signUp();
    const tenant_id = await tenantOf(apex.userId, "Summit Siding");
    const engine = apex.client.schema("ridgeline");
    const workflow = { tenant_id, name: "Welcome", trigger_type: "manual" };
    expect((await engine.from("workflows").insert(workflow).select("name").single()).data)
      .toEqual({ name: "Welcome" });
    expect((await engine.rpc("get_execution_history", { max_rows: 5 })).data).toEqual([]);
    // What the one has the other has not.
    const codes = [
      await apex.client.from("workflows" as "contacts").select(),
      await apex.client.rpc("get_execution_history" as never),
      await engine.from("contacts" as "workflows").select(),
    ].map(({ error }) => error?.code);
    expect(codes).toEqual(["PGRST205", "PGRST202", "PGRST205"]);
  });

  it("shows the engine's private inside to nobody, whatever their key", async () => {
    const { stack } = running;
    for (const apikey of [stack.publishableKey, stack.secretKey]) {
      const headers = { apikey, "content-type": "application/json" };
      const answers = await Promise.all([
        fetch(`${stack.apiUrl}/rest/v1/settings`, {
          headers: { ...headers, "accept-profile": "automation" },
        }),
        fetch(`${stack.apiUrl}/rest/v1/rpc/tick`, {
          method: "POST",
          headers: { ...headers, "content-profile": "automation" },
          body: "{}",
        }),
      ]);
      for (const answer of answers) {
        expect(answer.status).toBe(406);
        const refused = await answer.json() as { code: string; message: string };
        expect(refused.code).toBe("PGRST106");
        expect(refused.message).toContain("automation");
      }
    }
  });

  it("hands JSON to functions and columns as what it is", async () => {
    const values = [{ a: 1 }, [{ a: 1 }], "text", 5, true];
    const kinds = await Promise.all(values.map(async (value) => {
      const answer = await fetch(`${running.stack.apiUrl}/rest/v1/rpc/kind_of`, {
        method: "POST",
        headers: { apikey: running.stack.secretKey, "content-type": "application/json" },
        body: JSON.stringify({ value }),
      });
      return answer.json();
    }));
    expect(kinds).toEqual(["object", "array", "string", "number", "boolean"]);
    const tenant = await running.service().from("tenants")
      .insert({ name: "Cascade Decks", settings: { quiet: ["22:00"] } }).select("settings")
      .single();
    expect(tenant.data?.settings).toEqual({ quiet: ["22:00"] });
  });

  it("keeps the grants as sql/ makes them", async () => {
    const [row] = await running.sql`
      select has_table_privilege('authenticated', 'ridgeline.workflow_executions', 'insert') as may`;
    expect(row?.may).toBe(false);
  });

  it("refuses keys that it did not make", async () => {
    const { status } = await fetch(`${running.stack.apiUrl}/rest/v1/tenants`, {
      headers: { apikey: "sb_secret_guess" },
    });
    expect(status).toBe(401);
  });

  it("answers for a function that does not exist", async () => {
    const { status } = await fetch(`${running.stack.apiUrl}/functions/v1/${randomUUID()}`);
    expect(status).toBe(404);
  });

  it("serves the table UI", async () => {
    const answer = await fetch(`${running.stack.apiUrl}/`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain("secret key");
  });

  it("dispatches for the secret key alone", async () => {
    const refused = await fetch(`${running.stack.apiUrl}/functions/v1/dispatch`, {
      method: "POST",
      headers: { apikey: running.stack.publishableKey },
      body: "{}",
    });
    expect(refused.status).toBe(401);
    expect(await running.stack.dispatch()).toMatchObject({ claimed: 0 });
  });
});
