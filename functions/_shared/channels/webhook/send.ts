import { Buffer } from "node:buffer";
import type { LookupFunction } from "node:net";
import { Webhook } from "standardwebhooks";
import { z } from "zod";
import { readWebhook, type WebhookSettings } from "../../runtime/env.ts";
import {
  ConfigurationError,
  ForbiddenAddressError,
  SecretMissingError,
  TimeoutError,
} from "../../runtime/errors.ts";
import { parseBody, stringifyJson } from "../../runtime/json.ts";
import {
  type Answer,
  classifyWebhook,
  failed,
  neverConnected,
  OPERATOR_DELAY_SECONDS,
  type Outcome,
  retry,
  stepError,
  type StepResult,
} from "../../engine/outcome.ts";
import type { ClaimedStep } from "../../engine/queue.ts";
import { missing, noSecrets, readAll, type Secrets } from "../../runtime/secrets.ts";
import { checkUrl, guardedLookup, isPublicAddress, type Resolve, resolveAll } from "./address.ts";
import { answerOf as statusOf, Connections, headerOf, type Reply } from "../once.ts";
import { parsePayload, type Sender } from "../sender.ts";

/** Set by the transport or by the signature: a definition cannot replace them. */
const RESERVED =
  /^(host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|proxy-.*|webhook-.*|ridgeline-.*)$/i;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Letters of any script; no control characters, so that no value ends its header. */
const HEADER_VALUE = /^[\t\x20-\x7e\u00a0-\u{10ffff}]*$/u;

/** As the bytes of its UTF-8, one a character: what lies beyond ASCII in a header is opaque. */
function headerBytes(value: string): string {
  return Array.from(new TextEncoder().encode(value), (byte) => String.fromCharCode(byte)).join("");
}

const headers = z.record(
  z.string().regex(TOKEN, "not a header name").refine(
    (name) => !RESERVED.test(name),
    "this header is set by the sender",
  ),
  z.union([
    z.string().regex(HEADER_VALUE, "not a header value"),
    z.object({ secret: z.string().min(1), prefix: z.string().regex(HEADER_VALUE).optional() }),
  ], { error: "not a header value" }),
);

const webhookPayload = z.object({
  url: z.string(),
  method: z.enum(["POST", "PUT", "PATCH", "GET", "DELETE"]).default("POST"),
  headers: headers.nullish(),
  /** Any JSON, with numbers as they were written. */
  body: z.unknown(),
  secret_name: z.string().nullish(),
});

type Payload = z.infer<typeof webhookPayload>;

/** Enough to say in an error what the receiver complained about. */
const MAX_RESPONSE_BYTES = 64 * 1024;
const EXCERPT_CHARACTERS = 200;

interface Prepared {
  url: URL;
  method: string;
  headers: Record<string, string>;
  /** Undefined: none, which GET and DELETE have unless the step gives one. */
  body: string | undefined;
}

/** The tenant's own secrets; the environment's only where it serves the tenant. */
async function signingSecrets(
  { secret_name }: Payload,
  tenantId: string,
  settings: WebhookSettings,
  secrets: Secrets,
): Promise<readonly string[]> {
  const name = secret_name ?? undefined;
  const own = await secrets.signing(tenantId, name);
  if (own.secrets.length > 0) return own.secrets;
  if (own.environment_serves && (name !== undefined || settings.hasDefault !== false)) {
    return [settings.secret(name)];
  }
  const made = name === undefined ? await secrets.firstSigning(tenantId) : undefined;
  if (made === undefined) throw missing(name ?? "webhook_signing");
  return [made];
}

/** The value of each secret that a step names. Read at the send, and kept nowhere. */
export type ResolveSecrets = (
  step: ClaimedStep,
  names: readonly string[],
) => Promise<ReadonlyMap<string, string>>;

async function headersOf(
  payload: Payload,
  step: ClaimedStep,
  resolveSecrets: ResolveSecrets,
): Promise<[string, string][]> {
  const given = Object.entries(payload.headers ?? {});
  const names = given.flatMap(([, value]) => typeof value === "string" ? [] : [value.secret]);
  const secrets = names.length ? await resolveSecrets(step, [...new Set(names)]) : new Map();
  return given.map(([name, value]) => {
    if (typeof value === "string") return [name.toLowerCase(), headerBytes(value)];
    const secret = secrets.get(value.secret);
    if (secret === undefined) {
      throw new SecretMissingError(`headers.${name}: there is no secret "${value.secret}"`);
    }
    // Said without the value, which would stand in the history.
    if (!HEADER_VALUE.test(secret)) {
      throw new SecretMissingError(`headers.${name}: the secret "${value.secret}" fits no header`);
    }
    return [name.toLowerCase(), headerBytes(`${value.prefix ?? ""}${secret}`)];
  });
}

function prepare(
  payload: Payload,
  custom: [string, string][],
  step: ClaimedStep,
  settings: WebhookSettings,
  signing: readonly string[],
): Prepared {
  const url = checkUrl(payload.url, settings.allowPrivate);
  const isBare = payload.body === undefined && ["GET", "DELETE"].includes(payload.method);
  const body = isBare ? undefined : stringifyJson(payload.body ?? null);
  const now = new Date();
  return {
    url,
    method: payload.method,
    body,
    headers: {
      ...body === undefined ? {} : { "content-type": "application/json" },
      "user-agent": "ridgeline",
      ...Object.fromEntries(custom),
      "webhook-id": step.idempotency_key,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": signing.map((secret) =>
        new Webhook(secret).sign(step.idempotency_key, now, body ?? "")
      ).join(" "),
      "ridgeline-tenant": step.tenant_id,
    },
  };
}

/** What later steps can read of an answer, as {{steps.<key>.body.*}}. */
const KEPT_CHARACTERS = 16 * 1024;
const KEPT_HEADERS = ["content-type", "etag", "last-modified", "location", "x-request-id"];
/** Postgres reads JSON by recursion. */
const DEEPEST = 100;

function isShallow(text: string): boolean {
  let depth = 0;
  for (const [part] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}]/gs)) {
    if (part === "[" || part === "{") depth++;
    else if (part === "]" || part === "}") depth--;
    if (depth > DEEPEST) return false;
  }
  return true;
}

/** JSON where it is JSON, and its text otherwise, with every digit; no longer than is kept. */
function keptBody(text: string): Pick<StepResult, "body" | "body_truncated"> {
  if (text === "") return {};
  if (text.length > KEPT_CHARACTERS) {
    const start = text.slice(0, KEPT_CHARACTERS).replace(/[\ud800-\udbff]$/, "");
    return { body: start, body_truncated: true };
  }
  try {
    return { body: isShallow(text) ? parseBody(text) : text };
  } catch {
    return { body: text };
  }
}

function keptOf({ headers }: Reply, text: string): Omit<StepResult, "http_status"> {
  const kept = Object.fromEntries(KEPT_HEADERS.flatMap((name) => {
    const value = headerOf(headers, name);
    return value === undefined ? [] : [[name, value.slice(0, 1_000)]];
  }));
  return { ...keptBody(text), ...Object.keys(kept).length ? { headers: kept } : {} };
}

function outcomeOf(reply: Reply, text: string): Outcome {
  const outcome = classifyWebhook(answerOf(reply, text));
  return outcome.outcome === "succeeded"
    ? { ...outcome, result: { ...outcome.result, ...keptOf(reply, text) } }
    : outcome;
}

function answerOf(reply: Reply, body: string): Answer {
  const answer = statusOf(reply);
  const excerpt = body.replace(/\s+/g, " ").trim().slice(0, EXCERPT_CHARACTERS);
  if (excerpt) answer.message = `the receiver answered ${answer.status}: ${excerpt}`;
  return answer;
}

/** The status is what counts: a body that is too long, or never ends, is cut. */
async function readCapped({ body }: Reply): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_RESPONSE_BYTES) break;
  }
  return new TextDecoder().decode(Buffer.concat(chunks)).slice(0, MAX_RESPONSE_BYTES);
}

/** Where a webhook may go. Follows no redirects. */
interface Routes {
  anywhere: Connections;
  /** To the public internet only, by the name's addresses and by who is at the other end of a connection. */
  outside: Connections;
}

function routes(resolve: Resolve): Routes {
  return {
    anywhere: new Connections(),
    outside: new Connections({
      lookup: guardedLookup(resolve) as LookupFunction,
      // A runtime that ignored `lookup` would show here, before a byte of a request is sent.
      check: (peer) => {
        if (isPublicAddress(peer)) return;
        throw new ForbiddenAddressError(`${peer} is not a public address`);
      },
    }),
  };
}

async function request(
  { url, body, ...prepared }: Prepared,
  connections: Connections,
  signal: AbortSignal,
): Promise<Outcome> {
  // As bytes: what is in the header is a byte a character, whatever is in the body.
  const bytes = body === undefined ? undefined : new TextEncoder().encode(body);
  const reply = await connections.request(url, { ...prepared, signal, body: bytes });
  // Once the status is known it stands, whatever becomes of the body.
  return outcomeOf(reply, await readCapped(reply).catch(() => ""));
}

function outcomeOfError(error: unknown): Outcome {
  if (error instanceof ForbiddenAddressError) return failed("webhook_forbidden", error.message);
  if (error instanceof TimeoutError) return retry(stepError("webhook_timeout", error.message));
  if (error instanceof SecretMissingError) {
    return retry(stepError("secret_missing", error.message), OPERATOR_DELAY_SECONDS);
  }
  return retry(stepError(
    neverConnected(error) ? "webhook_unreachable" : "webhook_connection_lost",
    `no answer from the receiver: ${error instanceof Error ? error.message : String(error)}`,
  ));
}

export interface WebhookOptions {
  settings?: () => WebhookSettings;
  secrets?: Secrets;
  timeoutMs?: number;
  resolve?: Resolve;
  resolveSecrets?: ResolveSecrets;
}

export function createWebhookSender(options: WebhookOptions = {}): Sender {
  const {
    settings = readWebhook,
    secrets = noSecrets,
    timeoutMs = 15_000,
    resolve = resolveAll,
    resolveSecrets = (step, names) => readAll(secrets, step.tenant_id, names),
  } = options;
  const { anywhere, outside } = routes(resolve);
  return {
    timeoutMs,
    async send(step, signal) {
      const payload = parsePayload(webhookPayload, step);
      const current = settings();
      const signing = await signingSecrets(payload, step.tenant_id, current, secrets);
      try {
        const custom = await headersOf(payload, step, resolveSecrets);
        const prepared = prepare(payload, custom, step, current, signing);
        return await request(prepared, current.allowPrivate ? anywhere : outside, signal);
      } catch (error) {
        if (error instanceof ConfigurationError) throw error;
        return outcomeOfError(signal.aborted ? signal.reason : error);
      }
    },
  };
}
