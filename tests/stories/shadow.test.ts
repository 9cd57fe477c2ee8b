// A workflow that is tried beside the one it is to replace: a week on the test clock, and nobody hears from it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { apiOf, caller } from "../api/support.ts";
import { type StandIn, startWebhookReceiver } from "../support/standins.ts";
import { got, newPhone, Office, type Step, useStack } from "./support.ts";

let receiver: StandIn;
const stage = useStack(async () => {
  receiver = await startWebhookReceiver();
  return {};
});
afterAll(() => receiver?.stop());

const steps = (which: string): Step[] => [
  {
    step_type: "send_sms",
    step_config: { body: `${which}: Hi {{contact.first_name}}, thanks for calling!` },
  },
  { step_type: "add_tag", step_config: { tag: which } },
  { step_type: "create_task", step_config: { title: `${which}: call {{contact.first_name}}` } },
  {
    step_type: "webhook",
    step_config: { url: `${receiver.url}/${which}`, body: { lead: "{{contact.first_name}}" } },
  },
  {
    step_type: "send_email",
    step_config: { subject: `${which}: your estimate`, text: "Here it is." },
    delay_minutes: 2 * 24 * 60,
  },
  { step_type: "wait", step_config: { days: 3 } },
  {
    step_type: "update_contact",
    step_config: { fields: which === "live" ? { stage: "contacted" } : { city: "Austin" } },
  },
  {
    step_type: "send_sms",
    step_config: {
      body: `${which}: still interested? ({{contact.stage}} {{contact.city | default: "-"}})`,
    },
  },
];

let office: Office;
let live: string;
let shadow: string;
const phones = [newPhone(), newPhone()];

const open = async (which: "live" | "shadow") => {
  const { id } = got(
    await office.client.schema("ridgeline").from("workflows").insert({
      tenant_id: office.tenantId,
      name: which,
      trigger_type: "contact_created",
      mode: which,
    }).select("id").single(),
  );
  got(
    await office.client.schema("ridgeline").from("workflow_steps").insert(
      steps(which).map((step, index) => ({
        tenant_id: office.tenantId,
        workflow_id: id,
        step_order: index + 1,
        ...step,
      })),
    ).select("id"),
  );
  got(
    await office.client.schema("ridgeline").from("workflows").update({ is_active: true })
      .eq("id", id).select("id").single(),
  );
  return id;
};

beforeAll(async () => {
  office = await Office.open(stage());
  live = await open("live");
  shadow = await open("shadow");
  await office.lead({ phone: phones[0]!, email: "maria@example.com" });
  await office.lead({ first_name: "Ann", phone: phones[1]!, email: "ann@example.com" });
  await office.quiet();
  for (let day = 0; day < 7; day++) await office.later("1 day");
});

const runs = async (workflow: string) =>
  (await office.executions()).filter(({ workflow_id }) => workflow_id === workflow);

describe("a week of a shadow beside the live workflow", () => {
  it("takes both through the same steps to the same end", async () => {
    for (const [workflow, mode] of [[live, "live"], [shadow, "shadow"]] as const) {
      expect((await runs(workflow)).map((run) => [run.mode, run.status])).toEqual([
        [mode, "completed"],
        [mode, "completed"],
      ]);
    }
  });

  it("sends what is live, and nothing of the shadow", () => {
    for (const phone of phones) {
      expect(office.texts(phone)).toEqual([
        expect.stringMatching(/^live: Hi (Maria|Ann), thanks/),
        "live: still interested? (contacted -)",
      ]);
    }
    expect(stage().resend.emails().map(({ subject }) => subject)).toEqual([
      "live: your estimate",
      "live: your estimate",
    ]);
    expect(receiver.requests().map(({ path }) => path)).toEqual(["/live", "/live"]);
  });

  it("leaves no mark of the shadow in the CRM", async () => {
    const titles = got(await office.client.from("tasks").select("title")).map(({ title }) => title);
    expect(titles.sort()).toEqual(["live: call Ann", "live: call Maria"]);
    expect(got(await office.client.from("tags").select("name"))).toEqual([{ name: "live" }]);
    const stages = got(await office.client.from("contacts").select("stage"));
    expect(stages).toEqual([{ stage: "contacted" }, { stage: "contacted" }]);
  });

  it("says of each effect what it would have been, at the time when it would have been", async () => {
    const [run] = await runs(shadow);
    const told = (await office.steps()).filter(({ execution_id }) => execution_id === run!.id)
      .filter(({ step_type }) => step_type !== "wait");
    expect(told).toHaveLength(7);
    for (const step of told) {
      expect(step).toMatchObject({
        status: "skipped",
        error: { code: "shadow", would: { action: step.step_type } },
        result_data: null,
        provider_id: null,
      });
    }
    const texts = told.filter(({ step_type }) => step_type === "send_sms");
    expect(texts.map(({ recipient }) => recipient)).toEqual([phones[0], phones[0]]);
    // What the live workflow has written is there, and so is what the shadow would have.
    expect(texts[1]!.input).toMatchObject({
      body: expect.stringMatching(/^shadow: still interested\? \((new|contacted) Austin\)$/),
    });
    const [first, last] = texts.map(({ finished_at }) => Date.parse(finished_at!));
    expect(Math.round((last! - first!) / 86_400_000)).toBe(5);
  });

  it("goes live over HTTP, which ends the shadows that are open", async () => {
    const phone = newPhone();
    await office.lead({ first_name: "Zoe", phone, email: "zoe@example.com" });
    await office.quiet();
    const { data } = await office.client.auth.getSession();
    const call = caller(apiOf(stage()), {
      token: data.session!.access_token,
      headers: { "x-forwarded-for": "203.0.113.7" },
    });
    expect(await call("POST", "/mode", { workflow_id: shadow, mode: "live" })).toMatchObject({
      status: 200,
      body: { workflow_id: shadow, mode: "live", in_force: "live", cancelled_shadows: 1 },
    });
    const changes = got(
      await office.client.schema("ridgeline").from("changes").select("source, user_id, after")
        .eq("workflow_id", shadow).order("changed_at", { ascending: false }).limit(1),
    );
    expect(changes).toMatchObject([{
      source: { role: "authenticated", address: "203.0.113.7" },
      user_id: data.session!.user.id,
      after: { mode: "live" },
    }]);
    expect((await runs(shadow)).at(-1)).toMatchObject({
      mode: "shadow",
      status: "cancelled",
      error: { code: "switched_on" },
    });
    await office.later("7 days");
    expect(office.texts(phone).filter((text) => text.startsWith("shadow"))).toEqual([]);
    const next = newPhone();
    await office.lead({ first_name: "Kim", phone: next });
    await office.quiet();
    expect(office.texts(next).sort()).toEqual([
      "live: Hi Kim, thanks for calling!",
      "shadow: Hi Kim, thanks for calling!",
    ]);
    const history = await call<{ executions: { mode: string }[] }>(
      "GET",
      `/history?workflow_id=${shadow}&mode=shadow`,
    );
    expect(history.body.executions.map(({ mode }) => mode)).toEqual(["shadow", "shadow", "shadow"]);
    expect((await call("GET", `/history?mode=loud`)).status).toBe(422);
  });
});
