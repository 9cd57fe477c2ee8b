// Passwords and keys stood in the definitions. They go into the Vault under a name, and the step says the name.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Secret } from "./definition.ts";
import { isAbsent, isObject, Keys, looksSecret } from "./keys.ts";

export type Header = string | { secret: string; prefix?: string };

/** One name for one secret, wherever it stands and however often it is imported. */
export function named(label: string, value: string): Secret {
  const digest = createHash("sha256").update(value).digest("hex").slice(0, 8);
  const name = label.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 60);
  return { name: `legacy_${name || "webhook"}_${digest}`, value };
}

function headerOf(name: string, value: string, secrets: Secret[], label: string): Header {
  const scheme = /^(Bearer|Basic|Token)\s+/i.exec(value)?.[0] ?? "";
  const secret = named(`${label} ${name}`, value.slice(scheme.length));
  secrets.push(secret);
  return { secret: secret.name, ...(scheme ? { prefix: scheme } : {}) };
}

/** Headers, with what looks like a secret taken out of them; what a variable fills in is none. */
export function headersOf(keys: Keys, label: string, secrets: Secret[]): Record<string, Header> {
  const headers: Record<string, Header> = {};
  const value = keys.take("headers");
  if (isAbsent(value)) return headers;
  if (!isObject(value)) {
    keys.notes.person(keys.at("headers"), "headers are an object", value);
    return headers;
  }
  for (const [name, written] of Object.entries(value)) {
    const text = typeof written === "string" ? written : JSON.stringify(written);
    const at = `${keys.at("headers")}.${name}`;
    if (isObject(written) && typeof written.secret === "string") {
      headers[name] = written as unknown as Header;
      keys.notes.translated(at, written, `headers.${name}`);
    } else if (/^(?:host|content-length|webhook-.*)$/i.test(name)) {
      keys.notes.kept(at, text, "set by whoever sends");
    } else if (looksSecret.test(name) && !text.includes("{{")) {
      headers[name] = headerOf(name, text, secrets, label);
      keys.notes.translated(at, "***", `headers.${name}: the secret ${secrets.at(-1)!.name}`);
    } else {
      headers[name] = text;
      keys.notes.translated(at, text, `headers.${name}`);
    }
  }
  return headers;
}

/** auth {type: bearer, token} | {basic, username, password} | {api_key, api_key, api_key_header}. */
export function authHeader(keys: Keys, label: string, secrets: Secret[]): Record<string, Header> {
  const type = keys.text("type", "a header with a secret") ?? "";
  const secret = (key: string) => {
    const value = keys.take(key);
    if (!isAbsent(value)) keys.notes.translated(keys.at(key), "***", "a secret in the Vault");
    return typeof value === "string" ? value : isAbsent(value) ? "" : String(value);
  };
  const headers: Record<string, Header> = {};
  const keep = (header: string, prefix: string, value: string) => {
    if (value === "") {
      return keys.notes.person(keys.path, "the credentials are not there: set the header by hand");
    }
    if (value.includes("{{")) return void (headers[header] = `${prefix}${value}`);
    const one = named(`${label} ${type}`, value);
    secrets.push(one);
    headers[header] = { secret: one.name, ...(prefix ? { prefix } : {}) };
  };
  if (type === "bearer") keep("Authorization", "Bearer ", secret("token"));
  else if (type === "basic") {
    const [user, password] = [secret("username"), secret("password")];
    keep(
      "Authorization",
      "Basic ",
      user || password ? Buffer.from(`${user}:${password}`).toString("base64") : "",
    );
  } else if (type === "api_key") {
    const value = secret("api_key");
    keep(keys.text("api_key_header", "the name of the header") ?? "X-API-Key", "", value);
  } else if (type !== "" && type !== "none") {
    keys.notes.person(keys.at("type"), "no such kind of authorization", type);
  }
  redactedRest(keys);
  return headers;
}

/** What is left may be a secret as well: its names are said, its values are not. */
function redactedRest(keys: Keys): void {
  for (const key of ["token", "username", "password", "api_key", "api_key_header"]) {
    if (keys.isLeft(key)) {
      keys.take(key);
      keys.notes.kept(keys.at(key), "***", "not used by this kind of authorization");
    }
  }
  keys.rest();
}
