// A function that providers call: <function>/<provider>, and /<tenant> after it where what a tenant's own account
// tells comes to an address of its own.
import { RequestError } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import { requireMethod } from "./inbound.ts";
import { problemOf, problemResponse } from "./problem.ts";

export interface Door<Receiver> {
  /** Of the function, which is the first part of its path. */
  name: string;
  /** Of a function that is one provider's. Else it is the next part of the path. */
  provider?: string;
  receivers: Readonly<Record<string, Receiver>>;
  log: Log;
}

export interface Route<Receiver> {
  provider: string;
  tenantId: string | undefined;
  receiver: Receiver;
}

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";

function namesIn(url: string, { name, provider }: Door<unknown>) {
  if (provider !== undefined) return { provider };
  const path = new RegExp(`/${name}/([a-z0-9-]{1,40})(?:/(${UUID}))?/?$`, "i");
  const [, named, tenantId] = path.exec(new URL(url).pathname) ?? [];
  // In one spelling: an event that is told again under another would be another one.
  if (named !== undefined) return { provider: named, tenantId: tenantId?.toLowerCase() };
  throw new RequestError(404, "unknown_provider", `use ${name}/<provider>`);
}

function routeOf<R>(url: string, door: Door<R>): Route<R> {
  const { provider, tenantId } = namesIn(url, door);
  const receiver = Object.hasOwn(door.receivers, provider) ? door.receivers[provider] : undefined;
  if (receiver !== undefined) return { provider, tenantId, receiver };
  throw new RequestError(404, "unknown_provider", "there is no provider of this name");
}

/** Posts alone, to a provider that there is; whatever is thrown is answered as a problem. */
export function createDoor<R>(
  door: Door<R>,
  take: (request: Request, route: Route<R>) => Promise<Response>,
): (request: Request) => Promise<Response> {
  const name = door.name.replaceAll("-", "_");
  return async (request) => {
    try {
      requireMethod(request, "POST");
      return await take(request, routeOf(request.url, door));
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name, request: id, log: door.log }), id);
    }
  };
}
