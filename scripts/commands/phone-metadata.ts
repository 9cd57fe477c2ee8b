// Generates the numbering plans in sql/ from the npm package libphonenumber-js.
import fs from "node:fs";
import path from "node:path";
import { phonePlansFile, phonePlansSource } from "../lib/phone-metadata.ts";

fs.writeFileSync(phonePlansFile, phonePlansSource());
console.log(`Wrote ${path.relative(process.cwd(), phonePlansFile)}`);
