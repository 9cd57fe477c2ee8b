import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { readForwardedHops } from "../_shared/http/webhook-env.ts";
import { listenForShutdown } from "../_shared/runtime/shutdown.ts";
import { createHandler, type Links } from "./handler.ts";

let links: Links | undefined;

function create(): Links {
  const sql = connect(readDatabaseUrl());
  return {
    find: async (code) => {
      const [row] = await sql<{ url: string | null }[]>`
        select automation.find_link(${code}::text) as url`;
      return row?.url ?? null;
    },
    record: async (code, agent, hint) => {
      const [row] = await sql<{ taken: string }[]>`
        select automation.record_click(${code}::text, ${agent}::text, ${hint}::text) as taken`;
      return row?.taken ?? "unknown";
    },
  };
}

const { track } = listenForShutdown();

const handler = createHandler({
  links: () => links ??= create(),
  forwardedHops: readForwardedHops,
  log: logToConsole,
  track,
});

Deno.serve((request, info) => {
  const peer = info?.remoteAddr;
  return handler(request, peer && "hostname" in peer ? peer.hostname : "");
});
