// What Postmark reports, read: postmarkapp.com/developer/webhooks/webhooks-overview.
import { createHash } from "node:crypto";
import { z } from "zod";
import { contentOf, type EmailEvent, eventOf, timeOf, words } from "../receiver.ts";
import { bounces } from "./codes.ts";

const text = z.string().nullish().catch(null);

const report = z.looseObject({
  RecordType: z.string(),
  MessageID: z.string().min(1),
  Recipient: text,
  Email: text,
  Type: text,
  Description: text,
  Details: text,
  DeliveredAt: z.unknown().optional(),
  BouncedAt: z.unknown().optional(),
  ReceivedAt: z.unknown().optional(),
  ChangedAt: z.unknown().optional(),
  OriginalLink: text,
  UserAgent: text,
  Origin: text,
  SuppressSending: z.boolean().nullish().catch(null),
  SuppressionReason: text,
});
type Report = z.infer<typeof report>;
type Fields = Parameters<typeof eventOf>[0];

const bounce = (type: EmailEvent["type"], said: Report, more: Fields = {}): Fields => ({
  type,
  occurred_at: timeOf("BouncedAt", said.BouncedAt),
  error_code: said.Type,
  detail: words({ type: said.Type, message: said.Description, details: said.Details }),
  ...more,
});

/** Null: an address that answered by itself, or one that got no email of ours. */
function bounced(said: Report): Fields | null {
  switch (Object.hasOwn(bounces, said.Type ?? "") ? bounces[said.Type!] : undefined) {
    case "none":
      return null;
    case "suppressed":
      return bounce("suppressed", said);
    case "unsubscribed":
      return bounce("unsubscribed", said);
    case "delayed":
      return bounce("delivery_delayed", said);
    case "failed":
      return bounce("failed", said);
    case "permanent":
      return bounce("bounced", said, { permanent: true });
    case undefined:
      return bounce("bounced", said, { permanent: false });
  }
}

const seen = (type: "opened" | "clicked", said: Report): Fields => ({
  type,
  occurred_at: timeOf("ReceivedAt", said.ReceivedAt),
  link: said.OriginalLink,
  user_agent: said.UserAgent,
});

/**
 * That somebody unsubscribed at Postmark itself, by the link that it adds to a broadcast stream, and from that alone; or
 * that the office (`Customer`), or Postmark for it (`Admin`), has put the address on its list, which tells of no wish
 * and stops all. Of bounces and complaints it tells beside.
 */
const subscription = (said: Report): Fields | null =>
  said.SuppressSending && said.SuppressionReason === "ManualSuppression"
    ? {
      type: said.Origin === "Recipient" ? "unsubscribed" : "suppressed",
      occurred_at: timeOf("ChangedAt", said.ChangedAt),
    }
    : null;

const OF_RECORD: Readonly<Record<string, (said: Report) => Fields | null>> = {
  Delivery: ({ DeliveredAt }) => ({
    type: "delivered",
    occurred_at: timeOf("DeliveredAt", DeliveredAt),
  }),
  Bounce: bounced,
  SpamComplaint: (said) => bounce("complained", said),
  Open: (said) => seen("opened", said),
  Click: (said) => seen("clicked", said),
  SubscriptionChange: subscription,
};

function outgoing(said: Report): EmailEvent | null {
  const fields = Object.hasOwn(OF_RECORD, said.RecordType)
    ? OF_RECORD[said.RecordType]!(said)
    : null;
  const address = said.Recipient ?? said.Email;
  return fields && eventOf({ email_id: said.MessageID, to: address ? [address] : null, ...fields });
}

const mailbox = z.looseObject({ Email: z.string(), Name: text });
const mailboxes = z.array(mailbox).nullish().catch(null);

/** An email that came in has no type, and a date that its writer's program chose. */
const inbound = z.looseObject({
  RecordType: z.literal("Inbound").optional(),
  MessageID: z.string().min(1),
  From: z.string(),
  FromFull: mailbox.nullish().catch(null),
  ToFull: mailboxes,
  CcFull: mailboxes,
  BccFull: mailboxes,
  /** Of the envelope: ours even where it was only copied to us, or forwarded. */
  OriginalRecipient: text,
  Subject: text,
  TextBody: text,
  HtmlBody: text,
  Headers: z.array(z.looseObject({ Name: z.string(), Value: z.string() })).nullish().catch(null),
});
type Inbound = z.infer<typeof inbound>;

/** Which of the headers Postmark writes itself, before those that came with the email. */
const VERDICTS = ["received-spf", "x-spam-tests"];

const addresses = (list: Inbound["ToFull"]) => (list ?? []).map(({ Email }) => Email);

function received(email: Inbound): EmailEvent | null {
  const { From, FromFull, OriginalRecipient } = email;
  return eventOf({
    email_id: email.MessageID,
    type: "received",
    occurred_at: new Date().toISOString(),
    from: FromFull?.Name ? `${FromFull.Name.replace(/[<>"]/g, "")} <${FromFull.Email}>` : From,
    to: [
      ...(OriginalRecipient ? [OriginalRecipient] : []),
      ...addresses(email.ToFull),
      ...addresses(email.BccFull),
    ],
    cc: addresses(email.CcFull),
    subject: email.Subject,
    ...contentOf({
      text: email.TextBody,
      html: email.HtmlBody,
      headers: email.Headers?.map(({ Name, Value }) => [Name, Value]),
    }, VERDICTS),
  });
}

/** Postmark's events have no id: two that say the same of the same moment are one. */
const idOf = (...parts: unknown[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex");

export interface PostmarkEvent {
  id: string;
  event: EmailEvent;
}

/** What a call with the password reports; null: nothing that is kept. */
export function postmarkEventOf(json: unknown): PostmarkEvent | null {
  const email = inbound.safeParse(json).data;
  if (email) {
    const event = received(email);
    return event && { id: idOf("received", event.email_id), event };
  }
  const said = report.safeParse(json).data;
  const event = said && outgoing(said);
  if (!event) return null;
  const { type, email_id, occurred_at, to, link } = event;
  return { id: idOf(said.RecordType, type, email_id, occurred_at, to, link), event };
}
