// A developer with a living CRM, from `git clone` to the first text, typing what the README says and nothing else.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { using } from "../../scripts/lib/scratch.ts";
import { createProject, fillHost, type Host } from "../support/host.ts";
import { waitFor } from "../support/standins.ts";

const root = path.resolve(import.meta.dirname, "../..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
const section = readme.slice(readme.indexOf("## Beside your own CRM")).split(/^## (?!Beside)/m)[0]!;
const blocks = [...section.matchAll(/^```(bash|sql)\n([^]*?)^```/gm)].map(([, language, text]) => ({
  language: language!,
  text: text!,
}));

let host: Host;
let directory: string;
let stack: ChildProcess | undefined;
beforeAll(async () => {
  host = await createProject();
  await using(host.url, fillHost);
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-developer-"));
});
afterAll(async () => {
  if (stack?.pid && stack.exitCode === null) {
    const ended = new Promise((resolve) => stack!.once("close", resolve));
    process.kill(-stack.pid, "SIGTERM");
    await ended;
  }
  fs.rmSync(directory, { recursive: true, force: true });
  await host.drop();
});

/** What is installed here already: on a fresh machine `npm ci` fetches it, which takes the network's time. */
function installed(clone: string): void {
  const copy = spawnSync("cp", ["-al", path.join(root, "node_modules"), clone]);
  if (copy.status !== 0) {
    fs.cpSync(path.join(root, "node_modules"), path.join(clone, "node_modules"), {
      recursive: true,
    });
  }
  fs.copyFileSync(path.join(clone, "package-lock.json"), path.join(directory, "installed"));
  fs.rmSync(path.join(clone, "node_modules/.ridgeline-installed"), { force: true });
  fs.renameSync(
    path.join(directory, "installed"),
    path.join(clone, "node_modules/.ridgeline-installed"),
  );
}

it("types four blocks, and Maria's text is there", async () => {
  expect(blocks.map(({ language }) => language)).toEqual(["bash", "sql", "sql", "bash"]);
  const [install, attach, first, look] = blocks as [
    typeof blocks[0],
    typeof blocks[0],
    typeof blocks[0],
    typeof blocks[0],
  ];
  const environment = { ...process.env, REPOSITORY: root, DATABASE_URL: host.url };
  const began = Date.now();
  const took: string[] = [];
  const lap = (what: string) => took.push(`${what} ${((Date.now() - began) / 1000).toFixed(1)} s`);

  const commands = install!.text.trim().split("\n");
  const [clone, enter, serve] = commands as [string, string, string];
  expect(spawnSync("bash", ["-ec", clone], { cwd: directory, env: environment }).status).toBe(0);
  const project = path.join(directory, enter.replace(/^cd /, ""));
  installed(project);
  lap("cloned");
  stack = spawn("bash", ["-ec", `exec ${serve.replace("--port 54321", "--port 0")}`], {
    cwd: project,
    env: environment,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const from of [stack.stdout!, stack.stderr!]) from.on("data", (chunk) => said += chunk);
  await waitFor("the stack", () => {
    if (stack?.exitCode != null) throw new Error(said);
    return /Ridgeline is ready/.test(said);
  }, { timeout: 90_000 });
  expect(said).toContain("beside the tables that were there");
  lap("serving");

  await using(host.url, async (owner) => {
    await owner.unsafe(attach!.text).simple();
    await owner.unsafe(first!.text).simple();
  });
  lap("written");
  const messages = () =>
    spawnSync("bash", ["-ec", look!.text], { cwd: project, env: environment, encoding: "utf8" })
      .stdout;
  await waitFor("the first text", () => /Thanks for your interest, Maria!/.test(messages()), {
    timeout: 20_000,
    interval: 100,
  });
  lap("the first text");
  expect(JSON.parse(messages())).toMatchObject({ messages: [{ to: "+14155550142" }] });
  console.log(`From git clone to the first text: ${took.join(", ")}`);

  const out = spawnSync("bash", ["-ec", /`(scripts\/uninstall [^`]*)`/.exec(section)![1]!], {
    cwd: project,
    env: environment,
    encoding: "utf8",
  });
  expect(out.stdout + out.stderr).toBe("Ridgeline is gone.\n");
}, 180_000);
