// The table of docs/http-api.md has each request that the function answers, and no other.
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { operations } from "../../functions/workflows/operations.ts";

test("every request is written down, and every one written down is answered", () => {
  const page = fs.readFileSync(path.resolve(import.meta.dirname, "../../docs/http-api.md"), "utf8");
  const table = page.split("| request ")[1]!.split("\n\n")[0]!;
  const written = table.split("\n").flatMap((row) =>
    [...(row.split(" | ")[0] ?? "").matchAll(/`((?:GET|POST) \/[^`]*)`/g)].map(([, request]) =>
      request
    )
  );
  const answered = operations.map(({ method, path }) => `${method} ${path}`);
  expect(written.toSorted()).toEqual([...answered, "GET /health", "GET /health/engine"].toSorted());
});
