// Generates supabase/migrations from sql/; with --check, fails when they differ.
import fs from "node:fs";
import path from "node:path";
import { migration, schemaScript } from "../lib/schema.ts";

const wanted = schemaScript();
const present = fs.existsSync(migration.file) ? fs.readFileSync(migration.file, "utf8") : "";
const shown = path.relative(process.cwd(), migration.file);

if (present === wanted) {
  console.log(`${shown} is what sql/ says`);
} else if (process.argv.includes("--check")) {
  console.error(`${shown} differs from sql/. Run scripts/migrations and commit the result.`);
  process.exitCode = 1;
} else {
  fs.mkdirSync(path.dirname(migration.file), { recursive: true });
  fs.writeFileSync(migration.file, wanted);
  console.log(`Wrote ${shown}`);
}
