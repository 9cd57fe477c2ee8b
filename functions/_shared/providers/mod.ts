import { createResendSender } from "./resend.ts";
import type { Senders } from "./sender.ts";
import { createTwilioSender } from "./twilio.ts";
import { createWebhookSender } from "./webhook.ts";

/** With one timeout for all of them in place of each one's own, if given. */
export function createSenders(timeoutMs?: number): Senders {
  const options = timeoutMs === undefined ? {} : { timeoutMs };
  return {
    send_sms: createTwilioSender(options),
    send_email: createResendSender(options),
    webhook: createWebhookSender(options),
  };
}
