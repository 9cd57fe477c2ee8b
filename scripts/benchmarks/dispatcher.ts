// Our side: the dispatcher as a standing process, run by Deno and woken by the doorbell.
import process from "node:process";
import postgres from "postgres";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { readDatabaseUrl, readDispatch } from "../../functions/_shared/runtime/env.ts";
import { logToConsole } from "../../functions/_shared/runtime/log.ts";
import { createSenders } from "../../functions/_shared/channels/mod.ts";
import { createQueue, lanesOf } from "../../functions/_shared/engine/queue.ts";

const url = readDatabaseUrl();
const { concurrency } = readDispatch();
const stopping = new AbortController();
const dispatcher = createDispatcher({
  queue: createQueue(connect(url)),
  senders: createSenders(),
  worker: "bench",
  log: logToConsole,
  concurrency,
});
const doorbell = postgres(url, { max: 1, onnotice: () => {} });
await doorbell.listen("ridgeline_doorbell", (lane) => dispatcher.ring(lanesOf(lane)));
process.once("SIGTERM", () => stopping.abort());
console.log(JSON.stringify({ ready: true }));
await dispatcher.run({ until: stopping.signal });
process.exit(0);
