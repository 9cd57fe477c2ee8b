// The address that the dashboard of Resend has had since before there was email-webhook/resend, and keeps.
import { dependencies } from "../email-webhook/dependencies.ts";
import { createHandler } from "../email-webhook/handler.ts";

Deno.serve(createHandler(dependencies("resend-webhook", "resend")));
