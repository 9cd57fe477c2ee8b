// A stand-in for the part of Postmark's API that Ridgeline uses: emails, the list of what was sent, and the webhooks that
// tell what came in and what became of it, which log in as Postmark does.
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { addressesOf, HEADER_NAME, isMailbox, PRINTABLE } from "./mailbox.ts";
import { type Answer, type Incoming, parseJson, type StandIn, startStandIn } from "./standin.ts";

export interface PostmarkEmail {
  id: string;
  from: string;
  to: string[];
  cc: string[];
  bcc: string[];
  reply_to: string;
  subject: string;
  html: string | null;
  text: string | null;
  headers: Record<string, string>;
  stream: string;
  metadata: Record<string, string>;
  created_at: string;
}

/** The request that Postmark makes of an event: the address of the webhook has the password in it. */
export function byPostmark(
  password: string,
  event: unknown,
  { body = JSON.stringify(event) }: { body?: string } = {},
): RequestInit & { headers: Record<string, string>; body: string } {
  return {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Basic ${Buffer.from(`ridgeline:${password}`).toString("base64")}`,
      "user-agent": "Postmark",
    },
    body,
  };
}

type Sent = Pick<PostmarkEmail, "id" | "from" | "to" | "subject" | "stream" | "metadata">;

/** What every event of an email that went out has. */
const eventOf = <E extends object>(RecordType: string, sent: Sent, more: E) => ({
  RecordType,
  ServerID: 23,
  MessageStream: sent.stream,
  MessageID: sent.id,
  Tag: "",
  Metadata: sent.metadata,
  ...more,
});

export const postmarkDelivery = (sent: Sent, at: Date) =>
  eventOf("Delivery", sent, {
    Recipient: sent.to[0],
    DeliveredAt: at.toISOString(),
    Details: "smtp;250 2.0.0 OK",
  });

const codes: Record<string, number> = {
  HardBounce: 1,
  Transient: 2,
  Unsubscribe: 16,
  AutoResponder: 64,
  SpamNotification: 512,
  SoftBounce: 4096,
  BadEmailAddress: 100_000,
  SpamComplaint: 100_001,
  ManuallyDeactivated: 100_002,
};

const bounceOf = (record: string, sent: Sent, Type: string, at: Date) =>
  eventOf(record, sent, {
    ID: 4_323_372_036,
    Type,
    TypeCode: codes[Type] ?? 2048,
    Name: Type,
    Description: "The server was unable to deliver your message.",
    Details: "smtp;550 5.1.1 The email account that you tried to reach does not exist.",
    Email: sent.to[0],
    From: sent.from,
    BouncedAt: at.toISOString(),
    DumpAvailable: true,
    Inactive: Type === "HardBounce",
    CanActivate: true,
    Subject: sent.subject,
  });

export const postmarkBounce = (sent: Sent, type: string, at: Date) =>
  bounceOf("Bounce", sent, type, at);

export const postmarkComplaint = (sent: Sent, at: Date) =>
  bounceOf("SpamComplaint", sent, "SpamComplaint", at);

export const CHROME =
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/129.0 Safari/537.36";

const engagement = (sent: Sent, at: Date, UserAgent: string) => ({
  Recipient: sent.to[0],
  ReceivedAt: at.toISOString(),
  Platform: "Desktop",
  Client: { Name: "Chrome", Company: "Google", Family: "Chrome" },
  OS: { Name: "macOS 14", Company: "Apple", Family: "macOS" },
  UserAgent,
  Geo: { CountryISOCode: "US", City: "Austin" },
});

export const postmarkOpen = (sent: Sent, at: Date, userAgent = CHROME) =>
  eventOf("Open", sent, { FirstOpen: true, ...engagement(sent, at, userAgent) });

export const postmarkClick = (sent: Sent, link: string, at: Date, userAgent = CHROME) =>
  eventOf("Click", sent, {
    ClickLocation: "HTML",
    OriginalLink: link,
    ...engagement(sent, at, userAgent),
  });

export const postmarkSubscription = (
  sent: Sent,
  reason: string,
  at: Date,
  { suppress = true, origin = "Recipient" }: { suppress?: boolean; origin?: string } = {},
) =>
  eventOf("SubscriptionChange", sent, {
    Recipient: sent.to[0],
    ChangedAt: at.toISOString(),
    Origin: origin,
    SuppressSending: suppress,
    SuppressionReason: suppress ? reason : null,
  });

/** Somebody writes to an address of ours. It has no type, and its date is the writer's. */
export const postmarkInbound = (
  { from, name = "", to, subject, text = "", html = "", headers = {}, ...more }: {
    from: string;
    name?: string;
    to: string;
    subject: string;
    text?: string;
    html?: string;
    headers?: Record<string, string>;
    [field: string]: unknown;
  },
) => ({
  FromName: name,
  MessageStream: "inbound",
  From: from,
  FromFull: { Email: from, Name: name, MailboxHash: "" },
  To: to,
  ToFull: [{ Email: to, Name: "", MailboxHash: "" }],
  Cc: "",
  CcFull: [],
  Bcc: "",
  BccFull: [],
  OriginalRecipient: "0123abcd@inbound.postmarkapp.example",
  Subject: subject,
  MessageID: randomUUID() as string,
  ReplyTo: "",
  MailboxHash: "",
  Date: "Thu, 5 Apr 2012 16:59:01 +0200",
  TextBody: text,
  HtmlBody: html,
  StrippedTextReply: "",
  Tag: "",
  Headers: Object.entries(headers).map(([Name, Value]) => ({ Name, Value })),
  Attachments: [],
  ...more,
});

export interface PostmarkStandIn extends StandIn {
  /** What was accepted, oldest first. */
  emails: () => PostmarkEmail[];
  /** An address on Postmark's own list, to which it sends nothing. */
  deactivate: (address: string) => void;
}

const refusal = (status: number, ErrorCode: number, Message: string): Answer => ({
  status,
  body: { ErrorCode, Message },
});
const invalid = (message: string) => refusal(422, 300, message);

const line = z.string().regex(PRINTABLE);
const Message = z.strictObject({
  From: line.refine(isMailbox),
  To: line,
  Cc: line.optional(),
  Bcc: line.optional(),
  ReplyTo: line.optional(),
  Subject: line.optional(),
  HtmlBody: z.string().optional(),
  TextBody: z.string().optional(),
  MessageStream: z.string().optional(),
  TrackOpens: z.boolean().optional(),
  TrackLinks: z.enum(["None", "HtmlAndText", "HtmlOnly", "TextOnly"]).optional(),
  Headers: z.array(z.strictObject({ Name: line.regex(HEADER_NAME), Value: line })).optional(),
  Metadata: z.record(z.string().min(1).max(20), z.string().max(80)).optional(),
});
type Parsed = z.output<typeof Message>;

/** A comma inside of a name that is not quoted is one between two addresses that are none. */
function recipientsOf({ To, Cc, Bcc }: Parsed): Record<"to" | "cc" | "bcc", string[]> | null {
  const [to, cc, bcc] = [To, Cc, Bcc].map((list) => list ? addressesOf(list) : []);
  return to?.length && cc && bcc ? { to, cc, bcc } : null;
}

export async function startPostmark(
  options: { port?: number; tokens?: readonly string[]; streams?: readonly string[] } = {},
): Promise<PostmarkStandIn> {
  const streams = options.streams ?? ["outbound", "broadcast"];
  let emails: PostmarkEmail[] = [];
  let inactive = new Set<string>();

  function send(input: unknown): Answer {
    const { data: message, error } = Message.safeParse(input);
    if (!message) return invalid(`Invalid email request. ${error.issues[0]?.path.join(".")}`);
    const recipients = recipientsOf(message);
    if (!recipients) return invalid("Invalid 'To', 'Cc' or 'Bcc': illegal email address.");
    const all = [...recipients.to, ...recipients.cc, ...recipients.bcc];
    if (all.length > 50) return invalid("Maximum of 50 recipients allowed per email message.");
    if (!message.HtmlBody && !message.TextBody) {
      return invalid("Provide either email TextBody or HtmlBody or both.");
    }
    const stream = message.MessageStream ?? "outbound";
    if (!streams.includes(stream)) {
      return refusal(422, 1235, `The stream provided: '${stream}' does not exist on this server.`);
    }
    if (all.every((address) => inactive.has(address.toLowerCase()))) {
      return refusal(
        422,
        406,
        `You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: ${
          all.join(", ")
        }. Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression.`,
      );
    }
    const kept: PostmarkEmail = {
      id: randomUUID(),
      from: message.From,
      ...recipients,
      reply_to: message.ReplyTo ?? "",
      subject: message.Subject ?? "",
      html: message.HtmlBody ?? null,
      text: message.TextBody ?? null,
      headers: Object.fromEntries((message.Headers ?? []).map(({ Name, Value }) => [Name, Value])),
      stream,
      metadata: message.Metadata ?? {},
      created_at: new Date().toISOString(),
    };
    emails.push(kept);
    return {
      status: 200,
      accepted: true,
      body: {
        To: message.To,
        SubmittedAt: kept.created_at,
        MessageID: kept.id,
        ErrorCode: 0,
        Message: "OK",
      },
    };
  }

  function list({ url }: Incoming): Answer {
    const count = Number(url.searchParams.get("count"));
    const offset = Number(url.searchParams.get("offset") ?? NaN);
    if (!(count >= 1 && count <= 500) || !(offset >= 0)) {
      return refusal(422, 701, "count and offset are required");
    }
    const asked = [...url.searchParams].flatMap(([name, value]) =>
      name.startsWith("metadata_") ? [[name.slice("metadata_".length), value] as const] : []
    );
    // Of one stream alone, also where none is named.
    const stream = url.searchParams.get("messagestream") ?? "outbound";
    if (!streams.includes(stream)) {
      return refusal(422, 1226, `The message stream '${stream}' was not found.`);
    }
    const found = emails.filter((email) =>
      email.stream === stream && asked.every(([name, value]) => email.metadata[name] === value)
    ).toReversed();
    const Messages = found.slice(offset, offset + count).map((email) => ({
      MessageID: email.id,
      MessageStream: email.stream,
      To: email.to.map((Email) => ({ Email, Name: null })),
      Recipients: [...email.to, ...email.cc, ...email.bcc],
      ReceivedAt: email.created_at,
      From: email.from,
      Subject: email.subject,
      Status: "Sent",
      Metadata: email.metadata,
    }));
    return { status: 200, body: { TotalCount: found.length, Messages } };
  }

  /** Those that are archived are left out, as Postmark does unasked. */
  const MessageStreams = [
    ...streams.map((ID) => ({
      ID,
      MessageStreamType: ID.startsWith("broadcast") ? "Broadcasts" : "Transactional",
    })),
    { ID: "inbound", MessageStreamType: "Inbound" },
  ];

  const standIn = await startStandIn({
    name: "postmark",
    recipients: ({ body }) => {
      const one = z.object({ To: z.string() }).safeParse(parseJson(body));
      return one.success ? addressesOf(one.data.To) ?? [] : [];
    },
    error: (status, code) => refusal(status, Number(code ?? 0), "The request failed."),
    lists: true,
    forget: () => {
      emails = [];
      inactive = new Set();
    },
    handle: async (request) => {
      await request.pause();
      const token = request.headers["x-postmark-server-token"];
      if (!token || (options.tokens && !options.tokens.includes(token))) {
        return refusal(401, 10, "Bad or missing Server API token.");
      }
      const action = `${request.method} ${request.url.pathname}`;
      if (action === "GET /messages/outbound") return list(request);
      if (action === "GET /message-streams") {
        return { status: 200, body: { MessageStreams, TotalCount: MessageStreams.length } };
      }
      if (action !== "POST /email") return refusal(404, 0, "Not found.");
      const input = parseJson(request.body);
      return input === undefined ? refusal(422, 402, "Invalid JSON.") : send(input);
    },
  }, options.port === undefined ? {} : { port: options.port });
  return {
    ...standIn,
    emails: () => emails,
    deactivate: (address) => void inactive.add(address.toLowerCase()),
  };
}
