// supabase-js as it is used here.
import { createClient } from "@supabase/supabase-js";
import type { WebSocketLikeConstructor } from "@supabase/supabase-js";
import { WebSocket } from "ws";
import type { Database } from "../../packages/client/database.types.ts";

// Node before 22 has no WebSocket and supabase-js insists on one. The two packages describe the
// same thing in types that do not meet.
const transport = WebSocket as unknown as WebSocketLikeConstructor;

export function apiClient(apiUrl: string, key: string) {
  return createClient<Database>(apiUrl, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport },
  });
}

export type Client = ReturnType<typeof apiClient>;
