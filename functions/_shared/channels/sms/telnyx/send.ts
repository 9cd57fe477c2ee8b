import process from "node:process";
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
import { noSecrets, type Secrets } from "../../../runtime/secrets.ts";
import { answerOf, readText, requestOnce } from "../../once.ts";
import {
  credentialsOf,
  parsePayload,
  type Sender,
  type SentMessage,
  SKEW_MS,
} from "../../sender.ts";
import { type Sms, smsPayload } from "../payload.ts";
import { classify } from "./codes.ts";
import { parseTelnyxAccount, readTelnyx, type TelnyxSettings } from "./settings.ts";

// No package: that of the provider is 37 MB unpacked for two requests, and a function may have 20.

type Origin = { from: string } | { messaging_profile_id: string };

/** What another provider calls a messaging service is a messaging profile here. */
function originOf(sms: Sms, settings: TelnyxSettings): Origin {
  if (sms.messaging_service_sid) return { messaging_profile_id: sms.messaging_service_sid };
  if (sms.from) return { from: sms.from };
  if (settings.messagingProfileId) return { messaging_profile_id: settings.messagingProfileId };
  if (settings.from) return { from: settings.from };
  throw new ConfigurationError(
    "TELNYX_FROM",
    "set it to a Telnyx number (+15551234567), or set TELNYX_MESSAGING_PROFILE_ID",
  );
}

interface Reply extends Answer {
  body: unknown;
}

async function ask(
  settings: TelnyxSettings,
  path: string,
  signal: AbortSignal,
  sent?: object,
): Promise<Reply> {
  const body = sent === undefined ? undefined : JSON.stringify(sent);
  const response = await requestOnce(new URL(path, `${settings.baseUrl}/`), {
    method: sent === undefined ? "GET" : "POST",
    signal,
    body,
    headers: {
      authorization: `Bearer ${settings.apiKey}`,
      accept: "application/json",
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
  });
  const text = await readText(response);
  return { ...answerOf(response), body: parsed(text) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const refusal = z.object({
  errors: z.array(z.object({
    code: z.coerce.number().int(),
    title: z.string().optional(),
    detail: z.string().optional(),
  })).min(1),
});
const accepted = z.object({ data: z.object({ id: z.string().min(1) }) });

function outcomeOf({ body, ...answer }: Reply): Outcome {
  if (answer.status >= 200 && answer.status < 300) {
    const message = accepted.safeParse(body);
    return message.success
      ? {
        outcome: "succeeded",
        result: { provider_id: message.data.data.id, http_status: answer.status },
      }
      : ambiguous(stepError("telnyx_no_id", "Telnyx's answer names no message", answer.status));
  }
  const said = refusal.safeParse(body).data?.errors[0];
  return classify({
    ...answer,
    ...(said ? { code: said.code, message: said.detail ?? said.title ?? "" } : {}),
  });
}

const records = z.object({
  data: z.array(z.object({
    uuid: z.string(),
    cli: z.string().nullish(),
    cld: z.string().nullish(),
    direction: z.string().nullish(),
    created_at: z.string().transform((text) => Date.parse(text)),
  })),
});

const PAGE_SIZE = 50;

/**
 * Detail records have no text: a message to that number since the attempt counts as this one, for the side that sends
 * nothing wins.
 */
async function find(
  settings: TelnyxSettings,
  sms: Sms,
  since: Date,
  isKnown: (id: string) => boolean,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const origin = originOf(sms, settings);
  const query = new URLSearchParams({
    "filter[record_type]": "messaging",
    "filter[direction]": "outbound",
    "filter[cld]": sms.to,
    "sort": "-created_at",
    "page[size]": String(PAGE_SIZE),
  });
  const { status, body } = await ask(settings, `v2/detail_records?${query}`, signal);
  if (status !== 200) throw new Error(`the list of messages answered ${status}`);
  const notBefore = since.getTime() - SKEW_MS;
  const { data } = records.parse(body);
  const hit = data.find((record) =>
    !isKnown(record.uuid) && record.cld === sms.to && record.direction !== "inbound" &&
    record.created_at >= notBefore && (!("from" in origin) || record.cli === origin.from)
  );
  return hit ? { provider_id: hit.uuid } : null;
}

export interface TelnyxOptions {
  /** Of the environment, or of the account whose secret is given. */
  settings?: (credentials?: string) => TelnyxSettings;
  secrets?: Secrets;
  timeoutMs?: number;
}

const readSettings = (credentials?: string): TelnyxSettings =>
  credentials === undefined
    ? readTelnyx()
    : readTelnyx(process.env, parseTelnyxAccount(credentials).apiKey);

export function createSender(options: TelnyxOptions = {}): Sender {
  const { settings = readSettings, secrets = noSecrets, timeoutMs = 10_000 } = options;
  const settingsOf = async (step: ClaimedStep) =>
    settings(await credentialsOf(step, "telnyx", secrets));

  async function send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome> {
    const sms = parsePayload(smsPayload, step);
    const current = await settingsOf(step);
    const message = {
      to: sms.to,
      ...originOf(sms, current),
      ...(sms.body ? { text: sms.body } : {}),
      ...(sms.media_urls?.length ? { media_urls: sms.media_urls } : {}),
    };
    try {
      return outcomeOf(await ask(current, "v2/messages", signal, message));
    } catch (error) {
      return classifyException("telnyx", error);
    }
  }

  return {
    timeoutMs,
    send,
    reconciliation: {
      isNeeded: () => true,
      async findSent(step, since, knownIds, signal) {
        const known = new Set(knownIds);
        const sms = parsePayload(smsPayload, step);
        return await find(await settingsOf(step), sms, since, (id) => known.has(id), signal);
      },
    },
  };
}
