// What the variables of each engine are called here.
import type { Notes } from "./notes.ts";
import type { Resolve, Resolved } from "./templates.ts";

const fullName = (root: string) => `{{${root}.first_name}} {{${root}.last_name}}`;

/** Columns that contacts never had, though templates name them. */
function contactField(path: string[]): Resolved {
  const root = path.slice(0, -1).join(".");
  switch (path.at(-1)) {
    case "full_name":
    case "name":
      return { text: fullName(root) };
    case "address":
      return { text: `{{${root}.address_street}}, {{${root}.address_city}}` };
    default:
      return { path };
  }
}

const records = ["contact", "project", "job"];
/** What the six events that were ever fired carried, beside the records. */
const carried = [
  ...[
    "contact_id",
    "project_id",
    "job_id",
    "user_id",
    "project_name",
    "previous_stage",
    "new_stage",
  ],
  ...[
    "estimated_value",
    "approved_value",
    "changed_by",
    "changed_at",
    "job_number",
    "completion_date",
  ],
  ...[
    "completed_by",
    "opened_at",
    "clicked_at",
    "link",
    "from",
    "to",
    "body",
    "call_sid",
    "duration",
  ],
  ...["old_status", "new_status"],
];

/** The server's engine: `trigger` was the only root, and its value what a route had sent. */
export function serverVariables(triggerType: string, notes: Notes): Resolve {
  const never = (key: string, name: string, here: string) =>
    notes.difference(key, `{{${name}}} had no value and stayed as written`, here);
  return (path, key) => {
    const [root = "", name = "", ...inside] = path;
    const written = path.join(".");
    if (root !== "trigger") {
      if (![...records, "user", "tenant"].includes(root) || path.length === 1) {
        return { unknown: written };
      }
      never(key, written, "it is read live when the step runs");
      return root === "contact" ? contactField(path) : { path };
    }
    if (name === "project" && inside[0] === "contact") {
      return contactField(["contact", ...inside.slice(1)]);
    }
    if (records.includes(name)) {
      if (inside.length === 0) return { unknown: name };
      if (
        name !== triggerType.split("_")[0] || name !== "contact" ||
        triggerType !== "contact_created"
      ) {
        never(key, written, "the event brings the record along");
      }
      return name === "contact" ? contactField(path) : { path };
    }
    if (["changed_by", "completed_by"].includes(name) && inside.length > 0) {
      never(
        key,
        written,
        "the user who is responsible for the record; who did it is trigger.user_id",
      );
      return { path: ["user", ...(inside[0] === "name" ? ["full_name"] : inside)] };
    }
    if (name === "email_id") return { path: ["email", "provider_id"] };
    if (name === "changes") return { path: ["trigger", "changed", ...inside] };
    if (name === "activity_id") return { unknown: "activity_id" };
    if (!carried.includes(name)) {
      notes.difference(
        key,
        `{{${written}}} has what the caller of the old route sent, and otherwise stays as written`,
        "the same from a caller, and otherwise nothing",
      );
    }
    return { path };
  };
}

export interface ClientScope {
  field?: string;
  schedule?: string;
  time?: string;
  hours?: number;
}

/** The browser's engine. Webhook payloads also knew `trigger`. */
export function clientVariables(scope: ClientScope): Resolve {
  const field = scope.field ?? "stage";
  return (path) => {
    const [root = "", name = "", ...inside] = path;
    if (path.length === 1) return { unknown: root };
    switch (root) {
      case "contact":
        return contactField(path);
      case "project":
      case "user":
      case "custom":
      case "job":
        return root === "user" && /_(?:manager|rep|owner)_id$/.test(name)
          ? { unknown: path.join("_") }
          : { path };
      case "organization":
        return { path: ["tenant", name, ...inside] };
      case "previous_contact":
        return { path: ["trigger", "old", name, ...inside] };
      case "stage_change":
        return { path: ["trigger", name === "from" ? "old" : "record", "stage"] };
      case "field_change":
        return name === "field"
          ? { text: field }
          : { path: ["trigger", name === "from" ? "old" : "record", field] };
      case "form":
        return {
          path: [
            "form_submission",
            ...(["form_id", "form_name", "id", "name"].includes(name)
              ? ["form"]
              : ["data", name, ...inside]),
          ],
        };
      case "schedule":
        return { text: (name === "type" ? scope.schedule : scope.time) ?? "" };
      case "time_elapsed":
        return { text: String((name === "field" ? scope.field : scope.hours) ?? "") };
      case "trigger":
        return triggerOfClient(name, inside, field);
      default:
        return { unknown: path.join("_") };
    }
  };
}

/** trigger_data of the browser's engine: {contact}, {contact, previous}, {contact, stage_change} ... */
function triggerOfClient(name: string, inside: string[], field: string): Resolved {
  switch (name) {
    case "previous":
      return { path: ["trigger", "old", ...inside] };
    case "stage_change":
      return { path: ["trigger", inside[0] === "from" ? "old" : "record", "stage"] };
    case "field_change":
      return inside[0] === "field"
        ? { text: field }
        : { path: ["trigger", inside[0] === "from" ? "old" : "record", field] };
    case "form":
      return { path: ["form_submission", "data", ...inside] };
    case "scheduled_time":
      return { path: ["trigger", "scheduled_at"] };
    default:
      return name === "contact"
        ? contactField(["trigger", name, ...inside])
        : { path: ["trigger", name, ...inside] };
  }
}

const bare: Record<string, Resolved> = {
  contact_name: { text: fullName("contact") },
  full_name: { text: fullName("contact") },
  company_name: { path: ["tenant", "name"] },
  user_name: { path: ["user", "full_name"] },
  user_phone: { path: ["user", "phone"] },
  project_type: { path: ["project", "type"] },
  city: { path: ["contact", "address_city"] },
};
const contactColumns = ["first_name", "last_name", "email", "phone", "company"];

/** Campaigns: of all their variables only `personalization` ever had values, which are texts of the step itself. */
export function campaignVariables(personalization: Record<string, string>, notes: Notes): Resolve {
  return (path, key) => {
    const [root = "", ...inside] = path;
    const written = path.join(".");
    if (path.length === 1 && Object.hasOwn(personalization, root)) {
      return { text: personalization[root]!.replaceAll("{{", "\\{{") };
    }
    const found: Resolved = path.length === 1
      ? bare[root] ??
        (contactColumns.includes(root) ? { path: ["contact", root] } : { unknown: root })
      : root === "contact"
      ? contactField(path)
      : records.includes(root) || root === "user" || root === "tenant"
      ? { path: [root, ...inside] }
      : { unknown: path.join("_") };
    if (!("unknown" in found)) {
      notes.difference(
        key,
        `{{${written}}} never had a value and stayed as written`,
        "it has the value that was meant",
      );
    }
    return found;
  };
}
