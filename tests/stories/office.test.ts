// What an office expects of its automations, from a write in the CRM to what the customer receives.
import { describe, expect, it } from "vitest";
import { newPhone, Office, useStack, type Workflow } from "./support.ts";

const stage = useStack();
const day = 1_440;

const followUp: Workflow = {
  steps: [
    { step_type: "send_sms", step_config: { body: "Hi {{trigger.contact.first_name}}" } },
    { step_type: "send_sms", step_config: { body: "Any questions?" }, delay_minutes: day },
    { step_type: "create_task", step_config: { title: "Call {{contact.first_name}}" } },
  ],
};

describe("a lead who replies STOP", () => {
  it.each(["STOP", "stop please", "Unsubscribe", "Quit texting me, thanks!"])(
    "%s: gets nothing more, and the office still gets its task",
    async (reply) => {
      const office = await Office.open(stage());
      await office.workflow(followUp);
      const phone = newPhone();
      // As the office typed it; the reply comes in the form of the provider.
      const contact_id = await office.lead({
        phone: phone.replace(/^\+1(...)(...)/, "($1) $2-"),
      });
      await office.quiet();
      expect(office.texts(phone)).toEqual(["Hi Maria"]);
      const inbound = await stage().service().schema("ridgeline").from("messages").insert({
        tenant_id: office.tenantId,
        contact_id,
        direction: "inbound",
        from_number: phone,
        to_number: "+15005550006",
        body: reply,
        status: "received",
      });
      expect(inbound.error).toBeNull();
      await office.later("25 hours");
      expect(office.texts(phone)).toEqual(["Hi Maria"]);
      expect((await office.steps()).map(({ status, error }) => [status, error])).toEqual([
        ["completed", null],
        ["skipped", expect.objectContaining({ code: "suppressed" })],
        ["completed", null],
      ]);
      expect((await office.executions())[0]?.status).toBe("completed");
      // Nor does a workflow that starts only now write to them, in the same transaction or later.
      await office.lead({ phone });
      await office.later("25 hours");
      expect(office.texts(phone)).toEqual(["Hi Maria"]);
    },
  );

  it("is one tenant's: another office may go on", async () => {
    const [apex, blue] = [await Office.open(stage()), await Office.open(stage(), "Blue Ridge")];
    const phone = newPhone();
    await stage().service().schema("ridgeline").from("messages").insert({
      tenant_id: apex.tenantId,
      direction: "inbound",
      from_number: phone,
      to_number: "+15005550006",
      body: "STOP",
      status: "received",
    });
    for (const office of [apex, blue]) {
      await office.workflow({ steps: followUp.steps.slice(0, 1) });
      await office.lead({ phone });
      await office.quiet();
    }
    expect((await apex.steps())[0]?.status).toBe("skipped");
    expect((await blue.steps())[0]?.status).toBe("completed");
    expect(blue.texts(phone)).toEqual(["Hi Maria"]);
  });

  it("is not somebody who says that the roof does not stop leaking", async () => {
    const office = await Office.open(stage());
    await office.workflow(followUp);
    const phone = newPhone();
    await office.lead({ phone });
    await office.quiet();
    await office.client.schema("ridgeline").from("messages").insert({
      tenant_id: office.tenantId,
      direction: "inbound",
      from_number: phone,
      to_number: "+15005550006",
      body: "The leak does not stop, when can you come?",
      status: "received",
    });
    await office.later("25 hours");
    expect(office.texts(phone)).toEqual(["Hi Maria", "Any questions?"]);
  });
});

describe("an execution that is cancelled during its delay", () => {
  it("does nothing more, and says that it was cancelled", async () => {
    const office = await Office.open(stage());
    await office.workflow(followUp);
    const phone = newPhone();
    await office.lead({ phone });
    await office.quiet();
    const [waiting] = await office.executions();
    expect(waiting?.status).toBe("waiting");
    const { data, error } = await office.client.schema("ridgeline").rpc("cancel_execution", {
      execution_id: waiting?.id as string,
    });
    expect(error).toBeNull();
    expect(data).toMatchObject({ status: "cancelled" });
    const left = await office.client.schema("ridgeline").from("scheduled_steps").select();
    expect(left.data).toEqual([]);
    await office.later("25 hours");
    expect(office.texts(phone)).toEqual(["Hi Maria"]);
    const tasks = await office.client.from("tasks").select();
    expect(tasks.data).toEqual([]);
    expect(await office.executions()).toMatchObject([
      { status: "cancelled", finished_at: expect.any(String) },
    ]);
  });
});

describe("a contact without a telephone number", () => {
  it.each([null, "", "  ", "call my wife", "555-0100"])(
    "%j: still gets the email, and the office its task",
    async (phone) => {
      const office = await Office.open(stage());
      await office.workflow({
        steps: [
          { step_type: "send_sms", step_config: { body: "Hi" } },
          { step_type: "create_task", step_config: { title: "Call {{contact.first_name}}" } },
          { step_type: "send_email", step_config: { subject: "Welcome", text: "Hi" } },
        ],
      });
      const email = `${crypto.randomUUID()}@example.com`;
      await office.lead({ phone, email });
      await office.quiet();
      expect((await office.steps()).map(({ status, error }) => [status, error])).toEqual([
        ["skipped", expect.objectContaining({ message: expect.stringMatching(/^to: /) })],
        ["completed", null],
        ["completed", null],
      ]);
      const sent = stage().resend.emails().filter(({ to }) => to.includes(email));
      expect(sent.map(({ subject }) => subject)).toEqual(["Welcome"]);
      const { data: tasks } = await office.client.from("tasks").select("title");
      expect(tasks).toEqual([{ title: "Call Maria" }]);
      expect((await office.executions())[0]?.status).toBe("completed");
    },
  );
});

describe("HTML in a name", () => {
  it("is escaped in the HTML of the email, and nowhere else", async () => {
    const office = await Office.open(stage());
    await office.workflow({
      steps: [{
        step_type: "send_email",
        step_config: {
          subject: "Hi {{contact.first_name}}",
          html: '<p title="{{contact.last_name}}">Hi {{contact.first_name}}</p>',
          text: "Hi {{contact.first_name}}",
          purpose: "transactional",
        },
      }],
    });
    const email = `${crypto.randomUUID()}@example.com`;
    const first_name = "<script>alert('x')</script>";
    await office.lead({ email, first_name, last_name: 'O"Hara & {{tenant.name}}' });
    await office.quiet();
    const [sent] = stage().resend.emails().filter(({ to }) => to.includes(email));
    expect(sent).toMatchObject({ subject: `Hi ${first_name}`, text: `Hi ${first_name}` });
    expect(sent?.html).not.toContain("<script");
    expect(sent?.html).toMatch(
      /^<p title="O&quot;Hara &amp; \{\{tenant\.name\}\}">Hi &lt;script&gt;alert\(&#0?39;x&#0?39;\)&lt;\/script&gt;<\/p>$/,
    );
  });
});

describe("a workflow that is edited while a run waits", () => {
  it("changes nothing for that run, and everything for the next", async () => {
    const office = await Office.open(stage());
    const workflow_id = await office.workflow(followUp);
    const [before, after] = [newPhone(), newPhone()];
    await office.lead({ phone: before });
    await office.quiet();
    const steps = office.client.schema("ridgeline").from("workflow_steps");
    const edited = await steps.update({
      step_config: { body: "We have a new offer" },
      delay_minutes: 0,
    }).eq("workflow_id", workflow_id).eq("step_order", 2).select("id");
    expect(edited.data).toHaveLength(1);
    const removed = await office.client.schema("ridgeline").from("workflow_steps").delete()
      .eq("workflow_id", workflow_id).eq("step_order", 3).select("id");
    expect(removed.data).toHaveLength(1);
    const published = await office.client.schema("ridgeline").rpc("publish_workflow", {
      workflow_id,
    });
    expect(published.data).toMatchObject({ version: 2 });
    await office.lead({ phone: after });
    await office.quiet();
    expect(office.texts(after)).toEqual(["Hi Maria", "We have a new offer"]);
    expect(office.texts(before)).toEqual(["Hi Maria"]);
    // Switched off, what has started waits; switched on again, it ends as it began.
    const workflows = office.client.schema("ridgeline").from("workflows");
    await workflows.update({ is_active: false }).eq("id", workflow_id);
    await office.later("25 hours");
    expect(office.texts(before)).toEqual(["Hi Maria"]);
    await workflows.update({ is_active: true }).eq("id", workflow_id);
    await office.later("1 hour");
    expect(office.texts(before)).toEqual(["Hi Maria", "Any questions?"]);
    const { data: tasks } = await office.client.from("tasks").select("title");
    expect(tasks).toEqual([{ title: "Call Maria" }]);
    expect((await office.executions()).map(({ version, status }) => [version, status])).toEqual([
      [1, "completed"],
      [2, "completed"],
    ]);
  });

  it("says what the record said when it fired, and what it says now, as asked", async () => {
    const office = await Office.open(stage());
    await office.workflow({
      steps: [{
        step_type: "send_sms",
        step_config: { body: "{{trigger.contact.first_name}}, now {{contact.first_name}}" },
        delay_minutes: day,
      }],
    });
    const phone = newPhone();
    const id = await office.lead({ phone });
    await office.client.from("contacts").update({ first_name: "Mary" }).eq("id", id);
    await office.later("25 hours");
    expect(office.texts(phone)).toEqual(["Maria, now Mary"]);
  });
});
