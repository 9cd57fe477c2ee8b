import { requireVersion } from "../engine/version.ts";
import type { ClaimedStep } from "../engine/queue.ts";
import type { Database } from "../runtime/database.ts";
import { ConfigurationError } from "../runtime/errors.ts";
import { createSecrets, noSecrets } from "../runtime/secrets.ts";
import { providers } from "./providers.ts";
import { InvalidPayloadError, type Sender, type Senders } from "./sender.ts";
import { createWebhookSender } from "./webhook/send.ts";

type OfEnvironment = (named: string | undefined) => string | Promise<string>;

const senderOf = ({ payload }: ClaimedStep): { id?: unknown; provider?: unknown } =>
  (payload as { sender?: { id?: unknown; provider?: unknown } | null } | null)?.sender ?? {};

/** The provider that the tenant's sender names; without one, that of the environment's, which has no id. */
export function byProvider(
  providers: Readonly<Record<string, Sender>>,
  ofEnvironment: OfEnvironment = (named) => named ?? Object.keys(providers)[0] ?? "",
): Sender {
  const chosen = async (step: ClaimedStep): Promise<Sender> => {
    const { id, provider: said } = senderOf(step);
    const named = typeof id === "string"
      ? said
      : await ofEnvironment(typeof said === "string" ? said : undefined);
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
    send: async (step, signal) => await (await chosen(step)).send(step, signal),
    // Each knows for itself how long a repeat is harmless: one forgets a key after a day, another has none.
    reconciliation: {
      isNeeded: async (since, step) =>
        await (await chosen(step)).reconciliation?.isNeeded(since, step) ?? false,
      findSent: async (step, since, known, signal) =>
        await (await chosen(step)).reconciliation?.findSent(step, since, known, signal) ?? null,
    },
  };
}

/**
 * Who carries what the environment's own sender says: whom the database named when it was claimed first, and records it
 * under. The setting is asked about what a database of the release before has claimed.
 */
function ofEnvironment(
  channel: "sms" | "email",
  known: object,
  database: Database,
): OfEnvironment {
  return async (said) => {
    const named = said ?? (await requireVersion(database)).providers[channel];
    if (Object.hasOwn(known, named)) return named;
    throw new ConfigurationError(
      `the setting ${channel}_provider`,
      `set it to one of ${Object.keys(known).join(", ")}`,
    );
  };
}

/** With one timeout for all of them in place of each one's own, if given. Without a database nobody has a secret. */
export function createSenders(timeoutMs?: number, database?: Database): Senders {
  const options = {
    secrets: database ? createSecrets(() => database) : noSecrets,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  const channel = (
    name: "sms" | "email",
    otherwise: string,
    creators: Readonly<Record<string, (given: typeof options) => Sender>>,
  ) => {
    const made = Object.entries(creators).map(([name, create]) => [name, create(options)] as const);
    return byProvider(
      Object.fromEntries(made),
      database ? ofEnvironment(name, creators, database) : (named) => named ?? otherwise,
    );
  };
  return {
    sms: channel("sms", "twilio", providers.sms),
    email: channel("email", "resend", providers.email),
    webhook: createWebhookSender(options),
  };
}
