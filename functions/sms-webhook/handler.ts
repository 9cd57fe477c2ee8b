import { decodeText, mediaType, readBody, requireMethod } from "../_shared/http/inbound.ts";
import { problemOf, problemResponse } from "../_shared/http/problem.ts";
import type { PublicAddress } from "../_shared/http/webhook-env.ts";
import { publicUrls } from "../_shared/http/webhook-url.ts";
import { RequestError } from "../_shared/runtime/errors.ts";
import type { Log } from "../_shared/runtime/log.ts";
import type {
  FindAccounts,
  Incoming,
  Receiver,
  SmsEvent,
} from "../_shared/channels/sms/receiver.ts";
import type { RecordSmsEvent, ReplyToText } from "../_shared/channels/sms/record.ts";

export interface Dependencies {
  /** Of the function, which is the first part of its path. */
  name: string;
  /** Of a function that is one provider's. Else it is the next part of the path. */
  provider?: string;
  receivers: Readonly<Record<string, Receiver>>;
  address: () => PublicAddress;
  /** Asked of a call that the environment's account has not signed. */
  findAccounts: (provider: string) => FindAccounts;
  /** Made at the first verified call. */
  record: () => RecordSmsEvent;
  /** Made at the first text that is stored. */
  reply?: () => ReplyToText;
  log: Log;
}

/** A provider's own are a few kilobytes. */
const MAX_BODY_BYTES = 64 * 1024;

interface Route {
  provider: string;
  tenantId?: string;
}

/** sms-webhook/<provider>, and /<tenant> after it where what a tenant's own account tells comes to an address of its own. */
function routeOf(url: string, { name, provider }: Dependencies): Route {
  if (provider !== undefined) return { provider };
  const { pathname } = new URL(url);
  const [, named, tenantId] = new RegExp(
    `/${name}/([a-z0-9-]{1,40})(?:/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?/?$`,
    "i",
  )
    .exec(pathname) ?? [];
  if (named === undefined) {
    throw new RequestError(404, "unknown_provider", `use ${name}/<provider>`);
  }
  return { provider: named, ...(tenantId === undefined ? {} : { tenantId }) };
}

const idOf = ({ kind, event }: SmsEvent): string =>
  kind === "call" ? event.call_sid : event.message_sid;

async function handle(dependencies: Dependencies, request: Request): Promise<Response> {
  const { name, receivers, address, findAccounts, record, reply, log } = dependencies;
  requireMethod(request, "POST");
  const { provider, tenantId } = routeOf(request.url, dependencies);
  const receiver = Object.hasOwn(receivers, provider) ? receivers[provider] : undefined;
  if (!receiver) {
    throw new RequestError(404, "unknown_provider", "there is no provider of this name");
  }
  const bytes = await readBody(request, MAX_BODY_BYTES);
  const incoming: Incoming = {
    headers: request.headers,
    isJson: mediaType(request) === "application/json",
    bytes,
    body: decodeText(bytes),
    urls: () => publicUrls(request, name, address()),
    tenantId,
    accounts: (side, parse) => findAccounts(provider)(side, parse),
  };
  const told = await receiver.read(incoming);
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
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const name = dependencies.name.replaceAll("-", "_");
  const { log } = dependencies;
  return async (request) => {
    try {
      return await handle(dependencies, request);
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name, request: id, log }), id);
    }
  };
}
