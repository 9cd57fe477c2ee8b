import process from "node:process";
import { parseJsonBody } from "../../../http/inbound.ts";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { type Log, logToConsole } from "../../../runtime/log.ts";
import { signersOf } from "../../receiver.ts";
import { contentOf, type EmailEvent, eventOf, type Incoming, type Receiver } from "../receiver.ts";
import { createContentFetcher, type FetchContent } from "./content.ts";
import { resendEventOf } from "./events.ts";
import { parseResendSigner, readResend, readResendSecret, type ResendSigner } from "./settings.ts";
import { isSignedBy, refusal, signedOf } from "./signature.ts";

const MAX_BODY_BYTES = 256 * 1024;

/** Which of the headers Resend's own server writes, before those that came with the email. */
const VERDICTS = ["authentication-results", "received-spf"];

/** The key of a tenant's own account, or nothing: the environment's. */
const fetcherOf = (apiKey?: string): FetchContent =>
  createContentFetcher(readResend(process.env, apiKey));

export interface ResendReceiverOptions {
  /** What the environment's account signs with. */
  secret?: () => string;
  /** Asked at the first email that comes in. */
  fetchContent?: (apiKey?: string) => FetchContent;
  log?: Log;
}

export function createReceiver(
  { secret = readResendSecret, fetchContent = fetcherOf, log = logToConsole }:
    ResendReceiverOptions = {},
): Receiver {
  const ofEnvironment = (): ResendSigner => ({ webhookSecret: secret() });

  async function verify(
    incoming: Incoming,
  ): Promise<{ id: string; body: string; apiKey?: string }> {
    const body = await incoming.body(MAX_BODY_BYTES);
    const signed = signedOf(incoming.headers, body);
    const signers = await signersOf(incoming, ofEnvironment, parseResendSigner);
    const signer = signers.find(({ webhookSecret }) => isSignedBy(webhookSecret, signed));
    if (!signer) throw refusal();
    return { id: signed.id, body, ...(signer.apiKey ? { apiKey: signer.apiKey } : {}) };
  }

  /** An email is kept without its body rather than not at all; what may pass is left to Resend to send again. */
  async function complete(event: EmailEvent, apiKey?: string): Promise<EmailEvent | null> {
    const isComplete = event.text !== undefined || event.html !== undefined;
    if (event.type !== "received" || isComplete) return event;
    try {
      const content = await fetchContent(apiKey)(event.email_id);
      if (content) return eventOf({ ...event, ...contentOf(content, VERDICTS) });
      log("warn", "resend_content_missing", { email_id: event.email_id });
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      const { variable } = error;
      log("error", "resend_content_missing", { email_id: event.email_id, variable });
    }
    return event;
  }

  return {
    async read(incoming) {
      const { id, body, apiKey } = await verify(incoming);
      const told = resendEventOf(parseJsonBody(body));
      const event = told && await complete(told, apiKey);
      return { events: event ? [{ id, event }] : [] };
    },
  };
}
