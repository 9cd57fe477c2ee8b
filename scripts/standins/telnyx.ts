// A stand-in for the part of Telnyx's API that Ridgeline uses: messages, the list of what was sent, and the webhooks that
// tell what came in and what became of it, signed as Telnyx signs them.
import { generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { z } from "zod";
import { segmentsOf } from "./segments.ts";
import { type Answer, type Incoming, parseJson, type StandIn, startStandIn } from "./standin.ts";

export interface TelnyxMessage {
  id: string;
  to: string;
  from: string | null;
  messaging_profile_id: string | null;
  text: string;
  media_urls: string[];
  parts: number;
  created_at: string;
}

/** What an account signs with, and the public half of it as the portal shows it. */
export interface TelnyxKeys {
  privateKey: KeyObject;
  publicKey: string;
}

export function telnyxKeys(): TelnyxKeys {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    privateKey,
    publicKey: publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64"),
  };
}

/** The request that Telnyx makes of an event. */
export function signedByTelnyx(
  { privateKey }: TelnyxKeys,
  event: unknown,
  { at = new Date(), body = JSON.stringify(event) }: { at?: Date; body?: string } = {},
): RequestInit & { headers: Record<string, string>; body: string } {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  const signature = sign(null, Buffer.from(`${timestamp}|${body}`), privateKey);
  return {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "telnyx-timestamp": timestamp,
      "telnyx-signature-ed25519": signature.toString("base64"),
    },
    body,
  };
}

const eventOf = <P extends { id: string }>(event_type: string, payload: P) => ({
  data: {
    record_type: "event",
    id: randomUUID(),
    event_type,
    occurred_at: new Date().toISOString(),
    payload: { record_type: "message", type: "SMS", ...payload },
  },
  meta: { attempt: 1 },
});

/** Somebody texts a number. */
export const telnyxReceived = (
  { from, to, text, ...more }: { from: string; to: string; text: string; [field: string]: unknown },
) =>
  eventOf("message.received", {
    id: randomUUID() as string,
    direction: "inbound",
    from: { phone_number: from, carrier: "T-Mobile USA", line_type: "Wireless" },
    to: [{ phone_number: to, status: "webhook_delivered" }],
    text,
    media: [],
    errors: [],
    autoresponse_type: null,
    received_at: new Date().toISOString(),
    ...more,
  });

/** What became of a text in the end. */
export const telnyxFinalized = (
  { id, from, to }: Pick<TelnyxMessage, "id" | "from" | "to">,
  status: string,
  code?: number,
) =>
  eventOf("message.finalized", {
    id,
    direction: "outbound",
    from: { phone_number: from },
    to: [{ phone_number: to, status }],
    errors: code === undefined
      ? []
      : [{ code: String(code), title: titles[code] ?? "Error", detail: "" }],
  });

export interface TelnyxStandIn extends StandIn {
  /** What was accepted, oldest first. */
  messages: () => TelnyxMessage[];
  /** What its webhooks are signed with. */
  keys: TelnyxKeys;
}

const titles: Record<number, string> = {
  10004: "Missing required parameter",
  10005: "Resource not found",
  10009: "Authentication failed",
  10011: "Too many requests",
  10015: "Bad Request",
  40001: "Not routable",
  40300: "Blocked due to STOP message",
  40305: "Invalid 'from' address",
  40310: "Invalid 'to' address",
};

const refusal = (status: number, code: number, detail = titles[code] ?? "It failed"): Answer => ({
  status,
  body: { errors: [{ code: String(code), title: titles[code] ?? "Error", detail }] },
});

const Message = z.looseObject({
  to: z.string(),
  from: z.string().optional(),
  messaging_profile_id: z.string().optional(),
  text: z.string().optional(),
  media_urls: z.array(z.url()).optional(),
});
const E164 = /^\+[1-9]\d{6,14}$/;
/** A number, a short code or letters that carriers show. */
const FROM = /^(\+[1-9]\d{6,14}|\d{5,8}|[A-Za-z0-9 ]{1,11})$/;

function check(input: unknown): Answer | z.output<typeof Message> {
  const parsed = Message.safeParse(input);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refusal(400, 10015, `${issue?.path.join(".") || "body"}: ${issue?.message}`);
  }
  const { to, from, messaging_profile_id, text, media_urls } = parsed.data;
  if (!E164.test(to)) return refusal(400, 40310, `The 'to' address is not E.164: ${to}`);
  if (!from && !messaging_profile_id) return refusal(400, 10004, "from is required");
  if (from && !FROM.test(from)) return refusal(400, 40305);
  if (!text && !media_urls?.length) return refusal(400, 10004, "text or media_urls is required");
  return parsed.data;
}

const isRefusal = (value: object): value is Answer => "status" in value && "body" in value;

const recipientOf = (body: string): string[] => {
  const one = z.object({ to: z.string() }).safeParse(parseJson(body));
  return one.success ? [one.data.to] : [];
};

export async function startTelnyx(
  options: { port?: number; apiKeys?: readonly string[]; keys?: TelnyxKeys } = {},
): Promise<TelnyxStandIn> {
  let messages: TelnyxMessage[] = [];

  function accept(message: z.output<typeof Message>): Answer {
    const kept: TelnyxMessage = {
      id: randomUUID(),
      to: message.to,
      from: message.from ?? null,
      messaging_profile_id: message.messaging_profile_id ?? null,
      text: message.text ?? "",
      media_urls: message.media_urls ?? [],
      parts: segmentsOf(message.text ?? "").segments,
      created_at: new Date().toISOString(),
    };
    messages.push(kept);
    return {
      status: 200,
      accepted: true,
      body: {
        data: {
          record_type: "message",
          id: kept.id,
          direction: "outbound",
          from: { phone_number: kept.from },
          to: [{ phone_number: kept.to, status: "queued" }],
          text: kept.text,
          parts: kept.parts,
          errors: [],
        },
      },
    };
  }

  function list({ url }: Incoming): Answer {
    const asked = (name: string) => url.searchParams.get(`filter[${name}]`);
    if (asked("record_type") !== "messaging") {
      return refusal(400, 10004, "filter[record_type] is required");
    }
    const size = Number(url.searchParams.get("page[size]") ?? 20);
    const data = messages.filter(({ to }) => asked("cld") === null || to === asked("cld"))
      .toReversed().slice(0, size)
      .map(({ id, to, from, created_at }) => ({
        record_type: "messaging",
        uuid: id,
        cld: to,
        cli: from,
        direction: "outbound",
        created_at,
      }));
    return { status: 200, body: { data, meta: { page_number: 1, total_results: data.length } } };
  }

  const standIn = await startStandIn({
    name: "telnyx",
    recipients: ({ body }) => recipientOf(body),
    error: (status, code) => refusal(status, Number(code ?? 10015)),
    lists: true,
    forget: () => {
      messages = [];
    },
    handle: async (request) => {
      await request.pause();
      const key = /^Bearer (\S+)$/.exec(request.headers["authorization"] ?? "")?.[1];
      if (!key || (options.apiKeys && !options.apiKeys.includes(key))) return refusal(401, 10009);
      const action = `${request.method} ${request.url.pathname}`;
      if (action === "GET /v2/detail_records") return list(request);
      if (action !== "POST /v2/messages") return refusal(404, 10005);
      const checked = check(parseJson(request.body));
      return isRefusal(checked) ? checked : accept(checked);
    },
  }, options.port === undefined ? {} : { port: options.port });
  return { ...standIn, messages: () => messages, keys: options.keys ?? telnyxKeys() };
}
