import { noSecrets, type Secrets } from "../secrets.ts";
import { createResendSender } from "./resend.ts";
import type { Senders } from "./sender.ts";
import { createTwilioSender } from "./twilio.ts";
import { createWebhookSender } from "./webhook.ts";

/** With one timeout for all of them in place of each one's own, if given. */
export function createSenders(timeoutMs?: number, secrets: Secrets = noSecrets): Senders {
  const options = { secrets, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  return {
    send_sms: createTwilioSender(options),
    send_email: createResendSender(options),
    webhook: createWebhookSender(options),
  };
}
