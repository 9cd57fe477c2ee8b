// Forms as the outside meets them: a page, a builder's webhook, whatever bytes they send.
import type { Sql } from "postgres";
import { expect } from "vitest";
import { type Functions, listen, type Office, openOffice } from "./support.ts";

export const SITE = "https://apexroofing.example";

export interface Form extends Office {
  id: string;
  key: string;
  honeypot: string;
}

export async function openForm(
  sql: Sql,
  changes: Record<string, unknown> = {},
  settings: object = {},
): Promise<Form> {
  const office = await openOffice(sql, settings);
  await listen(sql, office.tenantId, "form_submitted");
  return { ...office, ...(await anotherForm(sql, office, changes)) };
}

export async function anotherForm(sql: Sql, office: Office, changes: Record<string, unknown> = {}) {
  const form = {
    tenant_id: office.tenantId,
    name: "Estimate",
    allowed_origins: [SITE],
    ...changes,
  };
  const [row] = await sql`insert into ridgeline.forms ${
    sql(form)
  } returning id, public_key, honeypot`;
  return {
    id: row!.id as string,
    key: row!.public_key as string,
    honeypot: row!.honeypot as string,
  };
}

export interface Options {
  headers?: Record<string, string>;
  peer?: string;
  method?: string;
  query?: string;
}

let peers = 0;

/** Each post comes from a visitor of its own, unless a peer is named. */
export function sendTo(
  functions: Functions,
  form: Form,
  body: BodyInit | null,
  { headers = {}, peer = `198.51.100.${peers++ % 250}`, method = "POST", query = "" }: Options = {},
): Promise<Response> {
  const request = new Request(`http://edge.internal/forms/${form.key}${query}`, {
    method,
    headers: { origin: SITE, ...headers },
    body,
  });
  return functions.forms(request, peer);
}

export const postTo = (functions: Functions, form: Form, fields: object, options: Options = {}) =>
  sendTo(functions, form, JSON.stringify(fields), {
    ...options,
    headers: { "content-type": "application/json", ...options.headers },
  });

export const submissionsOf = (sql: Sql, form: Form) =>
  sql`select * from ridgeline.form_submissions where tenant_id = ${form.tenantId} order by id`;
export const heldOf = (sql: Sql, form: Form) =>
  sql`select * from ridgeline.held_submissions where tenant_id = ${form.tenantId} order by id`;
export const contactsOf = (sql: Sql, form: Form) =>
  sql`select * from contacts where tenant_id = ${form.tenantId} order by created_at, id`;
export const tasksOf = (sql: Sql, form: Form) =>
  sql`select * from tasks where tenant_id = ${form.tenantId} and execution_id is null order by created_at`;

export async function accepted(answer: Promise<Response>): Promise<void> {
  const response = await answer;
  expect([response.status, await response.json()]).toEqual([202, { received: true }]);
}
