import { noSecrets, type Secrets } from "../runtime/secrets.ts";
import { createResendSender } from "./email/resend.ts";
import type { Senders } from "./sender.ts";
import { createTwilioSender } from "./sms/twilio.ts";
import { createWebhookSender } from "./webhook/send.ts";

/** With one timeout for all of them in place of each one's own, if given. */
export function createSenders(timeoutMs?: number, secrets: Secrets = noSecrets): Senders {
  const options = { secrets, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  return {
    send_sms: createTwilioSender(options),
    send_email: createResendSender(options),
    webhook: createWebhookSender(options),
  };
}
