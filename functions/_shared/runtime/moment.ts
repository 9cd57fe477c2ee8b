// Dates from outside. JavaScript has years that Postgres has not, and the other way round: -271821 to 275760
// here, -4713 to 294276 there. Nothing that is meant lies near either end.
import { z } from "zod";

const EARLIEST = Date.UTC(1900, 0, 1);
const LATEST = Date.UTC(3000, 0, 1);
const DAY_MS = 86_400_000;

/** Postgres knows offsets below 16 hours and texts of up to 128 characters; the widest zone is 14 hours away. */
const isWritable = (text: string) => text.length <= 40 && !/[+-](?:1[5-9]|2\d):\d\d$/.test(text);

/** A moment that a caller names: ISO 8601 with an offset, of the years 1900 to 2999. */
export const moment = z.iso.datetime({ offset: true, abort: true }).refine((text) => {
  const at = Date.parse(text);
  return at >= EARLIEST && at < LATEST && isWritable(text);
}, {
  error: "is no date between the years 1900 and 3000",
  params: { fix: "send a date such as 2026-11-26T09:30:00Z" },
});

/** When something happened, as a provider writes it; not before it was in business, and not still to come. */
export function parsePast(value: unknown, now = Date.now()): Date | null {
  if (typeof value !== "string" || value.length > 60) return null;
  const at = Date.parse(value);
  return at >= Date.UTC(2000, 0, 1) && at <= now + DAY_MS ? new Date(at) : null;
}
