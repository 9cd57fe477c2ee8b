import { dependencies } from "./dependencies.ts";
import { createHandler } from "./handler.ts";

Deno.serve(createHandler(dependencies("email-webhook")));
