// A receiver of outgoing webhooks: takes anything, records it, and can fail like the others.
import { type StandIn, startStandIn } from "./standin.ts";

export async function startWebhookReceiver(options: { port?: number } = {}): Promise<StandIn> {
  return await startStandIn({
    name: "webhook receiver",
    async handle(request) {
      await request.pause();
      return { status: 200, body: { ok: true }, accepted: true };
    },
    error: (status, code) => ({ status, body: { error: code ?? "failed" } }),
    recipients: () => [],
    forget: () => {},
  }, options);
}
