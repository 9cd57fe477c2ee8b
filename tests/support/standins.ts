// The stand-ins, for tests that need no whole stack.
export { startResend } from "../../scripts/standins/resend.ts";
export { type Fault, type Received, type StandIn } from "../../scripts/standins/standin.ts";
export { startTwilio } from "../../scripts/standins/twilio.ts";
export { startWebhookReceiver } from "../../scripts/standins/webhook.ts";
export { waitFor } from "../../scripts/lib/process.ts";
