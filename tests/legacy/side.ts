// An old workflow and what became of it, an application that writes and calls, and both engines at work.
import type { JSONValue, Sql } from "postgres";
import { OLIVIA, send, SUMMIT } from "../support/host.ts";
import type { OldEngine } from "./old-engine.ts";

export type Given = [type: string, config: Record<string, JSONValue>, delay?: number];

export class Side {
  private phones = 1_000;

  constructor(readonly sql: Sql) {}

  /** An old workflow, and what became of it here: the same, unless `here` says otherwise. */
  async adopt(
    name: string,
    trigger: string,
    steps: Given[],
    here: Given[] = steps,
    tenant = SUMMIT,
  ): Promise<{ old: string; id: string; steps: string[] }> {
    const [old] = await this.sql<{ id: string }[]>`
    insert into public.workflows (tenant_id, name, trigger_type) values (${tenant}, ${name}, ${trigger}) returning id`;
    const rows: string[] = [];
    for (const [place, [type, config, delay]] of steps.entries()) {
      const [row] = await this.sql<{ id: string }[]>`
      insert into public.workflow_steps (workflow_id, step_order, step_type, step_config, delay_minutes)
      values (${old!.id}, ${place + 1}, ${type}, ${this.sql.json(config)}, ${
        delay ?? 0
      }) returning id`;
      rows.push(row!.id);
    }
    const definition = {
      name,
      trigger_type: trigger,
      steps: here.map(([type, config, delay], place) => ({
        step_key: `s${place + 1}`,
        step_type: type,
        step_config: type === "create_task"
          ? { title: config.title }
          : type === "update_contact"
          ? { fields: config.updates }
          : config,
        delay_minutes: delay ?? 0,
      })),
    };
    const [saved] = await this.sql<{ id: string }[]>`
    select ridgeline.save_workflow(${
      this.sql.json(definition as JSONValue)
    }, null, ${tenant}) ->> 'workflow_id' as id`;
    await this.sql`
    insert into automation.legacy_imports (
      tenant_id, source, legacy_id, workflow_id, digest, revision, was_active, step_keys)
    values (${tenant}, 'server', ${old!.id}, ${saved!.id}, '', '', true, ${
      this.sql.json(Object.fromEntries(rows.map((id, place) => [id, `s${place + 1}`])))
    })`;
    await this.sql`select ridgeline.publish_workflow(${saved!.id}, null, ${tenant})`;
    return { old: old!.id, id: saved!.id, steps: rows };
  }

  async work(): Promise<number> {
    let sent = 0;
    for (let round = 0; round < 4; round++) {
      await this.sql`select automation.tick()`;
      sent += (await send(this.sql)).length;
    }
    return sent;
  }

  later(interval: string) {
    return this.sql`select automation.advance_clock(${interval}::interval)`;
  }

  /** As POST /api/contacts: the write, and then the call. */
  async lead(
    old: OldEngine | undefined,
    first_name: string,
    tenant = SUMMIT,
  ): Promise<string> {
    const [contact] = await this.sql<{ contact: { id: string } }[]>`
    insert into public.contacts as c (tenant_id, first_name, last_name, phone, email)
    values (${tenant}, ${first_name}, 'Lopez', ${`+1512555${++this
      .phones}`}, ${`${first_name}@example.com`})
    returning to_jsonb(c) as contact`;
    await old?.trigger("contact_created", {
      contact_id: contact!.contact.id,
      contact: contact!.contact,
      user_id: OLIVIA,
    });
    return contact!.contact.id;
  }
}
