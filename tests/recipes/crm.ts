// The recipes on a whole stack, over the reference CRM and over the host's own: an office installs a recipe with
// supabase-js and answers its questions, the CRM is written to as its people write to it, and what is looked at is what
// the providers' stand-ins got and what stands in the CRM's tables. Quiet hours are kept.
import { randomBytes, randomUUID } from "node:crypto";
import { inject } from "vitest";
import type { JSONValue, Sql } from "postgres";
import type { Json } from "../../packages/client/database.types.ts";
import { apiClient, type Client } from "../../scripts/lib/client.ts";
import { cloneDatabase, connect, dropDatabase, using } from "../../scripts/lib/scratch.ts";
import { Stack } from "../../scripts/lib/stack.ts";
import { got } from "../stories/support.ts";
import { createHost } from "../support/host.ts";

type Fields = Record<string, Json>;
export type Answers = Record<string, Json>;

/** What differs between the two: tables, columns, words. */
interface Dialect {
  kind: "reference" | "host";
  /** The office and its two people. */
  open: (
    sql: Sql,
    ids: { tenant: string; manager: string; rep: string; number: number },
  ) => Promise<void>;
  stages: { sent: string; talking: string; won: string; lost: string };
  balance: string;
  invoiceTo: string;
  status: string;
  taskOf: string;
}

const dialects: Record<Dialect["kind"], Dialect> = {
  reference: {
    kind: "reference",
    open: async (sql, { tenant, manager, rep, number }) => {
      await sql`
        insert into public.tenants (id, name, timezone, address, website)
        values (${tenant}, 'Apex Roofing', 'America/Chicago', '1 Main St, Austin TX 78701', 'https://apex.example')`;
      await sql`
        insert into public.tenant_members (tenant_id, user_id, role, full_name, email, phone) values
          (${tenant}, ${manager}, 'owner', 'Mia Manager', ${`mia${number}@apex.example`}, ${`+1512557${number}`}),
          (${tenant}, ${rep}, 'member', 'Rob Rep', ${`rob${number}@apex.example`}, ${`+1512558${number}`})`;
    },
    stages: { sent: "estimate_sent", talking: "negotiation", won: "won", lost: "lost" },
    balance: "custom_fields.balance_due",
    invoiceTo: "contact_id",
    status: "status",
    taskOf: "contact_id",
  },
  host: {
    kind: "host",
    open: async (sql, { tenant, manager, rep, number }) => {
      await sql`insert into public.tenants (id, name, subdomain) values (${tenant}, 'apex', ${`apex${number}`})`;
      await sql`
        insert into public.tenant_settings (tenant_id, company_name, company_website, address_line, timezone)
        values (${tenant}, 'Apex Roofing', 'https://apex.example', '1 Main St, Austin TX 78701', 'America/Chicago')`;
      await sql`
        insert into public.profiles (id, email, phone, raw_user_meta_data) values
          (${manager}, ${`mia${number}@apex.example`}, ${`+1512557${number}`}, '{"full_name": "Mia Manager"}'),
          (${rep}, ${`rob${number}@apex.example`}, ${`+1512558${number}`}, '{"full_name": "Rob Rep"}')
        on conflict (id) do update set email = excluded.email, phone = excluded.phone`;
      await sql`
        insert into public.tenant_users (tenant_id, user_id, role) values
          (${tenant}, ${manager}, 'owner'), (${tenant}, ${rep}, 'sales')`;
    },
    stages: { sent: "quote_sent", talking: "negotiation", won: "won", lost: "lost" },
    balance: "balance_due",
    invoiceTo: "customer_id",
    status: "state",
    taskOf: "contact_id",
  },
};

export interface Person {
  id: string;
  phone: string;
  email: string;
}

let numbers = 1_000;

export class Office {
  constructor(
    readonly crm: Crm,
    readonly tenantId: string,
    readonly client: Client,
    readonly manager: string,
    readonly rep: string,
    /** What the office texts from. */
    readonly number: string,
    /** What it is written to on. */
    readonly address: string,
    readonly phones: { manager: string; rep: string },
  ) {}

  get sql(): Sql {
    return this.crm.sql;
  }
  get stages() {
    return this.crm.dialect.stages;
  }

  /** Installed by the owner, looked at, published. */
  async install(recipe: Json, answers: Answers = {}): Promise<string[]> {
    const ridgeline = this.client.schema("ridgeline");
    const installed = got(
      await ridgeline.rpc("install_recipe", { recipe, answers, tenant_id: this.tenantId }),
    ) as { workflows: { workflow_id: string }[] };
    const ids = installed.workflows.map(({ workflow_id }) => workflow_id);
    for (const workflow_id of ids) {
      got(await ridgeline.rpc("publish_workflow", { workflow_id, tenant_id: this.tenantId }));
    }
    return ids;
  }

  async insert(table: string, fields: Fields): Promise<string> {
    const [{ id }] = await this.sql<[{ id: string }]>`
      insert into ${this.sql(`public.${table}`)} ${
      this.sql({ tenant_id: this.tenantId, ...fields } as never)
    }
      returning id::text`;
    return id;
  }

  async set(table: string, id: string, fields: Fields): Promise<void> {
    await this.sql`
      update ${this.sql(`public.${table}`)} set ${this.sql(fields as never)}
      where id::text = ${id} and tenant_id = ${this.tenantId}`;
  }

  async lead(fields: Fields = {}): Promise<Person> {
    const number = ++numbers;
    const email = `lead${number}@example.com`;
    const phone = `+1512555${number}`;
    const id = await this.insert("contacts", {
      first_name: "Maria",
      last_name: `Lopez ${number}`,
      email,
      phone,
      ...fields,
    });
    return { id, phone, email };
  }

  project(person: Person, fields: Fields = {}): Promise<string> {
    return this.insert("projects", { contact_id: person.id, name: "Lopez roof", ...fields });
  }

  move(project: string, stage: keyof Dialect["stages"]): Promise<void> {
    return this.set("projects", project, { pipeline_stage: this.stages[stage] });
  }

  async owes(project: string, balance: number): Promise<void> {
    if (this.crm.dialect.kind === "host") {
      return await this.set("projects", project, { balance_due: balance });
    }
    await this.sql`
      update public.projects set custom_fields = custom_fields || ${
      this.sql.json({ balance_due: balance })
    }
      where id::text = ${project} and tenant_id = ${this.tenantId}`;
  }

  job(project: string): Promise<string> {
    return this.insert("jobs", {
      project_id: project,
      ...(this.crm.dialect.kind === "host" ? { job_number: `J-${++numbers}` } : { name: "Roof" }),
    });
  }

  async tasks(person: Person): Promise<{ title: string; assigned_to: string | null }[]> {
    return await this.sql`
      select title, assigned_to::text from public.tasks
      where contact_id::text = ${person.id} and tenant_id = ${this.tenantId} order by created_at, title` as never;
  }

  async titles(person: Person): Promise<string[]> {
    return (await this.tasks(person)).map(({ title }) => title);
  }

  /** Texts and subjects, in the order in which they came. */
  texts(to: string): string[] {
    return this.crm.twilio.messages().filter((one) => one.to === to).map(({ body }) => body);
  }
  emails(to: string): string[] {
    return this.crm.resend.emails()
      .filter((one) => one.to.some((address) => address.toLowerCase().includes(to)))
      .map(({ subject }) => subject);
  }

  async answers(person: Person, body: string): Promise<void> {
    await this.sql`select automation.receive_sms(${
      this.sql.json({ message_sid: `SM${randomUUID()}`, from: person.phone, to: this.number, body })
    })`;
    await this.crm.settle();
  }

  async rings(from: string, status = "no-answer"): Promise<void> {
    await this.sql`select automation.record_call(${
      this.sql.json({
        call_sid: `CA${randomUUID()}`,
        direction: "inbound",
        from,
        to: this.number,
        status,
      })
    })`;
    await this.crm.settle();
  }

  newPhone(): string {
    return `+1512555${++numbers}`;
  }

  /** A form of the office; its public key. */
  async insertForm(name: string): Promise<string> {
    return got(
      await this.client.schema("ridgeline").from("forms").insert({ tenant_id: this.tenantId, name })
        .select("public_key").single(),
    ).public_key;
  }

  async post(key: string, fields: Record<string, string>): Promise<void> {
    const response = await fetch(`${this.crm.stack.apiUrl}/functions/v1/forms/${key}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(fields),
    });
    if (!response.ok) throw new Error(await response.text());
  }

  async writesEmail({ email }: Person, text: string): Promise<void> {
    await this.sql`select automation.receive_email(${
      this.sql.json({
        email_id: randomUUID(),
        from: email,
        to: [this.address],
        subject: "Re: Your roof",
        text,
      })
    })`;
    await this.crm.settle();
  }

  /** The only contact with this number. */
  async contactWith(phone: string): Promise<Person> {
    const rows = await this.sql<{ id: string; email: string | null }[]>`
      select c.id::text, c.email from public.contacts as c
      where c.tenant_id = ${this.tenantId} and automation.normalize_phone(c.phone) = ${phone}`;
    if (rows.length !== 1) throw new Error(`${rows.length} contacts have ${phone}`);
    return { id: rows[0]!.id, phone, email: rows[0]!.email ?? "" };
  }

  /** What a member was told, by text or email. */
  heard(who: "manager" | "rep"): string[] {
    const address = `${who === "rep" ? "rob" : "mia"}${this.number.slice(-4)}@apex.example`;
    return [
      ...this.texts(this.phones[who]),
      ...this.crm.resend.emails().filter(({ to }) => to.includes(address))
        .map(({ subject, text, html }) => `${subject} ${text ?? html}`),
    ];
  }

  async tags({ id }: Person): Promise<string[]> {
    const rows = this.crm.dialect.kind === "host"
      ? await this.sql<{ name: string }[]>`
        select unnest(c.tags) as name from public.contacts as c
        where c.tenant_id = ${this.tenantId} and c.id::text = ${id} order by 1`
      : await this.sql<{ name: string }[]>`
        select t.name from public.contact_tags as l join public.tags as t on t.tenant_id = l.tenant_id and t.id = l.tag_id
        where l.tenant_id = ${this.tenantId} and l.contact_id::text = ${id} order by 1`;
    return rows.map(({ name }) => name);
  }

  async count(table: string): Promise<number> {
    const [row] = await this.sql<{ count: number }[]>`
      select count(*)::int from ${this.sql(`public.${table}`)} where tenant_id = ${this.tenantId}`;
    return row!.count;
  }

  async #day(days: number): Promise<string> {
    const [{ day }] = await this.sql<[{ day: string }]>`
      select ((automation.now() at time zone 'America/Chicago')::date + ${days}::int)::text as day`;
    return day;
  }

  async invoice(person: Person, amount: number, dueInDays: number): Promise<string> {
    return await this.insert("invoices", {
      [this.crm.dialect.invoiceTo]: person.id,
      number: `R-${++numbers}`,
      amount,
      balance: amount,
      due_on: await this.#day(dueInDays),
    });
  }

  async dueIn(invoice: string, days: number): Promise<void> {
    await this.set("invoices", invoice, { due_on: await this.#day(days) });
  }

  async #at(interval: string): Promise<string> {
    const [{ at }] = await this.sql<[{ at: string }]>`
      select ((automation.now() at time zone 'America/Chicago' + ${interval}::interval)
        at time zone 'America/Chicago')::text as at`;
    return at;
  }

  async appointment(person: Person, interval: string): Promise<string> {
    return await this.insert("appointments", {
      contact_id: person.id,
      starts_at: await this.#at(interval),
    });
  }

  async startsIn(appointment: string, interval: string): Promise<void> {
    await this.set("appointments", appointment, { starts_at: await this.#at(interval) });
  }

  /** As the clock on the wall shows it. */
  async #local(written: string): Promise<Date> {
    const [{ at }] = await this.sql<[{ at: Date }]>`
      select ${written}::timestamp at time zone 'America/Chicago' as at`;
    return at;
  }

  async appointmentAt(person: Person, written: string): Promise<string> {
    const starts_at = (await this.#local(written)).toISOString();
    const id = await this.insert("appointments", { contact_id: person.id, starts_at });
    await this.crm.settle();
    return id;
  }

  async until(written: string): Promise<void> {
    await this.crm.until(await this.#local(written));
  }

  /** A workflow of the office's own. */
  async publish(trigger_type: string, steps: Json[], settings: Json = {}): Promise<string> {
    const ridgeline = this.client.schema("ridgeline");
    const { workflow_id } = got(
      await ridgeline.rpc("save_workflow", {
        definition: { name: trigger_type, trigger_type, settings, steps },
        tenant_id: this.tenantId,
      }),
    ) as { workflow_id: string };
    got(await ridgeline.rpc("publish_workflow", { workflow_id, tenant_id: this.tenantId }));
    return workflow_id;
  }

  /** Follows a link as a telephone's browser does, or as somebody else. */
  follow(
    link: string,
    headers: Record<string, string> = { "user-agent": "Mozilla/5.0 (iPhone) Safari/604.1" },
  ) {
    return fetch(link, { headers, redirect: "manual" });
  }
}

export class Crm {
  private constructor(
    readonly dialect: Dialect,
    readonly sql: Sql,
    readonly stack: Stack,
    private readonly client: Client,
    private readonly userId: string,
    private readonly end: () => Promise<void>,
  ) {}

  get twilio() {
    return this.stack.twilio!;
  }
  get resend() {
    return this.stack.resend!;
  }

  static async start(kind: Dialect["kind"]): Promise<Crm> {
    const admin = inject("adminUrl");
    const host = kind === "host" ? await createHost() : undefined;
    const name = host?.name ?? `recipes_${randomBytes(6).toString("hex")}`;
    const url = host?.adminUrl ?? await cloneDatabase(admin, name);
    await using(
      url,
      (sql) => sql.unsafe(`alter database ${name} set automation.quiet_hours = 'on'`),
    );
    const sql = connect(url);
    await sql`select automation.set_clock('2026-06-01 15:00+00')`;
    const stack = await Stack.start({
      port: 0,
      ephemeral: true,
      stackFile: null,
      databaseUrl: url,
      heartbeat: false,
    });
    // Where it is not said, the dispatcher's own address counts.
    const link = `${stack.apiUrl}/functions/v1/link`;
    if (!host) await sql`update automation.settings set value = ${link} where name = 'link_url'`;
    const client = apiClient(stack.apiUrl, stack.publishableKey);
    const { data, error } = await client.auth.signUp({
      email: "mia@apex.example",
      password: "a long password",
    });
    if (error || !data.user) throw error ?? new Error("No user came back");
    return new Crm(dialects[kind], sql, stack, client, data.user.id, async () => {
      await stack.stop();
      await sql.end({ timeout: 1 });
      if (host) await host.drop();
      else await dropDatabase(admin, name);
    });
  }

  stop(): Promise<void> {
    return this.end();
  }

  /** An office of its own, on the next Monday at ten. */
  async open(): Promise<Office> {
    const number = ++numbers;
    const ids = { tenant: randomUUID(), manager: this.userId, rep: randomUUID(), number };
    // What the office before it left behind is nobody's here.
    await this.sql`delete from ridgeline.scheduled_steps`;
    await this.sql`delete from ridgeline.workflow_timers`;
    await this.until(await this.next("10:00", "monday"));
    await this.dialect.open(this.sql, ids);
    await this.sql`
      insert into ridgeline.senders (tenant_id, channel, provider, kind, address, registration, limits, is_default) values
        (${ids.tenant}, 'sms', 'twilio', 'number', ${`+1512556${number}`}, 'registered', '{"per_second": 100}', true),
        (${ids.tenant}, 'email', 'resend', 'address', ${`office@apex${number}.example`}, 'exempt', '{}', true)`;
    const address = `office@apex${number}.example`;
    await this
      .sql`insert into ridgeline.email_addresses (tenant_id, address) values (${ids.tenant}, ${address})`;
    return new Office(
      this,
      ids.tenant,
      this.client,
      ids.manager,
      ids.rep,
      `+1512556${number}`,
      address,
      {
        manager: `+1512557${number}`,
        rep: `+1512558${number}`,
      },
    );
  }

  /** The next time it is this late in the offices' zone, on this day of the week if one is said. */
  async next(time: string, day?: string): Promise<Date> {
    const [{ at }] = await this.sql<[{ at: Date }]>`
      select min(t.at) as at from (
        select (d.day::date + ${time}::time) at time zone 'America/Chicago' as at
        from generate_series(0, 8) as i
        cross join lateral (select ((automation.now() at time zone 'America/Chicago')::date + i) as day) as d
        where ${day ?? null}::text is null or trim(to_char(d.day, 'day')) = ${day ?? null}
      ) as t where t.at > automation.now()`;
    return at;
  }

  /** Does all that is due. */
  async settle(): Promise<void> {
    // By time, not by rounds: an event whose run somebody else holds is put off for a second of the real clock.
    for (const end = Date.now() + 20_000; Date.now() < end;) {
      const [{ sends, others }] = await this.sql<[{ sends: boolean; others: boolean }]>`
        select exists (select from ridgeline.scheduled_steps as s
            where s.run_at <= automation.now() and s.lane <> 'database') as sends,
          exists (select from ridgeline.scheduled_steps as s
            where s.run_at <= automation.now() and s.lane = 'database')
          or exists (select from automation.signals as s where s.kept_for is null)
          or exists (select from ridgeline.workflow_timers as t where t.due_at <= automation.now())
          or exists (select from ridgeline.bulk_enrollments as b where b.status = 'running') as others`;
      if (!sends && !others) return;
      if (others) await this.sql`select automation.tick()`;
      if (sends) await this.stack.dispatch();
    }
    const [left] = await this.sql`
      select automation.now() as now,
        (select jsonb_agg(s) from ridgeline.scheduled_steps as s where s.run_at <= automation.now()) as steps,
        (select jsonb_agg(s) from automation.signals as s where s.kept_for is null) as signals,
        (select jsonb_agg(t) from ridgeline.workflow_timers as t where t.due_at <= automation.now()) as timers,
        (select jsonb_agg(b) from ridgeline.bulk_enrollments as b where b.status = 'running') as bulk`;
    throw new Error(`There is always something due: ${JSON.stringify(left)}`);
  }

  /** Time passes: from one thing that is due to the next. */
  async until(target: Date): Promise<void> {
    await this.settle();
    for (;;) {
      const [{ at }] = await this.sql<[{ at: Date | null }]>`
        select least(
          (select min(s.run_at) from ridgeline.scheduled_steps as s where s.run_at > automation.now()),
          (select min(t.due_at) from ridgeline.workflow_timers as t where t.due_at > automation.now())) as at`;
      // A Date knows no microseconds: past what is due, not just before it.
      const next = at !== null && at < target ? new Date(+at + 1) : target;
      await this.sql`select automation.set_clock(${next})`;
      await this.settle();
      if (next === target) return;
    }
  }

  /** `pass("2 days")`. */
  async pass(interval: string): Promise<void> {
    const [{ at }] = await this.sql<[{ at: Date }]>`
      select (automation.now() at time zone 'America/Chicago' + ${interval}::interval)
        at time zone 'America/Chicago' as at`;
    await this.until(at);
  }

  async now(): Promise<Date> {
    return (await this.sql<[{ at: Date }]>`select automation.now() as at`)[0].at;
  }

  json(value: unknown) {
    return this.sql.json(value as JSONValue);
  }
}
