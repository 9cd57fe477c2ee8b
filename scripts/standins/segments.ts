// How many messages a text is: what a carrier bills, and what num_segments of the real Twilio says.

/** GSM 03.38 (3GPP TS 23.038): seven bits each. */
const BASIC = new Set(
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
);
/** Of its extension table: an escape and one of these. */
const EXTENDED = new Set("\f^{}\\[~]|€");

/** What one message holds, alone and as one of several (a header says which it is). */
const CAPACITY = { "GSM-7": { alone: 160, joined: 153 }, "UCS-2": { alone: 70, joined: 67 } };

export interface Segments {
  encoding: keyof typeof CAPACITY;
  /** Septets, or UTF-16 units. */
  units: number;
  segments: number;
}

/** No character is cut in two, so the end of a segment may stay empty. */
export function segmentsOf(text: string): Segments {
  const characters = [...text];
  const isGsm = characters.every((one) => BASIC.has(one) || EXTENDED.has(one));
  const encoding = isGsm ? "GSM-7" : "UCS-2";
  const { alone, joined } = CAPACITY[encoding];
  const sizes = characters.map((one) => isGsm ? (EXTENDED.has(one) ? 2 : 1) : one.length);
  const units = sizes.reduce((sum, size) => sum + size, 0);
  if (units <= alone) return { encoding, units, segments: 1 };
  let segments = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > joined) {
      segments++;
      used = 0;
    }
    used += size;
  }
  return { encoding, units, segments };
}
