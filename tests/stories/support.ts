// An office as its people use it: supabase-js with their own key, on one stack for a whole suite.
import { afterAll, beforeAll } from "vitest";
import type { Json } from "../../packages/client/database.types.ts";
import type { Client } from "../../scripts/lib/client.ts";
import type { ResendStandIn } from "../../scripts/standins/resend.ts";
import type { TwilioStandIn } from "../../scripts/standins/twilio.ts";
import { type StackOptions } from "../../scripts/lib/stack.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";
import { waitFor } from "../support/standins.ts";

export interface Stage extends TestStack {
  twilio: TwilioStandIn;
  resend: ResendStandIn;
}

/** One stack for the suite that calls this; the function returned gives it to its tests. */
export function useStack(options: () => Promise<StackOptions> | StackOptions = () => ({})) {
  let stage: Stage | undefined;
  beforeAll(async () => {
    const running = await startTestStack(await options());
    const { twilio, resend } = running.stack;
    if (!twilio || !resend) throw new Error("Unset TWILIO_BASE_URL and RESEND_BASE_URL");
    stage = { ...running, twilio, resend };
    for (const [name, value] of [["retry_base", "50 ms"], ["reconcile_delay", "200 ms"]]) {
      await stage.sql`update automation.settings set value = ${value!} where name = ${name!}`;
    }
  });
  afterAll(() => stage?.stop());
  return () => {
    if (!stage) throw new Error("The stack exists only inside tests and hooks");
    return stage;
  };
}

type Answer<T> = { data: T; error: { message: string } | null };

/** The data of an answer, or the error as an exception. */
export function got<T>({ data, error }: Answer<T>): NonNullable<T> {
  if (error) throw new Error(error.message);
  if (data === null || data === undefined) throw new Error("Nothing came back");
  return data;
}

export interface Step {
  step_type: string;
  step_config: { [key: string]: Json };
  delay_minutes?: number;
  conditions?: Json;
}

export interface Workflow {
  name?: string;
  trigger_type?: string;
  trigger_config?: { [key: string]: Json };
  settings?: { [key: string]: Json };
  steps: Step[];
}

let phones = 5_550_000;
export const newPhone = () => `+1415${++phones}`;

/** A tenant and the member who works there, signed in. */
export class Office {
  private constructor(
    readonly stage: Stage,
    readonly tenantId: string,
    readonly client: Client,
  ) {}

  static async open(stage: Stage, name = "Apex Roofing"): Promise<Office> {
    const { client, userId } = await stage.signUp();
    const service = stage.service();
    const { id } = got(await service.from("tenants").insert({ name }).select("id").single());
    got(
      await service.from("tenant_members")
        .insert({ tenant_id: id, user_id: userId, role: "owner" }).select("user_id"),
    );
    return new Office(stage, id, client);
  }

  async workflow({ steps, ...definition }: Workflow): Promise<string> {
    const { id } = got(
      await this.client.schema("ridgeline").from("workflows").insert({
        tenant_id: this.tenantId,
        name: "Greet",
        trigger_type: "contact_created",
        ...definition,
      }).select("id").single(),
    );
    got(
      await this.client.schema("ridgeline").from("workflow_steps").insert(
        steps.map((step, index) => ({
          tenant_id: this.tenantId,
          workflow_id: id,
          step_order: index + 1,
          ...step,
        })),
      ).select("id"),
    );
    got(
      await this.client.schema("ridgeline").from("workflows").update({ is_active: true }).eq(
        "id",
        id,
      ).select("id")
        .single(),
    );
    return id;
  }

  async lead(fields: Record<string, Json> = {}): Promise<string> {
    const { id } = got(
      await this.client.from("contacts")
        .insert({ tenant_id: this.tenantId, first_name: "Maria", ...fields }).select("id")
        .single(),
    );
    return id;
  }

  async executions() {
    return got(
      await this.client.schema("ridgeline").from("workflow_executions").select().eq(
        "tenant_id",
        this.tenantId,
      )
        .order("created_at"),
    );
  }

  async steps() {
    return got(
      await this.client.schema("ridgeline").from("workflow_step_executions").select().eq(
        "tenant_id",
        this.tenantId,
      )
        .order("step_key"),
    );
  }

  /** Waits until nothing of this office is due or unread: its runs have ended or wait for later. */
  async quiet(): Promise<void> {
    await waitFor("the office to be quiet", async () => {
      const [row] = await this.stage.sql`
        select count(*)::int from (
          select from ridgeline.scheduled_steps
          where tenant_id = ${this.tenantId}
            and (run_at <= automation.now() + interval '1 minute' or attempt_token is not null)
          union all
          select from automation.signals where tenant_id = ${this.tenantId} and kept_for is null) as ahead`;
      return row?.count === 0;
    });
  }

  async later(interval: string): Promise<void> {
    await this.stage.sql`select automation.advance_clock(${interval}::interval)`;
    await this.quiet();
  }

  texts(phone: string): string[] {
    return this.stage.twilio.messages().filter(({ to }) => to === phone).map(({ body }) => body);
  }
}
