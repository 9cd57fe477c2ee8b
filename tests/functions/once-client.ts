// Run by Deno: posts once after another to an address and prints what came of each.
import process from "node:process";
import { Connections } from "../../functions/_shared/channels/once.ts";

const [url = "", times = "1", ...says] = process.argv.slice(2);
/** Answers when the next one may be posted. */
const until = says.find((said) => said.startsWith("http:"));
const connections = new Connections(
  says.includes("--nowhere")
    ? {
      check: (peer) => {
        throw Object.assign(new Error(`${peer} is refused`), { code: "REFUSED" });
      },
    }
    : {},
);

async function post(id: number): Promise<string> {
  try {
    const reply = await connections.request(new URL(`/${id}`, url), {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: `post ${id}`,
      signal: AbortSignal.timeout(5_000),
    });
    let text = "";
    for await (const chunk of reply.body) text += new TextDecoder().decode(chunk);
    return `${reply.status} ${text}`;
  } catch (error) {
    return String((error as { code?: unknown }).code ?? error);
  }
}

const outcomes: string[] = [];
for (let id = 1; id <= Number(times); id++) {
  outcomes.push(await post(id));
  if (until) await (await fetch(until)).text();
  // Now before the connection is free again, now after.
  else await new Promise((resolve) => setTimeout(resolve, id % 3));
}
console.log(JSON.stringify(outcomes));
process.exit(0);
