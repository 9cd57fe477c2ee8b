// The HTTP server that both engines post to, in a process of its own: says {"ok":true} and counts.
import http from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";

let received = 0;

const server = http.createServer((request, response) => {
  if (request.method === "GET") {
    response.end(JSON.stringify({ received }));
    return;
  }
  request.resume();
  request.once("end", () => {
    received++;
    response.writeHead(200, { "content-type": "application/json" });
    response.end('{"ok":true}');
  });
});
server.keepAliveTimeout = 30_000;

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ ready: `http://127.0.0.1:${port}` }));
});

process.once("SIGTERM", () => process.exit(0));
