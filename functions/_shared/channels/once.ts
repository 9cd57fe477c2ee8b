import { Buffer } from "node:buffer";
import http from "node:http";
import https from "node:https";
import { type Answer, parseRetryAfter } from "../engine/outcome.ts";

/**
 * node:http on a connection of its own, because Deno's fetch sends a request again by itself when
 * the connection is lost after it was sent (denoland/deno#35610), and its node:http does on a
 * connection that was used before (#36786): the text would go out twice, and nobody would know.
 */
export function requestOnce(
  url: URL,
  body: string,
  options: https.RequestOptions,
): Promise<http.IncomingMessage> {
  const client = url.protocol === "https:" ? https : http;
  return new Promise((fulfil, reject) => {
    const outgoing = client.request(url, { ...options, agent: false }, fulfil);
    outgoing.on(
      "error",
      (error) => reject(options.signal?.aborted ? options.signal.reason : error),
    );
    outgoing.end(body);
  });
}

export async function readText(
  response: http.IncomingMessage,
  signal: AbortSignal,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  return Buffer.concat(chunks).toString("utf8");
}

export function answerOf(response: http.IncomingMessage): Answer {
  const answer: Answer = { status: response.statusCode ?? 0 };
  const seconds = parseRetryAfter(response.headers["retry-after"]);
  return seconds === undefined ? answer : { ...answer, retryAfterSeconds: seconds };
}
