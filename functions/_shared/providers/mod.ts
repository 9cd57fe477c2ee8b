import type { DispatchSettings } from "../env.ts";
import { createResendSender } from "./resend.ts";
import type { Senders } from "./sender.ts";
import { createTwilioSender } from "./twilio.ts";
import { createWebhookSender } from "./webhook.ts";

type SenderSettings = Pick<DispatchSettings, "reconcileDelaySeconds" | "providerTimeoutMs">;

export function createSenders(
  { reconcileDelaySeconds, providerTimeoutMs }: SenderSettings,
): Senders {
  const options = providerTimeoutMs === undefined ? {} : { timeoutMs: providerTimeoutMs };
  return {
    send_sms: createTwilioSender({ ...options, reconcileDelaySeconds }),
    send_email: createResendSender(options),
    webhook: createWebhookSender(options),
  };
}
