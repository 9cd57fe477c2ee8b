// docs/validation.md explains every code that validation can give, and no other.
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { schemaFiles } from "../../scripts/lib/schema.ts";

const root = path.resolve(import.meta.dirname, "../..");

/** The arguments of the call whose "(" is at `open`, split at the commas of its own level. */
function callArguments(text: string, open: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let start = open + 1;
  for (let here = open; here < text.length; here++) {
    const character = text[here];
    if (character === "'") here = text.indexOf("'", here + 1);
    else if (character === "(") depth++;
    else if (character === ")" && --depth === 0) return [...found, text.slice(start, here)];
    else if (character === "," && depth === 1) {
      found.push(text.slice(start, here));
      start = here + 1;
    }
  }
  throw new Error(`This call does not end: ${text.slice(open - 40, open + 40)}`);
}

function emittedCodes(): Set<string> {
  const codes = new Set<string>();
  for (const file of schemaFiles()) {
    const text = fs.readFileSync(path.join(root, file), "utf8");
    for (const call of text.matchAll(/(?<!function )automation\.(condition_)?problem\(/g)) {
      const given = callArguments(text, call.index + call[0].length - 1);
      const code = given[call[1] ? 2 : 1] ?? "";
      // The comments on the two functions name their types.
      if (/^\s*text\s*$/.test(code)) continue;
      // A code that is passed on was given by another call, or by one of the selects below.
      if (/^\s*found\b/.test(code)) continue;
      const literals = [...code.matchAll(/(?:^|then|else)\s*'([a-z_]+)'/g)]
        .map(([, literal = ""]) => literal);
      expect(literals, `${file}: ${call[0]}${given.join(",")}`).not.toEqual([]);
      literals.forEach((literal) => codes.add(literal));
    }
    for (
      const [, literal = ""] of text.matchAll(
        /(?:'severity', '\w+', 'code',|(?:then|else)(?= 'not_an?_)|select(?= '\w+' as code)) '([a-z_]+)'/g,
      )
    ) {
      codes.add(literal);
    }
  }
  return codes;
}

test("every code is explained, and every explained code exists", () => {
  const page = fs.readFileSync(path.join(root, "docs/validation.md"), "utf8");
  const explained = [...page.matchAll(/^\| (`[^|]+) \|/gm)]
    .flatMap(([, cell = ""]) => [...cell.matchAll(/`([a-z_]+)`/g)])
    .map(([, code = ""]) => code);
  expect(explained.toSorted()).toEqual([...emittedCodes()].toSorted());
});

test("what the page links to is there", () => {
  const page = fs.readFileSync(path.join(root, "docs/validation.md"), "utf8");
  for (const [, target = ""] of page.matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
    expect(fs.existsSync(path.join(root, "docs", target)), target).toBe(true);
  }
});
