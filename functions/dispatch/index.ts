import { connect } from "../_shared/runtime/database.ts";
import { createDispatcher, type Dispatcher } from "../_shared/engine/dispatcher.ts";
import {
  readDatabaseUrl,
  readDispatch,
  readRingKey,
  readSecretKeys,
} from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { createSenders } from "../_shared/channels/mod.ts";
import { createQueue } from "../_shared/engine/queue.ts";
import { listenForShutdown } from "../_shared/runtime/shutdown.ts";
import { createHandler } from "./handler.ts";

let dispatcher: Dispatcher | undefined;

/** One for the life of the worker: requests share its connections and its run. */
function start(): Dispatcher {
  const settings = readDispatch();
  const database = connect(readDatabaseUrl());
  return createDispatcher({
    queue: createQueue(database),
    senders: createSenders(settings.providerTimeoutMs, database),
    worker: `dispatch-${crypto.randomUUID().slice(0, 8)}`,
    log: logToConsole,
    concurrency: settings.concurrency,
    maxSteps: settings.maxSteps,
    leaseSeconds: settings.leaseSeconds,
  });
}

Deno.serve(createHandler({
  secretKeys: readSecretKeys,
  ringKey: readRingKey,
  budgetMs: () => readDispatch().budgetMs,
  dispatcher: () => dispatcher ??= start(),
  shutdown: listenForShutdown(),
}));
