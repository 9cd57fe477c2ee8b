import { Buffer } from "node:buffer";
import process from "node:process";
import type { Client, RequestOpts } from "twilio/lib/base/BaseTwilio.js";
import DomainModule from "twilio/lib/base/Domain.js";
import VersionModule from "twilio/lib/base/Version.js";
import {
  type MessageInstance,
  MessageListInstance,
} from "twilio/lib/rest/api/v2010/account/message.js";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import {
  ambiguous,
  type Answer,
  classifyException,
  type Outcome,
  stepError,
} from "../../../engine/outcome.ts";
import type { ClaimedStep } from "../../../engine/queue.ts";
import { answerOf, readText, requestOnce } from "../../once.ts";
import { noSecrets, type Secrets } from "../../../runtime/secrets.ts";
import {
  credentialsOf,
  parsePayload,
  type Sender,
  type SentMessage,
  SKEW_MS,
} from "../../sender.ts";
import { type Sms, smsPayload } from "../payload.ts";
import { classify } from "./codes.ts";
import { parseTwilioAccount, readTwilio, type TwilioSettings } from "./settings.ts";

/**
 * Only the message resource of the package is loaded (eleven modules, no axios); its entry point
 * loads 237. The resource asks for an HTTP client, and `Transport` is one on kept connections.
 */
const Domain = defaultExport(DomainModule);
const Version = defaultExport(VersionModule);

/** CommonJS classes arrive bare or wrapped in `{ default }`, depending on who loads them. */
function defaultExport<T extends object>(module: T | { default: T }): T {
  return "default" in module ? module.default : module;
}

/** As Twilio will list it: the lookup filters by equality. */
const listed = smsPayload.safeExtend({
  to: z.string().transform((number) => number.replace(/[\s().-]/g, "")).pipe(z.string().min(1)),
});
type Origin = { from: string } | { messagingServiceSid: string };

/** The step's own sender wins over the environment's; a service picks the number by itself. */
function originOf(sms: Sms, settings: TwilioSettings): Origin {
  if (sms.messaging_service_sid) return { messagingServiceSid: sms.messaging_service_sid };
  if (sms.from) return { from: sms.from };
  if (settings.messagingServiceSid) return { messagingServiceSid: settings.messagingServiceSid };
  if (settings.from) return { from: settings.from };
  throw new ConfigurationError(
    "TWILIO_FROM",
    "set it to a Twilio number (+15551234567), or set TWILIO_MESSAGING_SERVICE_SID",
  );
}

function append(form: URLSearchParams, fields: object | undefined): URLSearchParams {
  for (const [name, value] of Object.entries(fields ?? {})) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null) form.append(name, String(item));
    }
  }
  return form;
}

/** The HTTP client of one call: it carries the call's signal and keeps what its answer said. */
class Transport {
  answer: Answer | undefined;

  constructor(readonly settings: TwilioSettings, readonly signal: AbortSignal) {}

  async request(options: RequestOpts): Promise<{ statusCode: number; body: string }> {
    const { accountSid, authToken } = this.settings;
    const url = new URL(options.uri ?? "");
    append(url.searchParams, options.params);
    const method = (options.method ?? "get").toUpperCase();
    const form = method === "POST"
      ? append(new URLSearchParams(), options.data).toString()
      : undefined;
    const response = await requestOnce(url, {
      method,
      signal: this.signal,
      body: form,
      headers: {
        authorization: `Basic ${Buffer.from(`${accountSid}:${authToken}`).toString("base64")}`,
        accept: "application/json",
        ...(form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }),
      },
    });
    this.answer = answerOf(response);
    return { statusCode: this.answer.status, body: await readText(response) };
  }
}

function messagesThrough(transport: Transport) {
  // Of its client the package uses `request`, of V2010 what its base class has; loading the two
  // classes it names would load axios and every other resource.
  const domain = new Domain(transport as unknown as Client, transport.settings.baseUrl);
  const version = new Version(domain, "2010-04-01") as Parameters<
    typeof MessageListInstance
  >[0];
  return MessageListInstance(version, transport.settings.accountSid);
}

const restException = z.object({
  status: z.int(),
  code: z.int().optional().catch(undefined),
  message: z.string().optional().catch(undefined),
});

/** An exception of the package: an answer that says no, or no answer that can be understood. */
function outcomeOf(error: unknown, answer: Answer | undefined): Outcome {
  const rejection = restException.safeParse(error);
  if (!rejection.success || !answer) return classifyException("twilio", error);
  const { code, message } = rejection.data;
  return classify({
    ...answer,
    ...(code === undefined ? {} : { code }),
    ...(message === undefined ? {} : { message }),
  });
}

/** Accepted means that there is a sid: a gateway's page with status 200 is no message. */
function outcomeOfMessage(message: MessageInstance, status: number): Outcome {
  if (typeof message.sid !== "string" || message.sid === "") {
    return ambiguous(stepError("twilio_no_sid", "Twilio's answer names no message", status));
  }
  return { outcome: "succeeded", result: { provider_id: message.sid, http_status: status } };
}

const TRIAL_PREFIX = /^Sent from your Twilio trial account - /;
const SMART_ENCODING: readonly (readonly [RegExp, string])[] = [
  [/[\u2018\u2019\u201a\u201b\u2032]/g, "'"],
  [/[\u201c\u201d\u201e\u201f\u2033]/g, '"'],
  [/[\u2010-\u2015\u2212]/g, "-"],
  [/\u2026/g, "..."],
  [/\s+/g, " "],
];

/** Twilio stores what it sends: typographic characters made plain, trial accounts prefixed. */
export function comparableBody(body: string): string {
  const plain = SMART_ENCODING.reduce(
    (text, [pattern, replacement]) => text.replace(pattern, replacement),
    body.normalize("NFKC").replace(TRIAL_PREFIX, ""),
  );
  return plain.trim();
}

function comparableNumber(number: string | null | undefined): string {
  return (number ?? "").replace(/[^+0-9a-z]/gi, "").toLowerCase();
}

function matches(message: MessageInstance, sms: Sms, origin: Origin, notBefore: number): boolean {
  const created = message.dateCreated instanceof Date ? message.dateCreated.getTime() : NaN;
  const sender = "from" in origin
    ? [comparableNumber(message.from), comparableNumber(origin.from)]
    : [message.messagingServiceSid ?? "", origin.messagingServiceSid];
  return !(created < notBefore) &&
    !String(message.direction ?? "").startsWith("inbound") &&
    comparableNumber(message.to) === comparableNumber(sms.to) &&
    (sender[0] === "" || sender[0] === sender[1]) &&
    comparableBody(message.body ?? "") === comparableBody(sms.body);
}

const PAGE_SIZE = 100;
const MAX_PAGES = 5;

/**
 * Newest first. No filter by DateSent: a message still queued has none. Pages are followed until
 * one is older than the attempt; more pages than the bound mean that nobody can tell.
 */
async function find(
  settings: TwilioSettings,
  sms: Sms,
  since: Date,
  isKnown: (sid: string) => boolean,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const origin = originOf(sms, settings);
  const notBefore = since.getTime() - SKEW_MS;
  const filter = "from" in origin ? { to: sms.to, from: origin.from } : { to: sms.to };
  const messages = messagesThrough(new Transport(settings, signal));
  let page = await messages.page({ ...filter, pageSize: PAGE_SIZE });
  for (let number = 1;; number++) {
    const hit = page.instances.find((message) =>
      !isKnown(message.sid) && matches(message, sms, origin, notBefore)
    );
    if (hit) return { provider_id: hit.sid };
    const older = page.instances.length > 0 &&
      page.instances.every((message) => message.dateCreated?.getTime() < notBefore);
    const next = older ? undefined : page.nextPage();
    if (!next) return null;
    if (number === MAX_PAGES) throw new Error("more messages to this number than can be searched");
    page = await next as typeof page;
  }
}

export interface TwilioOptions {
  /** Of the environment, or of the account whose secret is given. */
  settings?: (credentials?: string) => TwilioSettings;
  secrets?: Secrets;
  timeoutMs?: number;
}

const readSettings = (credentials?: string): TwilioSettings =>
  credentials === undefined
    ? readTwilio()
    : readTwilio(process.env, parseTwilioAccount(credentials));

export function createSender(options: TwilioOptions = {}): Sender {
  const { settings = readSettings, secrets = noSecrets, timeoutMs = 10_000 } = options;
  const settingsOf = async (step: ClaimedStep) =>
    settings(await credentialsOf(step, "twilio", secrets));
  // Two equal texts looked up at once must not both take the one message that was accepted.
  const taken = new Map<string, string>();

  async function send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome> {
    const sms = parsePayload(listed, step);
    const transport = new Transport(await settingsOf(step), signal);
    const origin = originOf(sms, transport.settings);
    const { statusCallback } = transport.settings;
    try {
      const message = await messagesThrough(transport).create({
        to: sms.to,
        ...origin,
        ...(sms.body ? { body: sms.body } : {}),
        ...(sms.media_urls?.length ? { mediaUrl: sms.media_urls } : {}),
        ...(sms.validity_seconds ? { validityPeriod: sms.validity_seconds } : {}),
        ...(statusCallback ? { statusCallback } : {}),
      });
      return outcomeOfMessage(message, transport.answer?.status ?? 201);
    } catch (error) {
      return outcomeOf(error, transport.answer);
    }
  }

  return {
    timeoutMs,
    send,
    reconciliation: {
      isNeeded: () => true,
      async findSent(step, since, knownIds, signal) {
        const known = new Set(knownIds);
        // The id of a step is its tenant's.
        const own = `${step.tenant_id} ${step.step_id}`;
        const isKnown = (sid: string) => known.has(sid) || (taken.get(sid) ?? own) !== own;
        const sms = parsePayload(listed, step);
        const found = await find(await settingsOf(step), sms, since, isKnown, signal);
        if (found) remember(taken, found.provider_id, own);
        return found;
      },
    },
  };
}

/** Bounded: the database knows a recorded id soon after, and names it in `known_provider_ids`. */
function remember(taken: Map<string, string>, sid: string, step: string): void {
  taken.set(sid, step);
  const oldest = taken.keys().next();
  if (taken.size > 10_000 && !oldest.done) taken.delete(oldest.value);
}
