// What each of the ten recipes does for an office, its unhappy half first; told once, on either CRM.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { got } from "../stories/support.ts";
import { Crm, type Office, type Person } from "./crm.ts";

type Story = (office: Office) => Promise<void>;
type Kind = Crm["dialect"]["kind"];

const stages = ({ stages: { sent, won, lost } }: Office) => ({
  sent_stage: sent,
  closed_stages: [won, lost],
});
const runs = async ({ sql, tenantId }: Office, record: string) =>
  (await sql<{ status: string }[]>`
    select status::text from ridgeline.workflow_executions
    where tenant_id = ${tenantId} and record_id = ${record} order by created_at, id`).map((
    { status },
  ) => status);
const linkIn = (text: string | undefined) =>
  /https?:\/\/\S+\/link\/[0-9A-Za-z]{11}/.exec(text ?? "")?.[0] ?? "";

const speedToLead: Story = async (office) => {
  const { crm, client, tenantId } = office;
  const form = await office.insertForm("Estimate");
  await office.install("speed-to-lead", { form: "Estimate", reps: [office.rep] });
  const post = (person: { name: string; phone: string; email: string }, key = form) =>
    office.post(key, { ...person, message: "My roof leaks" });
  const maria = {
    name: "Maria Lopez",
    phone: office.newPhone(),
    email: `maria${office.number}@example.com`,
  };
  const answers = {
    name: "Ana Ortiz",
    phone: office.newPhone(),
    email: `ana${office.number}@example.com`,
  };
  // A double click, and a second thought an hour later, are one run.
  await Promise.all([post(maria), post(maria)]);
  await post(answers);
  await crm.settle();
  expect(office.texts(maria.phone)).toEqual([
    expect.stringMatching(/^Hi Maria, this is Apex Roofing.*STOP/),
  ]);
  expect(await office.tasks(await office.contactWith(maria.phone))).toEqual([
    { title: "Call Maria Lopez: new lead", assigned_to: office.rep },
  ]);
  await office.answers(await office.contactWith(answers.phone), "Call me at noon");
  await crm.pass("1 hour");
  await office.post(form, { ...maria, message: "It still leaks" });
  await crm.settle();
  // Whoever is responsible hears of the one that did not answer, and of no other.
  expect(office.heard("rep").filter((text) => /Lopez/.test(text))).toHaveLength(1);
  expect(office.heard("rep").filter((text) => /Ortiz/.test(text))).toHaveLength(0);
  await crm.pass("5 days");
  expect(office.texts(maria.phone)).toHaveLength(2);
  expect(office.emails(maria.email)).toEqual(["Your request to Apex Roofing"]);
  expect(office.texts(answers.phone)).toHaveLength(1);
  expect(office.emails(answers.email)).toEqual([]);
  // At 22:30 the task is there at once, the text at eight.
  await crm.until(await crm.next("22:30", "tuesday"));
  const late = {
    name: "Lou Late",
    phone: office.newPhone(),
    email: `lou${office.number}@example.com`,
  };
  await post(late);
  await crm.settle();
  expect(await office.titles(await office.contactWith(late.phone))).toEqual([
    "Call Lou Late: new lead",
  ]);
  await crm.until(await crm.next("07:59"));
  expect(office.texts(late.phone)).toEqual([]);
  await crm.pass("1 minute");
  expect(office.texts(late.phone)).toHaveLength(1);
  // An appointment ends it as an answer does.
  await office.appointment(await office.contactWith(late.phone), "3 days");
  await crm.pass("6 days");
  expect(office.emails(late.email)).toEqual([]);
  expect(
    got(
      await client.schema("ridgeline").from("automation_failures").select("code").eq(
        "tenant_id",
        tenantId,
      ),
    ),
  )
    .toEqual([]);
};

const missedCall: Story = async (office) => {
  const { crm } = office;
  await office.install("missed-call-text-back", { callback_by: office.rep });
  const [stranger, writes, landline] = [office.newPhone(), office.newPhone(), office.newPhone()];
  crm.twilio.fault({
    kind: "status",
    status: 400,
    code: 21614,
    match: { to: landline },
    times: null,
  });
  for (const phone of [stranger, stranger, writes, landline]) await office.rings(phone);
  expect(office.texts(stranger)).toEqual([
    expect.stringMatching(/^Sorry that we missed .*Apex Roofing.*STOP/),
  ]);
  await office.answers({ phone: writes } as Person, "I need a quote");
  await crm.pass("3 hours");
  await office.rings(stranger);
  expect(office.texts(stranger)).toHaveLength(1);
  const called = async (phone: string) => await office.tasks(await office.contactWith(phone));
  expect(await called(stranger)).toEqual([{
    title: `Call ${stranger} back`,
    assigned_to: office.rep,
  }]);
  expect(await called(writes)).toEqual([]);
  // A landline gets no text, and is called back all the same.
  expect(office.texts(landline)).toEqual([]);
  expect(await called(landline)).toHaveLength(1);
  await crm.pass("1 day");
  await office.rings(stranger);
  await office.rings(stranger, "completed");
  await crm.pass("3 hours");
  expect(office.texts(stranger)).toHaveLength(2);
  expect(await called(stranger)).toHaveLength(1);
};

const estimate: Story = async (office) => {
  const { crm } = office;
  await office.install("estimate-follow-up", stages(office));
  const people = [
    await office.lead(),
    await office.lead(),
    await office.lead(),
    await office.lead(),
  ];
  const [, answers, wins, again] = people as [Person, Person, Person, Person];
  const roofs = new Map<Person, string>();
  for (const person of people) {
    const roof = await office.project(person, { pipeline_stage: office.stages.talking });
    roofs.set(person, roof);
    await office.move(roof, "sent");
  }
  await crm.pass("2 days");
  for (const { phone } of people) {
    expect(office.texts(phone)).toEqual([
      expect.stringMatching(/^Hi Maria, Apex Roofing here: .*STOP to opt out\.$/),
    ]);
  }
  await office.answers(answers, "Not yet, thank you");
  // Sent again on the third day: one run ends, one begins.
  await office.move(roofs.get(again)!, "talking");
  await office.move(roofs.get(again)!, "sent");
  await office.set("projects", roofs.get(again)!, { description: "With gutters" });
  await crm.until(await crm.next("23:59", "thursday"));
  await office.move(roofs.get(wins)!, "won");
  await crm.pass("2 minutes");
  await crm.until(await crm.next("12:00", "friday"));
  expect(people.map(({ email }) => office.emails(email))).toEqual([
    ["Your estimate for Lopez roof"],
    [],
    [],
    [],
  ]);
  await crm.pass("18 days");
  expect(people.map(({ phone }) => office.texts(phone).length)).toEqual([2, 1, 1, 3]);
  expect(await Promise.all(people.map((person) => office.titles(person).then((all) => all.length))))
    .toEqual([1, 0, 0, 1]);
  expect(await runs(office, roofs.get(again)!)).toEqual(["cancelled", "completed"]);
  expect(office.emails(again.email)).toEqual(["Your estimate for Lopez roof"]);
  // Inserted with the estimate sent is sent as well, and STOP is an answer that ends it for good.
  const imported = await office.lead();
  await office.project(imported, { pipeline_stage: office.stages.sent });
  await crm.pass("1 day");
  await office.answers(imported, "STOP");
  await crm.pass("20 days");
  expect([
    office.texts(imported.phone).filter((text) => /estimate/.test(text)),
    await office.titles(imported),
  ])
    .toEqual([[], []]);
};

const wonWelcome: Story = async (office) => {
  const { crm, sql, tenantId } = office;
  await office.install("won-welcome", { manager: office.manager });
  const maria = await office.lead();
  const roof = await office.project(maria, { pipeline_stage: office.stages.talking });
  const projects = async (person: Person) =>
    (await sql<{ name: string }[]>`
      select name from public.projects where contact_id::text = ${person.id} and tenant_id = ${tenantId}
      order by created_at, name`).map(({ name }) => name);
  for (const stage of ["won", "lost", "won"] as const) {
    await office.move(roof, stage);
    await crm.settle();
  }
  expect((await projects(maria)).sort()).toEqual(["Lopez roof", "Production: Lopez roof"]);
  expect(office.emails(maria.email)).toEqual(["Welcome to Apex Roofing"]);
  expect(await office.tags(maria)).toEqual(["customer"]);
  expect(await office.tasks(maria)).toEqual([
    {
      title: expect.stringMatching(/^Ask Maria Lopez \d+ for the deposit of Lopez roof$/),
      assigned_to: office.manager,
    },
  ]);
  // The email says who: the assignment before it counts.
  expect(crm.resend.emails().find(({ to }) => to.includes(maria.email))?.html).toContain(
    "Mia Manager",
  );
  // Won from the beginning is won; a customer with two roofs has two productions.
  await office.project(maria, { name: "Barn roof", pipeline_stage: office.stages.won });
  await crm.settle();
  expect((await projects(maria)).sort()).toEqual([
    "Barn roof",
    "Lopez roof",
    "Production: Barn roof",
    "Production: Lopez roof",
  ]);
  await crm.pass("2 days");
  expect(office.emails(maria.email)).toHaveLength(2);
};

const review: Story = async (office) => {
  const { crm } = office;
  const url = "https://g.page/r/apex/review?src=text";
  await office.install("review-request", {
    review_url: url,
    balance: `project.${crm.dialect.balance}`,
  });
  const people: Person[] = [];
  for (
    const [balance, fields] of [[0, {}], [0, {}], [500, {}], [0, { open_complaint: true }], [
      0,
      {},
    ]] as const
  ) {
    const person = await office.lead({ custom_fields: fields });
    const roof = await office.project(person);
    await office.owes(roof, balance);
    const job = await office.job(roof);
    people.push(person);
    await office.set("jobs", job, { status: "completed" });
  }
  const [quiet, clicks, owes, complains, writes] = people as [
    Person,
    Person,
    Person,
    Person,
    Person,
  ];
  await crm.settle();
  expect(people.map(({ phone }) => office.texts(phone).length)).toEqual([0, 0, 0, 0, 0]);
  await crm.pass("1 day");
  for (const { phone } of [quiet, clicks, writes]) {
    expect(office.texts(phone)).toEqual([
      expect.stringMatching(/^Hi Maria, .*Apex Roofing.*\/link\/\w{11} Reply STOP/),
    ]);
  }
  expect([...office.texts(owes.phone), ...office.texts(complains.phone)]).toEqual([]);
  // Scanners first: the carrier's at once, a preview, a look without a page; each is led there, and is no click.
  const link = linkIn(office.texts(quiet.phone)[0]);
  const hers = linkIn(office.texts(clicks.phone)[0]);
  expect(hers).not.toBe(link);
  const browser =
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36";
  for (const one of [link, hers]) {
    for (
      const headers of <Record<string, string>[]> [
        { "user-agent": browser },
        { "user-agent": "Mozilla/5.0 (compatible; Barracuda Sentinel)" },
        { "user-agent": browser, "sec-purpose": "prefetch" },
      ]
    ) {
      const response = await office.follow(one, headers);
      expect([response.status, response.headers.get("location")]).toEqual([302, url]);
    }
  }
  await crm.pass("1 hour");
  await office.follow(link, { "user-agent": "WhatsApp/2.24.9.78 A" });
  expect((await office.follow(hers, { "user-agent": browser })).headers.get("location")).toBe(url);
  expect((await office.follow(`${link.slice(0, -11)}AAAAAAAAAAA`)).status).toBe(404);
  // Who stops gets no email either: STOP is for texts, so they say it of all.
  await crm.pass("4 days");
  expect(people.map(({ email }) => office.emails(email))).toEqual([
    ["How did we do?"],
    [],
    [],
    [],
    ["How did we do?"],
  ]);
  expect(people.map(({ phone }) => office.texts(phone).length)).toEqual([1, 1, 0, 0, 1]);
  const [{ clicked }] = await office.sql<[{ clicked: number }]>`
    select sum(clicked)::int as clicked from ridgeline.workflow_statistics
    where tenant_id = ${office.tenantId} and step_key = 'ask_by_text'`;
  expect(clicked).toBe(1);
};

const storm: Story = async (office) => {
  const { crm, client, sql, tenantId } = office;
  const zip = crm.dialect.kind === "host" ? "address_zip" : "postal_code";
  const ridgeline = client.schema("ridgeline");
  await sql`insert into ridgeline.tenant_settings (tenant_id, settings) values (${tenantId},
    ${sql.json({ consent: "required", marketing_cap: { per_day: 1 } })})
    on conflict (tenant_id) do update set settings = excluded.settings`;
  await sql`update ridgeline.senders set limits = '{"per_second": 1}' where tenant_id = ${tenantId} and channel = 'sms'`;
  const [first] = await office.install("storm", {});
  const [second] = await office.install("storm", { storm_name: "the second storm" });
  const people: Person[] = [];
  for (let number = 0; number < 5; number++) {
    people.push(await office.lead({ [zip]: number === 4 ? "73301" : "78701" }));
  }
  const asked = people.slice(0, 3);
  const [silent, answers, writes] = people as [Person, Person, Person];
  for (const { phone, email } of [...asked, people[4]!]) {
    for (const [channel, address] of [["sms", phone], ["email", email]] as const) {
      got(
        await ridgeline.rpc("grant_consent", {
          channel,
          address,
          wording: "Yes, send me offers",
          tenant_id: tenantId,
        }),
      );
    }
  }
  for (const workflow_id of [first, second]) {
    const { error } = await ridgeline.rpc("enroll_records", {
      workflow_id: workflow_id!,
      filter: [{ field: `contact.${zip}`, operator: "equals", value: "78701" }],
      tenant_id: tenantId,
    });
    expect(error).toBeNull();
  }
  await crm.pass("10 minutes");
  // Who did not agree, and who lives elsewhere, hears nothing; everybody else one of the two.
  expect(people.map(({ phone }) => office.texts(phone).length)).toEqual([1, 1, 1, 0, 0]);
  const sent = await sql<{ at: Date; segments: number }[]>`
    select created_at as at, automation.sms_segments(body) as segments from ridgeline.messages
    where tenant_id = ${tenantId} and direction = 'outbound' order by created_at`;
  for (const [index, { at }] of sent.entries()) {
    const before = sent[index - 1];
    // A long code sends a segment a second, of which marketing has four fifths.
    if (before) expect(+at - +before.at).toBeGreaterThanOrEqual(before.segments * 1_250 - 1_000);
  }
  await office.answers(answers, "Yes please");
  expect(await office.titles(answers)).toEqual([
    expect.stringMatching(/^Schedule an inspection: .* answered our text$/),
  ]);
  await crm.pass("1 day 10 minutes");
  // The other storm's text waited for the day to pass.
  expect(asked.map(({ phone }) => office.texts(phone).length)).toEqual([2, 2, 2]);
  await crm.pass("4 days");
  expect(office.emails(silent.email)).toHaveLength(2);
  expect(office.emails(answers.email)).toHaveLength(1);
  await office.writesEmail(writes, "Please come by");
  expect((await office.titles(writes)).filter((title) => /answered our email/.test(title)))
    .toHaveLength(2);
  const skipped = await sql<{ code: string }[]>`
    select s.error ->> 'code' as code from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where e.contact_id = ${people[3]!.id} and s.status = 'skipped' and s.step_type = 'send_sms'`;
  expect(skipped).toEqual([{ code: "no_consent" }, { code: "no_consent" }]);
};

const payment: Story = async (office) => {
  const { crm } = office;
  await office.install("payment-reminder", {
    collector: office.manager,
    pay_url: "https://pay.example/apex",
  });
  const [pays, owes, later, late] = [
    await office.lead(),
    await office.lead(),
    await office.lead(),
    await office.lead(),
  ];
  const bill = (person: Person, days: number) => office.invoice(person, 900, days);
  const invoices = [
    await bill(pays, 5),
    await bill(owes, 5),
    await bill(later, 5),
    await bill(late, 1),
  ];
  await crm.pass("3 days");
  expect([pays, owes, later].map(({ phone }) => office.texts(phone).length)).toEqual([1, 1, 1]);
  expect(office.texts(pays.phone)[0]).toMatch(
    /is due on .*: \$900\.00\. https:\/\/pay\.example\/apex Reply STOP/,
  );
  // Due tomorrow when it was written: the first reminder is over, the second is not.
  expect(office.texts(late.phone)).toEqual([expect.stringMatching(/is due today/)]);
  await office.set("invoices", invoices[0]!, { balance: 0, [crm.dialect.status]: "paid" });
  await office.set("invoices", invoices[1]!, { balance: 400 });
  await office.dueIn(invoices[2]!, 7);
  await crm.pass("3 days");
  expect(office.texts(pays.phone)).toHaveLength(1);
  expect(office.texts(owes.phone)).toEqual([
    expect.stringMatching(/due on/),
    expect.stringMatching(/is due today: \$400\.00/),
  ]);
  // The new date has its own reminders, the old one none any more.
  expect(office.texts(later.phone)).toHaveLength(1);
  await crm.pass("2 days");
  expect(office.texts(later.phone)).toEqual([
    expect.anything(),
    expect.stringMatching(/is due on/),
  ]);
  await crm.pass("14 days");
  expect(office.emails(owes.email)).toEqual([expect.stringMatching(/is overdue$/)]);
  expect(office.texts(owes.phone)).toEqual([
    expect.anything(),
    expect.anything(),
    expect.stringMatching(/\$400\.00 .* a week overdue/),
  ]);
  expect(await office.tasks(owes)).toEqual([
    { title: expect.stringMatching(/\$400\.00 two weeks overdue$/), assigned_to: office.manager },
  ]);
  expect([await office.titles(pays), office.emails(pays.email)]).toEqual([[], []]);
};

const appointment: Story = async (office) => {
  const { crm } = office;
  await office.install("appointment-reminder", {});
  const people: Person[] = [];
  for (let number = 0; number < 4; number++) people.push(await office.lead());
  const [comes, cancels, soon, moves] = people as [Person, Person, Person, Person];
  await office.appointment(comes, "3 days");
  const cancelled = await office.appointment(cancels, "3 days");
  await office.appointment(soon, "90 minutes");
  const moved = await office.appointment(moves, "3 days");
  await crm.settle();
  for (const { phone } of people) {
    expect(office.texts(phone)).toEqual([
      expect.stringMatching(/^Hi Maria, your appointment with Apex Roofing is on .*STOP/),
    ]);
  }
  await office.set("appointments", cancelled, { [crm.dialect.status]: "cancelled" });
  await office.startsIn(moved, "5 days");
  await crm.pass("3 days");
  const counts = () => people.map(({ phone }) => office.texts(phone).length);
  // Booked 90 minutes ahead: confirmed, and nothing after it. Moved: confirmed anew, and not reminded of the old date.
  expect(counts()).toEqual([3, 1, 1, 2]);
  expect(office.texts(comes.phone).slice(1)).toEqual([
    expect.stringMatching(/see you tomorrow at 10:00 AM/),
    expect.stringMatching(/see you today at 10:00 AM/),
  ]);
  await crm.pass("3 days");
  expect(counts()).toEqual([3, 1, 1, 4]);
  // The clocks go back on the first Sunday of November: a day before ten is ten.
  await office.until("2026-10-30 10:00");
  const sunday = await office.lead();
  await office.appointmentAt(sunday, "2026-11-01 10:00");
  await office.until("2026-10-31 09:59");
  expect(office.texts(sunday.phone)).toHaveLength(1);
  await office.until("2026-10-31 10:01");
  expect(office.texts(sunday.phone)).toHaveLength(2);
  await office.until("2026-11-01 12:00");
  expect(office.texts(sunday.phone)[2]).toMatch(/today at 10:00 AM/);
};

const stalled: Story = async (office) => {
  const { crm } = office;
  await office.install("stalled-nudge", {
    open_stages: [office.stages.talking, office.stages.sent],
    manager: office.manager,
  });
  const [quiet, moves, touched] = [await office.lead(), await office.lead(), await office.lead()];
  for (const person of [quiet, moves, touched]) {
    await office.set("contacts", person.id, { assigned_to: office.rep });
  }
  const roofs = [];
  for (const person of [quiet, moves, touched]) {
    roofs.push(await office.project(person, { pipeline_stage: office.stages.talking }));
  }
  // Another automation writes to one of them day after day: that is no activity.
  await office.publish("project_updated", [
    { step_type: "wait", step_config: { minutes: 1 } },
    { step_type: "update_project", step_config: { fields: { "custom_fields.seen": "{{now}}" } } },
  ], { reentry: { once_in: "1 day" } });
  await crm.pass("4 days");
  await office.move(roofs[1]!, "sent");
  await office.set("projects", roofs[2]!, { description: "Red tiles" });
  await crm.pass("10 days 2 hours");
  expect(await office.tasks(quiet)).toEqual([
    {
      title: expect.stringMatching(/^Lopez roof has stalled: call Maria/),
      assigned_to: office.rep,
    },
  ]);
  expect(await office.titles(moves)).toEqual([]);
  expect(await office.titles(touched)).toHaveLength(1);
  await office.answers(touched, "We are away");
  await crm.pass("5 days");
  expect(office.heard("manager").filter((text) => /has not moved/.test(text))).toHaveLength(1);
  expect(office.texts(quiet.phone)).toEqual([
    expect.stringMatching(/^Hi Maria, Apex Roofing here\. .*STOP/),
  ]);
  expect(office.texts(touched.phone)).toEqual([]);
};

const referral: Story = async (office) => {
  const { crm } = office;
  const form = await office.insertForm("Referral");
  await office.install("referral", { form: "Referral", form_url: "https://apex.example/refer" });
  const maria = await office.lead();
  const roof = await office.project(maria);
  for (const job of [await office.job(roof), await office.job(roof)]) {
    await office.set("jobs", job, { status: "completed" });
  }
  await crm.pass("29 days");
  expect(office.emails(maria.email)).toEqual([]);
  await crm.pass("2 days");
  expect(office.emails(maria.email)).toEqual(["Do you know somebody who needs a roof?"]);
  const refer = (name: string, phone: string, referrer = maria.email) =>
    office.post(form, { name, phone, referrer_email: referrer });
  const [ana, bob] = [office.newPhone(), office.newPhone()];
  await refer("Ana Ortiz", ana);
  // Written otherwise, and once more an hour later: the same two people.
  await crm.pass("1 hour");
  await refer("Ana Ortiz", ana, ` ${maria.email.toUpperCase()} `);
  await crm.settle();
  const thanks = () =>
    office.emails(maria.email).filter((subject) => /Thank you/.test(subject)).length;
  expect(thanks()).toBe(1);
  await refer("Bob Brown", bob);
  await crm.settle();
  expect(thanks()).toBe(2);
  expect(await office.tags(maria)).toEqual(["referrer"]);
  for (const phone of [ana, bob]) {
    expect(await office.tags(await office.contactWith(phone))).toEqual(["referred"]);
  }
  expect(await office.count("contacts")).toBe(3);
};

const stories: Record<string, [told: string, story: Story]> = {
  "speed-to-lead": [
    "a double post is one run, and a lead of 22:30 is texted at eight",
    speedToLead,
  ],
  "missed-call-text-back": [
    "one text a day for a number, and a landline does not fail the run",
    missedCall,
  ],
  "estimate-follow-up": [
    "an estimate sent again restarts once; won at 23:59 sends nothing more",
    estimate,
  ],
  "won-welcome": ["won, lost and won again makes no second project", wonWelcome],
  "review-request": ["a scanner's click is ignored", review],
  storm: ["as fast as the carrier allows, and one message a day across workflows", storm],
  "payment-reminder": [
    "a part payment is the new balance, and a new date has new reminders",
    payment,
  ],
  "appointment-reminder": [
    "ninety minutes ahead skips both; the clock on the wall counts",
    appointment,
  ],
  "stalled-nudge": ["what an automation writes is no activity", stalled],
  referral: ["a referrer is thanked once for each referral", referral],
};

export function tellStories(kind: Kind): void {
  let crm: Crm | undefined;
  beforeAll(async () => {
    crm = await Crm.start(kind);
  }, 120_000);
  afterAll(() => crm?.stop());
  describe.each(Object.keys(stories))("%s", (recipe) => {
    const [told, story] = stories[recipe]!;
    it(told, async () => {
      await story(await crm!.open());
    }, 120_000);
  });
}

export const toldRecipes = Object.keys(stories);
