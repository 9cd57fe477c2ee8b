// The runner of pgTAP files says what psql and pg_prove would: it is what a laptop relies on.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import {
  leavesNothing,
  needsFreshTables,
  provePgtap,
  readTap,
  runPgtap,
} from "../../scripts/lib/pgtap.ts";
import { runFile } from "../../scripts/lib/psql.ts";

let directory: string;
let client: pg.Client;

beforeAll(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-psql-"));
  client = new pg.Client({ connectionString: inject("adminUrl") });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  fs.rmSync(directory, { recursive: true, force: true });
});

function write(name: string, text: string): string {
  const file = path.join(directory, name);
  fs.writeFileSync(file, text);
  return file;
}

async function run(text: string): Promise<string[]> {
  const lines: string[] = [];
  const session = {
    client,
    variables: new Map<string, string>(),
    onRow: (row: string) => lines.push(row),
  };
  await runFile(session, write("script.sql", text));
  return lines;
}

describe("a script", () => {
  it("is cut into statements where Postgres ends them", async () => {
    expect(
      await run(`
        select ';', $$a;b$$, $x$ $$;$$ $x$, E'it\\'s;', 'C:\\', "n;" from (select 1 as "n;") as t; -- ;
        /* ; /* nested; */ ; */
        select (select 1 where 1 = 1) -- no semicolon at the end
      `),
    ).toEqual([";|a;b| $$;$$ |it's;|C:\\|1", "1"]);
  });

  it("has variables, of its own and from rows", async () => {
    await expect(run("select :'nobody';")).rejects.toThrow(
      /script\.sql:1: syntax error at or near ":"/,
    );
    expect(
      await run(`
        \\set office 'Sam''s Roofing'
        \\set column n
        select 'Maria' as name, null::text as nobody, 7 as n \\gset lead_
        select :'office', :'lead_name', :"column", '2026-01-01'::date, (array[1,2])[1:1], ':lead_n'
        from (select :lead_n as n) as t;`),
    ).toEqual(["Sam's Roofing|Maria|7|2026-01-01|{1}|:lead_n"]);
  });

  it("includes another, keeps quiet where it is told to, and reads data for COPY", async () => {
    write("included.sql", "create temp table leads (name text, note text);\n\\set who Ann\n");
    expect(
      await run(
        "begin;\n\\ir included.sql\nselect 1 \\g /dev/null\ncopy leads from stdin;\n" +
          "Maria\ta; b\nAnn\t\\N\n\\.\nselect name, note from leads order by :'who' = name;\nrollback;\n",
      ),
    ).toEqual(["Maria|a; b", "Ann|"]);
  });

  it.each([
    ["select 1;\nselect 1 / 0;\nselect 2;", /script\.sql:2: division by zero/],
    ["select 1;\n\\timing on\n", /script\.sql:2: \\timing is not known here/],
    ["select 1 where false \\gset\n", /script\.sql:1: \\gset: 0 rows, not one/],
    ["\\ir nowhere.sql\n", /script\.sql:1: ENOENT/],
    ["copy pg_temp.none from stdin;\n1\n\\.\n", /script\.sql:1: .*does not exist/],
    ["copy pg_temp.none from stdin;\n1\n", /script\.sql:1: the data of COPY do not end/],
  ])("stops at an error and says where: %j", async (text, message) => {
    await expect(run(text)).rejects.toThrow(message);
  });
});

describe("TAP", () => {
  it.each([
    [["1..2", "ok 1 - a", "ok 2 - b"], 2, []],
    [["1..2", "ok 1 - a", "not ok 2 - b"], 1, ["2 b"]],
    [["1..2", "ok 1 - a", "not ok 2 - b # TODO later"], 2, []],
    [["1..2", "ok 1 - a"], 1, ["it planned 2 tests and ran 1"]],
    [["1..1", "ok 1 - a", "ok 2 - b"], 2, ["it planned 1 tests and ran 2"]],
    [["ok 1 - a"], 1, ["it has no plan"]],
    [[], 0, ["it has no plan"]],
  ])("%j passes %i", (lines, passed, failures) => {
    expect(readTap(lines)).toMatchObject({ passed, failures });
  });

  it("fails where the script stopped, whatever had passed by then", async () => {
    const file = write(
      "stopped.test.sql",
      "select '1..1';\nselect 'ok 1 - a';\nselect nonsense;\n",
    );
    expect(await runPgtap(inject("adminUrl"), file)).toMatchObject({
      passed: 1,
      failures: [expect.stringMatching(/stopped\.test\.sql:3: column "nonsense" does not exist/)],
    });
  });

  it("gives a file the database of the one before only if that left nothing there", async () => {
    const bounds = (...lines: string[]) => leavesNothing(lines.join("\n"));
    expect([
      bounds("begin;", "select 1;", "rollback;"),
      bounds("-- A story.", "BEGIN;", "do $$ begin", "perform 1;", "end; $$;", "ROLLBACK;"),
      bounds("select 1;"),
      bounds("begin;", "select 1;", "commit;"),
      bounds("begin;", "rollback;", "begin;"),
    ]).toEqual([true, true, false, false, false]);

    expect(["analyze leads;", "select 'analyze';"].map(needsFreshTables)).toEqual([true, false]);

    const alone = "select '1..1';\n" +
      "select case when to_regclass('public.left_behind') is null then '' else 'not ' end || 'ok 1 - alone';\n" +
      "create table public.left_behind ();\n";
    const files = [
      write("undone.test.sql", `begin;\n${alone}rollback;\n`),
      write("committed.test.sql", `begin;\n${alone}commit;\n`),
      write("bare.test.sql", alone),
      write("last.test.sql", alone),
    ];
    expect(await provePgtap(inject("adminUrl"), "/", files, 1)).toEqual({
      passed: files.length,
      failures: [],
    });
  });
});
