// recipes/*.json as rows: an installation lists them without these files.
import fs from "node:fs";
import path from "node:path";

const directory = path.resolve(import.meta.dirname, "../../recipes");

export const RECIPES_FILE = "sql/engine/95_api/16_recipe_files.sql";

/** As the office meets them, from the first contact to the referral. */
const ORDER = [
  "speed-to-lead",
  "missed-call-text-back",
  "estimate-follow-up",
  "won-welcome",
  "review-request",
  "storm",
  "payment-reminder",
  "appointment-reminder",
  "stalled-nudge",
  "referral",
];

export interface Recipe {
  recipe: string;
  version: number;
  name: string;
  description: string;
  needs: { entities: string[]; senders: ("sms" | "email")[] };
  questions: { name: string; ask: string; type: string; default?: unknown; optional?: boolean }[];
  workflows: Record<string, unknown>[];
}

/** The files, each named as its recipe. */
export function readRecipes(): Recipe[] {
  return fs.readdirSync(directory)
    .filter((file) => file.endsWith(".json") && !file.endsWith(".schema.json"))
    .map((file) => {
      const recipe = JSON.parse(fs.readFileSync(path.join(directory, file), "utf8")) as Recipe;
      if (`${recipe.recipe}.json` !== file) {
        throw new Error(`recipes/${file}: recipe must be its name`);
      }
      if (!ORDER.includes(recipe.recipe)) {
        throw new Error(`recipes/${file}: scripts/lib/recipes.ts does not say where it stands`);
      }
      return recipe;
    })
    .sort((one, other) => ORDER.indexOf(one.recipe) - ORDER.indexOf(other.recipe));
}

export function recipeRows(): string {
  const rows = readRecipes().map((recipe) => {
    const { $schema: _, ...document } = recipe as Recipe & { $schema?: string };
    const text = JSON.stringify(document, null, 2);
    if (text.includes("$recipe$")) {
      throw new Error(`recipes/${recipe.recipe}.json: no $recipe$ here`);
    }
    return `  ('${recipe.recipe}', ${ORDER.indexOf(recipe.recipe) + 1}, $recipe$${text}$recipe$)`;
  });
  return `-- Generated from recipes/ by scripts/types. Do not edit.

insert into automation.recipes (name, place, document) values
${rows.join(",\n")}
on conflict on constraint recipes_pkey do update set (place, document) = row (excluded.place, excluded.document);
`;
}
