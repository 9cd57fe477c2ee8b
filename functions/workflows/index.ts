import { connect, type Database } from "../_shared/database.ts";
import { readDatabaseUrl, readSecretKeys } from "../_shared/env.ts";
import { logToConsole } from "../_shared/log.ts";
import { createVerifier, readAuth, type VerifyToken } from "../_shared/token.ts";
import { createHandler } from "./handler.ts";

let database: Database | undefined;
let verify: VerifyToken | undefined;

Deno.serve(createHandler({
  secretKeys: readSecretKeys,
  verify: (token) => (verify ??= createVerifier(readAuth()))(token),
  database: () => database ??= connect(readDatabaseUrl()),
  log: logToConsole,
}));
