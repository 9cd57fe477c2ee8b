// Texts of the old engines, written as ours read them. Theirs knew `{{ path }}` and nothing else: no filters, no
// blocks. What they could not resolve they left as it was written, braces and all.
import { isObject, type Json } from "./keys.ts";
import type { Notes } from "./notes.ts";

/** What a path of theirs is here: another path, a whole text, or nothing that is known. */
export type Resolved = { path: string[] } | { text: string } | { unknown: string };
export type Resolve = (path: string[], key: string) => Resolved;

const isPath = (text: string) => /^[^{}|"'(),:#/\s\\][^{}|"'(),:\\]*$/.test(text);

/** `contact.custom fields.0` as ours is written: contact["custom fields"][0]. */
export function writePath(path: string[]): string {
  return path.map((part, place) => {
    if (place > 0 && /^[0-9]+$/.test(part)) return `[${part}]`;
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(part)) return place === 0 ? part : `.${part}`;
    return place === 0 ? part : `["${part.replaceAll(/["\\]/g, "")}"]`;
  }).join("");
}

const escaped = (text: string) => text.replaceAll("{{", "\\{{");

export function translateText(text: string, key: string, resolve: Resolve, notes: Notes): string {
  let [written, from] = ["", 0];
  for (const match of text.matchAll(/\{\{([^}]+)\}\}/g)) {
    const [whole, inside = ""] = match;
    const before = text.slice(from, match.index);
    if (before.endsWith("\\")) {
      notes.person(
        key,
        "a backslash stands before a variable, which hides it here: write it otherwise",
        text,
      );
    }
    written += escaped(before);
    from = match.index + whole.length;
    const name = inside.trim();
    if (!isPath(name)) {
      written += escaped(whole);
      notes.difference(
        key,
        `${whole} is left as it is written: there were no filters and no blocks`,
        "the same",
      );
      continue;
    }
    const found = resolve(name.split(".").map((part) => part.trim()), key);
    if ("text" in found) written += found.text;
    else {written += `{{${
        writePath("path" in found ? found.path : ["custom", ...found.unknown.split(".")])
      }}}`;}
    if ("path" in found && writePath(found.path) !== name || "text" in found) {
      notes.translated(key, whole, "text" in found ? found.text : `{{${writePath(found.path)}}}`);
    }
    if ("unknown" in found) {
      notes.person(
        key,
        `nothing here provides {{${name}}}: write what is meant, or send it as custom.${found.unknown}`,
        whole,
      );
    }
  }
  return written + escaped(text.slice(from));
}

/** Every text in a value; keys are no templates, there as here. */
export function translateValue(value: Json, key: string, resolve: Resolve, notes: Notes): Json {
  if (typeof value === "string") return translateText(value, key, resolve, notes);
  if (Array.isArray(value)) {
    return value.map((item, place) => translateValue(item, `${key}[${place}]`, resolve, notes));
  }
  if (isObject(value)) {
    return Object.fromEntries(
      Object.entries(value).map((
        [name, item],
      ) => [name, translateValue(item, `${key}.${name}`, resolve, notes)]),
    );
  }
  return value;
}

/** The same for what goes out as JSON: there every value became a text, and one that is all of a text would stay a number. */
export function asTexts(value: Json): Json {
  if (Array.isArray(value)) return value.map(asTexts);
  if (isObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, asTexts(item)]));
  }
  const variable = onlyVariable(value);
  return variable === undefined ? value : `${value as string}{{#if ${variable}}}{{/if}}`;
}

/** The variables of a text that is nothing but one. */
export function onlyVariable(value: unknown): string | undefined {
  return typeof value === "string"
    ? /^\s*\{\{([^{}]+)\}\}\s*$/.exec(value)?.[1]?.trim()
    : undefined;
}

/** Square brackets are gaps that somebody was to fill in: [Your Name]. */
export function noteGaps(value: unknown, key: string, notes: Notes): void {
  const gaps = typeof value === "string"
    ? [...value.matchAll(/\[[A-Z][A-Za-z' ]{2,40}\]/g)].map(([gap]) => gap)
    : [];
  if (gaps.length > 0) notes.person(key, `fill in ${[...new Set(gaps)].join(", ")}`);
}

/** Plain text with line breaks, or HTML: as automation.body_kind() tells them apart. */
export const bodyKind = (body: string): "html" | "text" =>
  /<(?:[a-z][a-z0-9]*[\s/>]|\/[a-z]|!--|!doctype)/i.test(body) ? "html" : "text";
