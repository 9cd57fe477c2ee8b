// What providers of email take for an address.
import emailAddresses from "email-addresses";

/** Control characters end a header or hide in one. */
export const PRINTABLE = /^[^\p{Cc}\u2028\u2029]*$/u;
export const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const LOCAL = "[!#$%&'*+/=?^_`{|}~.\\w-]{1,64}";
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const BARE = new RegExp(`^${LOCAL}@(?:${LABEL}\\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]$`);

/** The addresses between commas, or null: one of them is none. Of RFC 5322, without comments; in ASCII, with a domain. */
export function addressesOf(text: string): string[] | null {
  if (!PRINTABLE.test(text)) return null;
  const parsed = emailAddresses.parseAddressList({ input: text, rfc6532: true });
  const mailboxes = parsed?.map((one) =>
    one.type === "mailbox" && !one.parts.comments.some(({ tokens }) => tokens.includes("(")) &&
      BARE.test(one.address)
      ? one.address
      : null
  );
  return mailboxes?.includes(null) ? null : mailboxes as string[] | undefined ?? null;
}

export const isMailbox = (text: string): boolean => addressesOf(text)?.length === 1;
