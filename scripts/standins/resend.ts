// A stand-in for the part of Resend's API that Ridgeline uses.
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { HEADER_NAME, isMailbox, PRINTABLE } from "./mailbox.ts";
import { type Answer, type Incoming, parseJson, type StandIn, startStandIn } from "./standin.ts";

const ADDRESS_HELP = "The email address needs to follow the `email@example.com` or " +
  "`Name <email@example.com>` format.";

/** Resend names the character. */
const noLineBreak = z.string().refine((text) => !/[\r\n]/.test(text), {
  error: "The `\\n` is not allowed in this field.",
});
const Address = noLineBreak.refine(isMailbox, { error: ADDRESS_HELP });
const Addresses = z.union([Address.transform((one) => [one]), z.array(Address).min(1).max(50)]);
const Copies = z.union([Address.transform((one) => [one]), z.array(Address).max(50)]);
const TagPart = z.string().regex(/^[A-Za-z0-9_-]{1,256}$/, {
  error: "Tags should only contain ASCII letters, numbers, underscores, or dashes.",
});
const Email = z.looseObject({
  from: Address,
  to: Addresses,
  subject: noLineBreak.regex(PRINTABLE).min(1),
  html: z.string().optional(),
  text: z.string().optional(),
  reply_to: Copies.optional(),
  cc: Copies.optional(),
  bcc: Copies.optional(),
  headers: z.record(z.string().regex(HEADER_NAME), noLineBreak.regex(PRINTABLE)).optional(),
  tags: z.array(z.strictObject({ name: TagPart, value: TagPart })).optional(),
});

export interface ResendEmail {
  object: "email";
  id: string;
  to: string[];
  from: string;
  created_at: string;
  subject: string;
  html: string | null;
  text: string | null;
  cc: string[];
  bcc: string[];
  reply_to: string[];
  last_event: string;
  scheduled_at: null;
  headers: Record<string, string>;
}

export interface ResendStandIn extends StandIn {
  /** What was accepted, oldest first. */
  emails: () => ResendEmail[];
  /** An email comes in; answers its id, as the webhook's event has it. */
  receive: (email: Partial<Pick<ResendEmail, "html" | "text" | "headers">>) => string;
}

const namesOfStatus: Record<number, string> = {
  401: "missing_api_key",
  403: "invalid_api_key",
  404: "not_found",
  409: "concurrent_idempotent_requests",
  422: "validation_error",
  429: "rate_limit_exceeded",
};

function refusal(status: number, name: string, message: string): Answer {
  return { status, body: { statusCode: status, name, message } };
}

const required = ["from", "to", "subject"] as const;

/** The refusal of an email, or the email. */
function check(input: unknown): Answer | z.output<typeof Email> {
  const fields = z.record(z.string(), z.unknown()).safeParse(input);
  if (!fields.success) return refusal(422, "validation_error", "The body must be a JSON object.");
  const missing = required.find((name) => fields.data[name] == null || fields.data[name] === "");
  if (missing) return refusal(422, "missing_required_field", `Missing \`${missing}\` field.`);
  if (!fields.data.html && !fields.data.text) {
    return refusal(422, "validation_error", "Missing `html` or `text` field.");
  }
  const email = Email.safeParse(input);
  if (email.success) return email.data;
  return refusal(422, "validation_error", wordsOf(email.error));
}

const ADDRESS_FIELDS = new Set(["from", "to", "cc", "bcc", "reply_to"]);

/** What Resend says of the first thing that is wrong. */
function wordsOf(error: z.ZodError): string {
  const [issue] = error.issues;
  const field = String(issue?.path[0] ?? "body");
  const union = issue?.code === "invalid_union" ? issue.errors.flat() : [];
  const tooMany = [issue, ...union].some((one) => one?.code === "too_big");
  if (tooMany) return `Invalid \`${field}\` field. The number of addresses must be at most 50.`;
  const said = [issue, ...union].map((one) => one?.message ?? "");
  if (said.some((words) => words.includes("\\n"))) {
    return `The \`\\n\` is not allowed in the \`${field}\` field.`;
  }
  return ADDRESS_FIELDS.has(field)
    ? `Invalid \`${field}\` field. ${ADDRESS_HELP}`
    : `Invalid \`${field}\` field. ${said[0]}`;
}

const isRefusal = (value: object): value is Answer => "status" in value && "body" in value;

const recipientsOf = (input: unknown): string[] => {
  const one = z.object({ to: z.union([z.string(), z.array(z.string())]) }).safeParse(input);
  return one.success ? [one.data.to].flat() : [];
};

export async function startResend(
  options: { port?: number; apiKey?: string } = {},
): Promise<ResendStandIn> {
  let emails: ResendEmail[] = [];
  let received = new Map<string, object>();
  /** By idempotency key: what was asked, and the answer once there is one. */
  let kept = new Map<string, { at: number; asked: unknown; answer: Answer | null }>();

  function accept(email: z.output<typeof Email>): { id: string } {
    const id = randomUUID();
    emails.push({
      object: "email",
      id,
      to: email.to,
      from: email.from,
      created_at: new Date().toISOString().replace("Z", "+00:00"),
      subject: email.subject,
      html: email.html ?? null,
      text: email.text ?? null,
      cc: email.cc ?? [],
      bcc: email.bcc ?? [],
      reply_to: email.reply_to ?? [],
      last_event: "sent",
      scheduled_at: null,
      headers: email.headers ?? {},
    });
    return { id };
  }

  function create(input: unknown): Answer {
    const email = check(input);
    return isRefusal(email)
      ? email
      : { status: 200, body: accept(email as z.output<typeof Email>), accepted: true };
  }

  function createBatch(input: unknown): Answer {
    const list = z.array(z.unknown()).min(1).max(100).safeParse(input);
    if (!list.success) {
      return refusal(422, "validation_error", "A batch is an array of 1 to 100 emails.");
    }
    const single = list.data.some((one) =>
      typeof one === "object" && one !== null && ("attachments" in one || "scheduled_at" in one)
    );
    if (single) {
      return refusal(422, "validation_error", "A batch takes no `attachments` and `scheduled_at`.");
    }
    const checked = list.data.map(check);
    const refused = checked.find(isRefusal);
    if (refused) return refused;
    const data = (checked as z.output<typeof Email>[]).map(accept);
    return { status: 200, body: { data }, accepted: true };
  }

  async function post(request: Incoming, send: (input: unknown) => Answer): Promise<Answer> {
    const input = parseJson(request.body);
    const key = request.headers["idempotency-key"];
    if (key === undefined) {
      await request.pause();
      return send(input);
    }
    if (key.length < 1 || key.length > 256) {
      return refusal(400, "invalid_idempotency_key", "The key must be 1 to 256 characters long.");
    }
    const asked = [request.url.pathname, input];
    const earlier = kept.get(key);
    if (earlier && Date.now() - earlier.at < 24 * 3_600_000) {
      if (!isDeepStrictEqual(earlier.asked, asked)) {
        return refusal(
          409,
          "invalid_idempotent_request",
          "Same idempotency key used with a different request payload.",
        );
      }
      if (!earlier.answer) {
        return refusal(
          409,
          "concurrent_idempotent_requests",
          "Same idempotency key used while original request is still in progress.",
        );
      }
      return { ...earlier.answer, accepted: false };
    }
    const record = { at: Date.now(), asked, answer: null as Answer | null };
    kept.set(key, record);
    await request.pause();
    const answer = send(input);
    // A refused request may be mended and sent again under the same key.
    if (answer.status === 200) record.answer = answer;
    else kept.delete(key);
    return answer;
  }

  function list(query: URLSearchParams): Answer {
    const limit = z.coerce.number().int().min(1).max(100).catch(20).parse(query.get("limit") ?? 20);
    const newest = emails.toReversed();
    const after = query.get("after");
    const before = query.get("before");
    const position = (id: string) => newest.findIndex((email) => email.id === id);
    const start = after ? position(after) + 1 : before ? Math.max(position(before) - limit, 0) : 0;
    const end = before ? position(before) : start + limit;
    const data = newest.slice(start, end).map((email) => {
      const { object: _object, html: _html, text: _text, headers: _headers, ...shown } = email;
      return shown;
    });
    return { status: 200, body: { object: "list", has_more: end < newest.length, data } };
  }

  async function route(request: Incoming): Promise<Answer> {
    const [scheme, key] = (request.headers.authorization ?? "").split(" ");
    if (scheme !== "Bearer" || !key) {
      return refusal(401, "missing_api_key", "Missing API key in the authorization header.");
    }
    if (options.apiKey !== undefined && key !== options.apiKey) {
      return refusal(403, "invalid_api_key", "API key is invalid.");
    }
    const action = `${request.method} ${request.url.pathname}`;
    if (action === "POST /emails") return await post(request, create);
    if (action === "POST /emails/batch") return await post(request, createBatch);
    if (action === "GET /emails") return list(request.url.searchParams);
    const inbound = /^GET \/emails\/receiving\/([^/]+)$/.exec(action)?.[1];
    if (inbound !== undefined) {
      const email = received.get(inbound);
      return email ? { status: 200, body: email } : refusal(404, "not_found", "Email not found");
    }
    const id = /^GET \/emails\/([^/]+)$/.exec(action)?.[1];
    const email = emails.find((one) => one.id === id);
    return email ? { status: 200, body: email } : refusal(404, "not_found", "Email not found");
  }

  const standIn = await startStandIn({
    name: "Resend",
    handle: async (request) => ({
      headers: { "ratelimit-limit": "5", "ratelimit-remaining": "4", "ratelimit-reset": "1" },
      ...await route(request),
    }),
    error: (status, code) =>
      refusal(
        status,
        String(code ?? namesOfStatus[status] ?? "internal_server_error"),
        "The request failed.",
      ),
    recipients: (request) => {
      const input = parseJson(request.body);
      return Array.isArray(input) ? input.flatMap(recipientsOf) : recipientsOf(input);
    },
    lists: true,
    forget: () => {
      emails = [];
      received = new Map();
      kept = new Map();
    },
  }, options);
  return {
    ...standIn,
    emails: () => emails,
    receive({ html = null, text = null, headers = {} }) {
      const id = randomUUID();
      received.set(id, { object: "email", id, html, text, headers, html_format: "cid" });
      return id;
    },
  };
}
