// The three production examples, from a CRM write to what the providers received.
import { z } from "zod";
import type { Json } from "../../packages/client/database.types.ts";
import { apiClient, type Client } from "../lib/client.ts";
import { waitFor } from "../lib/process.ts";
import { connect } from "../lib/scratch.ts";
import { Stack } from "../lib/stack.ts";

const phone = "+14155550142";
const email = "maria.lopez@example.com";

interface Step {
  step_type: string;
  step_config: { [key: string]: Json };
  delay_minutes?: number;
}
interface Workflow {
  name: string;
  trigger_type: string;
  trigger_config?: { [key: string]: Json };
  conditions?: Json;
  steps: Step[];
}

const examples: Record<"newLead" | "projectWon" | "byHand", Workflow> = {
  newLead: {
    name: "Greet a new lead",
    trigger_type: "contact_created",
    trigger_config: { type: "lead" },
    steps: [
      {
        step_type: "send_sms",
        step_config: {
          to: "{{trigger.contact.phone}}",
          body: "Thanks for your interest, {{trigger.contact.first_name}}!",
          purpose: "transactional",
        },
      },
      {
        step_type: "create_task",
        step_config: { title: "Follow up with {{trigger.contact.first_name}}", due_date_days: 1 },
        delay_minutes: 1440,
      },
    ],
  },
  projectWon: {
    name: "Congratulate on a won project",
    trigger_type: "project_won",
    steps: [{
      step_type: "send_email",
      step_config: {
        to: "{{trigger.contact.email}}",
        subject: "Congratulations! Your project is approved",
        html: "<p>We're excited to work with you...</p>",
        purpose: "transactional",
      },
    }],
  },
  byHand: {
    name: "Test message, by hand",
    trigger_type: "manual",
    conditions: [{ field: "contact.stage", operator: "equals", value: "lead" }],
    steps: [{
      step_type: "send_sms",
      step_config: {
        to: "{{contact.phone}}",
        message: "Test message",
        purpose: "transactional",
      },
    }],
  },
};

const say = (line = "") => console.log(line);
const heading = (title: string) => say(`\n${title}\n${"-".repeat(title.length)}`);
const clockTime = (value: string | Date) =>
  new Date(value).toISOString().replace("T", " ").slice(0, 19);

let lastTime = "";
/** One line of the timeline; a time that stands above already is not repeated. */
function happened(at: string | Date, what: string): void {
  const time = clockTime(at);
  say(`${time === lastTime ? " ".repeat(time.length) : time}  ${what}`);
  lastTime = time;
}

/** The data of an answer, or the error as an exception. */
function got<T>({ data, error }: { data: T; error: { message: string } | null }): NonNullable<T> {
  if (error) throw new Error(error.message);
  if (data === null || data === undefined) throw new Error("Nothing came back");
  return data;
}

async function publish(client: Client, tenantId: string, workflow: Workflow): Promise<string> {
  const { steps, ...definition } = workflow;
  const { id } = got(
    await client.schema("ridgeline").from("workflows").insert({
      tenant_id: tenantId,
      ...definition,
    })
      .select("id").single(),
  );
  got(
    await client.schema("ridgeline").from("workflow_steps").insert(steps.map((step, index) => ({
      tenant_id: tenantId,
      workflow_id: id,
      step_order: index + 1,
      ...step,
    }))).select("id"),
  );
  got(
    await client.schema("ridgeline").from("workflows").update({ is_active: true }).eq("id", id)
      .select("id").single(),
  );
  return id;
}

const TwilioList = z.object({ messages: z.array(z.object({ to: z.string(), body: z.string() })) });
const ResendList = z.object({
  data: z.array(z.object({ to: z.array(z.string()), subject: z.string() })),
});

/** Waiting for what will never come is no use: a workflow that failed says why at once. */
async function refuseFailures(member: Client): Promise<void> {
  const [failed] = got(
    await member.schema("ridgeline").from("workflow_executions").select("trigger_type, error").eq(
      "status",
      "failed",
    ),
  );
  if (failed) throw new Error(`${failed.trigger_type}: ${JSON.stringify(failed.error)}`);
}

/** What the providers say they accepted, asked as anybody could ask them. */
function providers(stack: Stack, member: Client) {
  const account = process.env.TWILIO_ACCOUNT_SID || "AC00000000000000000000000000000000";
  const token = process.env.TWILIO_AUTH_TOKEN || "stand-in";
  const basic = Buffer.from(`${account}:${token}`).toString("base64");
  return {
    text: (body: string) =>
      waitFor(`the text message "${body}"`, async () => {
        await refuseFailures(member);
        const answer = await fetch(
          `${stack.twilioUrl}/2010-04-01/Accounts/${account}/Messages.json?To=${
            encodeURIComponent(phone)
          }`,
          { headers: { authorization: `Basic ${basic}` } },
        );
        const { messages } = TwilioList.parse(await answer.json());
        return messages.find((message) => message.body === body);
      }),
    email: (subject: string) =>
      waitFor(`the email "${subject}"`, async () => {
        await refuseFailures(member);
        const answer = await fetch(`${stack.resendUrl}/emails`, {
          headers: { authorization: `Bearer ${process.env.RESEND_API_KEY || "re_standin"}` },
        });
        const { data } = ResendList.parse(await answer.json());
        return data.find((one) => one.to.includes(email) && one.subject === subject);
      }),
  };
}

async function demo(stack: Stack): Promise<void> {
  const owner = connect(stack.databaseUrl, { max: 1 });
  const service = apiClient(stack.apiUrl, stack.secretKey);
  const member = apiClient(stack.apiUrl, stack.publishableKey);
  const provider = providers(stack, member);
  const now = async () => (await owner<[{ now: Date }]>`select automation.now() as now`)[0].now;

  try {
    // The middle of a working day: at night texts would wait for the morning.
    await owner`
      select automation.set_clock(d.noon) from (
        select date_trunc('day', now()) + make_interval(days => n, hours => 19) as noon
        from generate_series(1, 3) as n) as d
      where extract(isodow from d.noon) < 6 order by d.noon limit 1`;
    const tenant = got(
      await service.from("tenants").insert({ name: "Apex Roofing", timezone: "America/Denver" })
        .select("id").single(),
    );
    const signedUp = await member.auth.signUp({
      email: "dana@apexroofing.example",
      password: "a long password",
    });
    const user = got({ data: signedUp.data.user, error: signedUp.error });
    got(
      await service.from("tenant_members")
        .insert({ tenant_id: tenant.id, user_id: user.id, role: "owner", full_name: "Dana Reed" })
        .select("user_id").single(),
    );
    heading("Workflows of Apex Roofing, published by Dana through /rest/v1");
    const ids: Record<string, string> = {};
    for (const [key, workflow] of Object.entries(examples)) {
      ids[key] = await publish(member, tenant.id, workflow);
      const steps = workflow.steps.map((step) =>
        step.step_type + (step.delay_minutes ? ` after ${step.delay_minutes / 60} h` : "")
      );
      say(`${workflow.name}: ${workflow.trigger_type} -> ${steps.join(" -> ")}`);
    }

    heading("Timeline");
    const contact = got(
      await member.from("contacts").insert({
        tenant_id: tenant.id,
        type: "lead",
        stage: "lead",
        first_name: "Maria",
        last_name: "Lopez",
        phone,
        email,
      }).select("id").single(),
    );
    happened(await now(), "Dana saves a new lead, Maria Lopez");
    const greeting = await provider.text("Thanks for your interest, Maria!");
    happened(await now(), `Twilio received for ${greeting.to}: "${greeting.body}"`);

    const project = got(
      await member.from("projects").insert({
        tenant_id: tenant.id,
        contact_id: contact.id,
        name: "Lopez roof",
        pipeline_stage: "proposal",
      }).select("id").single(),
    );
    got(
      await member.from("projects").update({ pipeline_stage: "won" }).eq("id", project.id)
        .select("id").single(),
    );
    happened(await now(), "Dana moves the project Lopez roof to won");
    const congratulation = await provider.email("Congratulations! Your project is approved");
    happened(await now(), `Resend received for ${congratulation.to}: "${congratulation.subject}"`);

    got(
      await member.schema("ridgeline").rpc("execute_workflow", {
        workflow_id: ids.byHand!,
        trigger_data: { contact_id: contact.id },
      }),
    );
    happened(await now(), "Dana starts the test message by hand, for Maria, who is still a lead");
    const test = await provider.text("Test message");
    happened(await now(), `Twilio received for ${test.to}: "${test.body}"`);

    const before = got(await member.from("tasks").select("id"));
    if (before.length) throw new Error("The follow-up task came before its time");
    await owner`select automation.advance_clock('24 hours')`;
    happened(await now(), "The clock is moved forward by 24 hours");
    const task = await waitFor("the follow-up task", async () => {
      await refuseFailures(member);
      const [first] = got(await member.from("tasks").select("title, due_at, created_at"));
      return first;
    });
    happened(task.created_at, `Task written: "${task.title}", due ${clockTime(task.due_at ?? "")}`);

    await waitFor("every execution to end", async () => {
      const open = got(
        await member.schema("ridgeline").from("workflow_executions").select("id")
          .in("status", ["pending", "running", "waiting"]),
      );
      return open.length === 0;
    });
    await printHistory(member);
  } finally {
    await owner.end({ timeout: 1 });
  }
}

const History = z.array(z.object({
  workflow_name: z.string(),
  trigger_type: z.string(),
  status: z.string(),
  created_at: z.string(),
  steps: z.array(z.object({
    step_type: z.string(),
    status: z.string(),
    finished_at: z.string().nullable(),
    provider_id: z.string().nullable(),
    duration_ms: z.number().nullable(),
  })),
}));

async function printHistory(member: Client): Promise<void> {
  heading("What ran (ridgeline.get_execution_history)");
  const history = History.parse(
    got(await member.schema("ridgeline").rpc("get_execution_history", {})),
  );
  for (const run of history.toReversed()) {
    say(`${clockTime(run.created_at)}  ${run.workflow_name} (${run.trigger_type}): ${run.status}`);
    for (const step of run.steps) {
      const receipt = step.provider_id ? `, provider id ${step.provider_id}` : "";
      say(
        `${clockTime(step.finished_at ?? run.created_at)}    ${step.step_type}: ` +
          `${step.status}, ${step.duration_ms ?? 0} ms${receipt}`,
      );
    }
  }
  const failed = history.filter(({ status }) => status !== "completed");
  if (history.length !== Object.keys(examples).length || failed.length) {
    throw new Error("Not every workflow ran to its end");
  }
}

const began = Date.now();
let stack: Stack | undefined;
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => void (stack?.stop() ?? Promise.resolve()).then(() => process.exit(130)));
}

say("Starting the embedded stack ...");
try {
  await Stack.start({ port: 0, ephemeral: true, stackFile: null, log: say }, (created) => {
    stack = created;
  });
  await demo(stack!);
  say(`\nAll three examples ran to their end (${((Date.now() - began) / 1000).toFixed(1)} s).`);
} catch (error) {
  say(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await stack?.stop();
}
