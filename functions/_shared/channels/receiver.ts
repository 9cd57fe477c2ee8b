// What the doors for texts and for emails share: a call from a provider, and whose account may have made it.

/** Of our side of an event: whose account may have signed it. */
export interface OurSide {
  tenantId?: string;
  /** The number that was texted, or that the text went out from. */
  address?: string;
  /** The messaging service that picked it. */
  service?: string;
}

/** A tenant's own account: what it signs is believed of this tenant alone. */
export interface OwnAccount<T> {
  tenantId: string;
  account: T;
}

/** None: the side is nobody's, or is the environment's. `parse` reads the secret, and throws what it cannot read. */
export type FindAccounts = <T>(
  side: OurSide,
  parse: (secret: string) => T,
) => Promise<OwnAccount<T>[]>;

/** A call from outside, of which nobody knows yet whose it is. */
export interface ProviderCall {
  headers: Headers;
  /** Whose account's calls come to this address. */
  tenantId: string | undefined;
  accounts: FindAccounts;
}

/**
 * What may have signed a call: that of the environment's account, or those of the tenant that the address names. The
 * body, which nobody has vouched for, is not asked whose it is.
 */
export async function signersOf<T>(
  { tenantId, accounts }: ProviderCall,
  ofEnvironment: () => T,
  parse: (secret: string) => T,
): Promise<T[]> {
  if (tenantId === undefined) return [ofEnvironment()];
  return (await accounts({ tenantId }, parse)).map(({ account }) => account);
}
