// One address for everything, as on the platform: REST, Auth, Edge Functions and the table UI.
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as WebStream } from "node:stream/web";
import { inspect } from "node:util";
import { App } from "@supabase/lite";
import { PostgresConnection } from "@supabase/lite/postgres";
import { markNumbers, markRequest, unmarkNumbers } from "./digits.ts";
import { mendReserve } from "../../functions/_shared/runtime/sessions.ts";
import { describeSystem, type Place, placeOf, PREFLIGHT, Sessions, signInPage } from "./door.ts";

interface PostgresError extends Error {
  code: string;
  detail?: string;
  hint?: string;
}

/** The connection went, or the server did: the same request may well succeed in a moment. */
const isLost = (code: string) =>
  /^(CONNECTION_|CONNECT_|ECONN|EPIPE$|08...$|57P0[1-4]$)/.test(code);

// Lite answers classes of errors that it does not know with a code, detail and hint of its own
// ("SUP", none, none). In the form that PostgREST has for custom errors it passes them on.
function keepCode(error: PostgresError): Error {
  const { code, message, detail, hint } = error;
  const status = isLost(code) ? 503 : { P0001: 400, P0002: 500, "23514": 400, "54000": 413 }[code];
  if (status === undefined) return error;
  return Object.assign(error, {
    code: "PGRST",
    message: JSON.stringify({ code, message, details: detail ?? null, hint: hint ?? null }),
    detail: JSON.stringify({ status, headers: {} }),
  });
}

/** Lite prints every error that Postgres answers, whole; a line of it is enough. */
class Connection extends PostgresConnection {
  #known: Awaited<ReturnType<PostgresConnection["introspect"]>> | undefined;

  /** Lite takes a schema that it could not read for an empty one, and answers 404 for every table. */
  override async introspect(...given: Parameters<PostgresConnection["introspect"]>) {
    const found = await super.introspect(...given);
    if (found.tables.length > 0) this.#known = found;
    return this.#known ?? found;
  }

  override normalizeDbError(error: unknown): unknown {
    const normal = super.normalizeDbError(error);
    if (normal instanceof Error) {
      const code = "code" in normal ? ` (${normal.code})` : "";
      Object.assign(normal, { [inspect.custom]: () => `[rest] ${normal.message}${code}` });
      if ("code" in normal) return keepCode(normal as PostgresError);
    }
    return normal;
  }
}

// Lite hands the JSON arguments of a function over as text, which its driver would encode once
// more: a function would see a string. Text that is JSON already is therefore left alone.
function serializeJson(value: unknown): string {
  if (typeof value !== "string") return unmarkNumbers(JSON.stringify(value));
  try {
    JSON.parse(value);
    return unmarkNumbers(value);
  } catch {
    return JSON.stringify(value);
  }
}
const jsonType = (oid: number) => ({
  to: oid,
  from: [oid],
  serialize: serializeJson,
  parse: (text: string): unknown => JSON.parse(markNumbers(text)),
});

export interface LiteOptions {
  databaseUrl: string;
  siteUrl: string;
  publishableKey: string;
  secretKey: string;
  jwtSecret: string;
}

export interface Lite {
  sessions: Sessions;
  fetch: (request: Request, peerAddress: string | null) => Promise<Response>;
  close: () => Promise<void>;
}

/** The REST, Auth and table UI of @supabase/lite over this database. */
export async function startLite(options: LiteOptions): Promise<Lite> {
  const connection = new Connection({
    url: options.databaseUrl,
    postgresOptions: {
      onnotice: () => {},
      max: 10,
      idle_timeout: 20,
      connection: { application_name: "ridgeline-rest" },
      types: { json: jsonType(114), jsonb: jsonType(3802) },
    },
  });
  // Asked once, for the types of arrays; after that, lite reserves a connection for every request.
  await connection.driver`select 1`;
  mendReserve(connection.driver);
  // Lite would grant everything on every table to the API roles at its first request; on the
  // platform, and here, grants are explicit. True: the requests' claims do go into the session.
  Object.defineProperty(connection, "ensureRlsContext", { value: () => Promise.resolve(true) });
  const app = new App({
    connection,
    api: { schemas: ["public", "ridgeline"] },
    auth: {
      enabled: true,
      site_url: options.siteUrl,
      jwt_secret: options.jwtSecret,
      publishable_key: options.publishableKey,
      secret_key: options.secretKey,
      email: { enable_confirmations: false },
    },
    // Its admin mode makes the service role of whoever comes over loopback without a key.
    options: { server: { admin: false } },
  });
  await app.init();
  await app.ensureSystemSchema();
  await connection.introspect();
  return {
    sessions: new Sessions(options),
    fetch: async (request, peerAddress) => await app.fetch(request, { peerAddress }),
    close: () => connection.close(),
  };
}

export interface Gateway {
  port: number;
  url: string;
  /** Until then every request is told to come back. */
  open: (lite: Lite, functions: ReadonlyMap<string, { port: number }>) => void;
  close: () => Promise<void>;
}

/** Takes the port at once, so that a second stack on it fails before it has done anything. */
export async function listen(port: number): Promise<Gateway> {
  let lite: Lite | undefined;
  let functions: ReadonlyMap<string, { port: number }> = new Map();
  const server = http.createServer((incoming, response) => {
    const name = /^\/functions\/v1\/([^/?]+)/.exec(incoming.url ?? "")?.[1];
    if (!lite) return sendJson(response, 503, { message: "The stack is starting" });
    const page = /^\/pages\/([a-z-]+\.html)(?:[?#]|$)/.exec(incoming.url ?? "")?.[1];
    if (page !== undefined) return sendOwnPage(response, page);
    if (name === undefined) {
      answer(lite, incoming, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else sendJson(response, 500, { message: String(error) });
      });
      return;
    }
    const target = functions.get(name);
    if (!target) return sendJson(response, 404, { message: `There is no function ${name}` });
    toFunction(target.port, incoming, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  const actual = (server.address() as AddressInfo).port;
  return {
    port: actual,
    url: `http://127.0.0.1:${actual}`,
    open: (ready, running) => {
      lite = ready;
      functions = running;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Static pages that functions lead to: the platform serves no HTML from functions. */
function sendOwnPage(response: http.ServerResponse, page: string): void {
  const file = path.resolve(import.meta.dirname, "../../pages", page);
  if (!fs.existsSync(file)) return sendJson(response, 404, { message: `There is no page ${page}` });
  response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
  response.end(fs.readFileSync(file));
}

function sendJson(response: http.ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

// A function sees its own name as the first part of the path, as on the platform.
function toFunction(
  port: number,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): void {
  const outgoing = http.request({
    host: "127.0.0.1",
    port,
    method: incoming.method,
    path: incoming.url?.slice("/functions/v1".length),
    headers: {
      ...incoming.headers,
      "x-forwarded-host": incoming.headers.host ?? "",
      "x-forwarded-proto": "http",
    },
  }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  outgoing.once("error", () => {
    if (response.headersSent) response.destroy();
    else sendJson(response, 502, { message: "The function did not answer" });
  });
  response.once("close", () => outgoing.destroy());
  incoming.pipe(outgoing);
}

function notFound(response: http.ServerResponse): void {
  sendJson(response, 404, { message: "Nothing is served at this path" });
}

/** No key, nobody: what is not asked with credentials, or from an open table UI, ends here. */
async function answer(
  lite: Lite,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const place = placeOf(incoming.url ?? "");
  const { sessions } = lite;
  const isKnown = sessions.hasSecretKey(incoming) || sessions.holds(incoming);
  if (place === null) return notFound(response);
  if (place === "session") return await signIn(sessions, incoming, response);
  if (place === "auth" && incoming.method === "OPTIONS") {
    response.writeHead(204, PREFLIGHT).end();
  } else if (place === "system" && !isKnown) {
    sendJson(response, 401, { message: "Send the secret key in the header apikey" });
  } else if (place === "static") {
    sendStatic(incoming.url ?? "", response);
  } else if (place === "ui" && !isKnown) {
    sendPage(response, 200, signInPage(false));
  } else {
    await toLite(lite, place, incoming, response);
  }
}

function sendPage(response: http.ServerResponse, status: number, page: string): void {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "x-frame-options": "DENY",
  });
  response.end(page);
}

// The package exports no path that would lead to them.
const uiFiles = path.resolve(import.meta.dirname, "../../node_modules/@supabase/lite/dist/static");
const TYPES: Record<string, string> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".woff2": "font/woff2",
  ".ico": "image/x-icon",
};

/** What the page of the table UI loads: lite's own command serves these, its App does not. */
function sendStatic(url: string, response: http.ServerResponse): void {
  const name = (url.split("?", 1)[0] ?? "").slice("/static/".length);
  const file = path.join(uiFiles, name);
  const type = TYPES[path.extname(name)];
  if (!type || !fs.existsSync(file)) return notFound(response);
  response.writeHead(200, { "content-type": type });
  fs.createReadStream(file).once("error", () => response.destroy()).pipe(response);
}

const LONGEST_KEY = 1_000;

async function signIn(
  sessions: Sessions,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  if (incoming.method !== "POST") return sendJson(response, 405, { message: "Use POST" });
  let body = "";
  for await (const chunk of incoming) {
    body += String(chunk);
    if (body.length > LONGEST_KEY) return sendPage(response, 401, signInPage(true));
  }
  const cookie = sessions.begin(new URLSearchParams(body).get("key")?.trim() ?? "");
  if (cookie === null) return sendPage(response, 401, signInPage(true));
  response.writeHead(303, { "set-cookie": cookie, location: "/" }).end();
}

async function toLite(
  lite: Lite,
  place: Place,
  incoming: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(lite.sessions.headersFor(incoming, place))) {
    for (const one of [value ?? []].flat()) headers.append(name, one);
  }
  const hasBody = incoming.method !== "GET" && incoming.method !== "HEAD";
  const isRows = place === "rest" && /json/.test(incoming.headers["content-type"] ?? "");
  const rows = hasBody && isRows ? markRequest(await text(incoming)) : undefined;
  if (rows !== undefined) headers.delete("content-length");
  const request = new Request(`http://${incoming.headers.host ?? "127.0.0.1"}${incoming.url}`, {
    method: incoming.method,
    headers,
    ...(rows !== undefined
      ? { body: rows }
      : hasBody
      ? { body: Readable.toWeb(incoming) as ReadableStream, duplex: "half" }
      : {}),
  });
  const answer = await lite.fetch(request, incoming.socket.remoteAddress ?? null);
  // Lite answers every path that it does not know with the page of its table UI.
  const isPage = answer.headers.get("content-type")?.startsWith("text/html") ?? false;
  if (isPage && place !== "ui") return notFound(response);
  if (place === "system") {
    response.writeHead(answer.status, { "content-type": "application/json" });
    return void response.end(describeSystem(await answer.text()));
  }
  response.statusCode = answer.status;
  for (const [name, value] of answer.headers) response.appendHeader(name, value);
  if (!answer.body) return void response.end();
  if (place === "rest" && /json/.test(answer.headers.get("content-type") ?? "")) {
    response.removeHeader("content-length");
    return void response.end(unmarkNumbers(await answer.text()));
  }
  await pipeline(Readable.fromWeb(answer.body as WebStream), response);
}
