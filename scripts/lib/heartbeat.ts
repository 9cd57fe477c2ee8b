// Plays pg_cron and pg_net for a server that has neither: ticks, and rings dispatch.
import type { Sql } from "postgres";

export interface HeartbeatOptions {
  sql: Sql;
  /** Calls the dispatch function once; null while there is none. */
  dispatch: (() => Promise<void>) | null;
  log: (line: string) => void;
}

export interface Heartbeat {
  stop: () => Promise<void>;
}

export async function startHeartbeat(options: HeartbeatOptions): Promise<Heartbeat> {
  const { sql, dispatch, log } = options;
  let stopped = false;
  let rings = 0;
  let dispatching: Promise<void> | undefined;
  let lastTrouble = "";

  // A server that is restarting refuses for a while: said once, not every second.
  const trouble = (what: string, error: unknown) => {
    const line = `${what}: ${error instanceof Error ? error.message : String(error)}`;
    if (line !== lastTrouble && !stopped) log(line);
    lastTrouble = line;
  };

  // Rings that come while dispatch runs are answered by one more run.
  async function answerRings(): Promise<void> {
    while (rings > 0 && !stopped) {
      rings = 0;
      try {
        await dispatch?.();
        lastTrouble = "";
      } catch (error) {
        trouble("dispatch", error);
      }
    }
    dispatching = undefined;
  }

  function ring(): void {
    if (!dispatch || stopped) return;
    rings++;
    dispatching ??= answerRings();
  }

  async function beat(): Promise<void> {
    try {
      await sql`call automation.tick_for('300 milliseconds')`;
      const [due] = await sql<[{ due: boolean | null }?]>`
        select automation.next_due_at() <= automation.now() as due`;
      if (due?.due) ring();
    } catch (error) {
      trouble("tick", error);
    }
  }

  const listener = await sql.listen("ridgeline_doorbell", ring);
  let beating: Promise<void> | undefined;
  const timer = setInterval(() => {
    beating ??= beat().finally(() => beating = undefined);
  }, 1_000);
  return {
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      await listener.unlisten().catch(() => {});
      await Promise.all([beating, dispatching]);
    },
  };
}
