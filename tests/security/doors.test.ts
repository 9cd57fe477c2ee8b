// The embedded stack's own doors, tried by whoever is on the same machine, or in its browser.
import http from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStack, type TestStack } from "../support/stack.ts";

let running: TestStack;
let at: URL;

beforeAll(async () => {
  running = await startTestStack({ ownPostgres: true, heartbeat: false });
  at = new URL(running.stack.apiUrl);
});
afterAll(() => running?.stop());

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** As it goes over the wire: fetch would correct a path and hide a Host. */
function ask(
  path: string,
  { method = "GET", headers = {}, body }: {
    method?: string;
    headers?: Record<string, string>;
    body?: string;
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: at.hostname, port: at.port, path, method, headers },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => text += chunk);
        response.on(
          "end",
          () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
        );
      },
    );
    request.once("error", reject).end(body);
  });
}

async function signIn(key = running.stack.secretKey): Promise<Answer> {
  return await ask("/_session", {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ key }).toString(),
  });
}

const cookieOf = (answer: Answer) => answer.headers["set-cookie"]?.[0]?.split(";")[0] ?? "";

describe("without a key", () => {
  const closed = [
    "/rest/v1/contacts",
    "/rest/v1/workflows?select=*",
    "/rest/v1/",
    "/rest/v1/rpc/publish_workflow",
    "/_system/info",
    "/_system/config",
    "/_system/schema",
    "/_system/info?apikey=sb_secret_guess",
    "/auth/v1/admin/users",
    "/auth/v1/user",
    "/functions/v1/dispatch",
    "/functions/v1/workflows/executions",
  ];

  it.each(closed)("%s is nobody's, over loopback too", async (path) => {
    for (const method of ["GET", "POST"]) {
      const answer = await ask(path, { method });
      expect([401, 403, 404, 405], `${method} ${path}`).toContain(answer.status);
      expect(answer.body).not.toContain(new URL(running.stack.databaseUrl).password);
    }
  });

  it("a name of this machine, or another origin, makes nobody the service role", async () => {
    const guises: Record<string, string>[] = [
      { host: "localhost" },
      { host: "attacker.example" },
      { origin: running.stack.apiUrl },
      { cookie: "ridgeline_table_ui=" },
      { cookie: "ridgeline_table_ui=undefined" },
      { "x-forwarded-for": "127.0.0.1" },
      { authorization: "Bearer " },
    ];
    for (const headers of guises) {
      expect((await ask("/rest/v1/contacts", { headers })).status).toBe(401);
    }
  });

  it("the table editor asks for the key first, and shows nothing", async () => {
    for (const path of ["/", "/editor/contacts", "/auth/users"]) {
      const { body } = await ask(path);
      expect(body).toContain('name="key"');
      expect(body).not.toContain("/static/assets");
    }
  });

  it("what is served nowhere is 404, and no page", async () => {
    for (
      const path of [
        "/nothing",
        "/wp-login.php",
        "/.env",
        "/_system",
        "/rest",
        "/auth/v2/user",
        "/storage/v1/bucket",
        "/static/none.js",
        "/static/../keys.json",
        "//",
        "/editor/contacts/deeper",
      ]
    ) {
      const answer = await ask(path);
      expect(answer.status, path).toBe(404);
      expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    }
  });
});

describe("a key that is wrong", () => {
  it("opens no session, however it is wrong", async () => {
    const { publishableKey, secretKey } = running.stack;
    for (
      const key of [
        "",
        publishableKey,
        secretKey.slice(0, -1),
        `${secretKey}x`,
        secretKey.toUpperCase(),
        "x".repeat(5_000),
      ]
    ) {
      const answer = await signIn(key);
      expect(answer.status).toBe(401);
      expect(answer.headers["set-cookie"]).toBeUndefined();
    }
    expect((await ask("/_session")).status).toBe(405);
  });

  it("opens neither the system's pages nor a table", async () => {
    for (const apikey of ["sb_secret_guess", running.stack.publishableKey]) {
      expect((await ask("/_system/info", { headers: { apikey } })).status).toBe(401);
      const rows = await ask("/rest/v1/contacts", { headers: { apikey } });
      expect([401, 403]).toContain(rows.status);
    }
  });
});

describe("the secret key", () => {
  it("shows where the database is, but not the superuser's password", async () => {
    const { status, body } = await ask("/_system/info", {
      headers: { apikey: running.stack.secretKey },
    });
    expect(status).toBe(200);
    const { password, port } = new URL(running.stack.databaseUrl);
    expect(body).toContain(port);
    expect(password.length).toBeGreaterThan(10);
    expect(body).not.toContain(password);
    expect(body).not.toContain(running.stack.secretKey);
  });

  it("opens the table editor, whose browser never holds it", async () => {
    const opened = await signIn();
    expect(opened.status).toBe(303);
    expect(opened.headers["set-cookie"]?.[0]).toMatch(/HttpOnly; SameSite=Strict/);
    const cookie = cookieOf(opened);
    expect(cookie).not.toContain(running.stack.secretKey);
    const browser = { cookie, "user-agent": "Mozilla/5.0" };
    const page = await ask("/editor/contacts", { headers: browser });
    expect(page.body).toContain("/static/assets/");
    expect(page.body).not.toContain(running.stack.secretKey);
    const script = /src="(\/static\/assets\/[^"]+\.js)"/.exec(page.body)?.[1] ?? "";
    expect((await ask(script)).headers["content-type"]).toMatch(/javascript/);
    const rows = await ask("/rest/v1/tenants?select=id", { headers: browser });
    expect(rows.status).toBe(200);
  });

  it("is not lent to another site that the same browser has open", async () => {
    const cookie = cookieOf(await signIn());
    for (const origin of ["https://attacker.example", "null", "http://127.0.0.1:1"]) {
      const answer = await ask("/rest/v1/tenants", { headers: { cookie, origin } });
      expect(answer.status).toBe(401);
    }
  });

  it("is not laid over the credentials of somebody, and the table UI's are nobody's", async () => {
    const cookie = cookieOf(await signIn());
    const { client } = await running.signUp();
    const { data: { session } } = await client.auth.getSession();
    const apikey = running.stack.publishableKey;
    const asMember = await ask("/rest/v1/tenants?select=id", {
      headers: { cookie, apikey, authorization: `Bearer ${session?.access_token}` },
    });
    expect([asMember.status, asMember.body]).toEqual([200, "[]"]);
    await running.sql`insert into public.tenants (name) values ('Apex Roofing')`;
    const asEditor = await ask("/rest/v1/tenants?select=name", {
      headers: { cookie, apikey, authorization: `Bearer ${apikey}`, "user-agent": "Mozilla/5.0" },
    });
    expect(asEditor.body).toContain("Apex Roofing");
    const guessed = await ask("/rest/v1/tenants", { headers: { cookie, apikey: "sb_secret_x" } });
    expect(guessed.status).toBe(401);
  });
});

it("Auth answers a browser's preflight from any origin as the platform does", async () => {
  const answer = await ask("/auth/v1/signup", {
    method: "OPTIONS",
    headers: {
      origin: "http://localhost:3000",
      "access-control-request-method": "POST",
      "access-control-request-headers": "apikey,authorization,content-type,x-client-info",
    },
  });
  expect(answer.status).toBe(204);
  expect(answer.headers["access-control-allow-origin"]).toBe("*");
  for (const name of ["apikey", "authorization", "content-type", "x-client-info"]) {
    expect(answer.headers["access-control-allow-headers"]).toContain(name);
  }
  expect(answer.headers["access-control-allow-credentials"]).toBeUndefined();
});
