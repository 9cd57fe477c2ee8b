// A stand-in for the part of Twilio's Messages API that Ridgeline uses.
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { segmentsOf } from "./segments.ts";
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
  20001: "Invalid ValidityPeriod: 1 to 36000 seconds",
  21211: "Invalid 'To' Phone Number",
  21212: "Invalid From Number",
  21266: "'To' and 'From' number cannot be the same",
  21602: "Message body is required",
  21603: "A 'From' phone number is required",
  21604: "A 'To' phone number is required",
  21609: "Invalid 'StatusCallback' URL",
  21610: "Attempt to send to unsubscribed recipient",
  21614: "'To' number is not a valid mobile number",
  21617: "The concatenated message body exceeds the 1600 character limit",
  21620: "Invalid media URL(s)",
  21623: "Number of media files exceeds allowed limit",
  21701: "The Messaging Service does not exist",
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

/** As Twilio reads a number: formatting is passed over, and a number of +1 has ten digits after it. */
const E164 = z.string().regex(/^[+\d\s().-]+$/).transform((value) => value.replace(/[\s().-]/g, ""))
  .pipe(z.string().regex(/^\+(?:1[2-9]\d{9}|[2-9]\d{6,14})$/));
/** A number, a short code, or a name of up to eleven characters with a letter among them. */
const From = z.union([
  E164,
  z.string().regex(/^\d{3,8}$/),
  z.string().regex(/^(?=.*[A-Za-z])[A-Za-z0-9 &+_-]{1,11}$/),
]);
const Url = z.url({ protocol: /^https?$/ });
const MAX_BODY = 1600;
const MAX_MEDIA = 10;

/** The parameters of a request; of anything but a form Twilio reads none. */
function formOf(request: Incoming): URLSearchParams {
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(
    request.headers["content-type"] ?? "",
  );
  return new URLSearchParams(isForm ? request.body : "");
}

/** The refusal of a message; null: it is taken. */
function refusalOf(form: URLSearchParams): Answer | null {
  const [to, from, service] = ["To", "From", "MessagingServiceSid"].map((name) => form.get(name));
  const body = form.get("Body") ?? "";
  const media = form.getAll("MediaUrl");
  const callback = form.get("StatusCallback");
  const number = E164.safeParse(to);
  const validity = Number(form.get("ValidityPeriod") ?? 1);
  if (!Number.isInteger(validity) || validity < 1 || validity > 36_000) return refusal(400, 20001);
  if (!to) return refusal(400, 21604);
  if (!body && media.length === 0) return refusal(400, 21602);
  if (!from && !service) return refusal(400, 21603);
  if (!number.success) return refusal(400, 21211, `: ${to}`);
  if (from && !From.safeParse(from).success) return refusal(400, 21212, `: ${from}`);
  if (from && E164.safeParse(from).data === number.data) return refusal(400, 21266);
  if (service && !/^MG\w+$/.test(service)) return refusal(400, 21701);
  if (body.length > MAX_BODY) return refusal(400, 21617);
  if (media.length > MAX_MEDIA) return refusal(400, 21623);
  if (!media.every((url) => Url.safeParse(url).success)) return refusal(400, 21620);
  if (callback && !Url.safeParse(callback).success) return refusal(400, 21609);
  return null;
}

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
    const refused = refusalOf(form);
    if (refused) return refused;
    const body = form.get("Body") ?? "";
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
      from: form.get("From"),
      messaging_service_sid: form.get("MessagingServiceSid"),
      num_media: String(form.getAll("MediaUrl").length),
      num_segments: String(segmentsOf(body).segments),
      price: null,
      price_unit: "USD",
      status: "sent",
      subresource_uris: { media: `${uri}/Media.json` },
      to: E164.parse(form.get("To")),
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
        return create(formOf(request), accountSid);
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
    lists: true,
  }, options);
  return { ...standIn, messages: () => messages };
}
