// What was told, into the database.
import { z } from "zod";
import { callFunction, type Database } from "../../http/inbound.ts";
import type { EmailEvent } from "./receiver.ts";

/** Records a verified event once for its id; answers what the database made of it. tenantId: whose own account signed it. */
export type RecordEmailEvent = (
  provider: string,
  id: string,
  event: EmailEvent,
  tenantId?: string,
) => Promise<string>;

export function createEmailRecorder(sql: Database): RecordEmailEvent {
  return (provider, id, event, tenantId) => {
    const json = sql.json({
      ...event,
      provider,
      ...(tenantId === undefined ? {} : { tenant_id: tenantId }),
    });
    return callFunction(
      "record_email_event",
      z.string(),
      sql`select automation.record_email_event(${id}::text, ${json}::jsonb) as result`,
    );
  };
}
