// The API as its clients call it: over HTTP, with a token or a key.
import { type KeyObject, sign } from "node:crypto";
import type { JSONValue } from "postgres";
import type { TestStack } from "../support/stack.ts";

export interface Called<T = Record<string, unknown>> {
  status: number;
  headers: Headers;
  body: T;
}

export interface CallOptions {
  token?: string;
  apikey?: string;
  key?: string;
  headers?: Record<string, string>;
  raw?: string;
}

export type Call = <T = Record<string, unknown>>(
  method: string,
  path: string,
  body?: JSONValue,
  options?: CallOptions,
) => Promise<Called<T>>;

/** Calls that go to `base`, with these credentials unless the call brings its own. */
export function caller(
  base: string,
  defaults: CallOptions = {},
  send: (request: Request) => Promise<Response> = fetch,
): Call {
  return async (method, path, body, options = {}) => {
    const { token, apikey, key, headers, raw } = { ...defaults, ...options };
    const text = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await send(
      new Request(`${base}${path}`, {
        method,
        headers: {
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...(apikey ? { apikey } : {}),
          ...(key ? { "idempotency-key": key } : {}),
          ...(text === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(text === undefined ? {} : { body: text }),
      }),
    );
    const answer = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: answer === "" ? {} : JSON.parse(answer),
    };
  };
}

export const apiOf = ({ stack }: TestStack) => `${stack.apiUrl}/functions/v1/workflows`;

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token that anybody can make for themselves. */
export function unsigned(header: object, claims: object, signature = ""): string {
  return `${part(header)}.${part(claims)}.${signature}`;
}

/** A token signed with a private P-256 key, as the platform signs. */
export function signed(header: object, claims: object, key: KeyObject): string {
  const content = `${part({ alg: "ES256", typ: "JWT", ...header })}.${part(claims)}`;
  const signature = sign("sha256", Buffer.from(content), { key, dsaEncoding: "ieee-p1363" });
  return `${content}.${signature.toString("base64url")}`;
}
