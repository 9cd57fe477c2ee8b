import http from "node:http";
import https from "node:https";
import { Webhook } from "standardwebhooks";
import { z } from "zod";
import { readWebhook, type WebhookSettings } from "../env.ts";
import { ConfigurationError, ForbiddenAddressError, TimeoutError } from "../errors.ts";
import {
  type Answer,
  classifyWebhook,
  failed,
  neverConnected,
  type Outcome,
  parseRetryAfter,
  retry,
  stepError,
} from "../outcome.ts";
import type { ClaimedStep } from "../queue.ts";
import { noSecrets, resolveHeaders, SecretMissingError, type Secrets } from "../secrets.ts";
import { checkUrl, guardedLookup, isPublicAddress, type Resolve, resolveAll } from "./address.ts";
import { parsePayload, type Sender } from "./sender.ts";

/** Set by the transport or by the signature: a definition cannot replace them. */
const RESERVED =
  /^(host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|proxy-.*|webhook-.*|ridgeline-.*)$/i;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const headers = z.record(
  z.string().regex(TOKEN, "not a header name").refine(
    (name) => !RESERVED.test(name),
    "this header is set by the sender",
  ),
  z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, "not a header value"),
);

const webhookPayload = z.object({
  url: z.string(),
  method: z.enum(["POST", "PUT", "PATCH"]).default("POST"),
  headers: headers.nullish(),
  body: z.json().optional(),
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
  body: string;
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
  if (made === undefined) throw new SecretMissingError(name ?? "webhook_signing");
  return [made];
}

function prepare(
  payload: Payload,
  step: ClaimedStep,
  settings: WebhookSettings,
  signing: readonly string[],
): Prepared {
  const url = checkUrl(payload.url, settings.allowPrivate);
  const body = JSON.stringify(payload.body ?? null);
  const now = new Date();
  const custom = Object.entries(payload.headers ?? {}).map(([name, value]) =>
    [name.toLowerCase(), value] as const
  );
  return {
    url,
    method: payload.method,
    body,
    headers: {
      "content-type": "application/json",
      "user-agent": "ridgeline",
      ...Object.fromEntries(custom),
      "content-length": String(new TextEncoder().encode(body).length),
      "webhook-id": step.idempotency_key,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": signing.map((secret) =>
        new Webhook(secret).sign(step.idempotency_key, now, body)
      ).join(" "),
      "ridgeline-tenant": step.tenant_id,
    },
  };
}

function answerOf(response: http.IncomingMessage, body: string): Answer {
  const answer: Answer = { status: response.statusCode ?? 0 };
  const seconds = parseRetryAfter(response.headers["retry-after"]);
  if (seconds !== undefined) answer.retryAfterSeconds = seconds;
  const excerpt = body.replace(/\s+/g, " ").trim().slice(0, EXCERPT_CHARACTERS);
  if (excerpt) answer.message = `the receiver answered ${answer.status}: ${excerpt}`;
  return answer;
}

/** The status is what counts: a body that is too long, or never ends, is cut. */
async function readCapped(response: http.IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_RESPONSE_BYTES) break;
  }
  response.destroy();
  return new TextDecoder().decode(await new Blob(chunks as BlobPart[]).arrayBuffer())
    .slice(0, MAX_RESPONSE_BYTES);
}

/**
 * node:http rather than fetch, because it lets the caller choose the address to connect to; it
 * follows no redirects. A new connection each time: an idle one that the receiver has closed
 * would fail a delivery.
 */
function request(prepared: Prepared, allowPrivate: boolean, resolve: Resolve, signal: AbortSignal) {
  const { url, method, headers, body } = prepared;
  const client = url.protocol === "https:" ? https : http;
  return new Promise<Answer>((fulfil, reject) => {
    const outgoing = client.request(url, {
      method,
      headers,
      signal,
      agent: false,
      ...(allowPrivate ? {} : { lookup: guardedLookup(resolve) }),
    });
    // Once the status is known it stands, whatever becomes of the body.
    let answered: http.IncomingMessage | undefined;
    outgoing.on("error", (error) => answered ? fulfil(answerOf(answered, "")) : reject(error));
    outgoing.once("response", (response) => {
      answered = response;
      readCapped(response).catch(() => "").then((text) => fulfil(answerOf(response, text)));
    });
    if (!allowPrivate) outgoing.once("socket", (socket) => refusePrivatePeer(socket, outgoing));
    outgoing.end(body);
  });
}

/** A runtime that ignored `lookup` would show here, before a byte of the request is encrypted. */
function refusePrivatePeer(
  socket: { once(event: "connect", listener: () => void): unknown; remoteAddress?: string },
  outgoing: http.ClientRequest,
): void {
  socket.once("connect", () => {
    const peer = socket.remoteAddress;
    if (peer !== undefined && !isPublicAddress(peer)) {
      outgoing.destroy(new ForbiddenAddressError(`${peer} is not a public address`));
    }
  });
}

function outcomeOfError(error: unknown): Outcome {
  if (error instanceof ForbiddenAddressError) return failed("webhook_forbidden", error.message);
  if (error instanceof TimeoutError) return retry(stepError("webhook_timeout", error.message));
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
}

export function createWebhookSender(options: WebhookOptions = {}): Sender {
  const { settings = readWebhook, timeoutMs = 15_000, resolve = resolveAll } = options;
  const { secrets = noSecrets } = options;
  return {
    timeoutMs,
    async send(step, signal) {
      const resolved = await resolveHeaders(step.payload, step.tenant_id, secrets);
      const payload = parsePayload(webhookPayload, { ...step, payload: resolved });
      const current = settings();
      const signing = await signingSecrets(payload, step.tenant_id, current, secrets);
      try {
        const prepared = prepare(payload, step, current, signing);
        return classifyWebhook(await request(prepared, current.allowPrivate, resolve, signal));
      } catch (error) {
        if (error instanceof ConfigurationError) throw error;
        return outcomeOfError(signal.aborted ? signal.reason : error);
      }
    },
  };
}
