// A stand-in for the part of Twilio's Messages API that Ridgeline uses.
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { type Answer, type Incoming, type StandIn, startStandIn } from "./standin.ts";

export interface TwilioMessage {
  sid: string;
  account_sid: string;
  api_version: string;
  body: string;
  date_created: string;
  date_sent: string;
  date_updated: string;
  direction: "outbound-api";
  error_code: number | null;
  error_message: string | null;
  from: string | null;
  messaging_service_sid: string | null;
  num_media: string;
  num_segments: string;
  price: string | null;
  price_unit: string;
  status: string;
  subresource_uris: { media: string };
  to: string;
  uri: string;
}

export interface TwilioStandIn extends StandIn {
  /** What was accepted, oldest first. */
  messages: () => TwilioMessage[];
}

const messagesOfCode: Record<number, string> = {
  20003: "Authenticate",
  20404: "The requested resource was not found",
  20429: "Too Many Requests",
  20500: "An internal server error has occurred",
  21211: "Invalid 'To' Phone Number",
  21212: "Invalid From Number",
  21602: "Message body is required",
  21603: "A 'From' phone number is required",
  21604: "A 'To' phone number is required",
  21610: "Attempt to send to unsubscribed recipient",
  21614: "'To' number is not a valid mobile number",
  21617: "The concatenated message body exceeds the 1600 character limit",
};

function refusal(status: number, code: number, detail = ""): Answer {
  return {
    status,
    body: {
      code,
      message: (messagesOfCode[code] ?? "The request failed") + detail,
      more_info: `https://www.twilio.com/docs/errors/${code}`,
      status,
    },
  };
}

const E164 = z.string().transform((value) => value.replace(/[\s().-]/g, "")).pipe(
  z.string().regex(/^\+[1-9]\d{6,14}$/),
);

const pageSize = z.coerce.number().int().min(1).max(1000).catch(50);

/** Twilio's dates have no fractions of a second. */
function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}

export async function startTwilio(
  options: { port?: number; accountSid?: string; authToken?: string } = {},
): Promise<TwilioStandIn> {
  let messages: TwilioMessage[] = [];

  function authorised(request: Incoming, accountSid: string): boolean {
    const [scheme, credentials = ""] = (request.headers.authorization ?? "").split(" ");
    const [user = "", password = ""] = Buffer.from(credentials, "base64").toString().split(":");
    return scheme === "Basic" && password !== "" &&
      (user === accountSid || user.startsWith("SK")) &&
      (options.accountSid === undefined || options.accountSid === accountSid) &&
      (options.authToken === undefined || user.startsWith("SK") || options.authToken === password);
  }

  function create(form: URLSearchParams, accountSid: string): Answer {
    const to = form.get("To");
    if (!to) return refusal(400, 21604);
    const body = form.get("Body") ?? "";
    if (!body && !form.has("MediaUrl")) return refusal(400, 21602);
    const from = form.get("From");
    const service = form.get("MessagingServiceSid");
    if (!from && !service) return refusal(400, 21603);
    const number = E164.safeParse(to);
    if (!number.success) return refusal(400, 21211, `: ${to}`);
    if (body.length > 1600) return refusal(400, 21617);
    const sid = `SM${randomBytes(16).toString("hex")}`;
    const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${sid}`;
    const date = wholeSeconds(new Date()).toUTCString().replace("GMT", "+0000");
    const message: TwilioMessage = {
      sid,
      account_sid: accountSid,
      api_version: "2010-04-01",
      body,
      date_created: date,
      date_sent: date,
      date_updated: date,
      direction: "outbound-api",
      error_code: null,
      error_message: null,
      from,
      messaging_service_sid: service,
      num_media: String(form.getAll("MediaUrl").length),
      num_segments: String(Math.max(1, Math.ceil(body.length / 160))),
      price: null,
      price_unit: "USD",
      status: "sent",
      subresource_uris: { media: `${uri}/Media.json` },
      to: number.data,
      uri: `${uri}.json`,
    };
    messages.push(message);
    // The answer to a new message says queued; a later look finds it sent.
    return { status: 201, body: { ...message, status: "queued", date_sent: null }, accepted: true };
  }

  function list(url: URL): Answer {
    const query = url.searchParams;
    const size = pageSize.parse(query.get("PageSize") ?? 50);
    const page = z.coerce.number().int().min(0).catch(0).parse(query.get("Page") ?? 0);
    const bound = (name: string) => {
      const value = query.get(name);
      return value ? wholeSeconds(new Date(value)).getTime() : undefined;
    };
    const [after, before] = [bound("DateSent>"), bound("DateSent<")];
    const day = query.get("DateSent");
    const found = messages.toReversed().filter((message) => {
      const sent = Date.parse(message.date_sent);
      return (!query.has("To") || message.to === query.get("To")) &&
        (!query.has("From") || message.from === query.get("From")) &&
        (after === undefined || sent >= after) &&
        (before === undefined || sent <= before) &&
        (!day || new Date(sent).toISOString().startsWith(day.slice(0, 10)));
    });
    const start = page * size;
    const shown = found.slice(start, start + size);
    const at = (number: number) => {
      const link = new URLSearchParams(query);
      link.set("PageSize", String(size));
      link.set("Page", String(number));
      return `${url.pathname}?${link}`;
    };
    return {
      status: 200,
      body: {
        messages: shown,
        page,
        page_size: size,
        start,
        end: start + Math.max(shown.length - 1, 0),
        uri: url.pathname + url.search,
        first_page_uri: at(0),
        next_page_uri: found.length > start + size ? at(page + 1) : null,
        previous_page_uri: page > 0 ? at(page - 1) : null,
      },
    };
  }

  const standIn = await startStandIn({
    name: "Twilio",
    async handle(request) {
      await request.pause();
      const route = /^\/2010-04-01\/Accounts\/([^/]+)\/Messages(?:\/([^/]+))?\.json$/
        .exec(request.url.pathname);
      const [, accountSid, sid] = route ?? [];
      if (!accountSid) return refusal(404, 20404);
      if (!authorised(request, accountSid)) return refusal(401, 20003);
      if (request.method === "POST" && !sid) {
        return create(new URLSearchParams(request.body), accountSid);
      }
      if (request.method !== "GET") return refusal(404, 20404);
      if (!sid) return list(request.url);
      const message = messages.find((one) => one.sid === sid);
      return message ? { status: 200, body: message } : refusal(404, 20404);
    },
    error: (status, code) => refusal(status, Number(code ?? (status === 429 ? 20429 : 20500))),
    recipients: (request) => {
      const to = new URLSearchParams(request.body).get("To") ?? request.url.searchParams.get("To");
      return to ? [to] : [];
    },
    forget: () => messages = [],
  }, options);
  return { ...standIn, messages: () => messages };
}
