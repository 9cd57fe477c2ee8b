// Generates supabase/migrations from sql/; with --check, fails when they differ.
import fs from "node:fs";
import path from "node:path";
import { migrationFile, migrations, schemaScript } from "../lib/schema.ts";

for (const migration of migrations) {
  const file = migrationFile(migration);
  const wanted = schemaScript(migration.part);
  const present = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  const shown = path.relative(process.cwd(), file);
  if (present === wanted) {
    console.log(`${shown} is what sql/${migration.part} says`);
  } else if (process.argv.includes("--check")) {
    console.error(`${shown} differs from sql/. Run scripts/migrations and commit the result.`);
    process.exitCode = 1;
  } else {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, wanted);
    console.log(`Wrote ${shown}`);
  }
}
