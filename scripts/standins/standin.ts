// What the stand-ins share: an HTTP server that records every request and can be told to fail.
import http from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";
import { sleep } from "../lib/process.ts";

export const Fault = z.strictObject({
  /** Only requests to this recipient, or whose path contains this. */
  match: z.strictObject({ to: z.string().optional(), path: z.string().optional() }).optional(),
  /** How many requests it hits before it is used up; null for all of them. */
  times: z.number().int().positive().nullable().default(1),
  kind: z.enum([
    /** Never answers; the request has been carried out. */
    "timeout_after_accept",
    /** Never answers; the request has not been carried out. */
    "timeout_before_accept",
    /** Answers `status` with the provider's error body; not carried out. */
    "status",
    /** Answers `status` with the provider's error body, but has carried it out. */
    "status_after_accept",
    /** Answers what cannot be parsed; carried out unless `status` says that it failed. */
    "garbage",
    /** Carries the request out, then resets the connection. */
    "reset_after_accept",
    /** Waits `delay_ms`, then behaves. */
    "delay",
  ]),
  status: z.number().int().min(200).max(599).optional(),
  /** The provider's error code, a number for Twilio and a name for Resend. */
  code: z.union([z.number(), z.string()]).optional(),
  headers: z.record(z.string(), z.string()).optional(),
  delay_ms: z.number().nonnegative().optional(),
});
export type Fault = z.input<typeof Fault>;
type ArmedFault = z.output<typeof Fault>;

/** One request as it came in, whatever became of it. */
export interface Received {
  at: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string;
  /** The status answered, or null when no answer was sent (yet). */
  status: number | null;
  /** Whether it was carried out: the message counts as sent. */
  accepted: boolean;
  fault: ArmedFault["kind"] | null;
}

export interface Incoming {
  method: string;
  url: URL;
  headers: Record<string, string>;
  body: string;
  /** Resolves when a fault "delay" is over; at once without one. */
  pause: () => Promise<void>;
}

export interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
  /** True when this request had an effect. */
  accepted?: boolean;
}

export interface Provider {
  name: string;
  handle: (request: Incoming) => Promise<Answer> | Answer;
  /** The provider's own way of saying that something failed. */
  error: (status: number, code?: number | string) => Answer;
  recipients: (request: Incoming) => string[];
  forget: () => void;
  /** It can be asked what it accepted. */
  lists?: true;
}

export interface StandIn {
  url: string;
  port: number;
  /** Everything received, in order, refused requests included. */
  requests: () => Received[];
  fault: (...faults: Fault[]) => void;
  reset: () => void;
  stop: () => Promise<void>;
}

export async function startStandIn(
  provider: Provider,
  { port = 0, host = "127.0.0.1" }: { port?: number; host?: string } = {},
): Promise<StandIn> {
  let received: Received[] = [];
  let faults: ArmedFault[] = [];
  /** Requests that change something and are still being carried out. */
  const underWay = new Set<Promise<unknown>>();

  /**
   * A list has what arrived before it was asked for, as a provider's has within `reconcile_delay`. A test's process
   * may sleep for a second on a loaded machine, and then reads a send and the look that follows it in one go.
   */
  async function whatArrivedBefore(): Promise<void> {
    await sleep(10);
    await Promise.allSettled([...underWay]);
  }

  const arm = (...added: Fault[]) => {
    faults.push(...added.map((fault) => Fault.parse(fault)));
  };
  const reset = () => {
    received = [];
    faults = [];
    provider.forget();
  };

  function takeFault(request: Incoming): ArmedFault | undefined {
    const hit = faults.find(({ match }) =>
      (match?.to === undefined || provider.recipients(request).includes(match.to)) &&
      (match?.path === undefined || request.url.pathname.includes(match.path))
    );
    if (hit?.times != null && --hit.times === 0) faults = faults.filter((one) => one !== hit);
    return hit;
  }

  function control(request: Incoming): Answer {
    const action = `${request.method} ${request.url.pathname}`;
    if (action === "GET /_control/requests") return { status: 200, body: received };
    if (action === "POST /_control/reset") {
      reset();
      return { status: 200, body: {} };
    }
    if (action === "POST /_control/faults") {
      const wanted = z.array(Fault).safeParse(parseJson(request.body));
      if (!wanted.success) return { status: 400, body: { message: z.prettifyError(wanted.error) } };
      arm(...wanted.data);
      return { status: 200, body: { armed: faults.length } };
    }
    return { status: 404, body: { message: `No such control: ${action}` } };
  }

  async function serve(message: http.IncomingMessage, response: http.ServerResponse) {
    const incoming = await read(message);
    if (incoming.url.pathname.startsWith("/_control/")) {
      return send(response, control(incoming));
    }
    const record: Received = {
      at: new Date().toISOString(),
      method: incoming.method,
      path: incoming.url.pathname + incoming.url.search,
      headers: incoming.headers,
      body: incoming.body,
      status: null,
      accepted: false,
      fault: null,
    };
    received.push(record);
    const fault = takeFault(incoming);
    record.fault = fault?.kind ?? null;
    if (provider.lists && incoming.method === "GET") await whatArrivedBefore();
    const carriedOut = answerWith(provider, incoming, fault);
    if (incoming.method !== "GET") {
      underWay.add(carriedOut);
      void carriedOut.catch(() => {}).finally(() => underWay.delete(carriedOut));
    }
    const answer = await carriedOut;
    record.accepted = answer.accepted === true;
    if (fault?.kind.startsWith("timeout")) return; // The client's patience ends first.
    if (fault?.kind === "reset_after_accept") {
      message.socket.resetAndDestroy();
      return;
    }
    record.status = answer.status;
    send(response, answer);
  }

  const server = http.createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else send(response, { status: 500, body: { message: String(error) } });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve());
  });
  const actual = (server.address() as AddressInfo).port;
  return {
    url: `http://${host}:${actual}`,
    port: actual,
    requests: () => received,
    fault: arm,
    reset,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** What the provider says under this fault; carried out or not as the fault demands. */
async function answerWith(
  provider: Provider,
  incoming: Incoming,
  fault: ArmedFault | undefined,
): Promise<Answer> {
  if (fault?.kind === "delay") {
    incoming.pause = () => sleep(fault.delay_ms ?? 1_000);
  } else if (fault?.delay_ms !== undefined) {
    await sleep(fault.delay_ms);
  }
  switch (fault?.kind) {
    case "timeout_before_accept":
      return { status: 0, body: null };
    case "status":
      return { ...provider.error(fault.status ?? 500, fault.code), headers: fault.headers };
    case "status_after_accept": {
      const { accepted } = await provider.handle(incoming);
      const answer = provider.error(fault.status ?? 500, fault.code);
      return { ...answer, accepted, headers: fault.headers };
    }
    case "garbage": {
      const body = "<html><body>Bad gateway";
      const status = fault.status ?? 200;
      if (status >= 400) return { status, body, headers: fault.headers };
      const { accepted } = await provider.handle(incoming);
      return { status, body, accepted, headers: fault.headers };
    }
    default: {
      const answer = await provider.handle(incoming);
      return { ...answer, headers: { ...answer.headers, ...fault?.headers } };
    }
  }
}

async function read(message: http.IncomingMessage): Promise<Incoming> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return {
    method: message.method ?? "GET",
    url: new URL(message.url ?? "/", "http://stand.in"),
    headers: Object.fromEntries(
      Object.entries(message.headers).map(([name, value]) => [
        name,
        Array.isArray(value) ? value.join(", ") : value ?? "",
      ]),
    ),
    body: Buffer.concat(chunks).toString("utf8"),
    pause: () => Promise.resolve(),
  };
}

function send(response: http.ServerResponse, { status, body, headers }: Answer): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, {
    "content-type": typeof body === "string" ? "text/html" : "application/json; charset=utf-8",
    ...headers,
  });
  response.end(text);
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
