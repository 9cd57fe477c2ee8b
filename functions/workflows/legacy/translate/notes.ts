// What is said about a definition that comes over: one note for each key that was translated, each difference in
// meaning, each thing that needs a person or cannot come. Nothing of the old definition goes without one.

export type Kind = "translated" | "difference" | "kept" | "person" | "impossible";

export interface Note {
  kind: Kind;
  /** Where in the old definition. */
  key: string;
  /** What stood there; never a secret. */
  was?: unknown;
  /** What it is here, or what there is to do. */
  becomes: string;
  /** Of a difference: what the old engine did, and what is meant by it here. */
  old?: string;
  /** The flag by which somebody chooses otherwise. */
  flag?: string;
}

/** A value as a report shows it. */
function shown(value: unknown): unknown {
  const written = JSON.stringify(value) ?? "undefined";
  return written.length <= 200 ? value : `${written.slice(0, 200)} ...`;
}

export class Notes {
  readonly all: Note[] = [];

  translated(key: string, was: unknown, becomes: string): void {
    this.all.push({ kind: "translated", key, was: shown(was), becomes });
  }

  /** Two readings, and the one that was taken; `flag` chooses the other. */
  difference(key: string, old: string, here: string, flag?: string): void {
    this.all.push({ kind: "difference", key, old, becomes: here, ...(flag ? { flag } : {}) });
  }

  /** Nothing read it, here or there: it goes into metadata.legacy. */
  kept(key: string, was: unknown, why = "nothing reads it; kept in metadata.legacy"): void {
    this.all.push({ kind: "kept", key, was: shown(was), becomes: why });
  }

  person(key: string, what: string, was?: unknown): void {
    this.all.push({
      kind: "person",
      key,
      becomes: what,
      ...(was === undefined ? {} : { was: shown(was) }),
    });
  }

  impossible(key: string, what: string, was?: unknown): void {
    this.all.push({
      kind: "impossible",
      key,
      becomes: what,
      ...(was === undefined ? {} : { was: shown(was) }),
    });
  }

  get needPerson(): boolean {
    return this.all.some(({ kind }) => kind === "person" || kind === "impossible");
  }
}
