// A database for each test, and sessions that stop halfway.
import type { JSONValue, ReservedSql, Sql } from "postgres";
import { afterEach, beforeEach } from "vitest";
import { waitFor } from "../../support/standins.ts";
import { createTestDatabase } from "../../support/database.ts";

export interface Step {
  type: string;
  key?: string;
  config: Record<string, JSONValue>;
  delay?: number;
}

export class Sessions {
  #database: Awaited<ReturnType<typeof createTestDatabase>> | undefined;
  readonly #reserved: ReservedSql[] = [];

  async open(): Promise<void> {
    this.#database = await createTestDatabase();
  }

  async close(): Promise<void> {
    for (const session of this.#reserved.splice(0)) session.release();
    await this.#database?.drop();
  }

  get database() {
    if (!this.#database) throw new Error("The database exists only inside tests and hooks");
    return this.#database;
  }

  get sql(): Sql {
    return this.database.sql;
  }

  /** A connection of its own. */
  connect(): Sql {
    return this.database.connect({ max: 1 });
  }

  /** A session of its own, with a transaction open. */
  async begin(): Promise<ReservedSql> {
    const session = await this.connect().reserve();
    this.#reserved.push(session);
    await session`begin`;
    return session;
  }

  /** A tenant with one active workflow for new contacts. */
  async office(
    steps: Step[],
    settings: Record<string, JSONValue> = {},
  ): Promise<{ tenantId: string; workflowId: string }> {
    const { sql } = this;
    const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
    const [workflow] = await sql`
      insert into ridgeline.workflows (tenant_id, name, trigger_type, settings)
      values (${tenant?.id}, 'Welcome', 'contact_created', ${sql.json(settings)}) returning id`;
    for (const [order, { type, key = null, config, delay = 0 }] of steps.entries()) {
      await sql`
        insert into ridgeline.workflow_steps (
          tenant_id, workflow_id, step_order, step_key, step_type, step_config, delay_minutes)
        values (
          ${tenant?.id}, ${workflow?.id}, ${order}, ${key}, ${type}, ${
        sql.json(config)
      }, ${delay})`;
    }
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow?.id}`;
    return { tenantId: tenant?.id, workflowId: workflow?.id };
  }

  async lead(tenantId: string, phone = "+15125550100"): Promise<string> {
    const [contact] = await this.sql`
      insert into contacts (tenant_id, first_name, phone)
      values (${tenantId}, 'Maria', ${phone}) returning id`;
    return contact?.id;
  }

  /** Resolves once a session other than ours waits for a lock. */
  somebodyWaits() {
    return waitFor("a session that waits for a lock", async () => {
      const [waiting] = await this.sql`
        select pid from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      return waiting;
    });
  }
}

/** Sessions on a database that each test of the suite has for itself. */
export function useSessions(): Sessions {
  const sessions = new Sessions();
  beforeEach(() => sessions.open());
  afterEach(() => sessions.close());
  return sessions;
}
