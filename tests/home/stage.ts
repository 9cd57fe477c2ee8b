// The host's CRM on a whole stack: its people sign in with supabase-js, and what is sent arrives at the stand-ins.
import type { SupabaseClient } from "@supabase/supabase-js";
import type { Sql } from "postgres";
import { afterAll, beforeAll } from "vitest";
import { apiClient, type Client } from "../../scripts/lib/client.ts";
import { Stack } from "../../scripts/lib/stack.ts";
import { createHost, type Host, speakAs, SUMMIT } from "../support/host.ts";

export interface Stage {
  sql: Sql;
  stack: Stack;
  /** A member of Summit with this word for a role, signed in: `crm` is their client for the host's own tables. */
  hire: (
    name: string,
    role: string,
  ) => Promise<{ userId: string; client: Client; crm: SupabaseClient }>;
  /** Moves the clock on, `step` hours at a time, and does all that is due on the way. */
  pass: (hours: number, step?: number) => Promise<void>;
  texts: (to: string) => string[];
  emails: (to: string) => string[];
}

async function settle(sql: Sql, stack: Stack): Promise<void> {
  for (let round = 0; round < 20; round++) {
    const [{ signals }] = await sql<[{ signals: number }]>`
      select count(*)::int as signals from automation.signals, automation.tick()`;
    await stack.dispatch();
    const [{ due }] = await sql<[{ due: number }]>`
      select count(*)::int as due from ridgeline.scheduled_steps where run_at <= automation.now()`;
    if (due + signals === 0) return;
  }
}

export function useHostStack(): () => Stage {
  let stage: Stage | undefined;
  let host: (Host & { sql: Sql }) | undefined;
  let stack: Stack | undefined;
  beforeAll(async () => {
    host = await createHost();
    const { sql } = host;
    await speakAs(sql, SUMMIT, "+15125550100");
    await sql`select automation.set_clock('2026-06-01 15:00+00')`;
    stack = await Stack.start({
      port: 0,
      ephemeral: true,
      stackFile: null,
      databaseUrl: host.adminUrl,
      heartbeat: false,
    });
    const running = stack;
    const { twilio, resend } = running;
    if (!twilio || !resend) throw new Error("Unset TWILIO_BASE_URL and RESEND_BASE_URL");
    stage = {
      sql,
      stack,
      hire: async (name, role) => {
        const client = apiClient(running.apiUrl, running.publishableKey);
        const email = `${name.toLowerCase()}@summit.example`;
        const { data, error } = await client.auth.signUp({ email, password: "a long password" });
        if (error || !data.user) throw error ?? new Error("No user came back");
        const userId = data.user.id;
        await sql`
          insert into public.profiles (id, email, raw_user_meta_data)
          values (${userId}, ${`new-${email}`}, ${sql.json({ full_name: name })})`;
        await sql`
          insert into public.tenant_users (tenant_id, user_id, role) values (${SUMMIT}, ${userId}, ${role})`;
        return { userId, client, crm: client as unknown as SupabaseClient };
      },
      pass: async (hours, step = 1) => {
        await settle(sql, running);
        for (let passed = 0; passed < hours; passed += step) {
          await sql`select automation.advance_clock(make_interval(hours => ${step}))`;
          await settle(sql, running);
        }
      },
      texts: (to) => twilio.messages().filter((one) => one.to === to).map(({ body }) => body),
      emails: (to) =>
        resend.emails().filter((one) => one.to.includes(to)).map(({ subject }) => subject),
    };
  }, 120_000);
  afterAll(async () => {
    await stack?.stop();
    await host?.drop();
  });
  return () => {
    if (!stage) throw new Error("The stack exists only inside tests and hooks");
    return stage;
  };
}
