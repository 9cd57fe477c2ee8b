// Generates the numbering plans and the area codes in sql/ from what npm has of libphonenumber.
import fs from "node:fs";
import path from "node:path";
import { areaCodesFile, areaCodesSource } from "../lib/area-codes.ts";
import { phonePlansFile, phonePlansSource } from "../lib/phone-metadata.ts";

for (
  const [file, source] of [
    [phonePlansFile, phonePlansSource()],
    [areaCodesFile, await areaCodesSource()],
  ] as const
) {
  fs.writeFileSync(file, source);
  console.log(`Wrote ${path.relative(process.cwd(), file)}`);
}
