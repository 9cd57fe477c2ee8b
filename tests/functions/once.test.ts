// A text that may have been accepted is looked up before it is sent again: so no part of the runtime may send one
// again by itself. Deno's own clients do when a connection that was used before is lost without an answer; here
// real Deno talks to servers that do that, and worse, and they count what arrives.
import { spawn } from "node:child_process";
import http from "node:http";
import net, { type AddressInfo, type Socket } from "node:net";
import path from "node:path";
import tls from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { denoBinary } from "../../scripts/lib/functions.ts";
import { certificate, key } from "./certificate.ts";

const root = path.resolve(import.meta.dirname, "../..");
const undo: (() => void)[] = [];
afterEach(() => undo.splice(0).forEach((stop) => stop()));

interface Server {
  url: string;
  connections: number;
  bytes: number;
  /** Arrivals by what was asked for, and whether each was on a connection that was used before. */
  arrivals: Map<string, boolean[]>;
  /** Both ends have closed all connections. */
  whenClosed: (then: () => void) => void;
}

/** Answers the first request of a connection, then does `after` to it, and `deed` to every other one on it. */
async function startServer(
  deed: (socket: Socket) => void,
  after: (socket: Socket) => void = () => {},
  secure = false,
): Promise<Server> {
  const open = new Set<Socket>();
  let closed = () => {};
  const server: Server = {
    url: "",
    connections: 0,
    bytes: 0,
    arrivals: new Map(),
    whenClosed: (then) => open.size === 0 ? then() : closed = then,
  };
  const connected = (socket: Socket) => {
    server.connections++;
    let asked = 0;
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (data) => {
      server.bytes += data.length;
      text += data.toString("latin1");
      // A request has arrived when its body has: "post <id>".
      const request = /^POST \/(\d+) .*\r\n\r\npost \1$/s.exec(text);
      if (!request) return;
      text = "";
      const id = request[1]!;
      server.arrivals.set(id, [...server.arrivals.get(id) ?? [], asked > 0]);
      if (asked++ > 0) return deed(socket);
      socket.write(answer);
      after(socket);
    });
  };
  const listener = secure
    ? tls.createServer({ key, cert: certificate }, connected)
    : net.createServer(connected);
  listener.on("connection", (socket: Socket) => {
    below.set(socket.remotePort!, socket);
    open.add(socket);
    socket.once("close", () => {
      open.delete(socket);
      if (open.size === 0) closed();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "localhost", resolve));
  undo.push(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  server.url = `${secure ? "https" : "http"}://localhost:${port}`;
  return server;
}

/** Under TLS too, whose own sockets cannot. */
const reset = (socket: Socket) => (below.get(socket.remotePort!) ?? socket).resetAndDestroy();
const below = new Map<number, Socket>();

const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const postFromDeno = (url: string, times: number, ...says: string[]) =>
  runInDeno("once-client.ts", url, String(times), ...says);

async function runInDeno(client: string, ...says: string[]): Promise<string[]> {
  const child = spawn(denoBinary(), [
    "run",
    "--no-prompt",
    "--cached-only",
    "--quiet",
    "--no-check",
    `--config=${path.join(root, "deno.json")}`,
    "--allow-net",
    "--allow-env",
    `--allow-read=${root}`,
    path.join(import.meta.dirname, client),
    ...says,
  ], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
      // The certificate of these servers is signed by nobody.
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
    },
  });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => output += chunk.toString());
  child.stderr.on("data", (chunk: Buffer) => errors += chunk.toString());
  await new Promise((resolve) => child.once("close", resolve));
  try {
    return JSON.parse(output) as string[];
  } catch {
    throw new Error(`Deno said: ${output}${errors}`);
  }
}

const TIMES = 20;
const once = ({ arrivals }: Server) => [...arrivals.values()].every((times) => times.length === 1);
const onUsed = ({ arrivals }: Server) => [...arrivals.values()].filter(([used]) => used).length;

const deeds: [string, (socket: Socket) => void][] = [
  ["closed", (socket) => socket.destroy()],
  ["closed in good order", (socket) => socket.end()],
  ["reset", reset],
  ["closed within the answer", (socket) => socket.end(answer.slice(0, 20))],
];

describe.each([["http", false], ["https", true]])("from Deno over %s", (_scheme, secure) => {
  it("connections are kept", { timeout: 30_000 }, async () => {
    const server = await startServer((socket) => socket.write(answer), () => {}, secure);
    expect(await postFromDeno(server.url, TIMES)).toEqual(Array(TIMES).fill("200 ok"));
    expect(server.connections).toBeLessThan(TIMES / 2);
    expect(server.arrivals.size).toBe(TIMES);
    expect(once(server)).toBe(true);
  });

  it.each(deeds)(
    "a used connection that is %s instead of an answer is an error, and nothing is sent again",
    { timeout: 30_000 },
    async (_what, deed) => {
      const server = await startServer(deed, () => {}, secure);
      const outcomes = await postFromDeno(server.url, TIMES);
      const lost = outcomes.filter((outcome) => outcome !== "200 ok");
      expect(server.arrivals.size).toBe(TIMES);
      expect(once(server)).toBe(true);
      // Each that came over a used connection was lost, and none else.
      expect(lost.length).toBeGreaterThan(TIMES / 4);
      expect(lost).toHaveLength(onUsed(server));
    },
  );

  it.each([
    ["at once", (socket: Socket) => socket.end()],
    ["with a reset", (socket: Socket) => setImmediate(() => reset(socket))],
    ["about when the next one comes", (socket: Socket) => setTimeout(() => socket.destroy(), 1)],
  ])(
    "one that is closed %s after an answer costs an error at most",
    { timeout: 30_000 },
    async (_when, after) => {
      const server = await startServer((socket) => socket.write(answer), after, secure);
      const outcomes = await postFromDeno(server.url, TIMES);
      expect(once(server)).toBe(true);
      const answered = outcomes.filter((outcome) => outcome === "200 ok").length;
      expect(server.arrivals.size).toBeGreaterThanOrEqual(answered);
    },
  );

  it("one that was closed while nothing was sent is replaced", { timeout: 30_000 }, async () => {
    const server = await startServer(
      (socket) => socket.destroy(),
      (socket) => setImmediate(() => socket.end()),
      secure,
    );
    const closed = http.createServer((_, response) => server.whenClosed(() => response.end()));
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    undo.push(() => closed.close());
    const until = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
    expect(await postFromDeno(server.url, TIMES, until)).toEqual(Array(TIMES).fill("200 ok"));
    expect(server.connections).toBe(TIMES);
    expect(once(server)).toBe(true);
  });

  it("who is at the other end is asked before a byte is sent", { timeout: 30_000 }, async () => {
    const server = await startServer(() => {}, () => {}, secure);
    expect(await postFromDeno(server.url, 2, "--nowhere")).toEqual(["REFUSED", "REFUSED"]);
    expect([server.bytes, server.arrivals.size]).toEqual([0, 0]);
  });
});

// Resend's own library asks Deno's fetch, which may send a request once more by itself. What makes that one email is the
// key of the step, which both bear.
it(
  "an email whose connection is lost without an answer is one email",
  { timeout: 30_000 },
  async () => {
    const emails = new Map<string, string[]>();
    let lost = 0;
    const server = net.createServer((socket) => {
      let asked = 0;
      let text = "";
      socket.on("error", () => {});
      socket.on("data", (data) => {
        text += data.toString("latin1");
        const [head = "", body] = text.split("\r\n\r\n");
        const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
        if (body === undefined || body.length < length) return;
        text = "";
        const key = /^idempotency-key: (.+)$/im.exec(head)?.[1]?.trim() ?? "none";
        emails.set(key, [...emails.get(key) ?? [], body]);
        // Accepted, and nobody is told.
        if (asked++ > 0) {
          lost++;
          return socket.destroy();
        }
        const answer = JSON.stringify({ id: key });
        socket.write(
          `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`,
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
    undo.push(() => server.close());
    const outcomes = await runInDeno(
      "resend-client.ts",
      `http://localhost:${(server.address() as AddressInfo).port}`,
      String(TIMES),
    );
    expect(lost).toBeGreaterThan(TIMES / 4);
    expect(outcomes.map((said) => said.split(", ").at(-1))).toEqual(Array(TIMES).fill("succeeded"));
    // Twenty emails under twenty keys, and what came twice under one says the same.
    expect([...emails.keys()]).toEqual(outcomes.map((_, n) => `step ${n + 1}`));
    for (const bodies of emails.values()) expect(new Set(bodies).size).toBe(1);
    expect([...emails.values()].flat().length).toBeGreaterThan(TIMES);
  },
);
