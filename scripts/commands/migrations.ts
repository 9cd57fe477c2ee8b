// supabase/migrations: what sql/ says, one file a release. See scripts/migrations --help.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { draftMigration, draftScript, writtenRoutines } from "../lib/draft.ts";
import {
  checksum,
  isGenerated,
  migrationFile,
  migrationFiles,
  migrations,
  type Part,
  readReleases,
  releaseProblems,
  runScript,
  schemaScript,
  writeReleases,
} from "../lib/schema.ts";
import { createDatabase, startScratchServer, using } from "../lib/scratch.ts";

const usage = `scripts/migrations [option]

As long as nothing is released: generates the first migration of each part from sql/.
From then on a released file never changes, and every change is the next file.

  --check            changes nothing; fails where a file is not what it has to be
  --new NAME         begins the next migration: what sql/ says and the migrations do not, as a draft to be
                     read, reordered and completed (a name that begins with reference_crm is of sql/crm)
  --release VERSION  keeps the checksums of all files that are not released yet; VERSION is automation.version()
`;

const { values } = parseArgs({
  options: {
    check: { type: "boolean" },
    new: { type: "string" },
    release: { type: "string" },
    help: { type: "boolean", short: "h" },
  },
});

const shown = (file: string) => path.relative(process.cwd(), file);
function fail(message: string): void {
  console.error(message);
  process.exitCode = 1;
}

function generate(check: boolean): void {
  for (const migration of migrations.filter((one) => isGenerated(one))) {
    const file = migrationFile(migration);
    const wanted = schemaScript(migration.part);
    const present = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
    if (present === wanted) console.log(`${shown(file)} is what sql/${migration.part} says`);
    else if (check) {
      fail(`${shown(file)} differs from sql/. Run scripts/migrations and commit the result.`);
    } else {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, wanted);
      console.log(`Wrote ${shown(file)}`);
    }
  }
  const releases = readReleases();
  releaseProblems(releases, migrationFiles()).forEach(fail);
  for (const [version, files] of Object.entries(releases)) {
    console.log(`${version}: ${Object.keys(files).join(", ")}`);
  }
}

/** The number of the next file: now, and later than any there is. */
function nextVersion(): string {
  const now = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
  const last = migrations.map(({ version }) => version).sort().at(-1)!;
  return now > last ? now : String(BigInt(last) + 1n);
}

async function begin(name: string): Promise<void> {
  if (!/^[a-z][a-z0-9_]*$/.test(name)) {
    return fail("--new: lower-case letters, digits and _, please");
  }
  if (migrations.some((one) => isGenerated(one))) {
    return fail("Nothing is released yet: change sql/ and run scripts/migrations.");
  }
  const part: Part = name.startsWith("reference_crm") ? "crm" : "engine";
  const schemas = part === "crm" ? ["public", "ridgeline_crm"] : ["automation", "ridgeline"];
  const present = [...migrationFiles().values()];
  const source = [schemaScript("engine"), schemaScript("crm")];
  const { server, stop } = await startScratchServer();
  try {
    const [before, after] = await Promise.all([["before", present], ["after", source]].map(
      async ([database, scripts]) => {
        const url = await createDatabase(server.url(), database as string);
        await using(url, async (sql) => {
          for (const script of scripts!) await runScript(sql, script);
        });
        return url;
      },
    ));
    const draft = await using(
      before!,
      (from) =>
        using(
          after!,
          (to) =>
            draftMigration(from, to, schemas, writtenRoutines([...present, ...source].join("\n"))),
        ),
    );
    const file = migrationFile({ version: nextVersion(), name });
    fs.writeFileSync(file, draftScript(draft));
    console.log(`Wrote ${shown(file)}: ${draft.statements.length} statements. Read it through.`);
    draft.byHand.forEach((one) => console.log(`To be written by hand: ${one}`));
  } finally {
    await stop();
  }
}

function release(version: string): void {
  generate(true);
  if (process.exitCode) return;
  const releases = readReleases();
  const source = schemaScript("engine");
  if (!source.includes(`select '${version}'`)) {
    return fail(`automation.version() in sql/engine/00_foundation does not say ${version}`);
  }
  if (version in releases) return fail(`${version} is released already`);
  const released = Object.assign({}, ...Object.values(releases)) as Record<string, string>;
  const fresh = [...migrationFiles()].filter(([file]) => !(file in released));
  if (fresh.length === 0) return fail("There is nothing to release");
  releases[version] = Object.fromEntries(fresh.map(([file, text]) => [file, checksum(text)]));
  writeReleases(releases);
  console.log(`${version}: ${fresh.map(([file]) => file).join(", ")}`);
}

if (values.help) console.log(usage);
else if (values.new !== undefined) await begin(values.new);
else if (values.release !== undefined) release(values.release);
else generate(values.check === true);
