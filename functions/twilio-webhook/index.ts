// The address that the console of Twilio has had since before there was sms-webhook/twilio, and keeps.
import { dependencies } from "../sms-webhook/dependencies.ts";
import { createHandler } from "../sms-webhook/handler.ts";

Deno.serve(createHandler(dependencies("twilio-webhook", "twilio")));
