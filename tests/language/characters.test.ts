// What truncate counts and cuts, against the runtime's own division of text into characters.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { characters } from "./template-oracle.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(600);

const character = fc.constantFrom(
  ..."a,Z, ,é,e\u0301,日,क्षि,👍,👍🏽,❤️,👩‍👩‍👧‍👦,🏳️‍🌈,🇺🇸,🇩🇪,1️⃣,🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f},ก็,กำ,שָׁ,각,👨🏾‍⚕️,\r\n"
    .split(","),
);

describe("a text that is cut", () => {
  test("keeps whole characters, as many as there is room for", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(character, { maxLength: 14 }).map((all) => all.join("")), {
          minLength: 10,
          maxLength: 10,
        }),
        fc.integer({ min: 0, max: 12 }),
        fc.constantFrom("…", "", "...", "👍🏽✂️"),
        async (texts, most, ending) => {
          const rows = await database().sql<{ cut: string }[]>`
            select automation.truncate_text(t.text, ${most}, ${ending}) as cut
            from unnest(${texts}::text[]) with ordinality as t (text, place) order by t.place`;
          texts.forEach((text, index) => {
            const all = characters(text);
            const end = characters(ending).slice(0, most);
            const expected = all.length <= most
              ? text
              : all.slice(0, most - end.length).join("") + end.join("");
            expect([text, rows[index]?.cut]).toEqual([text, expected]);
          });
        },
      ),
      { numRuns: Math.ceil(runs / 10) },
    );
  });

  test("costs no more for being long", async () => {
    const [row] = await database().sql<{ cut: string }[]>`
      select automation.truncate_text(repeat('👩‍👩‍👧', 200000), 3, '') as cut`;
    expect(row?.cut).toBe("👩‍👩‍👧".repeat(3));
  });
});
