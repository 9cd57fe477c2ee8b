// The old definitions as they are stored: whole rows, so that a column nobody knows of is seen as well.
import fs from "node:fs";
import type { Sql } from "postgres";
import { z } from "zod";
import { translateAutomation } from "./automations.ts";
import { translateCampaign } from "./campaign.ts";
import { translateClient } from "../../functions/workflows/legacy/translate/client.ts";
import type {
  Source,
  Step,
  Target,
  Translation,
} from "../../functions/workflows/legacy/translate/definition.ts";
import { isObject, type JsonObject } from "../../functions/workflows/legacy/translate/keys.ts";
import { translateServer } from "../../functions/workflows/legacy/translate/server.ts";

/** An old definition that could not be read at all. */
export interface Unreadable {
  source: Source;
  legacyId: string;
  name: string;
  problem: string;
}

export interface Found {
  source: Source;
  rows: unknown[];
}

const exists = async (sql: Sql, table: string): Promise<boolean> => {
  const [row] = await sql<
    { there: boolean }[]
  >`select automation.legacy_table(${table}) is not null as there`;
  return row?.there ?? false;
};

const rows = (found: { row: unknown }[]) => found.map(({ row }) => row);

async function readServer(sql: Sql, tenants: string[] | null): Promise<unknown[]> {
  if (!await exists(sql, "workflows") || !await exists(sql, "workflow_steps")) return [];
  return rows(
    await sql<{ row: unknown }[]>`
      with step as materialized (
        select s.workflow_id, jsonb_agg(to_jsonb(s) - 'workflow_id' - 'updated_at'
          order by to_jsonb(s) -> 'step_order', s.id) as steps
        from public.workflow_steps as s group by 1
      )
      select to_jsonb(w) || jsonb_build_object('steps', coalesce(s.steps, '[]')) as row
      from public.workflows as w left join step as s on s.workflow_id = w.id
      where ${tenants}::text[] is null or to_jsonb(w) ->> 'tenant_id' = any (${tenants}::text[])
      order by w.id`,
  );
}

async function readCampaigns(sql: Sql, tenants: string[] | null): Promise<unknown[]> {
  const tables = ["campaigns", "campaign_triggers", "campaign_steps"];
  for (const table of tables) if (!await exists(sql, table)) return [];
  return rows(
    await sql<{ row: unknown }[]>`
      with step as materialized (
        select s.campaign_id, jsonb_agg(to_jsonb(s) order by to_jsonb(s) -> 'step_order', s.id) as steps
        from public.campaign_steps as s group by 1
      ), trigger as materialized (
        select t.campaign_id, jsonb_agg(to_jsonb(t) order by t.id) as triggers
        from public.campaign_triggers as t group by 1
      )
      select to_jsonb(c) || jsonb_build_object(
        'steps', coalesce(s.steps, '[]'), 'triggers', coalesce(t.triggers, '[]')) as row
      from public.campaigns as c
      left join step as s on s.campaign_id = c.id left join trigger as t on t.campaign_id = c.id
      where ${tenants}::text[] is null or to_jsonb(c) ->> 'tenant_id' = any (${tenants}::text[])
      order by c.id`,
  );
}

async function readAutomations(sql: Sql, tenants: string[] | null): Promise<unknown[]> {
  if (!await exists(sql, "automations")) return [];
  return rows(
    await sql<{ row: unknown }[]>`
      select to_jsonb(a) as row from public.automations as a
      where ${tenants}::text[] is null or to_jsonb(a) ->> 'tenant_id' = any (${tenants}::text[])
      order by a.id`,
  );
}

/** One document, a list of them, or {workflows: [...]}, with or without the envelope of the old routes. */
const Documents = z.union([
  z.array(z.unknown()),
  z.looseObject({ workflows: z.array(z.unknown()) }).transform(({ workflows }) => workflows),
  z.looseObject({ data: z.looseObject({ workflows: z.array(z.unknown()) }) }).transform((
    { data },
  ) => data.workflows),
  z.looseObject({ trigger: z.unknown(), actions: z.unknown() }).transform((one) => [one]),
]);

/** As UTF-8, or as the mark at its beginning says. */
function textOf(bytes: Uint8Array): string {
  const mark = [bytes[0], bytes[1]].join();
  const encoding = mark === "255,254" ? "utf-16le" : mark === "254,255" ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new Error("its text is not UTF-8: save it as UTF-8");
  }
}

export function readFile(file: string): unknown[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(textOf(fs.readFileSync(file)));
  } catch (error) {
    throw new Error(
      `${file}: ${
        (error as Error).message
      }. --from takes server, campaigns, automations or a file of JSON.`,
    );
  }
  const read = Documents.safeParse(parsed);
  if (!read.success) {
    throw new Error(
      `${file}: a workflow {trigger, actions}, a list of them, or {workflows: [...]} is needed.`,
    );
  }
  return read.data;
}

export async function readSources(
  sql: Sql,
  from: string[],
  tenants: string[] | null,
): Promise<Found[]> {
  const found: Found[] = [];
  for (const source of from) {
    if (source === "server") found.push({ source, rows: await readServer(sql, tenants) });
    else if (source === "campaigns") {
      found.push({ source, rows: await readCampaigns(sql, tenants) });
    } else if (source === "automations") {
      found.push({ source, rows: await readAutomations(sql, tenants) });
    } else found.push({ source: "client", rows: readFile(source) });
  }
  return found;
}

const sends = ["send_sms", "send_email"];

function withPurpose(steps: Step[], purpose: string): void {
  for (const step of steps) {
    if (sends.includes(step.step_type)) step.step_config.purpose = purpose;
    for (const inner of Object.values(step.branches ?? {})) withPurpose(inner, purpose);
  }
}

/** One note for all messages of a definition. */
function sayPurpose(one: Translation, { choices }: Target): Translation {
  if (!one.definition.steps.some(({ step_type }) => sends.includes(step_type))) return one;
  if (choices.purpose !== "unsaid") withPurpose(one.definition.steps, choices.purpose);
  const said = choices.purpose === "unsaid"
    ? "marketing, until they say their purpose"
    : choices.purpose;
  return {
    ...one,
    notes: [...one.notes, {
      kind: "difference",
      key: "steps",
      old: "nobody asked what a message was for",
      becomes: said,
      flag: "--purpose",
    }],
  };
}

/** Names and descriptions as long as there is room for them. */
function fitted(one: Translation): Translation {
  const { name, description } = one.definition;
  const notes = [...one.notes];
  const cut = (key: string, text: string, most: number) => {
    notes.push({
      kind: "difference",
      key,
      old: `it had ${text.length} characters`,
      becomes: `cut to ${most}`,
    });
    return text.slice(0, most);
  };
  return {
    ...one,
    definition: {
      ...one.definition,
      name: name.length > 500 ? cut("name", name, 500) : name,
      description: description !== null && description.length > 16_000
        ? cut("description", description, 16_000)
        : description,
    },
    notes,
  };
}

function one(source: Source, row: unknown, target: Target, place: number): Translation {
  if (source === "server") return translateServer(row, target);
  if (source === "automations") return translateAutomation(row, target);
  return translateClient(row, target, `document ${place + 1}`);
}

/** What each definition becomes; one that is no definition stops none of the others. */
export function translate(
  { source, rows: given }: Found,
  target: Target,
): (Translation | Unreadable)[] {
  return given.flatMap((row, place): (Translation | Unreadable)[] => {
    try {
      const made = source === "campaigns"
        ? translateCampaign(row, target)
        : [one(source, row, target, place)];
      return made.map((each) => fitted(sayPurpose(each, target)));
    } catch (error) {
      const given: JsonObject = isObject(row) ? row : {};
      const who = {
        source,
        legacyId: String(given.id ?? `document ${place + 1}`).slice(0, 200),
        name: (typeof given.name === "string" ? given.name : "").slice(0, 500),
      };
      // Nested so deep that nothing here can follow.
      if (error instanceof RangeError) return [{ ...who, problem: error.message }];
      if (!(error instanceof z.ZodError)) throw error;
      return [{
        ...who,
        problem: error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).slice(
          0,
          10,
        ).join("; "),
      }];
    }
  });
}
