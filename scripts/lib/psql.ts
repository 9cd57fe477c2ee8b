// As much of psql as the pgTAP files use: statements, COPY with its data below it, variables (:name,
// :'name', :"name"), \set, \ir, \gset and \g. Any other command is an error, so that a file means the same here and in psql.
import fs from "node:fs";
import path from "node:path";
import type { Client, Connection, Submittable } from "pg";

export interface Session {
  client: Client;
  variables: Map<string, string>;
  /** Told of each row that a statement returned, as psql --no-align --tuples-only prints it. */
  onRow: (line: string) => void;
}

/** A script stopped at an error, as with ON_ERROR_STOP. */
export class ScriptError extends Error {}

interface Raw {
  fields: { name: string }[];
  rows: (string | null)[][];
}

const asText = { getTypeParser: () => (value: string) => value };

const literal = (value: string) => `'${value.replaceAll("'", "''")}'`;
const identifier = (value: string) => `"${value.replaceAll('"', '""')}"`;

const NAME = /[A-Za-z0-9_\x80-\uffff]/;
const DOLLAR = /\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$/y;
const VARIABLE = /:(?:'(\w+)'|"(\w+)"|(\w+))/y;
const COMMAND = /\\(\w+)[ \t]*([^\n]*)/y;

interface CopyConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sync(): void;
}

/** A COPY FROM STDIN, and what it is to read. */
function copy(client: Client, text: string, data: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const query = {
      submit: (connection: unknown) => (connection as CopyConnection).query(text),
      handleCopyInResponse: (connection: CopyConnection) => {
        connection.sendCopyFromChunk(Buffer.from(data));
        connection.endCopyFrom();
      },
      handleError: reject,
      handleCommandComplete: () => {},
      handleReadyForQuery: () => resolve(),
    };
    client.query(query as unknown as Submittable & { connection?: Connection });
  });
}

/** Runs a file to its end, or to its first error. */
export async function runFile(session: Session, file: string): Promise<void> {
  const text = fs.readFileSync(file, "utf8");
  const lineAt = (place: number) => text.slice(0, place).split("\n").length;
  let at = 0;
  let statement = "";
  let hasWords = false;
  let depth = 0;
  let begin = 0;

  const take = (end: number) => {
    statement += text.slice(at, end);
    at = end;
  };
  const takeWords = (end: number) => {
    if (!hasWords) begin = at;
    hasWords = true;
    take(end);
  };
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };

  /** The lines below a COPY, up to the one that says that they end. */
  function takeData(): string {
    const start = text.indexOf("\n", at) + 1;
    const end = text.indexOf("\n\\.", start - 1);
    if (start === 0 || end < 0) throw new Error("the data of COPY do not end with \\.");
    at = end + 3;
    return text.slice(start, end + 1);
  }

  async function send(): Promise<Raw> {
    const query = statement;
    statement = "";
    depth = 0;
    if (!hasWords) return { fields: [], rows: [] };
    hasWords = false;
    try {
      if (/^\s*copy\b[^;]*\bfrom\s+stdin\b/i.test(query)) {
        await copy(session.client, query, takeData());
        return { fields: [], rows: [] };
      }
      const answer = await session.client.query({ text: query, rowMode: "array", types: asText });
      return { fields: answer.fields ?? [], rows: answer.rows as (string | null)[][] };
    } catch (error) {
      const { message, detail, hint, where } = error as Record<string, string | undefined>;
      const more = [detail, hint, where].filter(Boolean).map((line) => `\n  ${line}`).join("");
      throw new ScriptError(`${file}:${lineAt(begin)}: ${message}${more}`);
    }
  }
  const print = ({ rows }: Raw) => {
    for (const row of rows) session.onRow(row.map((value) => value ?? "").join("|"));
  };

  async function command(name: string, given: string): Promise<void> {
    switch (name) {
      case "ir":
        return await runFile(session, path.join(path.dirname(file), given.trim()));
      case "set": {
        const [, variable = "", value = ""] = /^(\w+)\s*(.*)$/.exec(given.trim()) ?? [];
        const quoted = /^'((?:[^']|'')*)'$/.exec(value);
        session.variables.set(variable, quoted ? quoted[1]!.replaceAll("''", "'") : value);
        return;
      }
      case "gset": {
        const { fields, rows } = await send();
        if (rows.length !== 1) throw new ScriptError(`\\gset: ${rows.length} rows, not one`);
        fields.forEach(({ name }, index) => {
          const value = rows[0]?.[index];
          if (value === null || value === undefined) {
            session.variables.delete(given.trim() + name);
          } else session.variables.set(given.trim() + name, value);
        });
        return;
      }
      case "g": {
        const result = await send();
        if (given.trim() !== "/dev/null") print(result);
        return;
      }
      default:
        throw new ScriptError(`\\${name} is not known here: see scripts/lib/psql.ts`);
    }
  }

  /** Behind the end of what is quoted here, or of the text. */
  function closing(quote: string, from: number, escapes: boolean): number {
    for (let place = from; place < text.length; place++) {
      if (escapes && text[place] === "\\") place++;
      else if (text[place] === quote) {
        if (text[place + 1] !== quote) return place + 1;
        place++;
      }
    }
    return text.length;
  }
  function commentEnd(): number {
    let open = 0;
    for (let place = at; place < text.length; place++) {
      const two = text.slice(place, place + 2);
      if (two === "/*") open++;
      if (two === "*/") open--;
      if (two === "/*" || two === "*/") place++;
      if (open === 0) return place + 1;
    }
    return text.length;
  }

  while (at < text.length) {
    const character = text[at]!;
    const before = text[at - 1] ?? " ";
    const two = text.slice(at, at + 2);
    if (/\s/.test(character)) take(at + 1);
    else if (two === "--") take((text.indexOf("\n", at) + 1 || text.length + 1) - 1);
    else if (two === "/*") take(commentEnd());
    else if (character === "'") {
      const escapes = /[eE]/.test(before) && !NAME.test(text[at - 2] ?? " ");
      takeWords(closing("'", at + 1, escapes));
    } else if (character === '"') takeWords(closing('"', at + 1, false));
    else if (character === "$" && !NAME.test(before) && match(DOLLAR)) {
      const [tag] = match(DOLLAR)!;
      const end = text.indexOf(tag, at + tag.length);
      takeWords(end < 0 ? text.length : end + tag.length);
    } else if (two === "::" || two === ":=") takeWords(at + 2);
    else if (character === ":" && match(VARIABLE)) {
      const [whole, asLiteral, asIdentifier, plain] = match(VARIABLE)!;
      const value = session.variables.get(asLiteral ?? asIdentifier ?? plain ?? "");
      if (value === undefined) takeWords(at + 1);
      else {
        if (!hasWords) begin = at;
        hasWords = true;
        if (asLiteral) statement += literal(value);
        else statement += asIdentifier ? identifier(value) : value;
        at += whole.length;
      }
    } else if (character === "\\") {
      const [whole = "", name = "", given = ""] = match(COMMAND) ?? [];
      const line = lineAt(at);
      at += whole.length || 1;
      try {
        await command(name, given);
      } catch (error) {
        const isPlaced = error instanceof ScriptError && /^\S+:\d+: /.test(error.message);
        throw isPlaced ? error : new ScriptError(`${file}:${line}: ${(error as Error).message}`);
      }
    } else if (character === ";" && depth === 0) {
      take(at + 1);
      print(await send());
    } else {
      if (character === "(") depth++;
      if (character === ")") depth = Math.max(depth - 1, 0);
      takeWords(at + 1);
    }
  }
  print(await send());
}
