export type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** One JSON object a line. Callers pass ids and codes only: no bodies, no addresses, no keys. */
export type Log = (level: "info" | "warn" | "error", event: string, fields?: Fields) => void;

export const logToConsole: Log = (level, event, fields = {}) => {
  const line = JSON.stringify({ time: new Date().toISOString(), level, event, ...fields });
  // The messages of unexpected errors are logged; an address in one keeps its password to itself.
  console[level](line.replace(/:\/\/[^@\s"/]+@/g, "://***@"));
};
