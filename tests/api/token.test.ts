// Whose token is it, and is it one? Against a key set as the hosted platform publishes it, and an
// Auth server that stands in for the one that knows the old shared secret.
import { createHmac, generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createVerifier, readAuth, type VerifyToken } from "../../functions/_shared/http/token.ts";
import { signed, unsigned } from "./support.ts";

const platform = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rotated = generateKeyPairSync("ec", { namedCurve: "P-256" });
const attacker = generateKeyPairSync("ec", { namedCurve: "P-256" });
const kid = randomUUID();
const jwk = { ...platform.publicKey.export({ format: "jwk" }), kid, alg: "ES256", use: "sig" };
const rotatedJwk = {
  ...rotated.publicKey.export({ format: "jwk" }),
  kid: "rotated",
  alg: "ES256",
  use: "sig",
};
const secret = "the old shared secret of this project, long enough";

let server: http.Server;
let url: string;
let userCalls = 0;
let authStatus = 200;

function isSigned(token: string): boolean {
  const [header = "", payload = "", signature] = token.split(".");
  const { alg } = JSON.parse(Buffer.from(header, "base64url").toString());
  return alg === "HS256" &&
    createHmac("sha256", secret).update(`${header}.${payload}`).digest("base64url") === signature;
}

beforeAll(async () => {
  server = http.createServer((request, response) => {
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (request.url?.endsWith("/jwks.json")) return answer(200, { keys: [jwk, rotatedJwk] });
    userCalls++;
    const token = request.headers.authorization?.slice("Bearer ".length) ?? "";
    if (authStatus !== 200) return answer(authStatus, { msg: "down" });
    if (!isSigned(token)) return answer(403, { error_code: "bad_jwt", msg: "invalid JWT" });
    answer(200, { id: randomUUID(), aud: "authenticated", role: "authenticated" });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

let verify: VerifyToken;
let claims: Record<string, unknown>;
beforeEach(() => {
  userCalls = 0;
  authStatus = 200;
  verify = createVerifier(readAuth({
    SUPABASE_URL: url,
    SUPABASE_PUBLISHABLE_KEYS: '{"default":"sb_publishable_x"}',
    SUPABASE_JWKS: JSON.stringify({ keys: [jwk] }),
    JWT_ISSUER: "https://project.supabase.co/auth/v1",
  }));
  claims = {
    iss: "https://project.supabase.co/auth/v1",
    sub: randomUUID(),
    aud: "authenticated",
    role: "authenticated",
    exp: Math.floor(Date.now() / 1000) + 600,
    app_metadata: { provider: "email" },
  };
});

const hs256 = (payload: object, key: string, header: object = {}) => {
  const content = unsigned({ alg: "HS256", typ: "JWT", ...header }, payload).replace(/\.$/, "");
  return `${content}.${createHmac("sha256", key).update(content).digest("base64url")}`;
};

test("a token of the platform's key is taken without asking anybody, claims and all", async () => {
  expect(await verify(signed({ kid }, claims, platform.privateKey))).toEqual(claims);
  expect(userCalls).toBe(0);
});

test("a key that was rotated in is fetched", async () => {
  expect(await verify(signed({ kid: "rotated" }, claims, rotated.privateKey))).toEqual(claims);
});

test("a token of the old shared secret is taken when the Auth server says so", async () => {
  expect(await verify(hs256(claims, secret))).toEqual(claims);
  expect(userCalls).toBe(1);
});

test("a token of an old Auth server without an issuer is taken", async () => {
  const { iss: _iss, ...rest } = claims;
  expect(await verify(hs256(rest, secret))).toEqual(rest);
});

const soon = () => Math.floor(Date.now() / 1000) + 600;
const publicPem = platform.publicKey.export({ format: "pem", type: "spki" }).toString();

describe("refused", () => {
  test.each<[string, () => string]>([
    ["alg none", () => unsigned({ alg: "none", typ: "JWT", kid }, claims)],
    ["alg none without a key id", () => unsigned({ alg: "none" }, claims)],
    ["no alg", () => unsigned({ kid }, claims, "AAAA")],
    ["another's key under our key id", () => signed({ kid }, claims, attacker.privateKey)],
    ["a key id nobody knows", () => signed({ kid: "mine" }, claims, attacker.privateKey)],
    ["a key of its own in the header", () =>
      signed(
        { jwk: attacker.publicKey.export({ format: "jwk" }), kid: "mine" },
        claims,
        attacker.privateKey,
      )],
    ["the public key as a shared secret", () => hs256(claims, publicPem, { kid })],
    ["a wrong shared secret", () => hs256(claims, "guess")],
    ["ES256 announced as RS256", () => signed({ kid, alg: "RS256" }, claims, platform.privateKey)],
    ["expired", () => signed({ kid }, { ...claims, exp: 1 }, platform.privateKey)],
    ["expired, shared secret", () => hs256({ ...claims, exp: 1 }, secret)],
    ["without an end", () => signed({ kid }, { ...claims, exp: undefined }, platform.privateKey)],
    [
      "another issuer, well signed",
      () =>
        signed(
          { kid },
          { ...claims, iss: "https://other.supabase.co/auth/v1" },
          platform.privateKey,
        ),
    ],
    [
      "another issuer, shared secret",
      () => hs256({ ...claims, iss: "https://other.supabase.co/auth/v1" }, secret),
    ],
    ["another audience", () => signed({ kid }, { ...claims, aud: "storage" }, platform.privateKey)],
    [
      "role service_role in a self-made token",
      () => signed({ kid }, { ...claims, role: "service_role" }, attacker.privateKey),
    ],
    [
      "role service_role, well signed",
      () => signed({ kid }, { ...claims, role: "service_role" }, platform.privateKey),
    ],
    ["role service_role, shared secret", () => hs256({ ...claims, role: "service_role" }, secret)],
    ["role anon", () => hs256({ ...claims, role: "anon" }, secret)],
    ["nobody's", () => signed({ kid }, { ...claims, sub: undefined }, platform.privateKey)],
    [
      "a subject that is none",
      () => signed({ kid }, { ...claims, sub: "' or true --" }, platform.privateKey),
    ],
    ["claims changed after signing", () => {
      const [header, , signature] = signed({ kid }, claims, platform.privateKey).split(".");
      const other = Buffer.from(JSON.stringify({ ...claims, sub: randomUUID(), exp: soon() }));
      return `${header}.${other.toString("base64url")}.${signature}`;
    }],
    ["not JSON", () => "e30.AAAA.AAAA"],
    ["nothing", () => "."],
    ["far too long", () => `${signed({ kid }, claims, platform.privateKey)}${"A".repeat(20_000)}`],
  ])("%s", async (_name, token) => {
    await expect(verify(token())).rejects.toMatchObject({ status: 401, code: "invalid_token" });
  });
});

test("when the Auth server is down the answer is 503, not yes and not no", async () => {
  authStatus = 503;
  await expect(verify(hs256(claims, secret))).rejects.toMatchObject({ status: 503 });
  const nobody = createVerifier(readAuth({
    SUPABASE_URL: "http://127.0.0.1:1",
    SUPABASE_PUBLISHABLE_KEYS: '{"default":"sb_publishable_x"}',
  }));
  await expect(nobody(hs256(claims, secret))).rejects.toMatchObject({ status: 503 });
});

test("a shared secret that stands in the key set verifies nothing", () => {
  const oct = { kty: "oct", kid, alg: "HS256", k: Buffer.from(secret).toString("base64url") };
  expect(
    readAuth({
      SUPABASE_URL: url,
      SUPABASE_PUBLISHABLE_KEYS: '{"default":"sb_publishable_x"}',
      SUPABASE_JWKS: JSON.stringify({ keys: [oct, jwk] }),
    }).jwks,
  ).toEqual([jwk]);
});

test("the address people use for a local project is an issuer there, and nowhere else", async () => {
  const local = { ...claims, iss: "http://127.0.0.1:54321/auth/v1" };
  await expect(
    createVerifier(readAuth({
      SUPABASE_URL: "https://project.supabase.co",
      SUPABASE_PUBLISHABLE_KEYS: '{"default":"sb_publishable_x"}',
      SUPABASE_JWKS: JSON.stringify({ keys: [jwk] }),
    }))(signed({ kid }, local, platform.privateKey)),
  ).rejects.toMatchObject({ status: 401 });
  expect(await verify(signed({ kid }, local, platform.privateKey))).toEqual(local);
});

test("without SUPABASE_URL it says what is missing", () => {
  expect(() => readAuth({})).toThrow(/^SUPABASE_URL/);
});
