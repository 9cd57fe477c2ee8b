import { decodeText, mediaType, readBody } from "../_shared/http/inbound.ts";
import { createDoor, type Door } from "../_shared/http/provider-door.ts";
import type { PublicAddress } from "../_shared/http/webhook-env.ts";
import { publicUrls } from "../_shared/http/webhook-url.ts";
import type { FindAccounts } from "../_shared/channels/receiver.ts";
import type { Receiver, SmsEvent } from "../_shared/channels/sms/receiver.ts";
import type { RecordSmsEvent, ReplyToText } from "../_shared/channels/sms/record.ts";

export interface Dependencies extends Door<Receiver> {
  address: () => PublicAddress;
  /** Asked of a call that the environment's account has not signed. */
  findAccounts: (provider: string) => FindAccounts;
  /** Made at the first verified call. */
  record: () => RecordSmsEvent;
  /** Made at the first text that is stored. */
  reply?: () => ReplyToText;
}

/** A provider's own are a few kilobytes. */
const MAX_BODY_BYTES = 64 * 1024;

const idOf = ({ kind, event }: SmsEvent): string =>
  kind === "call" ? event.call_sid : event.message_sid;

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { name, address, findAccounts, record, reply, log } = dependencies;
  return createDoor(dependencies, async (request, { provider, tenantId, receiver }) => {
    const bytes = await readBody(request, MAX_BODY_BYTES);
    const told = await receiver.read({
      headers: request.headers,
      isJson: mediaType(request) === "application/json",
      bytes,
      body: decodeText(bytes),
      urls: () => publicUrls(request, name, address()),
      tenantId,
      accounts: (side, parse) => findAccounts(provider)(side, parse),
    });
    if (told.event === null) {
      // An event that is not ours to keep is no failure: it would be sent again.
      log("warn", `${provider}_event_ignored`);
      return receiver.answer("ignored");
    }
    const { event } = told;
    const outcome = await record()(provider, event, told.tenantId);
    log("info", `${provider}_event`, { kind: event.kind, id: idOf(event), result: outcome });
    const isNew = event.kind === "sms" && outcome === "stored" && receiver.takesReply;
    return receiver.answer(outcome, isNew ? await reply?.()(provider, event) : undefined);
  });
}
