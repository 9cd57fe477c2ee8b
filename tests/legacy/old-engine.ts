// The engine that is replaced, as far as legacy.md tells of it (February 2026): it writes its own tables, begins when the
// application calls it, does the first step at once, and the others when its cron comes by. What it sends it keeps.
import type { JSONValue, Sql } from "postgres";

export interface OldText {
  to: string;
  body: string;
  workflow: string;
  at: Date;
}

interface OldStep {
  id: string;
  step_order: number;
  step_type: string;
  step_config: Record<string, unknown>;
  delay_minutes: number | null;
}

type Data = Record<string, unknown>;

/** `{{ path }}`, with `trigger` for a root: undefined is left as written, everything else is String()ed. */
export function oldRender(template: string, data: Data): string {
  return template.replace(/\{\{([^}]+)\}\}/g, (braces, path: string) => {
    const value = path.trim().split(".").reduce<unknown>(
      (at, key) => at === null || at === undefined ? undefined : (at as Data)[key],
      { trigger: data },
    );
    return value === undefined ? braces : String(value);
  });
}

function rendered(value: unknown, data: Data): unknown {
  if (typeof value === "string") return oldRender(value, data);
  if (Array.isArray(value)) return value.map((one) => rendered(one, data));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, rendered(one, data)]));
}

let ids = 0;

export class OldEngine {
  readonly texts: OldText[] = [];
  readonly emails: { to: string; subject: string; body: string; at: Date }[] = [];

  /** `bend` may change a text on its way, so that a test has something to find. */
  constructor(
    readonly sql: Sql,
    readonly tenantId: string,
    readonly bend: (text: OldText) => OldText = (text) => text,
  ) {}

  async now(): Promise<Date> {
    const [row] = await this.sql<{ now: Date }[]>`select automation.now() as now`;
    return row!.now;
  }

  /** What the application's routes call after a write. */
  async trigger(type: string, data: Data): Promise<string[]> {
    const found = await this.sql<{ id: string; trigger_config: Data | null }[]>`
      select id, trigger_config from public.workflows
      where tenant_id = ${this.tenantId} and trigger_type = ${type} and is_active and not is_deleted`;
    const started: string[] = [];
    for (const { id, trigger_config } of found) {
      const matches = Object.entries(trigger_config ?? {}).every(([key, value]) =>
        data[key] === value
      );
      if (!matches) continue;
      const at = await this.now();
      const [run] = await this.sql<{ id: string }[]>`
        insert into public.workflow_executions (
          workflow_id, tenant_id, trigger_data, status, started_at, created_at, updated_at)
        values (${id}, ${this.tenantId}, ${
        this.sql.json(data as JSONValue)
      }, 'running', ${at}, ${at}, ${at})
        returning id`;
      started.push(run!.id);
      const [first] = await this.steps(id);
      if (first) await this.schedule(run!.id, first, at, data);
      else await this.end(run!.id, "completed");
    }
    await this.cron();
    return started;
  }

  private steps(workflow: string): Promise<OldStep[]> {
    return this.sql<OldStep[]>`
      select id, step_order, step_type, step_config, delay_minutes from public.workflow_steps
      where workflow_id = ${workflow} order by step_order, created_at`;
  }

  private schedule(run: string, step: OldStep, at: Date, data: Data) {
    return this.sql`
      insert into public.workflow_step_executions (
        execution_id, step_id, status, scheduled_at, trigger_data, created_at)
      values (${run}, ${step.id}, 'pending', ${at}, ${this.sql.json(data as JSONValue)}, ${at})`;
  }

  private async end(run: string, status: string, message: string | null = null) {
    const at = await this.now();
    await this.sql`
      update public.workflow_executions
      set status = ${status}, completed_at = ${at}, updated_at = ${at}, error_message = ${message}
      where id = ${run}`;
  }

  /** process-workflows: what was due when it began, and what that makes due at once. */
  async cron(): Promise<number> {
    let done = 0;
    for (;;) {
      const at = await this.now();
      const due = await this.sql<
        (OldStep & { row: string; run: string; workflow_id: string; name: string; data: Data })[]
      >`
        update public.workflow_step_executions as x set status = 'running', started_at = ${at}
        from public.workflow_executions as e, public.workflow_steps as s, public.workflows as w
        where x.execution_id = e.id and s.id = x.step_id and w.id = e.workflow_id
          and e.tenant_id = ${this.tenantId} and e.status = 'running'
          and x.status = 'pending' and x.scheduled_at <= ${at}
        returning x.id as row, e.id as run, e.workflow_id, w.name, e.trigger_data as data, s.*`;
      if (due.length === 0) return done;
      for (const step of due) {
        done++;
        await this.perform(step);
      }
    }
  }

  private async perform(
    step: OldStep & { row: string; run: string; workflow_id: string; name: string; data: Data },
  ): Promise<void> {
    const { sql } = this;
    let result: Data;
    try {
      result = await this.execute(
        step.step_type,
        rendered(step.step_config, step.data) as Data,
        step.name,
      );
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      await sql`
        update public.workflow_step_executions
        set status = 'failed', completed_at = ${await this.now()}, error_message = ${message}
        where id = ${step.row}`;
      await this.end(step.run, "failed", `Step failed: ${message}`);
      return;
    }
    const at = await this.now();
    await sql`
      update public.workflow_step_executions
      set status = 'completed', completed_at = ${at}, result_data = ${sql.json(result as JSONValue)}
      where id = ${step.row}`;
    const next = (await this.steps(step.workflow_id)).find(({ step_order }) =>
      step_order > step.step_order
    );
    if (!next) return await this.end(step.run, "completed");
    const due = new Date(at.getTime() + (next.delay_minutes ?? 0) * 60_000);
    await this.schedule(step.run, next, due, step.data);
  }

  private async execute(type: string, config: Data, workflow: string): Promise<Data> {
    const at = await this.now();
    switch (type) {
      case "send_sms": {
        if (!config.to || !config.body) throw new Error("Missing required fields: to, body");
        const text = this.bend({ to: String(config.to), body: String(config.body), workflow, at });
        this.texts.push(text);
        return {
          success: true,
          sms_sid: `OLDSM${++ids}`,
          to: text.to,
          status: "queued",
          body: text.body,
        };
      }
      case "send_email": {
        if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(String(config.to))) {
          throw new Error(`Invalid email address: ${config.to}`);
        }
        const body = String(config.html ?? config.text);
        this.emails.push({ to: String(config.to), subject: String(config.subject), body, at });
        return { success: true, email_id: `OLDEM${++ids}`, to: config.to };
      }
      case "create_task": {
        const [task] = await this.sql<{ id: string }[]>`
          insert into public.tasks (tenant_id, title, task_type, priority, created_at)
          values (${String(config.tenant_id)}, ${
          String(config.title)
        }, 'follow_up', 'medium', ${at})
          returning id`;
        return { success: true, task_id: task!.id };
      }
      case "update_contact": {
        const updates = Object.keys(config.updates as Data);
        await this.sql`
          update public.contacts set ${this.sql(config.updates as Record<string, string>, updates)}
          where id = ${String(config.contact_id)}`;
        return { success: true, contact_id: config.contact_id, updated_fields: updates };
      }
      case "wait":
        return { success: true };
      default:
        throw new Error(`Unknown step type: ${type}`);
    }
  }
}

interface CampaignStep {
  id: string;
  step_order: number;
  step_type: string;
  step_config: Record<string, unknown>;
  delay_value: number;
  delay_unit: "hours" | "days" | "weeks";
}

const HOURS = { hours: 1, days: 24, weeks: 168 };

/** The campaigns' engine: it enrols when a project of a contact comes to a stage, and texts what stands there, as it stands. */
export class OldCampaigns {
  readonly texts: OldText[] = [];

  constructor(readonly sql: Sql, readonly tenantId: string) {}

  private async now(): Promise<Date> {
    const [row] = await this.sql<{ now: Date }[]>`select automation.now() as now`;
    return row!.now;
  }

  /** handleStageChange(): those who leave a campaign's stage are out of it, before others come in. */
  async stageChanged(contact: string, from: string, to: string): Promise<void> {
    const at = await this.now();
    await this.sql`
      update public.campaign_enrollments as e
      set status = 'exited', exit_reason = 'stage_changed', exited_at = ${at}
      from public.campaign_triggers as t
      where t.campaign_id = e.campaign_id and e.tenant_id = ${this.tenantId} and e.contact_id = ${contact}
        and e.status = 'active' and t.trigger_type = 'stage_change' and t.trigger_config ->> 'to_stage' = ${from}`;
    const entered = await this.sql<{ id: string; campaign_id: string }[]>`
      insert into public.campaign_enrollments (campaign_id, tenant_id, contact_id, status, current_step_order, enrolled_at)
      select c.id, c.tenant_id, ${contact}, 'active', 0, ${at}
      from public.campaigns as c join public.campaign_triggers as t on t.campaign_id = c.id
      where c.tenant_id = ${this.tenantId} and c.status = 'active' and not c.is_deleted and t.is_active
        and t.trigger_type = 'stage_change' and t.trigger_config ->> 'entity_type' = 'project'
        and t.trigger_config ->> 'to_stage' = ${to}
      on conflict (campaign_id, contact_id) do nothing
      returning id, campaign_id`;
    for (const { id, campaign_id } of entered) {
      const [first] = await this.steps(campaign_id);
      if (first) await this.schedule(id, first, at);
    }
    await this.cron();
  }

  private steps(campaign: string): Promise<CampaignStep[]> {
    return this.sql<CampaignStep[]>`
      select id, step_order, step_type, step_config, delay_value, delay_unit from public.campaign_steps
      where campaign_id = ${campaign} and not is_deleted order by step_order, created_at`;
  }

  private schedule(enrolment: string, step: CampaignStep, at: Date) {
    return this.sql`
      insert into public.campaign_step_executions (enrollment_id, step_id, status, scheduled_at, created_at)
      values (${enrolment}, ${step.id}, 'pending', ${at}, ${at})`;
  }

  async cron(): Promise<void> {
    for (;;) {
      const at = await this.now();
      const due = await this.sql<
        (CampaignStep & {
          row: string;
          enrolment: string;
          campaign_id: string;
          name: string;
          phone: string;
        })[]
      >`
        update public.campaign_step_executions as x set status = 'running', started_at = ${at}
        from public.campaign_enrollments as e, public.campaign_steps as s, public.campaigns as c, public.contacts as p
        where x.enrollment_id = e.id and s.id = x.step_id and c.id = e.campaign_id and p.id = e.contact_id
          and e.tenant_id = ${this.tenantId} and e.status = 'active' and x.status = 'pending' and x.scheduled_at <= ${at}
        returning x.id as row, e.id as enrolment, e.campaign_id, c.name, p.phone, s.*`;
      if (due.length === 0) return;
      for (const step of due) {
        const result: { [key: string]: string | boolean } = { success: true };
        if (step.step_type === "send_sms") {
          const body = String(step.step_config.message);
          this.texts.push({ to: step.phone, body, workflow: step.name, at });
          Object.assign(result, { message_sid: `OLDCA${++ids}`, to: step.phone });
        }
        await this.sql`
          update public.campaign_step_executions
          set status = 'completed', completed_at = ${at}, result_data = ${
          this.sql.json(result)
        } where id = ${step.row}`;
        const next = (await this.steps(step.campaign_id)).find(({ step_order }) =>
          step_order > step.step_order
        );
        await this.sql`
          update public.campaign_enrollments
          set current_step_id = ${step.id}, current_step_order = ${step.step_order},
            steps_completed = steps_completed + 1, last_step_executed_at = ${at},
            status = ${next ? "active" : "completed"}, completed_at = ${next ? null : at}
          where id = ${step.enrolment}`;
        if (next) {
          const delay = next.delay_value * HOURS[next.delay_unit] * 3_600_000;
          await this.schedule(step.enrolment, next, new Date(at.getTime() + delay));
        }
      }
    }
  }
}
