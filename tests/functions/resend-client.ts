// Run by Deno: sends emails one after another, each again under its key if it is not known whether it went, and prints
// what came of each.
import process from "node:process";
import { createSender as createResendSender } from "../../functions/_shared/channels/email/resend/send.ts";

const [baseUrl = "", times = "1"] = process.argv.slice(2);
const sender = createResendSender({
  settings: () => ({ apiKey: "re_1", baseUrl, from: "Apex <office@apex.example>" }),
});

const outcomes: string[] = [];
for (let n = 1; n <= Number(times); n++) {
  const said: string[] = [];
  while (said.at(-1) !== "succeeded" && said.length < 3) {
    const { outcome } = await sender.send({
      tenant_id: "0a000000-0000-4000-8000-000000000001",
      step_id: `0f000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
      attempt_token: "0f000000-0000-4000-8000-000000000000",
      attempt: said.length + 1,
      step_type: "send_email",
      payload: { to: ["maria@example.com"], subject: "Your roof", text: `Estimate ${n}` },
      idempotency_key: `step ${n}`,
      reconcile_since: null,
      known_provider_ids: [],
    }, AbortSignal.timeout(5_000));
    said.push(outcome);
  }
  outcomes.push(said.join(", "));
  // Now before the connection is free again, now after.
  await new Promise((resolve) => setTimeout(resolve, n % 3));
}
console.log(JSON.stringify(outcomes));
process.exit(0);
