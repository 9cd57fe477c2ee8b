import process from "node:process";
import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { readPublicAddress } from "../_shared/http/webhook-env.ts";
import { createHandler, type Unsubscribe } from "./handler.ts";

let unsubscriber: Unsubscribe | undefined;

function create(): Unsubscribe {
  const sql = connect(readDatabaseUrl());
  return async (token, purpose) => {
    await sql`select automation.unsubscribe(${token}::text, ${purpose}::text)`;
  };
}

Deno.serve(createHandler({
  unsubscribe: () => unsubscriber ??= create(),
  page: () => process.env.UNSUBSCRIBE_PAGE_URL?.trim() || undefined,
  address: () => `${readPublicAddress().base ?? ""}/unsubscribe`,
  log: logToConsole,
}));
