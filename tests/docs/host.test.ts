// What the documents about other people's tables tell an owner to run works, as printed, on a CRM that is not ours.
import fs from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { using } from "../../scripts/lib/scratch.ts";
import {
  createProject,
  fillHost,
  installEngine,
  LAKESIDE,
  MARIA,
  SAM,
  SUMMIT,
} from "../support/host.ts";

const docs = path.resolve(import.meta.dirname, "../../docs");
const blocks = (file: string) =>
  [...fs.readFileSync(path.join(docs, file), "utf8").matchAll(/^```sql\n([^]*?)^```/gm)].map((
    [, sql],
  ) => sql!);

it("install, tenants, members and attach, in that order and each for itself", async () => {
  const host = await createProject();
  try {
    await using(host.url, async (sql) => {
      await fillHost(sql);
      await installEngine(sql);
      await sql`update public.contacts set dnc_status = true where id = ${MARIA}`;
      await sql`
        create table public.sms_log (
          id uuid primary key default gen_random_uuid(), company_id uuid, sender text, message text, direction text)`;
      for (const file of ["install.md", "tenants.md", "members.md", "attach.md"]) {
        const scripts = blocks(file);
        expect(scripts.length, file).toBeGreaterThan(0);
        for (const script of scripts) await sql.unsafe(script).simple();
      }
      expect(
        await sql`select name, timezone, settings from automation.read_tenants(array[${SUMMIT}::uuid])`,
      )
        .toEqual([{
          name: "Summit Roofing",
          timezone: "America/Chicago",
          settings: { holidays: ["2026-11-26"], editors_publish: true },
        }]);
      expect(
        await sql`select role, full_name from automation.read_members(array[${SUMMIT}::uuid], array[${SAM}::uuid])`,
      )
        .toEqual([{ role: "editor", full_name: "Sam Sales" }]);
      expect(await sql`select address from ridgeline.suppressions order by 1`)
        .toEqual([{ address: "+15125550142" }, { address: "+15125550199" }]);
      expect(await sql`select name from automation.targets order by 1`)
        .toEqual([{ name: "project" }, { name: "task" }, { name: "timeline" }]);
      expect(await sql`select automation.tenant_state(${LAKESIDE}) as state`).toEqual([{
        state: "here",
      }]);
    });
  } finally {
    await host.drop();
  }
});

it("every file that they link to is there", () => {
  const files = fs.readdirSync(docs, { recursive: true, encoding: "utf8" });
  for (const file of files.filter((name) => name.endsWith(".md"))) {
    const text = fs.readFileSync(path.join(docs, file), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      expect(fs.existsSync(path.join(docs, path.dirname(file), target)), `${file}: ${target}`).toBe(
        true,
      );
    }
  }
});
