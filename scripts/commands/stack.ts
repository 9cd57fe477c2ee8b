// Serves the whole stack until it is stopped.
import path from "node:path";
import { fail, readArguments } from "../lib/arguments.ts";
import { Stack, StackError } from "../lib/stack.ts";

const usage = `Usage: scripts/stack [options]

  --port N              where to serve (54321)
  --database-url URL    use this Postgres instead of an embedded one (or set DATABASE_URL)
  --ephemeral           keep nothing: the database goes when the stack stops
  --any-hour            let texts go out at night too, where it is a matter of trying things
  --reset               throw the embedded database of this port away first
  --stack-file FILE     where to write the addresses and keys (.stack.json)`;

const given = readArguments(usage, {
  port: { type: "string", default: "54321" },
  "database-url": { type: "string", default: process.env.DATABASE_URL },
  ephemeral: { type: "boolean", default: false },
  "any-hour": { type: "boolean", default: false },
  reset: { type: "boolean", default: false },
  "stack-file": { type: "string" },
});
const port = Number(given.port);
if (!Number.isInteger(port) || port < 0 || port > 65_535) fail(`--port ${given.port} is no port`);

const began = Date.now();
let stack: Stack | undefined;
let stopping = false;

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    if (stopping) return;
    stopping = true;
    console.log("Stopping ...");
    void (stack?.stop() ?? Promise.resolve()).then(() => process.exit(0));
  });
}

try {
  await Stack.start({
    port,
    databaseUrl: given["database-url"],
    ephemeral: given.ephemeral,
    anyHour: given["any-hour"],
    reset: given.reset,
    stackFile: path.resolve(process.env.RIDGELINE_CWD ?? ".", given["stack-file"] ?? fallback()),
    log: (line) => console.log(line),
  }, (created) => stack = created);
} catch (error) {
  if (!stopping) {
    if (error instanceof StackError) fail(error.message);
    throw error;
  }
}

function fallback(): string {
  return path.resolve(import.meta.dirname, "../../.stack.json");
}

if (stack && !stopping) {
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  console.log(`
Ridgeline is ready (${seconds} s)

  Table UI          ${stack.apiUrl}/
  API               ${stack.apiUrl}/rest/v1  /auth/v1  /functions/v1
  Database          ${stack.databaseUrl}
  Publishable key   ${stack.publishableKey}
  Secret key        ${stack.secretKey}
  Twilio            ${stack.twilioUrl}${stack.twilio ? " (stand-in)" : ""}
  Telnyx            ${stack.telnyxUrl}${stack.telnyx ? " (stand-in)" : ""}
  Resend            ${stack.resendUrl}${stack.resend ? " (stand-in)" : ""}
  Postmark          ${stack.postmarkUrl}${stack.postmark ? " (stand-in)" : ""}

Ctrl-C stops it.`);
}
