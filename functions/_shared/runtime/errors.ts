/** The environment is incomplete or malformed. The message names the variable and the fix, never its value. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
  constructor(readonly variable: string, fix: string) {
    super(`${variable}: ${fix}`);
  }
}

/** A caller's mistake: answered with `status`, and the message is safe to show. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

/** Functions and database are releases that do not go together. The message says which to upgrade, and how. */
export class VersionError extends Error {
  override readonly name = "VersionError";
}

/** The database answered something that the contract of its functions does not allow. */
/** Named in a workflow, and not to be had: the operator's to mend. */
export class SecretMissingError extends Error {
  override readonly name = "SecretMissingError";
}

export class ContractError extends Error {
  override readonly name = "ContractError";
}

/** No answer within the time allowed. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  constructor(what: string, readonly milliseconds: number) {
    super(`${what} did not answer within ${milliseconds} ms`);
  }
}

/** A webhook address that must not be called. */
export class ForbiddenAddressError extends Error {
  override readonly name = "ForbiddenAddressError";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The machine-readable code of an error or of what caused it (`ECONNREFUSED`, a SQLSTATE). */
export function codeOf(error: unknown): string | undefined {
  for (let cause: unknown = error, depth = 0; cause instanceof Error && depth < 4; depth++) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
    if (cause instanceof AggregateError) cause = cause.errors[0];
    else cause = cause.cause;
  }
  return undefined;
}
