import type { TransactionSql } from "postgres";
import { z } from "zod";
import { Problem } from "../_shared/problem.ts";
import type { historyQuery } from "./schemas.ts";

type Query = z.infer<typeof historyQuery>;

function invalidCursor(): Problem {
  return new Problem(422, "invalid_request", "cursor: is none of ours", {
    errors: [{ field: "cursor", message: "is none of ours", fix: "send next_cursor as it came" }],
  });
}

/** Where the page before ended: ids are time-ordered and, unlike moments, never the same. */
function readCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null;
  const parsed = z.guid().safeParse(cursor);
  if (!parsed.success) throw invalidCursor();
  return parsed.data;
}

function filters(sql: TransactionSql, query: Query) {
  const { workflow_id, contact_id, execution_id, record_id, status, trigger_type } = query;
  const before = readCursor(query.cursor);
  return sql`
    ${execution_id ? sql`and e.id = ${execution_id}` : sql``}
    ${workflow_id ? sql`and e.workflow_id = ${workflow_id}` : sql``}
    ${record_id ? sql`and e.record_id = ${record_id}` : sql``}
    ${status ? sql`and e.status = ${status}::public.automation_status` : sql``}
    ${trigger_type ? sql`and e.trigger_type = ${trigger_type}` : sql``}
    ${before ? sql`and e.id < ${before}` : sql``}
    ${
    contact_id
      ? sql`and (e.entity = 'contact' and e.record_id = ${contact_id}::uuid::text
          or e.entity <> 'contact' and e.contact_id = ${contact_id})`
      : sql``
  }`;
}

/** Tenant by tenant, newest first: each tenant's own key is read backwards, no further than a page. */
export async function readHistory(sql: TransactionSql, query: Query): Promise<unknown> {
  const rows = await sql<{ execution: { id: string } }[]>`
    select to_jsonb(e) - 'depth' || jsonb_build_object(
      'workflow_name', (
        select w.name from public.workflows as w
        where w.tenant_id = e.tenant_id and w.id = e.workflow_id),
      'next_run_at', (
        select nullif(min(q.run_at), 'infinity') from public.scheduled_steps as q
        where q.tenant_id = e.tenant_id and q.execution_id = e.id),
      'steps', (
        select coalesce(jsonb_agg(to_jsonb(s) - '{tenant_id,execution_id}'::text[]
          order by s.started_at, s.id), '[]')
        from public.workflow_step_executions as s
        where s.tenant_id = e.tenant_id and s.execution_id = e.id)) as execution
    from public.tenants as t
    cross join lateral (
      select e.* from public.workflow_executions as e
      where e.tenant_id = t.id ${filters(sql, query)}
      order by e.id desc
      limit ${query.limit + 1}
    ) as e
    where ${query.tenant_id ? sql`t.id = ${query.tenant_id}` : sql`true`}
    order by e.id desc
    limit ${query.limit + 1}`;
  const page = rows.slice(0, query.limit).map(({ execution }) => execution);
  return {
    executions: page,
    next_cursor: rows.length > query.limit ? page.at(-1)?.id ?? null : null,
  };
}
