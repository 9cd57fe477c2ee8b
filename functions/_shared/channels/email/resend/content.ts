// Resend's event of an email that came in has no body and no headers: they are asked for by its id.
import { Resend } from "resend";
import { z } from "zod";
import { RequestError } from "../../../runtime/errors.ts";
import type { Content } from "../receiver.ts";
import type { ResendSettings } from "./settings.ts";

export type FetchContent = (emailId: string) => Promise<Content | null>;

const content = z.object({
  text: z.string().nullish(),
  html: z.string().nullish(),
  headers: z.record(z.string(), z.coerce.string()).transform(Object.entries<string>).nullish()
    .catch(null),
});

const FETCH_TIMEOUT_MS = 10_000;

/** Null: Resend has no such email, or does not show it with this key. What may pass is thrown, as a 503. */
export function createContentFetcher(
  { apiKey, baseUrl }: Pick<ResendSettings, "apiKey" | "baseUrl">,
): FetchContent {
  const client = new Resend(apiKey, { baseUrl });
  return async (emailId) => {
    const { data, error } = await client.emails.receiving.get(
      emailId,
      { html_format: "cid" },
      { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) },
    );
    if (!error) return content.parse(data);
    const status = error.statusCode ?? 0;
    if (status >= 400 && status < 500 && ![408, 409, 425, 429].includes(status)) return null;
    throw new RequestError(503, "content_unavailable", "the email cannot be fetched just now");
  };
}
