import process from "node:process";
import { z } from "zod";
import { type Environment, read } from "../runtime/env.ts";
import { ConfigurationError } from "../runtime/errors.ts";

const flag = (env: Environment, name: string): boolean => {
  const value = read(env, name) ?? "false";
  if (value !== "true" && value !== "false") {
    throw new ConfigurationError(name, "set it to true or false, or leave it unset for false");
  }
  return value === "true";
};

export interface PublicAddress {
  /** Where the outside finds the functions, without a slash at the end. */
  base: string | undefined;
  /** Whether x-forwarded-proto and x-forwarded-host may be believed. */
  trustForwarded: boolean;
}

/**
 * PUBLIC_URL is the project's address, or with a path the address of its functions. The platform
 * sets SUPABASE_URL by itself.
 */
export function readPublicAddress(env: Environment = process.env): PublicAddress {
  const name = read(env, "PUBLIC_URL") ? "PUBLIC_URL" : "SUPABASE_URL";
  const value = read(env, name);
  const trustForwarded = flag(env, "TRUST_FORWARDED_HEADERS");
  if (value === undefined) {
    if (trustForwarded) return { base: undefined, trustForwarded };
    throw new ConfigurationError(
      "PUBLIC_URL",
      "set it to the address under which the outside reaches this project, " +
        "https://project.supabase.co",
    );
  }
  const parsed = z.url({ protocol: /^https?$/ }).safeParse(value);
  if (!parsed.success) {
    throw new ConfigurationError(name, "set it to an address that starts with https://");
  }
  const base = value.replace(/\/+$/, "");
  const hasPath = new URL(base).pathname !== "/";
  return { base: hasPath ? base : `${base}/functions/v1`, trustForwarded };
}

/** The same where nobody has to know: undefined when the environment does not say it, or says it wrongly. */
export function statedAddress(env: Environment = process.env): string | undefined {
  // Asked before every claim, where an error with its trace of calls would be dear.
  if (!read(env, "PUBLIC_URL") && !read(env, "SUPABASE_URL")) return undefined;
  try {
    return readPublicAddress(env).base;
  } catch (error) {
    if (error instanceof ConfigurationError) return undefined;
    throw error;
  }
}

/** The hosted platform puts exactly one proxy of its own in front of a function. */
const HOPS = "EdgeRuntime" in globalThis ? 1 : 0;

export function readForwardedHops(env: Environment = process.env): number {
  const parsed = z.coerce.number().int().min(0).max(10).safeParse(
    read(env, "FORWARDED_HOPS") ?? String(HOPS),
  );
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(
    "FORWARDED_HOPS",
    "set it to the number of proxies in front of the functions that add to x-forwarded-for",
  );
}
