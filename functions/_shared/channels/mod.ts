import type { ClaimedStep } from "../engine/queue.ts";
import { noSecrets, type Secrets } from "../runtime/secrets.ts";
import { createResendSender } from "./email/resend.ts";
import { InvalidPayloadError, type Sender, type Senders } from "./sender.ts";
import { createTelnyxSender } from "./sms/telnyx.ts";
import { createTwilioSender } from "./sms/twilio.ts";
import { createWebhookSender } from "./webhook/send.ts";

const providerOf = ({ payload }: ClaimedStep): unknown =>
  (payload as { sender?: { provider?: unknown } | null } | null)?.sender?.provider;

/**
 * The provider that the tenant's sender names; without one, the first. Adding a provider is a module like its siblings
 * and a line below; a tenant that uses it, a row of senders.
 */
export function byProvider(providers: Readonly<Record<string, Sender>>): Sender {
  const [first] = Object.values(providers);
  if (!first) throw new TypeError("A channel needs a provider");
  const chosen = (step: ClaimedStep): Sender => {
    const named = providerOf(step) ?? undefined;
    if (named === undefined) return first;
    const provider = typeof named === "string" && Object.hasOwn(providers, named)
      ? providers[named]
      : undefined;
    if (provider) return provider;
    throw new InvalidPayloadError(
      `payload.sender.provider: "${String(named).slice(0, 40)}" is none of ${
        Object.keys(providers).join(", ")
      }`,
    );
  };
  return {
    timeoutMs: Math.max(...Object.values(providers).map(({ timeoutMs }) => timeoutMs)),
    send: (step, signal) => chosen(step).send(step, signal),
    // Each knows for itself how long a repeat is harmless: one forgets a key after a day, another has none.
    reconciliation: {
      isNeeded: (since, step) => chosen(step).reconciliation?.isNeeded(since, step) ?? false,
      findSent: async (step, since, known, signal) =>
        await chosen(step).reconciliation?.findSent(step, since, known, signal) ?? null,
    },
  };
}

/** With one timeout for all of them in place of each one's own, if given. */
export function createSenders(timeoutMs?: number, secrets: Secrets = noSecrets): Senders {
  const options = { secrets, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  return {
    sms: byProvider({
      twilio: createTwilioSender(options),
      telnyx: createTelnyxSender(options),
    }),
    email: byProvider({ resend: createResendSender(options) }),
    webhook: createWebhookSender(options),
  };
}
