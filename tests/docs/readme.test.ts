// What the README tells a newcomer to type works, as it is printed there.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { withDatabase } from "../support/database.ts";

const root = path.resolve(import.meta.dirname, "../..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"))]
    .map(([, body = ""]) => body.trim());
}

test("the commands exist and can be run", () => {
  const commands = blocks("sh");
  expect(commands).toEqual(["scripts/demo", "scripts/stack", "scripts/test"]);
  for (const command of commands) {
    expect(fs.statSync(path.join(root, command)).mode & 0o111, command).not.toBe(0);
  }
});

test("scripts/demo tells its story and leaves nothing running", () => {
  const demo = spawnSync(path.join(root, "scripts/demo"), { encoding: "utf8", timeout: 120_000 });
  expect(demo.stderr + demo.stdout).toContain("All three examples ran to their end");
  expect(demo.status).toBe(0);
}, 130_000);

test("the first workflow greets Maria and plans the call", async () => {
  const [script = ""] = blocks("sql");
  await withDatabase(async ({ sql }) => {
    await sql.unsafe(script);
    const [claimed] = await sql`select payload from automation.claim_steps('readme', 1)`;
    expect(claimed?.payload).toMatchObject({
      to: "+14155550142",
      body: "Thanks for your interest, Maria!",
    });
  });
});

test("every file the documents link to is there", () => {
  for (const file of ["README.md", "sql/README.md", "functions/README.md"]) {
    const text = fs.readFileSync(path.join(root, file), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      expect(fs.existsSync(path.join(root, path.dirname(file), target)), `${file}: ${target}`)
        .toBe(true);
    }
  }
});
