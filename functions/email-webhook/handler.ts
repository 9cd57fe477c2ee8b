import { decodeText, readBody } from "../_shared/http/inbound.ts";
import { createDoor, type Door } from "../_shared/http/provider-door.ts";
import type { FindAccounts } from "../_shared/channels/receiver.ts";
import type { Receiver } from "../_shared/channels/email/receiver.ts";
import type { RecordEmailEvent } from "../_shared/channels/email/record.ts";

export interface Dependencies extends Door<Receiver> {
  /** Asked of a call that comes to a tenant's own address. */
  findAccounts: (provider: string) => FindAccounts;
  /** Made at the first verified call. */
  record: () => RecordEmailEvent;
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { findAccounts, record, log } = dependencies;
  return createDoor(dependencies, async (request, { provider, tenantId, receiver }) => {
    const { events } = await receiver.read({
      headers: request.headers,
      body: async (maxBytes) => decodeText(await readBody(request, maxBytes)),
      tenantId,
      accounts: (side, parse) => findAccounts(provider)(side, parse),
    });
    const results: string[] = [];
    // One that fails has all of them sent again, of which those before it are duplicates.
    for (const { id, event } of events) {
      const result = await record()(provider, id, event, tenantId);
      log("info", `${provider}_event`, { id, type: event.type, result });
      results.push(result);
    }
    // An event that is not ours to keep is no failure: it would be sent again for a day.
    if (results.length === 0) log("warn", `${provider}_event_ignored`);
    return Response.json({ result: results.length > 1 ? results : results[0] ?? "ignored" });
  });
}
