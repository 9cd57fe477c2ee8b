import { connect, type Database } from "../_shared/runtime/database.ts";
import { readDatabaseUrl, readLegacyEnvelope, readSecretKeys } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { createVerifier, readAuth, type VerifyToken } from "../_shared/http/token.ts";
import { createHandler } from "./handler.ts";

let database: Database | undefined;
let verify: VerifyToken | undefined;

Deno.serve(createHandler({
  secretKeys: readSecretKeys,
  verify: (token) => (verify ??= createVerifier(readAuth()))(token),
  database: () => database ??= connect(readDatabaseUrl()),
  log: logToConsole,
  legacyEnvelope: readLegacyEnvelope,
}));
