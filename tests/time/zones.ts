// Zones whose clocks change in every way there is, and when they do, as JavaScript knows it.

export const zones = [
  "UTC",
  "America/New_York",
  "America/Chicago",
  "America/Phoenix",
  "America/St_Johns",
  "America/Sao_Paulo",
  "America/Havana",
  "Europe/London",
  "Europe/Stockholm",
  "Asia/Kolkata",
  "Asia/Kathmandu",
  "Asia/Beirut",
  "Africa/Cairo",
  "Australia/Lord_Howe",
  "Australia/Sydney",
  "Pacific/Auckland",
  "Pacific/Chatham",
  "Pacific/Apia",
  "America/Goose_Bay",
];

const clock = (zone: string) =>
  new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
  });
// To make one takes ten times as long as to ask it.
const clocks = new Map(zones.map((zone) => [zone, clock(zone)]));

/** How far a zone is ahead of UTC at a moment, in milliseconds. */
export function offset(zone: string, at: number): number {
  const parts = Object.fromEntries(
    (clocks.get(zone) ?? clock(zone)).formatToParts(at).map((
      { type, value },
    ) => [type, Number(value)]),
  );
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute) - at;
}

/** The minutes at which the clocks of a zone change, from 2008 to 2030. */
export function transitions(zone: string): number[] {
  const found: number[] = [];
  const day = 86_400_000;
  for (let at = Date.UTC(2008, 0, 1); at < Date.UTC(2030, 0, 1); at += day) {
    if (offset(zone, at) === offset(zone, at + day)) continue;
    let [low, high] = [at, at + day];
    while (high - low > 60_000) {
      const middle = low + Math.floor((high - low) / 120_000) * 60_000;
      if (offset(zone, middle) === offset(zone, low)) low = middle;
      else high = middle;
    }
    found.push(high);
  }
  return found;
}
