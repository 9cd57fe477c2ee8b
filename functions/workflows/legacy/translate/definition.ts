// What comes out: a definition as ridgeline.save_workflow takes it, with what has to be known of it beside.
import type { JsonObject, Keys } from "./keys.ts";
import type { Note } from "./notes.ts";

export interface Condition {
  field: string;
  operator: string;
  value?: unknown;
  logic?: "and" | "or";
  mode?: "legacy";
}

export interface Step {
  step_key: string;
  name?: string;
  step_type: string;
  step_config: Record<string, unknown>;
  delay_minutes: number;
  enabled: boolean;
  conditions: Condition[];
  continue_on_error: boolean;
  retry: Record<string, unknown>;
  branches?: Record<string, Step[]>;
}

export interface Definition {
  name: string;
  description: string | null;
  trigger_type: string;
  trigger_config: Record<string, unknown>;
  conditions: unknown;
  settings: Record<string, unknown>;
  metadata: Record<string, unknown>;
  steps: Step[];
}

export type Source = "server" | "client" | "campaigns" | "automations";

/** A secret that stood in a definition: it goes into the Vault, and nowhere else. */
export interface Secret {
  name: string;
  value: string;
}

export interface Translation {
  source: Source;
  /** The id of the old definition, as text, and which of the workflows made of it this is (0: the only one). */
  legacyId: string;
  part: number;
  tenantId: string | null;
  definition: Definition;
  /** It was switched on and would have run: what --activate switches on. */
  wasActive: boolean;
  /** It cannot be published before somebody has looked at it. */
  isDraft: boolean;
  /** It was deleted there: it comes as archived, and only to carry its history. */
  isDeleted: boolean;
  secrets: Secret[];
  /** The first of our steps that stands for each of the old ones, by id. */
  stepKeys: Record<string, string>;
  /** The action that each step was made of; browser's documents only. */
  origins?: Record<string, string>;
  /** Its conditions by where they came from; browser's documents only. */
  asked?: { trigger: Condition[]; own: Condition[] };
  notes: Note[];
}

/** Choices that only a person can make, with the side that does less as the default. */
export interface Choices {
  /** Of steps with one step_order the old engine ran one: run that, or all. */
  ties: "first" | "all";
  /** The old engines ignored the first step's delay. */
  firstDelay: "keep" | "drop";
  /** Whether a server step's delay stands before it (since February 2026) or after it (before). */
  delays: "before" | "after";
  /** What the old engines never ran, for want of an event: leave it off, or let it run from now on. */
  neverRan: "pause" | "activate";
  /** Filters and limits that were stored and never looked at. */
  storedFilters: "apply" | "ignore";
  /** What messages are for, which the old engines never asked; unsaid counts as marketing. */
  purpose: "unsaid" | "transactional" | "marketing";
  /** A wait whose configuration and row name different lengths. */
  wait: "longer" | "row" | "config";
  /**
   * A server step that the run failed at, every time: end it there, as it ended; leave the workflow a draft; or, of a
   * conditional, which was never carried out, take its branches.
   */
  failedStep: "end" | "draft" | "branch";
}

export const safeChoices: Choices = {
  ties: "first",
  firstDelay: "keep",
  delays: "before",
  neverRan: "pause",
  storedFilters: "apply",
  purpose: "unsaid",
  wait: "longer",
  failedStep: "end",
};

/** A screen of the old application writes a definition now. What it does not know is one of ours, and stays. */
export interface Screen {
  /** Of an action that was shown: its steps, where it is as it was; when they are due; what they are besides it. */
  known?: (action: { id?: string | null | undefined; type: string }) => Known | undefined;
}
export interface Known {
  steps?: Step[];
  /** Minutes from the start of the run, where its delay is as it was shown in hours. */
  at?: number;
  besides?: Partial<Step>;
}

/** What the translation has to know of where it goes. */
export interface Target {
  /** Addresses of members by user id, for those who were notified. */
  members?: Record<string, { email: string | null }>;
  choices: Choices;
  /** Left out: it is imported. */
  screen?: Screen;
}

export const newStep = (key: string, type: string, config: Record<string, unknown>): Step => ({
  step_key: key,
  step_type: type,
  step_config: config,
  delay_minutes: 0,
  enabled: true,
  conditions: [],
  continue_on_error: false,
  retry: {},
});

/** A key made of an id, so that it stays when others are put before it. */
export function keyOf(id: string, taken: Set<string>): string {
  const letters = id.replace(/[^A-Za-z0-9]/g, "").toLowerCase() || "x";
  let length = Math.min(8, letters.length);
  let key = `s_${letters.slice(0, length)}`;
  while (taken.has(key) && length < Math.min(40, letters.length)) {
    key = `s_${letters.slice(0, ++length)}`;
  }
  for (let n = 2; taken.has(key); n++) key = `s_${letters.slice(0, length)}_${n}`;
  taken.add(key);
  return key;
}

/** The same under a second name, for what became several steps. */
export function nextKey(key: string, taken: Set<string>): string {
  for (let n = 2;; n++) {
    const next = `${key}_${n}`;
    if (!taken.has(next)) {
      taken.add(next);
      return next;
    }
  }
}

/** What only ours know, and the screen sent along. */
export function keepUnread(made: Made, keys: Keys, target: Target): void {
  const { type: _type, template_id: _template, ...more } = keys.unread;
  if (target.screen && made.steps[0]) Object.assign(made.steps[0].step_config, more);
}

export interface Made {
  steps: Step[];
  secrets: Secret[];
  /** What the old step held that has no place here. */
  left: JsonObject;
  /** It cannot be published like this. */
  isBroken?: boolean;
}
