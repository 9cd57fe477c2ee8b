import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
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

Deno.serve(createHandler({ links: () => links ??= create(), log: logToConsole, track }));
