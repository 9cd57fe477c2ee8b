// What the tables of somebody else's CRM refuse, the dry run says before a customer is involved: labels of enums,
// lengths, CHECKs, columns that must have a value, rows that are not there. Nothing is written meanwhile.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createHost,
  JOB,
  LOPEZ_ROOF,
  MARIA,
  OTTO,
  publish,
  SAM,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Awaited<ReturnType<typeof createHost>>;
beforeAll(async () => {
  host = await createHost();
});
afterAll(() => host.drop());

interface Taken {
  verdict: string;
  reason: { message: string } | null;
}

/** The first step of a workflow tried and then run for the record: what is said before, and what happens. */
async function tryAndRun(
  type: string,
  config: object,
  record: object,
): Promise<{ said: Taken; happened: { status: string; message: string | null } }> {
  const { sql } = host;
  const id = await publish(sql, SUMMIT, "manual", [[type, config]]);
  const [{ said, rows }] = await sql<[{ said: Taken; rows: string }]>`
    select ridgeline.test_workflow(${id}, ${
    sql.json(record as never)
  }, tenant_id => ${SUMMIT}) #> '{path,0}' as said,
      (select count(*) from public.tasks) as rows`;
  const [{ after }] = await sql<[{ after: string }]>`select count(*) as after from public.tasks`;
  expect(after).toBe(rows);
  await sql`select ridgeline.execute_workflow(${id}, ${
    sql.json(record as never)
  }, tenant_id => ${SUMMIT})`;
  await work(sql);
  const [happened] = await sql<[{ status: string; message: string | null }]>`
    select s.status, s.error ->> 'message' as message from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where e.workflow_id = ${id}`;
  return { said, happened };
}

const contact = { contact_id: MARIA };
const project = { project_id: LOPEZ_ROOF, contact_id: MARIA };

describe("what the host's tables refuse is refused by the dry run", () => {
  test.each<[name: string, type: string, config: object, record: object, says: RegExp]>([
    [
      "a stage that the enum has not",
      "change_stage",
      { stage: "Won!", entity: "project" },
      project,
      /pipeline_stage.*invalid input value for enum/,
    ],
    [
      "a stage that is too long",
      "change_stage",
      { stage: "x".repeat(41) },
      contact,
      /stage.*too long/,
    ],
    [
      "a value that a CHECK lists not",
      "update_field",
      { field: "type", value: "vip" },
      contact,
      /type.*contacts_type_check/,
    ],
    [
      "a number that is none",
      "update_field",
      { field: "lead_score", value: "hot" },
      contact,
      /lead_score.*invalid input syntax/,
    ],
    [
      "a number out of range",
      "update_field",
      { field: "project.estimated_value", value: "99999999999999" },
      project,
      /estimated_value.*overflow/,
    ],
    [
      "nothing, where something must be",
      "update_contact",
      { fields: { first_name: null } },
      contact,
      /first_name/,
    ],
    [
      "a priority that the enum has not",
      "create_task",
      { title: "Call", priority: "whenever" },
      contact,
      /task_priority.*"whenever"/,
    ],
    [
      "a user who is nobody's",
      "assign_user",
      { user_id: "0b000000-0000-4000-8000-0000000000ff" },
      contact,
      /is not a member of the tenant/,
    ],
    [
      "an assignee who is nobody's",
      "create_task",
      { title: "Call", assigned_to: "0b000000-0000-4000-8000-0000000000ff" },
      contact,
      /is not a member/,
    ],
    ["a status too long for a job", "change_stage", { stage: "y".repeat(21), entity: "job" }, {
      job_id: JOB,
    }, /status.*too long/],
  ])("%s", async (_, type, config, record, says) => {
    const { said, happened } = await tryAndRun(type, config, record);
    expect(said).toMatchObject({
      verdict: "fail",
      reason: { message: expect.stringMatching(says) },
    });
    expect(happened.status).toBe("failed");
  });

  test.each<[name: string, type: string, config: object, record: object]>([
    ["a stage by its label", "change_stage", { stage: "won", entity: "project" }, project],
    [
      "a task in our words",
      "create_task",
      { title: "Call", priority: "urgent", assigned_to: SAM },
      contact,
    ],
    ["a title that the task cuts", "create_task", { title: "z".repeat(250) }, contact],
    ["a member of the office", "assign_user", { user_id: SAM }, contact],
    ["a tag of its list", "add_tag", { tag: "hail" }, { contact_id: OTTO }],
    ["a number that is added to", "update_field", {
      field: "lead_score",
      value: 5,
      operator: "add",
    }, contact],
    ["a job's status", "change_stage", { stage: "completed", entity: "job" }, { job_id: JOB }],
  ])("and %s is not", async (_, type, config, record) => {
    const { said, happened } = await tryAndRun(type, config, record);
    expect(said.reason).toBeNull();
    expect(said.verdict).toBe("run");
    expect(happened).toEqual({ status: "completed", message: null });
  });

  test("a foreign key that leads nowhere is told by the column", async () => {
    const { sql } = host;
    const [{ said }] = await sql<[{ said: string | null }]>`
      select automation.judge_row('public.contacts', '{"assigned_to": "0b000000-0000-4000-8000-0000000000fe"}',
        '{assigned_to}') as said`;
    expect(said).toMatch(/^assigned_to: there is no (public\.)?profiles "0b0/);
  });
});
