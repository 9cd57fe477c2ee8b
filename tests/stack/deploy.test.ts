// `supabase functions deploy`, as the README has it: what the command line uploads, and nothing
// else, has to start and to answer.
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { accepts, denoBinary, functionNames } from "../../scripts/lib/functions.ts";
import { endProcess, freePort } from "../../scripts/lib/process.ts";
import { useDatabase } from "../support/database.ts";
import {
  type ManagementApi,
  type Server,
  startManagementApi,
  startRegistry,
  type Upload,
  writeProfile,
} from "../support/management.ts";
import { waitFor } from "../support/standins.ts";

const root = path.resolve(import.meta.dirname, "../..");
const token = `sbp_${"0".repeat(40)}`;
const secretKey = "sb_secret_of_apex";
const ringKey = "a key that can only ring";

const database = useDatabase();
let directory: string;
let api: ManagementApi;
let registry: Server;
const started: ChildProcess[] = [];
const urls = new Map<string, string>();

function run(program: string, args: string[], cwd: string, environment: object) {
  return new Promise<{ status: number | null; output: string }>((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: { ...process.env, ...environment } });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output += data);
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, output }));
  });
}

beforeAll(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-deploy-"));
  [api, registry] = await Promise.all([startManagementApi(token), startRegistry()]);
});
afterAll(async () => {
  await Promise.all(started.map(({ pid }) => pid && endProcess(pid)));
  await Promise.all([api?.stop(), registry?.stop()]);
  fs.rmSync(directory, { recursive: true, force: true });
});

/** The environment that the platform gives a function, and one cache for all of them. */
const environment = () => ({
  HOME: directory,
  DENO_DIR: path.join(directory, "deno"),
  DENO_NO_UPDATE_CHECK: "1",
  NO_COLOR: "1",
  NPM_CONFIG_REGISTRY: registry.url,
  SUPABASE_DB_URL: database().url,
  SUPABASE_URL: "http://127.0.0.1:1",
  DISPATCH_RING_KEY: ringKey,
  SUPABASE_SECRET_KEYS: JSON.stringify({ default: secretKey }),
  RESEND_WEBHOOK_SECRET: `whsec_${btoa("a secret of Apex Roofing")}`,
  TWILIO_AUTH_TOKEN: "0123456789abcdef",
  PUBLIC_URL: "https://apex.example.com/functions/v1",
});

/** The uploaded files in an empty folder, served as the platform would: by its metadata alone. */
async function boot(slug: string, { metadata, files }: Upload): Promise<string> {
  const folder = path.join(directory, "booted", slug);
  for (const [name, text] of files) {
    const file = path.join(folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  const port = await freePort();
  const child = spawn(denoBinary(), [
    "run",
    "--no-prompt",
    "--no-config",
    "--no-lock",
    "--quiet",
    ...(metadata.import_map_path ? [`--import-map=${metadata.import_map_path}`] : []),
    "--allow-net",
    "--allow-env",
    `--allow-read=${directory}`,
    "--allow-sys=hostname,osRelease,uid,cpus",
    metadata.entrypoint_path,
  ], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env.PATH,
      DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${port}`,
      ...environment(),
    },
  });
  started.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output += data);
  await waitFor(`${slug} to listen`, () => {
    if (child.exitCode !== null) throw new Error(`${slug} could not start: ${output}`);
    return accepts(port);
  }, { timeout: 60_000 });
  return `http://127.0.0.1:${port}`;
}

const json = { "content-type": "application/json" };
interface Example {
  path: string;
  init: RequestInit;
  status: number;
  says: RegExp;
}
/** A request to each, and what only the function with its packages, most with the database, says. */
const requests: Record<string, Example> = {
  dispatch: {
    path: "/dispatch",
    init: { method: "POST", headers: { apikey: secretKey }, body: '{"budget_ms":100}' },
    status: 200,
    says: /"claimed":0/,
  },
  workflows: {
    path: "/workflows/history?tenant_id=00000000-0000-4000-8000-000000000001",
    init: { headers: { apikey: secretKey } },
    status: 200,
    says: /"next_cursor":null/,
  },
  forms: {
    path: "/forms/of_nobody",
    init: { method: "POST", headers: json, body: "{}" },
    status: 404,
    says: /unknown_form/,
  },
  "twilio-webhook": {
    path: "/twilio-webhook/sms",
    init: { method: "POST", body: new URLSearchParams({ From: "+14155550142" }) },
    status: 403,
    says: /bad_signature/,
  },
  "sms-webhook": {
    path: "/sms-webhook/telnyx",
    init: { method: "POST", headers: json, body: "{}" },
    status: 403,
    says: /bad_signature/,
  },
  unsubscribe: {
    path: "/unsubscribe?token=of_nobody",
    init: { method: "POST", body: new URLSearchParams({ "List-Unsubscribe": "One-Click" }) },
    status: 200,
    says: /^$/,
  },
  link: {
    path: "/link/ofNobody123",
    init: {},
    status: 404,
    says: /does not lead anywhere/,
  },
  "email-webhook": {
    path: "/email-webhook/postmark",
    init: { method: "POST", headers: json, body: "{}" },
    status: 401,
    says: /has not the password/,
  },
  "resend-webhook": {
    path: "/resend-webhook",
    init: { method: "POST", headers: json, body: "{}" },
    status: 403,
    says: /bad_signature/,
  },
};

describe("functions deploy", { timeout: 180_000 }, () => {
  it("uploads every function that there is", async () => {
    const project = path.join(directory, "project");
    for (const part of ["supabase", "functions"]) {
      fs.cpSync(path.join(root, part), path.join(project, part), { recursive: true });
    }
    const profile = path.join(directory, "profile.yaml");
    writeProfile(profile, api.url);
    const { status, output } = await run(
      path.join(root, "node_modules/.bin/supabase"),
      [
        "functions",
        "deploy",
        "--use-api",
        `--profile=${profile}`,
        "--project-ref=abcdefghijklmnopqrst",
        "--yes",
      ],
      project,
      {
        HOME: directory,
        SUPABASE_ACCESS_TOKEN: token,
        SUPABASE_TELEMETRY_DISABLED: "1",
        DO_NOT_TRACK: "1",
      },
    );
    expect(status, output).toBe(0);
    expect([...api.uploads.keys()].sort()).toEqual(functionNames());
    expect(api.published).toEqual(functionNames());
  });

  it("leaves the check of who calls to the functions, which know keys that are no tokens", () => {
    for (const [slug, { metadata }] of api.uploads) expect(metadata.verify_jwt, slug).toBe(false);
  });

  it.each(functionNames())(
    "starts %s from the uploaded files alone, and it answers",
    async (slug) => {
      const upload = api.uploads.get(slug);
      const request = requests[slug];
      if (!upload || !request) throw new Error(`${slug} was not uploaded, or has no request here`);
      const url = await boot(slug, upload);
      urls.set(slug, url);
      const response = await fetch(url + request.path, request.init);
      const text = await response.text();
      expect(response.status, text).toBe(request.status);
      expect(text).toMatch(request.says);
    },
  );

  it("answers a ring at once, and does the work after it", async () => {
    const { sql } = database();
    const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
    const [workflow] = await sql`insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${tenant?.id}, 'Call', 'contact_created') returning id`;
    await sql`insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${tenant?.id}, ${workflow?.id}, 'create_task', '{"title": "Call Maria"}')`;
    await sql`update ridgeline.workflows set is_active = true`;
    await sql`insert into contacts (tenant_id) values (${tenant?.id})`;
    const ring = (slug: string) =>
      fetch(`${urls.get(slug)}/${slug}`, { method: "POST", headers: { apikey: ringKey } });
    const response = await ring("dispatch");
    expect([response.status, await response.text()]).toEqual([202, '{"ringing":true}']);
    await waitFor("the task", async () => (await sql`select title from tasks`).length === 1);
    expect((await ring("workflows")).status).toBe(404);
    const history = await fetch(urls.get("workflows") + requests.workflows!.path, {
      headers: { apikey: ringKey },
    });
    expect(history.status).toBe(401);
  });
});

it("the import map of the functions has the versions that are tested here", () => {
  const read = (file: string) => JSON.parse(fs.readFileSync(path.join(root, file), "utf8"));
  const { dependencies } = read("package.json");
  const { imports } = read("functions/deno.json") as { imports: Record<string, string> };
  for (const [name, target] of Object.entries(imports)) {
    const bare = name.replace(/\/$/, "");
    const expected = name === bare
      ? `npm:${bare}@${dependencies[bare]}`
      : `npm:/${bare}@${dependencies[bare]}/`;
    expect(target).toBe(expected);
  }
});
