// Generates the rows of recipes/ in sql/, the lists of the providers that there are, and what is written from sql/: the
// TypeScript types, the schemas of steps and their document; with --check, fails when a file differs.
import fs from "node:fs";
import path from "node:path";
import { applySource } from "../lib/schema.ts";
import { createDatabase, startScratchServer, using } from "../lib/scratch.ts";
import { publishedSchemas, schemasSource, stepsDocument } from "../lib/steps.ts";
import { databaseTypes } from "../lib/types.ts";
import { channels, receiversSource, sendersSource } from "../lib/providers.ts";
import { recipeRows, RECIPES_FILE } from "../lib/recipes.ts";

const root = path.resolve(import.meta.dirname, "../..");

function keep(name: string, text: string): void {
  const file = path.join(root, name);
  if (fs.existsSync(file) && fs.readFileSync(file, "utf8") === text) {
    console.log(`${name} is as it has to be`);
  } else if (process.argv.includes("--check")) {
    console.error(`${name} is not as it has to be. Run scripts/types and commit the result.`);
    process.exitCode = 1;
  } else {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
    console.log(`Wrote ${name}`);
  }
}

keep(RECIPES_FILE, recipeRows());
keep("functions/_shared/channels/providers.ts", sendersSource());
for (const channel of channels) {
  keep(`functions/_shared/channels/${channel}/receivers.ts`, receiversSource(channel));
}

const { server, stop } = await startScratchServer();
let wanted: Record<string, string>;
try {
  wanted = await using(await createDatabase(server.url(), "types"), async (sql) => {
    await applySource(sql);
    const schemas = await publishedSchemas(sql);
    return {
      "packages/client/database.types.ts": await databaseTypes(sql),
      "packages/client/step-schemas.ts": schemasSource(schemas),
      "docs/steps.md": stepsDocument(schemas),
    };
  });
} finally {
  await stop();
}

for (const [name, text] of Object.entries(wanted)) keep(name, text);
