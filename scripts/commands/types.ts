// Generates functions/_shared/database.types.ts from sql/; with --check, fails when they differ.
import fs from "node:fs";
import path from "node:path";
import { applySchema } from "../lib/schema.ts";
import { createDatabase, startScratchServer, using } from "../lib/scratch.ts";
import { databaseTypes } from "../lib/types.ts";

const file = path.resolve(import.meta.dirname, "../../functions/_shared/database.types.ts");
const shown = path.relative(process.cwd(), file);

const { server, stop } = await startScratchServer();
let wanted: string;
try {
  wanted = await using(await createDatabase(server.url(), "types"), async (sql) => {
    await applySchema(sql);
    return databaseTypes(sql);
  });
} finally {
  await stop();
}

if (fs.existsSync(file) && fs.readFileSync(file, "utf8") === wanted) {
  console.log(`${shown} is what the database says`);
} else if (process.argv.includes("--check")) {
  console.error(`${shown} differs from the database. Run scripts/types and commit the result.`);
  process.exitCode = 1;
} else {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, wanted);
  console.log(`Wrote ${shown}`);
}
