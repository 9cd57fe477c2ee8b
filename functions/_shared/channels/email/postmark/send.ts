import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { parseJson } from "../../../runtime/env.ts";
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
import { credentialsOf, parsePayload, type Sender, type SentMessage } from "../../sender.ts";
import {
  type Email,
  emailPayload,
  type FunctionsAddress,
  functionsAddress,
  withUnsubscribe,
} from "../payload.ts";
import { classify } from "./codes.ts";
import { parsePostmarkAccount, type PostmarkSettings, readPostmark } from "./settings.ts";

// No package: that of the provider sends through axios, which asks node:http, and without a key of idempotency a
// connection that is lost would send twice (../../once.ts).

/**
 * Postmark takes no key of idempotency. It lists what it accepted by what was said in Metadata: the key of the step
 * stands there, and finds its own email and no other.
 */
const KEY = "ridgeline";

function fromOf(email: Email, settings: PostmarkSettings): string {
  const from = email.from ?? settings.from;
  if (from) return from;
  throw new ConfigurationError(
    "POSTMARK_FROM",
    'set it to a confirmed sender, "Acme Roofing <office@example.com>"',
  );
}

const streamOf = ({ messageStream }: PostmarkSettings) => messageStream ?? "outbound";

const listOf = (name: string, mailboxes: readonly string[] | null | undefined) =>
  mailboxes?.length ? { [name]: mailboxes.join(", ") } : {};

function messageOf(email: Email, key: string, settings: PostmarkSettings) {
  const headers = Object.entries(email.headers ?? {});
  return {
    From: fromOf(email, settings),
    ...listOf("To", email.to),
    ...listOf("Cc", email.cc),
    ...listOf("Bcc", email.bcc),
    ...listOf("ReplyTo", email.reply_to),
    Subject: email.subject,
    ...(typeof email.html === "string" ? { HtmlBody: email.html } : {}),
    ...(typeof email.text === "string" ? { TextBody: email.text } : {}),
    ...(headers.length ? { Headers: headers.map(([Name, Value]) => ({ Name, Value })) } : {}),
    MessageStream: streamOf(settings),
    Metadata: { [KEY]: key },
  };
}

interface Reply extends Answer {
  body: unknown;
}

async function ask(
  settings: PostmarkSettings,
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
      "x-postmark-server-token": settings.serverToken,
      accept: "application/json",
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
  });
  const text = await readText(response);
  return { ...answerOf(response), body: parseJson(text) };
}

const said = z.object({
  ErrorCode: z.int(),
  Message: z.string().optional(),
  MessageID: z.string().min(1).optional(),
});

/** Accepted means that there is an id. A code beside 200 is a refusal, as Postmark's batches have it. */
function outcomeOf({ body, ...answer }: Reply): Outcome {
  const { ErrorCode = 0, Message, MessageID } = said.safeParse(body).data ?? {};
  const isGood = answer.status >= 200 && answer.status < 300;
  if (isGood && ErrorCode === 0) {
    return MessageID === undefined
      ? ambiguous(stepError("postmark_no_id", "Postmark's answer names no email", answer.status))
      : {
        outcome: "succeeded",
        result: { provider_id: MessageID, http_status: answer.status },
      };
  }
  return classify({
    ...answer,
    ...(ErrorCode === 0 ? {} : { code: ErrorCode }),
    ...(Message === undefined ? {} : { message: Message }),
  });
}

const page = z.object({
  TotalCount: z.coerce.number(),
  Messages: z.array(z.looseObject({
    MessageID: z.string(),
    Metadata: z.record(z.string(), z.string()).nullish(),
  })),
});

const PAGE_SIZE = 500;

const streams = z.object({
  MessageStreams: z.array(z.looseObject({ ID: z.string(), MessageStreamType: z.string() })),
});

/**
 * All that an email may have gone into: the setting may have changed since. A server has ten at most. That of today is
 * asked even where it is not listed, so that an empty list never counts as a look.
 */
async function streamsOf(settings: PostmarkSettings, signal: AbortSignal): Promise<Set<string>> {
  const { status, body } = await ask(settings, "message-streams?MessageStreamType=All", signal);
  if (status !== 200) throw new Error(`the list of streams answered ${status}`);
  const { MessageStreams } = streams.parse(body);
  return new Set([
    streamOf(settings),
    ...MessageStreams.flatMap((one) => one.MessageStreamType === "Inbound" ? [] : [one.ID]),
  ]);
}

/** Of one stream at a time, which is `outbound` where none is named. No filter by status: one may be queued still. */
async function findIn(
  messagestream: string,
  settings: PostmarkSettings,
  key: string,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const query = new URLSearchParams({
    count: String(PAGE_SIZE),
    offset: "0",
    messagestream,
    [`metadata_${KEY}`]: key,
  });
  const { status, body } = await ask(settings, `messages/outbound?${query}`, signal);
  if (status !== 200) throw new Error(`the list of emails answered ${status}`);
  const { TotalCount, Messages } = page.parse(body);
  const hit = Messages.find(({ Metadata }) => Metadata?.[KEY] === key);
  if (hit) return { provider_id: hit.MessageID };
  // More than were asked for: whether it is behind this page nobody can tell.
  if (TotalCount > Messages.length) throw new Error("more emails than can be searched");
  return null;
}

async function find(
  settings: PostmarkSettings,
  key: string,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const found = await Promise.all(
    [...await streamsOf(settings, signal)].map((stream) => findIn(stream, settings, key, signal)),
  );
  return found.find((hit) => hit !== null) ?? null;
}

export interface PostmarkOptions {
  /** Of the environment, or of the account whose secret is given. */
  settings?: (credentials?: string) => PostmarkSettings;
  secrets?: Secrets;
  timeoutMs?: number;
  functions?: FunctionsAddress;
}

const readSettings = (credentials?: string): PostmarkSettings =>
  readPostmark(
    process.env,
    credentials === undefined ? undefined : parsePostmarkAccount(credentials),
  );

export function createSender(options: PostmarkOptions = {}): Sender {
  const {
    settings = readSettings,
    secrets = noSecrets,
    timeoutMs = 10_000,
    functions = functionsAddress,
  } = options;
  const settingsOf = async (step: ClaimedStep) =>
    settings(await credentialsOf(step, "postmark", secrets));

  async function send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome> {
    const email = withUnsubscribe(parsePayload(emailPayload, step), functions);
    const current = await settingsOf(step);
    const message = messageOf(email, step.idempotency_key, current);
    try {
      return outcomeOf(await ask(current, "email", signal, message));
    } catch (error) {
      return classifyException("postmark", error);
    }
  }

  return {
    timeoutMs,
    send,
    reconciliation: {
      isNeeded: () => true,
      findSent: async (step, _since, _knownIds, signal) =>
        await find(await settingsOf(step), step.idempotency_key, signal),
    },
  };
}
