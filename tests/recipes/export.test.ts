// Any workflow as a document: it comes back unchanged where it came from, and elsewhere takes nothing of its tenant along.
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import type { JSONValue, Sql } from "postgres";
import { beforeAll, describe, expect, it } from "vitest";
import { stepDocument } from "../language/step-arbitraries.ts";
import { useDatabase } from "../support/database.ts";
import { CORY, createHost, SAM, SUMMIT } from "../support/host.ts";

interface Definition {
  name: string;
  trigger_type: string;
  steps: { step_type: string; step_config: Record<string, unknown> }[];
  [key: string]: unknown;
}
interface Document {
  questions: { name: string; type: string; default: string }[];
  [key: string]: unknown;
}

const database = useDatabase();
/** Two offices: what the first has, and what takes its place in the second. */
const apex = {
  tenant: randomUUID(),
  member: randomUUID(),
  form: "Estimate",
  number: "+15125550901",
};
const blue = { tenant: randomUUID(), member: randomUUID(), form: "Solar", number: "+13125550902" };
const RECORD = "7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11";

beforeAll(async () => {
  const { sql } = database();
  for (const { tenant, member, form, number } of [apex, blue]) {
    await sql`insert into tenants (id, name, address) values (${tenant}, ${form}, '1 Main St, Austin TX')`;
    await sql`insert into tenant_members (tenant_id, user_id, full_name) values (${tenant}, ${member}, ${form})`;
    await sql`insert into ridgeline.forms (tenant_id, name) values (${tenant}, ${form})`;
    await sql`
      insert into ridgeline.senders (tenant_id, channel, provider, kind, address)
      values (${tenant}, 'sms', 'twilio', 'number', ${number})`;
  }
});

const json = (sql: Sql, value: unknown) => sql.json(value as JSONValue);
async function valid(sql: Sql, definition: unknown): Promise<boolean> {
  try {
    const [row] = await sql<{ valid: boolean }[]>`
      select (ridgeline.validate_definition(${
      json(sql, definition)
    }, ${apex.tenant}) ->> 'valid')::boolean as valid`;
    return row!.valid;
  } catch {
    return false;
  }
}
async function definitionOf(sql: Sql, id: string): Promise<Omit<Definition, "id">> {
  const [row] = await sql<{ definition: Definition }[]>`
    select ridgeline.get_definition(${id}) -> 'definition' as definition`;
  const { id: _, ...definition } = row!.definition;
  return definition;
}
async function save(sql: Sql, definition: Definition): Promise<string> {
  const [row] = await sql<{ id: string }[]>`
    select ridgeline.save_workflow(${
    json(sql, definition)
  }, tenant_id => ${apex.tenant}) ->> 'workflow_id' as id`;
  return row!.id;
}
const exported = async (sql: Sql, id: string) =>
  (await sql<{ document: Document }[]>`select ridgeline.export_workflow(${id}) as document`)[0]!
    .document;
async function imported(
  sql: Sql,
  document: unknown,
  answers: object,
  tenant: string,
): Promise<string> {
  const [row] = await sql<{ id: string }[]>`
    select ridgeline.import_workflow(${json(sql, document)}, ${
    json(sql, answers)
  }, ${tenant}) ->> 'workflow_id' as id`;
  return row!.id;
}

const OTHER_RECORD = "0f0c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11";
function answerTo({ type, default: said }: Document["questions"][number]): string {
  if (type === "member") return blue.member;
  if (type === "sender") return blue.number;
  if (type === "form") return blue.form;
  return said.includes("@") ? "x@blue.example" : said.includes("-") ? OTHER_RECORD : "+13125550903";
}

const texts = fc.constantFrom(
  "Call {{contact.first_name}}",
  "[[member_1]] [[x]] [[",
  `See https://app.example/${RECORD}`,
  "{{#if contact.stage equals 'won'}}yes{{/if}}",
  "Zoë said “hi” \\ 😀",
);
/** Steps that name what is the tenant's alone. */
const owned = fc.constantFrom<Definition["steps"][number]>(
  { step_type: "assign_user", step_config: { user_id: apex.member } },
  { step_type: "assign_user", step_config: { user_ids: [apex.member, apex.member.toUpperCase()] } },
  { step_type: "create_task", step_config: { title: "Call", assigned_to: apex.member } },
  {
    step_type: "send_sms",
    step_config: { body: "Hi", from: apex.number, purpose: "transactional" },
  },
  {
    step_type: "send_email",
    step_config: {
      subject: "Hi",
      text: "Hi",
      to: ["boss@apex.example", "{{contact.email}}"],
      purpose: "internal",
    },
  },
  {
    step_type: "conditional",
    step_config: { conditions: [{ field: "contact.id", operator: "equals", value: RECORD }] },
  },
);
const sound = stepDocument.map(({ type, config }) => ({
  step_type: type,
  step_config: config as Record<string, unknown>,
}));
const plain = texts.map((title) => ({ step_type: "create_task", step_config: { title } }));
const definition: fc.Arbitrary<Definition> = fc.record({
  name: texts.filter((text) => text.trim() !== ""),
  description: fc.option(texts),
  trigger: fc.constantFrom<[string, object]>(
    ["manual", {}],
    ["contact_created", { type: "lead" }],
    ["form_submitted", { form: apex.form }],
    ["field_changed", { entity: "contact", field: "assigned_to", to: [apex.member, RECORD] }],
  ),
  settings: fc.constantFrom<object>({}, { reentry: "never" }, { exit_events: ["sms_received"] }),
  metadata: fc.constantFrom<object>({}, { note: "[[record_1]]", by: apex.member }),
  steps: fc.array(fc.oneof(owned, plain, { weight: 3, arbitrary: sound }), {
    minLength: 1,
    maxLength: 4,
  }),
}).map(({ trigger: [trigger_type, trigger_config], ...rest }) => ({
  ...rest,
  trigger_type,
  trigger_config,
}));

describe("a workflow as a document", () => {
  it(
    "is the same after it was exported and imported, and elsewhere nobody's but the importer's",
    async () => {
      const { sql } = database();
      let tried = 0;
      let asked = 0;
      await fc.assert(
        fc.asyncProperty(definition, async (given) => {
          if (!(await valid(sql, given))) return;
          tried++;
          const id = await save(sql, given);
          const document = await exported(sql, id);
          expect(await definitionOf(sql, await imported(sql, document, {}, apex.tenant)))
            .toEqual(await definitionOf(sql, id));
          // Elsewhere each question is asked, and what was answered stands where the other's stood.
          const answers = Object.fromEntries(document.questions.map((question) => [
            question.name,
            answerTo(question),
          ]));
          if (document.questions.length > 0) {
            asked++;
            const refused = await imported(sql, document, {}, blue.tenant).catch((error) => error);
            expect(refused).toMatchObject({ code: "22023" });
            for (const { name } of document.questions) {
              expect(refused.detail).toContain(`answers.${name}"`);
            }
          }
          const there = JSON.stringify(
            await definitionOf(sql, await imported(sql, document, answers, blue.tenant)),
          ).toLowerCase();
          for (
            const foreign of [
              apex.member,
              apex.tenant,
              apex.number,
              "boss@apex.example",
              `"${RECORD}"`,
            ]
          ) {
            expect(there).not.toContain(foreign.toLowerCase());
          }
        }),
        { numRuns: process.env.RIDGELINE_SOAK ? 2_000 : 60 },
      );
      // It was no idle property.
      expect(tried).toBeGreaterThan(12);
      expect(asked).toBeGreaterThan(6);
    },
    120_000,
  );

  it("overwrites nothing, whatever id it says", async () => {
    const { sql } = database();
    const id = await save(sql, {
      name: "Mine",
      trigger_type: "manual",
      steps: [{ step_type: "create_task", step_config: { title: "Call" } }],
    });
    const document = await exported(sql, id);
    const [workflow] = document.workflows as object[];
    const copy = await imported(
      sql,
      { ...document, workflows: [{ ...workflow, id, name: "Copy" }] },
      {},
      apex.tenant,
    );
    expect(copy).not.toBe(id);
    expect((await definitionOf(sql, id)).name).toBe("Mine");
  });

  it("is not written by a viewer, and is theirs to read", async () => {
    const host = await createHost();
    try {
      const { sql } = host;
      const as = <T>(user: string, work: (tx: Sql) => Promise<T>) =>
        sql.begin(async (tx) => {
          await tx`select set_config('request.jwt.claims', ${
            JSON.stringify({ role: "authenticated", sub: user })
          }, true)`;
          await tx`set local role authenticated`;
          return await work(tx as unknown as Sql);
        }) as Promise<T>;
      const install = (tx: Sql) =>
        tx`select ridgeline.install_recipe('"storm"', '{}', ${SUMMIT}) as done`;
      await sql`update public.tenant_settings set address_line = '1 Main St'`;
      await expect(as(CORY, install)).rejects.toMatchObject({ code: "42501" });
      const [{ done }] = await as(SAM, install) as unknown as [
        { done: { workflows: { workflow_id: string }[] } },
      ];
      const id = done.workflows[0]!.workflow_id;
      const document = await as(CORY, (tx) => exported(tx, id));
      expect(document).toMatchObject({ questions: [], workflows: [{ name: "Storm" }] });
      await expect(as(CORY, (tx) => imported(tx, document, {}, SUMMIT))).rejects.toMatchObject({
        code: "42501",
      });
    } finally {
      await host.drop();
    }
  });
});
