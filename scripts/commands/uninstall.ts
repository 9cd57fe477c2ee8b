// Takes Ridgeline out of a database by running sql/uninstall.sql there.
import { fail, readArguments } from "../lib/arguments.ts";
import { connect } from "../lib/scratch.ts";
import { uninstall } from "../lib/schema.ts";

const usage = `Usage: scripts/uninstall --database-url URL [--force] [--cascade]

  --database-url URL    the database that Ridgeline leaves (or set DATABASE_URL)
  --force               though runs are in flight: they end here
  --cascade             drop what was made to depend on Ridgeline, too`;

const given = readArguments(usage, {
  "database-url": { type: "string", default: process.env.DATABASE_URL },
  force: { type: "boolean", default: false },
  cascade: { type: "boolean", default: false },
});
const databaseUrl = given["database-url"];
if (!databaseUrl) fail(`Which database?\n\n${usage}`);

const notices: string[] = [];
const sql = connect(databaseUrl, {
  max: 1,
  onnotice: (notice) => notices.push(notice.message ?? ""),
});
try {
  await uninstall(sql, { force: given.force, cascade: given.cascade });
  console.log(
    notices.find((notice) => /is not in this database/.test(notice)) ?? "Ridgeline is gone.",
  );
} catch (error) {
  const { message, code } = error as { message?: string; code?: string };
  if (code === "55006") fail(`${message}. They end with --force.`);
  if (code === "2BP01") fail(`${message}\nDrop or change that first, or drop it with --cascade.`);
  fail(message ?? String(error));
} finally {
  await sql.end({ timeout: 5 });
}
