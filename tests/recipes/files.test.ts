// The files of recipes/: they are what their schema says, ask for all that they use, and use all that they ask for.
import fs from "node:fs";
import path from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { readRecipes, recipeRows, RECIPES_FILE } from "../../scripts/lib/recipes.ts";
import { toldRecipes } from "./stories.ts";

const root = path.resolve(import.meta.dirname, "../..");
const schema = JSON.parse(fs.readFileSync(path.join(root, "recipes/recipe.schema.json"), "utf8"));
const validate = new Ajv2020({ allErrors: true, strict: false }).compile(schema);
const recipes = readRecipes();

it("are ten, each with a story", () => {
  expect(recipes.map(({ recipe }) => recipe)).toEqual(toldRecipes);
});

it("are in the database as they are here", () => {
  expect(fs.readFileSync(path.join(root, RECIPES_FILE), "utf8")).toBe(recipeRows());
});

describe.each(recipes.map((recipe) => [recipe.recipe, recipe] as const))("%s", (_, recipe) => {
  it("is what the schema says", () => {
    validate(recipe);
    expect(validate.errors).toBeNull();
  });

  it("asks what it uses, and uses what it asks", () => {
    const used = [...JSON.stringify(recipe.workflows).matchAll(/\[\[([a-z_0-9]+)(?:\.\w+)?\]\]/g)]
      .map(([, name]) => name);
    expect([...new Set(used)].sort()).toEqual(recipe.questions.map(({ name }) => name).sort());
  });

  it("says who writes in each text, and how to stop in the first", () => {
    const texts = [
      ...JSON.stringify(recipe.workflows).matchAll(
        /"step_type":"send_sms".*?"body":"((?:[^"\\]|\\.)*)"/g,
      ),
    ]
      .map(([, body]) => body!);
    for (const body of texts) expect(body).toContain("{{tenant.name}}");
    if (texts.length > 0) expect(texts[0]).toMatch(/Reply STOP to opt out\./);
    // One curly quote would make a text of two segments one of four.
    for (const body of texts) expect(body).toMatch(/^[\x20-\x7e]*$/);
  });

  it("says of each message what it is", () => {
    const steps =
      [...JSON.stringify(recipe.workflows).matchAll(/"step_type":"send_(?:sms|email)"/g)].length;
    expect([...JSON.stringify(recipe.workflows).matchAll(/"purpose":"(marketing|transactional)"/g)])
      .toHaveLength(steps);
  });
});
