// What a statement reads, in pages of the tables of the engine and of the CRM, and of their indexes.
import type { Sql } from "postgres";

/**
 * Not as EXPLAIN counts them, which takes the system's catalogs with them: a session reads those anew when others on
 * the server, in whichever database, have changed so much that it loses its place in the queue of what is told of it.
 */
export async function pagesOf(
  sql: Sql,
  statement: string,
  values: unknown[] = [],
): Promise<number> {
  return await sql.begin(async (transaction) => {
    // What a session has counted stays its own for a while after a commit: so what it had counted before is taken off.
    const fetched = async () => {
      const [row] = await transaction<{ pages: number }[]>`
        select sum(pg_catalog.pg_stat_get_xact_blocks_fetched(o.oid))::int as pages
        from pg_catalog.pg_class as t
        join pg_catalog.pg_namespace as n on n.oid = t.relnamespace
        left join pg_catalog.pg_class as toast on toast.oid = t.reltoastrelid
        cross join lateral (
          select t.oid union all select toast.oid
          union all
          select i.indexrelid from pg_catalog.pg_index as i where i.indrelid in (t.oid, toast.oid)
        ) as o (oid)
        where n.nspname in ('automation', 'public', 'ridgeline') and t.relkind = 'r'`;
      return row!.pages;
    };
    const before = await fetched();
    await transaction.unsafe(statement, values as never[]);
    return (await fetched()) - before;
  });
}
