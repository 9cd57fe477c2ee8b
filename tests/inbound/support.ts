// The outside, as the functions meet it: requests signed by the providers' own packages, into a
// database of the suite's own.
import { randomBytes, randomUUID } from "node:crypto";
import type { JSONValue, Sql } from "postgres";
import { Webhook } from "standardwebhooks";
import twilio from "twilio";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { createForms } from "../../functions/_shared/http/inbound-forms.ts";
import { createAccountFinder } from "../../functions/_shared/channels/accounts.ts";
import { createEmailRecorder } from "../../functions/_shared/channels/email/record.ts";
import type { FetchContent } from "../../functions/_shared/channels/email/resend/content.ts";
import { createReceiver as createResend } from "../../functions/_shared/channels/email/resend/receive.ts";
import { createReplier, createSmsRecorder } from "../../functions/_shared/channels/sms/record.ts";
import type { Receiver } from "../../functions/_shared/channels/sms/receiver.ts";
import { createReceiver as createTwilio } from "../../functions/_shared/channels/sms/twilio/receive.ts";
import { readPublicAddress } from "../../functions/_shared/http/webhook-env.ts";
import { createHandler as createEmails } from "../../functions/email-webhook/handler.ts";
import { createHandler as createForm } from "../../functions/forms/handler.ts";
import { createHandler as createTexts } from "../../functions/sms-webhook/handler.ts";
import type { TestDatabase } from "../support/database.ts";

export const AUTH_TOKEN = "an auth token";
export const PUBLIC_URL = "https://apex.supabase.example/functions/v1";
export const TWILIO_URL = `${PUBLIC_URL}/twilio-webhook`;
export const SECRET = `whsec_${randomBytes(32).toString("base64")}`;

export const newSid = (prefix: "SM" | "CA" = "SM") => `${prefix}${randomBytes(16).toString("hex")}`;

let numbers = 2_000_000 + Math.floor(Math.random() * 1_000_000);
export const newNumber = () => `+1512${++numbers}`;

export type Fields = Record<string, string | string[]>;

export function formOf(fields: Fields): URLSearchParams {
  return new URLSearchParams(
    Object.entries(fields).flatMap(([name, value]) =>
      [value].flat().map((one): [string, string] => [name, one])
    ),
  );
}

/** As Twilio signs a form: `url` is what it knows, `to` where the request really arrives. */
export function signedForm(fields: Fields, options: {
  url?: string;
  to?: string;
  token?: string;
  headers?: Record<string, string>;
} = {}): Request {
  const { url = TWILIO_URL, to = "http://edge.internal/twilio-webhook", token = AUTH_TOKEN } =
    options;
  return new Request(to, {
    method: "POST",
    headers: {
      "content-type": "application/x-www-form-urlencoded; charset=utf-8",
      "x-twilio-signature": twilio.getExpectedTwilioSignature(token, url, fields),
      ...options.headers,
    },
    body: formOf(fields),
  });
}

/** As Twilio signs JSON: the digest of the body is in the address, the address is signed. */
export function signedJson(fields: Record<string, unknown> | string, tampered?: string): Request {
  const body = typeof fields === "string" ? fields : JSON.stringify(fields);
  const query = `?bodySHA256=${twilio.getExpectedBodyHash(body)}`;
  return new Request(`http://edge.internal/twilio-webhook${query}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-twilio-signature": twilio.getExpectedTwilioSignature(AUTH_TOKEN, TWILIO_URL + query, {}),
    },
    body: tampered ?? body,
  });
}

export function signedEvent(
  event: unknown,
  { id = `msg_${randomUUID()}`, at = new Date(), secret = SECRET, body = JSON.stringify(event) } =
    {},
): Request {
  const signature = new Webhook(secret).sign(id, at, JSON.stringify(event));
  return new Request("http://edge.internal/resend-webhook", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "svix-id": id,
      "svix-timestamp": String(Math.floor(at.getTime() / 1000)),
      "svix-signature": signature,
    },
    body,
  });
}

export interface Office {
  tenantId: string;
  number: string;
}

export async function openOffice(sql: Sql, settings: object = {}): Promise<Office> {
  const number = newNumber();
  const [tenant] = await sql`
    insert into tenants (name, settings) values ('Apex Roofing', ${sql.json(settings as never)})
    returning id`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, address, label, limits)
    values (${tenant!.id}, 'sms', ${number}, 'Front desk', '{"per_second": 0}')`;
  return { tenantId: tenant!.id, number };
}

/** An active workflow of one task for each of these events; returns nothing but its effect. */
export async function listen(sql: Sql, tenantId: string, ...events: string[]): Promise<void> {
  for (const event of events) await listenWith(sql, tenantId, event);
}

/** One such workflow, with what its trigger is asked; returns its id. */
export async function listenWith(
  sql: Sql,
  tenantId: string,
  event: string,
  config: JSONValue = {},
  conditions: JSONValue = [],
): Promise<string> {
  const [workflow] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, conditions)
    values (${tenantId}, ${event}, ${event}, ${sql.json(config)}, ${sql.json(conditions)})
    returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
    values (${tenantId}, ${workflow!.id}, 1, 'create_task', '{"title": "Look"}')`;
  await sql`
    update ridgeline.workflows set is_active = true where tenant_id = ${tenantId} and id = ${
    workflow!.id
  }`;
  return workflow!.id;
}

export async function fired(sql: Sql, tenantId: string): Promise<string[]> {
  const rows = await sql`
    select trigger_type from ridgeline.workflow_executions
    where tenant_id = ${tenantId} and status <> 'cancelled' order by created_at, trigger_type`;
  return rows.map(({ trigger_type }) => trigger_type);
}

const silent = () => {};

/** The functions on the suite's database, through the connection that they use themselves. */
export function functionsOn(
  database: TestDatabase,
  fetchContent: FetchContent = () => Promise.resolve(null),
  receivers: Readonly<Record<string, Receiver>> = {},
) {
  const sql = connect(database.url, 4);
  const address = () => readPublicAddress({ PUBLIC_URL: "https://apex.supabase.example" });
  const texts = {
    receivers: { twilio: createTwilio({ authToken: () => AUTH_TOKEN }), ...receivers },
    address,
    findAccounts: (provider: string) => createAccountFinder(sql, "sms", provider, silent),
    record: () => createSmsRecorder(sql),
    reply: () => createReplier(sql),
    log: silent,
  };
  return {
    /** Any provider's, who stands in the path. */
    sms: createTexts({ ...texts, name: "sms-webhook" }),
    twilio: createTexts({ ...texts, name: "twilio-webhook", provider: "twilio" }),
    resend: createEmails({
      name: "resend-webhook",
      provider: "resend",
      receivers: {
        resend: createResend({
          secret: () => SECRET,
          fetchContent: () => fetchContent,
          log: silent,
        }),
      },
      findAccounts: (provider) => createAccountFinder(sql, "email", provider, silent),
      record: () => createEmailRecorder(sql),
      log: silent,
    }),
    forms: createForm({ forms: () => createForms(sql), forwardedHops: () => 0, log: silent }),
    close: () => sql.end({ timeout: 1 }),
  };
}

export type Functions = ReturnType<typeof functionsOn>;
