// Debian's Postgres 15 with real pg_cron: nothing but the server itself moves the engine.
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sql } from "postgres";
import { connect, inDatabase } from "../../scripts/lib/scratch.ts";
import {
  cronDatabase,
  debianBinaries,
  startDebian,
  type SuiteServer,
} from "../../scripts/lib/servers.ts";
import { uninstall } from "../../scripts/lib/schema.ts";
import { waitFor } from "../support/standins.ts";

// Without the packages there is nothing to test; in CI that is a failure, not a skip.
const available = existsSync(`${debianBinaries}/postgres`) &&
  existsSync("/usr/share/postgresql/15/extension/pg_cron.control");

describe.runIf(available || process.env.CI === "true")("pg_cron", () => {
  let server: SuiteServer;
  let sql: Sql;

  beforeAll(async () => {
    server = await startDebian();
    sql = connect(inDatabase(server.url, cronDatabase));
  });
  afterAll(async () => {
    await sql?.end({ timeout: 1 });
    await server?.stop();
  });

  it("has one job for each concern, in the syntax that this version knows", async () => {
    const jobs = await sql`select jobname, schedule from cron.job order by jobname`;
    expect(jobs).toEqual([
      { jobname: "ridgeline-prune", schedule: expect.stringMatching(/^\d+ \d+ \* \* \*$/) },
      { jobname: "ridgeline-tick", schedule: "* * * * *" },
    ]);
  });

  it("forgets the jobs that a former role left, or its own under a former name", async () => {
    await sql`update cron.job set username = 'former_owner' where jobname = 'ridgeline-tick'`;
    await sql`select automation.install_schedule()`;
    const jobs = () =>
      sql`select jobname, username = current_user as own from cron.job order by jobname`;
    expect(await jobs()).toEqual([
      { jobname: "ridgeline-prune", own: true },
      { jobname: "ridgeline-tick", own: true },
    ]);
    await sql`update cron.job set username = 'former_owner'`;
    await sql`select automation.remove_schedule()`;
    expect(await jobs()).toEqual([]);
    await sql`select automation.install_schedule()`;
  });

  it(
    "forgets its own old runs as it ticks, and leaves the host's",
    { timeout: 120_000 },
    async () => {
      await sql`
      insert into cron.job_run_details (database, username, command, start_time, end_time)
      select current_database(), current_user, c.command, now() - interval '8 days', now() - interval '8 days'
      from (values ('call automation.tick_for(''50 seconds'')'), ('select public.nightly_report()')) as c (command)`;
      const old = async () => {
        const rows = await sql`
        select command from cron.job_run_details where end_time < now() - interval '7 days'`;
        return rows.map(({ command }) => command);
      };
      await waitFor("the next tick", async () => (await old()).length === 1, {
        timeout: 100_000,
        interval: 500,
      });
      expect(await old()).toEqual(["select public.nightly_report()"]);
    },
  );

  it("writes the follow-up task of a new lead within a minute", { timeout: 120_000 }, async () => {
    const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
    const [workflow] = await sql`
      insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${tenant?.id}, 'Follow up', 'contact_created') returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${tenant?.id}, ${workflow?.id}, 1, 'create_task',
        ${sql.json({ title: "Call {{trigger.contact.first_name}}" })})`;
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow?.id}`;
    await sql`insert into contacts (tenant_id, first_name) values (${tenant?.id}, 'Maria')`;
    const task = await waitFor("pg_cron's tick", async () => {
      const [first] = await sql`select title from tasks`;
      return first;
    }, { timeout: 100_000, interval: 500 });
    expect(task.title).toBe("Call Maria");
  });

  // The last: after it there is nothing left to test.
  it("takes its jobs along when it leaves, and not those of the host", async () => {
    await sql`select cron.schedule('nightly', '0 2 * * *', 'select 1')`;
    await uninstall(sql, { force: true, cascade: true });
    expect(await sql`select jobname from cron.job`).toEqual([{ jobname: "nightly" }]);
    expect(await sql`select from pg_namespace where nspname in ('ridgeline', 'automation')`)
      .toHaveLength(0);
  });
});
