import process from "node:process";
import type { ClaimedStep } from "../engine/queue.ts";
import { ConfigurationError } from "../runtime/errors.ts";
import { noSecrets, type Secrets } from "../runtime/secrets.ts";
import { providers } from "./providers.ts";
import { InvalidPayloadError, type Sender, type Senders } from "./sender.ts";
import { createWebhookSender } from "./webhook/send.ts";

const providerOf = ({ payload }: ClaimedStep): unknown =>
  (payload as { sender?: { provider?: unknown } | null } | null)?.sender?.provider;

/** The provider that the tenant's sender names; without one, that of the environment. */
export function byProvider(
  providers: Readonly<Record<string, Sender>>,
  ofEnvironment: () => string = () => Object.keys(providers)[0] ?? "",
): Sender {
  const chosen = (step: ClaimedStep): Sender => {
    const named = providerOf(step) ?? ofEnvironment();
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

/** Who carries what the environment's own sender says: the settings sms_provider and email_provider say the same. */
function ofEnvironment(variable: string, known: object, otherwise: string) {
  return (): string => {
    const named = process.env[variable]?.trim() || otherwise;
    if (Object.hasOwn(known, named)) return named;
    throw new ConfigurationError(variable, `set it to one of ${Object.keys(known).join(", ")}`);
  };
}

/** With one timeout for all of them in place of each one's own, if given. */
export function createSenders(timeoutMs?: number, secrets: Secrets = noSecrets): Senders {
  const options = { secrets, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  const made = (creators: Readonly<Record<string, (given: typeof options) => Sender>>) =>
    Object.fromEntries(Object.entries(creators).map(([name, create]) => [name, create(options)]));
  const { sms, email } = providers;
  return {
    sms: byProvider(made(sms), ofEnvironment("SMS_PROVIDER", sms, "twilio")),
    email: byProvider(made(email), ofEnvironment("EMAIL_PROVIDER", email, "resend")),
    webhook: createWebhookSender(options),
  };
}
