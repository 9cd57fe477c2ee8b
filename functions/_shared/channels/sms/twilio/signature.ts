import WebhooksModule from "twilio/lib/webhooks/webhooks.js";
import { parseJsonBody } from "../../../http/inbound.ts";
import { RequestError } from "../../../runtime/errors.ts";
import { LosslessNumber } from "../../../runtime/json.ts";

/**
 * The package's validator alone: one module on top of node:crypto. It tries each address with and
 * without its port. CommonJS arrives bare or wrapped in `{ default }`, depending on who loads it.
 */
const { validateRequest, validateRequestWithBody } =
  (WebhooksModule as { default?: typeof WebhooksModule }).default ?? WebhooksModule;

export type Parameters = Record<string, string | string[]>;

export function parametersOf(form: string): Parameters {
  const parameters = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(form)) {
    const before = parameters.get(name);
    parameters.set(name, before === undefined ? value : [before, value].flat());
  }
  return Object.fromEntries(parameters);
}

export interface SignedRequest {
  signature: string | null;
  /** The addresses under which Twilio may have known this endpoint. */
  urls: readonly string[];
  isJson: boolean;
  body: string;
}

/** What a request says of itself, which nobody has vouched for yet. */
export function claimedParameters({ isJson, body }: SignedRequest): Parameters {
  return isJson ? jsonParameters(body) : parametersOf(body);
}

/**
 * The parameters of a request that Twilio signed. A form is signed as a whole; of JSON the address
 * is, and it carries the digest of the body.
 */
export function verifyTwilio(authToken: string, request: SignedRequest): Parameters {
  const { signature, urls, isJson, body } = request;
  const refusal = new RequestError(403, "bad_signature", "the request is not signed by Twilio");
  if (!signature) throw refusal;
  const form = isJson ? {} : parametersOf(body);
  const isSigned = urls.some((url) =>
    isJson
      ? validateRequestWithBody(authToken, signature, url, body)
      : validateRequest(authToken, signature, url, form)
  );
  if (!isSigned) throw refusal;
  return isJson ? jsonParameters(body) : form;
}

function jsonParameters(body: string): Parameters {
  const json = parseJsonBody(body);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new RequestError(400, "invalid_json", "the body is not a JSON object");
  }
  const plain = Object.entries(json).flatMap(([name, value]) =>
    ["string", "number", "boolean"].includes(typeof value) || value instanceof LosslessNumber
      ? [[name, String(value)] as const]
      : []
  );
  return Object.fromEntries(plain);
}
