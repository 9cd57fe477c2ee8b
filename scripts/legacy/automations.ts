// D. Rows of public.automations, which nobody ever read: they look like documents of the browser's engine.
import { z } from "zod";
import { translateClient } from "../../functions/workflows/legacy/translate/client.ts";
import type { Target, Translation } from "../../functions/workflows/legacy/translate/definition.ts";
import { isObject, type Json } from "../../functions/workflows/legacy/translate/keys.ts";
import { neverRan } from "../../functions/workflows/legacy/translate/server.ts";
import { Notes } from "../../functions/workflows/legacy/translate/notes.ts";

const json = z.custom<Json>(() => true);
export const AutomationRow = z.looseObject({
  id: z.union([z.string(), z.number()]).transform(String),
  tenant_id: z.string().nullish(),
  name: z.string().nullish(),
  trigger_type: z.string().nullish(),
  trigger_config: json.optional(),
  actions: json.optional(),
  conditions: json.optional(),
  is_active: z.boolean().nullish(),
});

/** A place in the document, as a column of the table. */
const columns = (key: string): string =>
  key.replace(/^trigger\.config/, "trigger_config").replace(/^trigger\.type/, "trigger_type")
    .replace(/^(?:trigger\.enabled|status)$/, "is_active");

export function translateAutomation(given: unknown, target: Target): Translation {
  const { trigger_type, trigger_config, actions, is_active, ...row } = AutomationRow.parse(given);
  const notes = new Notes();
  const list = Array.isArray(actions) ? actions.filter(isObject) : [];
  if (!Array.isArray(actions) || list.length < actions.length) {
    notes.person("actions", "a list of actions is needed; these could not be read", actions);
  }
  const made = translateClient(
    {
      ...row,
      status: is_active === true ? "active" : "paused",
      trigger: { type: trigger_type ?? "manual", config: trigger_config ?? {} },
      // Without an order of their own they stand in the order of the list.
      actions: list.map((action, order) => ({ order, ...action, type: String(action.type ?? "") })),
    },
    target,
    row.id,
    "automations",
  );
  const why = "nothing ever read this table";
  if (is_active === true) neverRan(notes, why, target);
  return {
    ...made,
    wasActive: made.wasActive && target.choices.neverRan === "activate",
    notes: [
      ...made.notes.map((note) => ({ ...note, key: columns(note.key) })),
      ...notes.all,
    ],
  };
}
