// Domains in SQL against Node's own reading of them.
import { domainToASCII } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();
const runs = Number(process.env.RIDGELINE_PROPERTY_RUNS ?? 100);

const letter = fc.constantFrom(..."abcxyz019äöüßéñøåłčğабвгдежиλμνאבגدرس中文字例え東京한국");
const label = fc.array(letter, { minLength: 2, maxLength: 12 }).map((letters) => letters.join(""));
const domain = fc.tuple(label, label).map(([name, top]) => `${name}.${top}`)
  .filter((name) => domainToASCII(name) !== "" && !/\.[0-9]/.test(name));

it("a domain in any script is the name system's", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(domain, { minLength: 1, maxLength: 20 }), async (domains) => {
      const rows = await database().sql<{ address: string | null }[]>`
        select automation.normalize_email('ann@' || d.name) as address
        from unnest(${domains}::text[]) with ordinality as d (name, place) order by d.place`;
      expect(rows.map(({ address }) => address)).toEqual(
        domains.map((name) => `ann@${domainToASCII(name)}`),
      );
    }),
    { numRuns: runs },
  );
});
