// supabase/migrations: what sql/ says, one file a release. See scripts/migrations --help.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import {
  type Draft,
  draftMigration,
  draftScript,
  handwritten,
  MARK,
  writtenRoutines,
} from "../lib/draft.ts";
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
  unreleased,
  writeReleases,
} from "../lib/schema.ts";
import { createDatabase, startScratchServer, using } from "../lib/scratch.ts";

const usage = `scripts/migrations [option]

As long as nothing is released: generates the first migration of each part from sql/.
From then on a released file never changes, and every change is the next file: below its mark it is what sql/ says and
the migrations before it do not, drafted again by each call until it is released; above it stands what is written
by hand, which comes first (data that moves, a column that changes its type).

  --check            changes nothing; fails where a file is not what it has to be
  --new NAME         begins the next migration: ridgeline_... of sql/engine, reference_crm_... of sql/crm
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

async function generate(check: boolean): Promise<void> {
  for (const migration of migrations.filter((one) => isGenerated(one))) {
    keep(migrationFile(migration), schemaScript(migration.part), check);
  }
  await redraft(check);
  const releases = readReleases();
  releaseProblems(releases, migrationFiles()).forEach(fail);
  for (const [version, files] of Object.entries(releases)) {
    console.log(`${version}: ${Object.keys(files).join(", ")}`);
  }
}

function keep(file: string, wanted: string, check: boolean): void {
  const present = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  if (present === wanted) console.log(`${shown(file)} is what sql/ says`);
  else if (check) {
    fail(`${shown(file)} differs from sql/. Run scripts/migrations and commit the result.`);
  } else {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, wanted);
    console.log(`Wrote ${shown(file)}`);
  }
}

/** The migrations that are not released, each drafted anew below what stands in it by hand. */
async function redraft(check: boolean): Promise<void> {
  const files = unreleased().map((one) => ({ part: one.part, file: migrationFile(one) }));
  if (files.length === 0) return;
  const { server, stop } = await startScratchServer();
  try {
    // Engine first: what the reference CRM sets there is not the engine's.
    for (const part of ["engine", "crm"] as const) {
      for (const { file } of files.filter((one) => one.part === part)) {
        const draft = await draftOf(part, file, server.url());
        draft.byHand.forEach((one) => fail(`To be written by hand in ${shown(file)}: ${one}`));
        keep(file, handwritten(file) + MARK + draftScript(draft), check);
      }
    }
  } finally {
    await stop();
  }
}

async function draftOf(part: Part, file: string, server: string): Promise<Draft> {
  const parts: Part[] = part === "crm" ? ["engine", "crm"] : ["engine"];
  const before = migrations.filter((one) => parts.includes(one.part)).map(migrationFile)
    .filter((one) => one < file || one === file)
    .map((one) => one === file ? handwritten(one) : fs.readFileSync(one, "utf8"));
  const source = parts.map(schemaScript);
  const build = async (name: string, scripts: readonly string[]) => {
    const url = await createDatabase(server, `${part}_${name}`);
    await using(url, async (sql) => {
      for (const script of scripts) await runScript(sql, script);
    });
    return url;
  };
  const [was, is] = [await build("before", before), await build("after", source)];
  const schemas = part === "crm" ? ["public", "ridgeline_crm"] : ["automation", "ridgeline"];
  return await using(
    was,
    (from) =>
      using(
        is,
        (to) =>
          draftMigration(from, to, schemas, writtenRoutines([...before, ...source].join("\n"))),
      ),
  );
}

/** The number of the next file: now, and later than any there is. */
function nextVersion(): string {
  const now = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
  const last = migrations.map(({ version }) => version).sort().at(-1)!;
  return now > last ? now : String(BigInt(last) + 1n);
}

async function begin(name: string): Promise<void> {
  if (!/^(ridgeline|reference_crm)_[a-z0-9_]+$/.test(name)) {
    return fail("--new: ridgeline_... or reference_crm_..., in lower-case letters, digits and _");
  }
  if (migrations.some((one) => isGenerated(one))) {
    return fail("Nothing is released yet: change sql/ and run scripts/migrations.");
  }
  const part: Part = name.startsWith("reference_crm") ? "crm" : "engine";
  const migration = { version: nextVersion(), name, part };
  migrations.push(migration);
  fs.writeFileSync(migrationFile(migration), MARK);
  await redraft(false);
}

async function release(version: string): Promise<void> {
  await generate(true);
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
else if (values.release !== undefined) await release(values.release);
else await generate(values.check === true);
