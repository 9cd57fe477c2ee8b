import type { TransactionSql } from "postgres";
import { z } from "zod";
import { Problem } from "../_shared/http/problem.ts";
import type { historyQuery } from "./schemas.ts";

type Query = z.infer<typeof historyQuery>;

/** Where the page before ended: an id, which is in the order of time and never the same twice. */
function readCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null;
  const parsed = z.guid().safeParse(cursor);
  if (parsed.success) return parsed.data;
  throw new Problem(422, "invalid_request", "cursor: is none of ours", {
    errors: [{ field: "cursor", message: "is none of ours", fix: "send next_cursor as it came" }],
  });
}

/** One more than the page holds tells whether there is another. */
export async function readHistory(sql: TransactionSql, query: Query): Promise<unknown> {
  const rows = await sql<{ execution: { id: string } }[]>`
    select to_jsonb(h) as execution
    from ridgeline.get_execution_history(
      workflow_id => ${query.workflow_id ?? null},
      contact_id => ${query.contact_id ?? null},
      execution_id => ${query.execution_id ?? null},
      status => ${query.status ?? null},
      before => ${readCursor(query.cursor)},
      max_rows => ${query.limit + 1},
      tenant_id => ${query.tenant_id ?? null},
      record_id => ${query.record_id ?? null},
      trigger_type => ${query.trigger_type ?? null},
      since => ${query.since ?? null},
      until => ${query.until ?? null}
      ${query.mode === undefined ? sql`` : sql`, mode => ${query.mode}`}) as h
    order by h.id desc`;
  const page = rows.slice(0, query.limit).map(({ execution }) => execution);
  return {
    executions: page,
    next_cursor: rows.length > query.limit ? page.at(-1)?.id ?? null : null,
  };
}
