/// <reference path="./undici.d.ts" />
import { Buffer } from "node:buffer";
import type { LookupFunction, Socket } from "node:net";
import type { buildConnector, Dispatcher, Pool as PoolType } from "undici";
import requestModule from "undici/lib/api/api-request.js";
import connectModule from "undici/lib/core/connect.js";
import PoolModule from "undici/lib/dispatcher/pool.js";
import { type Answer, parseRetryAfter } from "../engine/outcome.ts";

const Pool = PoolModule as typeof PoolType;
const connector = connectModule as typeof buildConnector;
const ask = requestModule as (
  this: PoolType,
  options: Dispatcher.RequestOptions & { path: string },
) => Promise<Dispatcher.ResponseData>;

/** Longer than between two sends of a burst, shorter than servers and what stands before them keep one. */
const IDLE_MS = 4_000;
/** Hosts that connections are kept to; the one that was asked longest ago goes. */
const MOST_HOSTS = 100;

export type Reply = Pick<Dispatcher.ResponseData, "headers" | "body"> & { status: number };

export interface Sent {
  method: string;
  headers: Record<string, string>;
  signal: AbortSignal;
  body?: string | Uint8Array | undefined;
}

export interface ConnectionOptions {
  lookup?: LookupFunction;
  /** Throws when nothing may be sent to who is at the other end. Asked once a connection, before anything is. */
  check?: (peer: string) => void;
}

/**
 * Connections that are kept, and requests that arrive once at most. Deno's fetch and node:http send a
 * request again by themselves when a connection that was used before is lost without an answer
 * (denoland/deno#35610, #36786): the text would go out twice, and nobody would know. undici speaks
 * HTTP/1.1 on sockets itself; of what it has written any of, it says that it is lost
 * (tests/functions/once.test.ts). One request at a time on a connection.
 */
export class Connections {
  readonly #pools = new Map<string, PoolType>();
  readonly #connect: buildConnector.connector;

  constructor({ lookup, check }: ConnectionOptions = {}) {
    const connect = connector({ ...(lookup ? { lookup } : {}) });
    this.#connect = check
      ? (options, done) => {
        // Types have it return nothing.
        const socket = connect(options, done) as unknown as Socket;
        socket.prependOnceListener("connect", () => refuse(socket, check));
      }
      : connect;
  }

  async request(url: URL, { method, body, ...options }: Sent): Promise<Reply> {
    const { statusCode, ...reply } = await ask.call(this.#pool(url.origin), {
      ...options,
      method: method as Dispatcher.HttpMethod,
      path: `${url.pathname}${url.search}`,
      body: body ?? null,
    });
    return { status: statusCode, headers: reply.headers, body: reply.body };
  }

  #pool(origin: string): PoolType {
    const pool = this.#pools.get(origin) ?? new Pool(origin, {
      connect: this.#connect,
      pipelining: 1,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      // The signal of a request ends it.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.#pools.delete(origin);
    this.#pools.set(origin, pool);
    if (this.#pools.size > MOST_HOSTS) {
      const [[oldest, idle] = []] = this.#pools;
      if (oldest !== undefined) this.#pools.delete(oldest);
      // Ends what is under way first.
      void idle?.close();
    }
    return pool;
  }
}

function refuse(socket: Socket, check: (peer: string) => void): void {
  try {
    if (socket.remoteAddress !== undefined) check(socket.remoteAddress);
  } catch (error) {
    socket.destroy(error as Error);
  }
}

const providers = new Connections();

/** To a provider. What it has not answered may have arrived, but not twice. */
export const requestOnce = (url: URL, sent: Sent): Promise<Reply> => providers.request(url, sent);

export async function readText({ body }: Reply): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

export function headerOf(headers: Reply["headers"], name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

export function answerOf({ status, headers }: Pick<Reply, "status" | "headers">): Answer {
  const seconds = parseRetryAfter(headerOf(headers, "retry-after"));
  return seconds === undefined ? { status } : { status, retryAfterSeconds: seconds };
}
