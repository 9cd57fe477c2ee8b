// The commands of docs/legacy.md, as printed, on a copy of somebody's database.
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { using } from "../../scripts/lib/scratch.ts";
import { createHost, SUMMIT } from "../support/host.ts";

const root = path.resolve(import.meta.dirname, "../..");
const commands = [
  ...fs.readFileSync(path.join(root, "docs/legacy.md"), "utf8").matchAll(/^```bash\n([^]*?)^```/gm),
].map(([, command]) => command!);

interface Ran {
  code: number;
  output: string;
}

const run = (command: string, env: Record<string, string>): Promise<Ran> =>
  new Promise((resolve) => {
    execFile(
      "bash",
      ["-c", command],
      { cwd: root, env: { ...process.env, ...env } },
      (error, out, err) =>
        resolve({
          code: typeof error?.code === "number" ? error.code : error ? 1 : 0,
          output: out + err,
        }),
    );
  });

it("look, bring over, switch on, and back", async () => {
  const host = await createHost();
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "legacy-docs-"));
  try {
    const env = { DATABASE_URL: host.url, TENANT: SUMMIT };
    const report = (name: string) => {
      const { mode, entries, undone } = JSON.parse(
        fs.readFileSync(path.join(directory, `${name}.json`), "utf8"),
      );
      return [
        mode,
        entries.map(({ outcome }: { outcome: string }) => outcome),
        undone.map(({ undone }: { undone: boolean }) => undone),
      ];
    };
    const state = () =>
      using(host.url, (sql) => sql`select name, status from ridgeline.workflows`).then((rows) =>
        rows.map(({ name, status }) => [name, status])
      );
    expect(commands).toHaveLength(4);
    const [look, bring, activate, undo] = commands.map((command) =>
      command.replaceAll("reports/", `${directory}/`)
    );
    expect(await run(look!, env)).toMatchObject({
      code: 0,
      output: expect.stringContaining("1 would be created"),
    });
    expect([report("first"), await state()]).toEqual([["dry-run", ["would_be_created"], []], []]);
    expect(fs.readFileSync(path.join(directory, "first.md"), "utf8")).toContain("### Old welcome");
    expect(await run(bring!, env)).toMatchObject({ code: 0 });
    expect([report("second"), await state()]).toEqual([["apply", ["created"], []], [[
      "Old welcome",
      "paused",
    ]]]);
    expect(await run(activate!, env)).toMatchObject({ code: 0 });
    expect([report("third"), await state()]).toEqual([["apply", ["activated"], []], [[
      "Old welcome",
      "active",
    ]]]);
    // Something for a person to do is another exit code, and a line.
    await using(
      host.url,
      (sql) =>
        sql`insert into public.workflows (tenant_id, name, trigger_type, is_active)
        values (${SUMMIT}, 'Empty', 'contact_created', true)`,
    );
    expect(await run(look!, env)).toMatchObject({
      code: 2,
      output: expect.stringContaining("1 need a person: Empty"),
    });
    await using(host.url, (sql) => sql`delete from public.workflows where name = 'Empty'`);
    expect(await run(undo!, env)).toMatchObject({ code: 0 });
    expect([report("back"), await state()]).toEqual([["undo", [], [true]], []]);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
    await host.drop();
  }
}, 120_000);

it("what is wrong with a call is said, and nothing is done", async () => {
  const of = async (options: string) =>
    await run(`scripts/import-legacy ${options}`, {
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/none",
    });
  expect(await of("--ties both")).toMatchObject({
    code: 1,
    output: expect.stringContaining("--ties: both is none of first, all"),
  });
  expect(await of("--apply --undo")).toMatchObject({
    code: 1,
    output: expect.stringContaining("One of --dry-run, --apply and --undo"),
  });
  expect(await of("--activate")).toMatchObject({
    code: 1,
    output: expect.stringContaining("go with --apply"),
  });
  expect(await of("--tenant summit")).toMatchObject({
    code: 1,
    output: expect.stringContaining("summit is no UUID"),
  });
  expect(await of("--frm server")).toMatchObject({
    code: 1,
    output: expect.stringContaining("Usage:"),
  });
});
