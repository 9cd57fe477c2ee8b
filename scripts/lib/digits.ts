// Lite reads and writes JSON as JavaScript does, which rounds an id such as 7615917337495251231. PostgREST
// hands bodies to Postgres as they are. So numbers that JavaScript would write differently pass through
// lite as texts with a mark before them, and are numbers again in front of the database and the client.
const MARK = "\ue000";
const PARTS = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[[{\]}]/g;
const MARKED = /"\ue000(-?[0-9][0-9.eE+-]*)"/g;

const isOdd = (text: string) => String(Number(text)) !== text && !Number.isNaN(Number(text));

/** `plainDepth`: down to there a number is a plain text, which a column of any type takes. */
export function markNumbers(json: string, plainDepth = -1): string {
  let depth = 0;
  return json.replace(PARTS, (part) => {
    if (part === "[" || part === "{") depth++;
    else if (part === "]" || part === "}") depth--;
    else if (part[0] !== '"' && isOdd(part)) {
      if (depth > plainDepth) return `"${MARK}${part}"`;
      // Of 1.0 and 1e3 nothing is lost, and a column of whole numbers takes them only as numbers.
      return part.replace(/[^0-9]/g, "").length > 15 ? `"${part}"` : part;
    }
    return part;
  });
}

export const unmarkNumbers = (json: string) => json.replace(MARKED, "$1");

/** The rows of a request, or the arguments of a function: their own members are columns. */
export const markRequest = (json: string) =>
  markNumbers(json, json.trimStart().startsWith("[") ? 2 : 1);
