// A stand-in of the platform's Management API, as far as `supabase functions deploy --use-api`
// asks it, and one of npm's registry that knows what node_modules holds: the platform installs
// what the uploaded import map names.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { z } from "zod";

const root = path.resolve(import.meta.dirname, "../..");

export const Metadata = z.object({
  name: z.string(),
  entrypoint_path: z.string(),
  import_map_path: z.string().optional(),
  verify_jwt: z.boolean(),
});

export interface Upload {
  metadata: z.infer<typeof Metadata>;
  /** Path as it was sent, and text. */
  files: Map<string, string>;
}

export interface Server {
  url: string;
  stop: () => Promise<void>;
}

type Handle = (request: http.IncomingMessage, url: URL, body: Buffer) => Promise<unknown> | unknown;

async function serve(handle: Handle): Promise<Server> {
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      try {
        const url = new URL(request.url ?? "/", "http://127.0.0.1");
        const answer = await handle(request, url, Buffer.concat(chunks));
        if (answer === undefined) response.writeHead(404).end("{}");
        else if (answer instanceof Buffer) response.end(answer);
        else {
          const status = request.method === "POST" ? 201 : 200;
          response.writeHead(status, { "content-type": "application/json" });
          response.end(JSON.stringify(answer));
        }
      } catch (error) {
        response.writeHead(500).end(JSON.stringify({ message: String(error) }));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function readUpload(request: http.IncomingMessage, body: Buffer): Promise<Upload> {
  const headers = { "content-type": request.headers["content-type"] ?? "" };
  const form = await new Response(new Uint8Array(body), { headers }).formData();
  const metadata = form.get("metadata");
  const text = metadata instanceof File ? await metadata.text() : metadata;
  const files = new Map<string, string>();
  for (const file of form.getAll("file")) {
    if (file instanceof File) files.set(file.name, await file.text());
  }
  return { metadata: Metadata.parse(JSON.parse(text ?? "null")), files };
}

export interface ManagementApi extends Server {
  /** What was uploaded for each function. */
  uploads: Map<string, Upload>;
  /** The functions that the last call made public, all at once. */
  published: string[];
}

export async function startManagementApi(token: string): Promise<ManagementApi> {
  const uploads = new Map<string, Upload>();
  const published: string[] = [];
  const server = await serve(async (request, url, body) => {
    if (request.headers.authorization !== `Bearer ${token}`) throw new Error("no such token");
    const [, , , , ...rest] = url.pathname.split("/");
    const call = `${request.method} ${rest.join("/")}`;
    if (call === "GET functions") return [];
    if (call === "POST functions/deploy") {
      const slug = url.searchParams.get("slug") ?? "";
      const upload = await readUpload(request, body);
      uploads.set(slug, upload);
      return { id: slug, slug, status: "ACTIVE", version: 1, ...upload.metadata };
    }
    if (call === "PUT functions") {
      const functions = z.array(z.looseObject({ slug: z.string() })).parse(
        JSON.parse(body.toString()),
      );
      published.splice(0, Infinity, ...functions.map(({ slug }) => slug).sort());
      return { functions };
    }
  });
  return { ...server, uploads, published };
}

/** The profile of the command line that makes it call this address. */
export function writeProfile(file: string, url: string): void {
  fs.writeFileSync(
    file,
    `name: standin\napi_url: ${url}\ndashboard_url: ${url}\nproject_host: localhost\n`,
  );
}

const Lock = z.object({ packages: z.record(z.string(), z.looseObject({})) });

/** Where each version of each package is in node_modules. */
function installed(): Map<string, Map<string, string>> {
  const lock = Lock.parse(
    JSON.parse(fs.readFileSync(path.join(root, "package-lock.json"), "utf8")),
  );
  const found = new Map<string, Map<string, string>>();
  for (const place of Object.keys(lock.packages)) {
    const manifest = path.join(root, place, "package.json");
    if (place === "" || !fs.existsSync(manifest)) continue;
    const { name, version } = JSON.parse(fs.readFileSync(manifest, "utf8"));
    const versions = found.get(name) ?? new Map<string, string>();
    found.set(name, versions.set(version, path.dirname(manifest)));
  }
  return found;
}

function pack(directory: string): Buffer {
  const name = path.basename(directory);
  const tar = spawnSync("tar", ["-cf", "-", `--exclude=${name}/node_modules`, name], {
    cwd: path.dirname(directory),
    maxBuffer: 500_000_000,
  });
  if (tar.status !== 0) throw new Error(`tar failed: ${tar.stderr}`);
  return gzipSync(tar.stdout, { level: 1 });
}

export async function startRegistry(): Promise<Server> {
  const packages = installed();
  const server = await serve((_, url) => {
    const [, name = "", version] = /^\/((?:@[^/]+\/)?[^/]+)(?:\/-\/(.+)\.tgz)?$/.exec(
      decodeURIComponent(url.pathname),
    ) ?? [];
    const versions = packages.get(name);
    if (!versions) return undefined;
    if (version !== undefined) {
      const directory = versions.get(version);
      return directory === undefined ? undefined : pack(directory);
    }
    return {
      name,
      "dist-tags": { latest: [...versions.keys()].at(-1) },
      versions: Object.fromEntries([...versions].map(([version, directory]) => {
        const manifest = JSON.parse(fs.readFileSync(path.join(directory, "package.json"), "utf8"));
        const tarball = `${server.url}/${name}/-/${version}.tgz`;
        return [version, { ...manifest, dist: { tarball } }];
      })),
    };
  });
  return server;
}
