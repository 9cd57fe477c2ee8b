// A stack that is killed while delays are pending, and started again when they are over.
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Sql } from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { stateDirectory } from "../../scripts/lib/postgres.ts";
import { endProcess, freePort, signal } from "../../scripts/lib/process.ts";
import { connect, using } from "../../scripts/lib/scratch.ts";
import type { StackFile } from "../../scripts/lib/stack.ts";
import { startResend, startTwilio, startWebhookReceiver, waitFor } from "../support/standins.ts";
import { addWorkflow, allEnded, countAttempts, insertLeads, report, set, size } from "./support.ts";

const root = path.resolve(import.meta.dirname, "../..");
const undo: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function startProviders() {
  const providers = {
    twilio: await startTwilio(),
    resend: await startResend(),
    receiver: await startWebhookReceiver(),
  };
  for (const one of Object.values(providers)) undo.push(one.stop);
  return providers;
}

/** scripts/stack as a process, with providers that outlive it. */
async function startStack(
  port: number,
  { twilio, resend }: Awaited<ReturnType<typeof startProviders>>,
): Promise<StackFile & { child: ChildProcess }> {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "ten-days-")), "stack.json");
  const { DATABASE_URL: _database, ...environment } = process.env;
  const child = spawn(
    path.join(root, "scripts/stack"),
    ["--port", String(port), "--stack-file", file, "--any-hour"],
    {
      env: {
        ...environment,
        TWILIO_BASE_URL: twilio.url,
        RESEND_BASE_URL: resend.url,
        DISPATCH_LEASE_SECONDS: "5",
        DISPATCH_PROVIDER_TIMEOUT_MS: "800",
        PUBLIC_URL: "https://office.example",
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => output += chunk.toString());
  }
  undo.push(() => endProcess(child.pid as number, { patience: 20_000 }));
  await waitFor("the stack to be ready", () => {
    if (child.exitCode !== null) throw new Error(`The stack ended:\n${output}`);
    return fs.existsSync(file);
  }, { timeout: 60_000 });
  return { ...JSON.parse(fs.readFileSync(file, "utf8")) as StackFile, child };
}

/** Kills a stack and its functions; the database lives on. */
async function kill(port: number, { child }: { child: ChildProcess }): Promise<void> {
  const { functions } = JSON.parse(
    fs.readFileSync(path.join(stateDirectory(port), "processes.json"), "utf8"),
  ) as { functions: number[] };
  for (const pid of [child.pid as number, ...functions]) signal(pid, "SIGKILL");
  await waitFor("the stack to be gone", () => child.signalCode !== null);
}

const nothingDue = (sql: Sql) =>
  waitFor("everything that is due to be done", async () => {
    const [row] = await sql`
      select count(*)::int from ridgeline.scheduled_steps
      where run_at <= automation.now() or attempt_token is not null or attempt > 0`;
    return row?.count === 0;
  });

describe("a stack killed with delays pending for ten days", { timeout: 120_000 }, () => {
  it("fires everything, once, when it is started again after the ten days", async () => {
    const providers = await startProviders();
    const port = await freePort();
    undo.push(() => fs.rmSync(stateDirectory(port), { recursive: true, force: true }));
    const first = await startStack(port, providers);
    const sql = connect(first.databaseUrl);
    undo.push(() => sql.end({ timeout: 1 }));
    await set(sql, "reconcile_delay", "400 milliseconds");
    await set(sql, "retry_base", "100 milliseconds");
    const [tenant] = await sql<[{ id: string }]>`
      insert into tenants (name) values ('Apex Roofing') returning id`;
    const lead = "{{trigger.contact.first_name}}";
    await addWorkflow(sql, tenant.id, [
      { step_type: "send_sms", step_config: { body: `Hi ${lead}` } },
      { step_type: "create_task", step_config: { title: `Call ${lead}` }, delay_minutes: 14_400 },
      { step_type: "send_sms", step_config: { body: `Still there, ${lead}?` } },
      { step_type: "send_email", step_config: { subject: `Bye ${lead}`, text: "Bye" } },
      { step_type: "wait", step_config: { days: 10 } },
      { step_type: "webhook", step_config: { url: `${providers.receiver.url}/${lead}` } },
    ]);
    // Some wait for their ten days; the others' first text is on its way when the stack dies.
    const waiting = await insertLeads(sql, tenant.id, size(40, 400));
    await waitFor("the first texts", async () => {
      const [row] = await sql`
        select count(*)::int from ridgeline.scheduled_steps
        where run_at > automation.now() + interval '9 days'`;
      return row?.count === waiting.length;
    });
    providers.twilio.fault({ kind: "delay", delay_ms: 150, times: null });
    const unlucky = await insertLeads(sql, tenant.id, 10);
    await waitFor(
      "texts under way",
      () => providers.twilio.requests().filter(({ status }) => status === null).length > 5,
    );
    await kill(port, first);
    const leads = [...waiting, ...unlucky];

    // The database outlived its stack; ten days go by, and nobody calls the dispatcher.
    await sql`select automation.advance_clock('10 days 1 hour')`;
    await sql.end({ timeout: 1 });
    const second = await startStack(port, providers);
    await using(second.databaseUrl, async (sql) => {
      // The second wait; and for those whose first text was under way, the first one.
      for (let wait = 1; wait <= 2; wait++) {
        await nothingDue(sql);
        await sql`select automation.advance_clock('10 days 1 hour')`;
      }
      await allEnded(sql);
      const executions =
        await sql`select status, count(*)::int from ridgeline.workflow_executions group by 1`;
      expect(executions).toEqual([{ status: "completed", count: leads.length }]);
      expect(await sql`select * from ridgeline.scheduled_steps`).toEqual([]);
      const tasks = await sql<{ title: string }[]>`select title from tasks`;
      const names = leads.map(({ name }) => name).sort();
      expect(tasks.map(({ title }) => title).sort()).toEqual(names.map((name) => `Call ${name}`));
      expect(providers.twilio.messages().map(({ body }) => body).sort()).toEqual(
        [...names.map((name) => `Hi ${name}`), ...names.map((name) => `Still there, ${name}?`)]
          .sort(),
      );
      expect(providers.resend.emails().map(({ subject }) => subject).sort())
        .toEqual(names.map((name) => `Bye ${name}`));
      expect(providers.receiver.requests().map(({ path }) => path).sort())
        .toEqual(names.map((name) => `/${name}`));
      const account = await countAttempts(sql);
      expect(account.ambiguous).toBeGreaterThan(0);
      report("ten days and a kill", { executions: leads.length, ...account });
    });
  });
});

describe("a stack that was down for a day", { timeout: 120_000 }, () => {
  it("fires what the policy of each schedule and timer says", async () => {
    const providers = await startProviders();
    const port = await freePort();
    undo.push(() => fs.rmSync(stateDirectory(port), { recursive: true, force: true }));
    const first = await startStack(port, providers);
    const sql = connect(first.databaseUrl);
    undo.push(() => sql.end({ timeout: 1 }));
    // Ten past an hour, so that none begins while the test runs.
    await sql`select automation.set_clock('2027-03-02 12:10:00+00')`;
    const [tenant] = await sql<[{ id: string }]>`
      insert into tenants (name) values ('Apex Roofing') returning id`;
    const add = async (name: string, trigger_type: string, config: object) => {
      const [workflow] = await sql<[{ id: string }]>`
        insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
        values (${tenant.id}, ${name}, ${trigger_type}, ${JSON.stringify(config)}::text::jsonb)
        returning id`;
      await sql`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
        values (${tenant.id}, ${workflow.id}, 'create_task', ${sql.json({ title: name })})`;
      await sql`update ridgeline.workflows set is_active = true where id = ${workflow.id}`;
    };
    for (const missed of ["once", "skip", "catch_up"]) {
      await add(`hourly ${missed}`, "scheduled", { cron: "0 * * * *", zone: "UTC", missed });
    }
    for (const missed of ["once", "skip"]) {
      await add(`two hours later ${missed}`, "time_elapsed", { offset: "2 hours", missed });
    }
    await add("reminder of what is over", "time_elapsed", {
      entity: "project",
      field: "appointment_at",
      offset: "-1 hour",
    });
    await add("reminder of what is to come", "time_elapsed", {
      entity: "project",
      field: "appointment_at",
      offset: "-25 hours",
    });
    await sql`insert into contacts (tenant_id, first_name) values (${tenant.id}, 'Maria')`;
    await sql`
      insert into projects (tenant_id, name, appointment_at) values
        (${tenant.id}, 'Yesterday', '2027-03-02 16:00:00+00'),
        (${tenant.id}, 'Tomorrow', '2027-03-04 12:00:00+00')`;
    await kill(port, first);

    await sql`select automation.advance_clock('1 day')`;
    await sql.end({ timeout: 1 });
    const second = await startStack(port, providers);
    await using(second.databaseUrl, async (sql) => {
      const tasks = async () => {
        const rows = await sql<{ title: string; count: number }[]>`
          select title, count(*)::int from tasks group by title order by title`;
        return Object.fromEntries(rows.map(({ title, count }) => [title, count]));
      };
      await waitFor("what was missed", async () => (await tasks())["hourly catch_up"] === 24);
      await waitFor("timers that are due", async () => {
        const [row] = await sql`
          select count(*)::int from ridgeline.workflow_timers where due_at <= automation.now()`;
        return row?.count === 0;
      });
      await nothingDue(sql);
      expect(await tasks()).toEqual({
        "hourly catch_up": 24,
        "hourly once": 1,
        "reminder of what is to come": 1,
        "two hours later once": 1,
      });
    });
  });
});
