// Following the link of a text: where it leads, what is told of whoever asks, and what a slow database does to it.
import { describe, expect, it, vi } from "vitest";
import { networkOf } from "../../functions/_shared/http/source.ts";
import { createHandler, type Links } from "../../functions/link/handler.ts";

const CODE = "aB3dE6gH9jK";
const at = (code = CODE) => `https://apex.supabase.example/functions/v1/link/${code}`;
const browser = { "user-agent": "Mozilla/5.0 (iPhone) Safari/604.1" };

function serve(links: Partial<Links>, timeoutMs = 50) {
  const tracked: Promise<unknown>[] = [];
  const recorded: [string, string | null, string | null][] = [];
  const logged: string[] = [];
  const looked: string[] = [];
  const handler = createHandler({
    links: () => ({
      find: (code) => {
        looked.push(code);
        return links.find ? links.find(code) : Promise.resolve("https://g.page/r/apex");
      },
      record: (...call) => {
        recorded.push(call);
        return links.record ? links.record(...call) : Promise.resolve("clicked");
      },
    }),
    log: (_level, event) => logged.push(event),
    track: (work) => tracked.push(work),
    timeoutMs,
  });
  const ask = (init: RequestInit = { headers: browser }, code = CODE) =>
    handler(new Request(at(code), init));
  return { ask, recorded, logged, looked, tracked };
}

describe("the link of a text", () => {
  it("leads exactly where it was written to lead", async () => {
    const url = "https://G.page?x=%2F&y=a+b#top";
    const { ask, recorded } = serve({ find: () => Promise.resolve(url) });
    const response = await ask();
    expect([response.status, response.headers.get("location")]).toEqual([302, url]);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
    expect(recorded).toEqual([[CODE, browser["user-agent"], null]]);
  });

  it("leads nowhere else, whatever the address says", async () => {
    const { ask, looked } = serve({ find: () => Promise.resolve(null) });
    for (
      const code of [
        CODE,
        "https://evil.example",
        "..%2F..%2Fevil",
        `${CODE}?url=https://evil.example`,
        "",
        CODE.slice(1),
        `${CODE}L`,
        "x".repeat(5_000),
      ]
    ) {
      const response = await ask({ headers: browser }, code);
      expect([response.status, response.headers.get("location")]).toEqual([404, null]);
      expect(await response.text()).toMatch(/does not lead anywhere/);
      expect(response.headers.get("cache-control")).toBe("no-store");
    }
    // What cannot be a code is not looked up.
    expect(looked).toEqual([CODE, CODE]);
  });

  it.each([
    ["a mail program that looks first", { method: "HEAD", headers: browser }, "head"],
    [
      "a browser that fetches ahead",
      { headers: { ...browser, "sec-purpose": "prefetch" } },
      "prefetch",
    ],
    ["the same in older words", { headers: { ...browser, "x-moz": "prefetch" } }, "prefetch"],
    ["a preview", { headers: { ...browser, "x-purpose": "preview" } }, "prefetch"],
    ["an image on a page", { headers: { ...browser, "sec-fetch-dest": "image" } }, "not_a_page"],
    ["a person", { headers: { ...browser, "sec-fetch-dest": "document" } }, null],
  ])("tells what a request says of itself: %s", async (_, init, hint) => {
    const { ask, recorded } = serve({});
    expect((await ask(init)).status).toBe(302);
    expect(recorded).toEqual([[CODE, browser["user-agent"], hint]]);
  });

  it("tells that nobody said who asks, and a long story cut", async () => {
    const { ask, recorded } = serve({});
    await ask({ headers: {} });
    await ask({ headers: { "user-agent": "x".repeat(5_000) } });
    expect(recorded.map(([, agent]) => agent?.length ?? null)).toEqual([null, 500]);
  });

  it("leads there though nothing can be written down", async () => {
    const { ask, logged } = serve({ record: () => Promise.reject(new Error("read-only")) });
    expect((await ask()).status).toBe(302);
    expect(logged).toEqual(["link_not_recorded"]);
  });

  it("does not wait for what is written down slowly", { timeout: 20_000 }, async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    try {
      const { ask } = serve({ record: () => new Promise(() => {}) });
      const answer = ask();
      // As long as a person is kept for it.
      await vi.advanceTimersByTimeAsync(300);
      expect((await answer).status).toBe(302);
    } finally {
      vi.useRealTimers();
    }
  });

  it("leads there at the second try", async () => {
    let tries = 0;
    const { ask } = serve({
      find: () =>
        tries++ === 0
          ? Promise.reject(Object.assign(new Error("lost"), { code: "CONNECTION_CLOSED" }))
          : Promise.resolve("https://g.page/r/apex"),
    });
    expect((await ask()).status).toBe(302);
  });

  it("asks the browser to come back where the database is away", async () => {
    for (
      const [find, tries] of [
        [() => new Promise<never>(() => {}), 2],
        [() => Promise.reject(new Error("no")), 1],
      ] as const
    ) {
      const { ask, recorded, looked } = serve({ find }, 5);
      const response = await ask();
      expect(response.status).toBe(503);
      expect(looked).toHaveLength(tries);
      expect([response.headers.get("refresh"), response.headers.get("retry-after")]).toEqual([
        "5",
        "5",
      ]);
      expect(await response.text()).not.toMatch(/Error|no$/);
      expect(recorded).toEqual([]);
    }
  });

  it("looks a link that is asked for again up once, and writes each down", async () => {
    const { ask, looked, recorded } = serve({});
    for (let times = 0; times < 60; times++) await ask();
    expect([looked.length, recorded.length]).toEqual([1, 60]);
  });

  it("keeps no more of them than it has room for", async () => {
    const { ask, looked } = serve({});
    const codes = Array.from({ length: 1_001 }, (_, n) => `made${String(n).padStart(7, "0")}`);
    for (const code of codes) await ask({ headers: browser }, code);
    await ask({ headers: browser }, codes[0]);
    expect(looked).toEqual([...codes, codes[0]]);
  });

  it("has written down what is quick before it answers, and keeps the process for the rest", async () => {
    let written = false;
    const { ask, tracked } = serve({
      record: async () => {
        await new Promise((go) => setTimeout(go, 5));
        written = true;
        return "clicked";
      },
    });
    expect((await ask()).status).toBe(302);
    expect(written).toBe(true);
    expect(tracked).toHaveLength(1);
  });

  it("goes on leading there in a flood, of which it writes down what it can", async () => {
    const { ask, recorded } = serve({ record: () => new Promise(() => {}) });
    const responses = await Promise.all(Array.from({ length: 200 }, () => ask()));
    expect(responses.every(({ status }) => status === 302)).toBe(true);
    expect(recorded.length).toBe(50);
  });

  it("sends letters of other alphabets as a header can say them", async () => {
    const { ask } = serve({ find: () => Promise.resolve("https://exämple.example/ñ") });
    expect((await ask()).headers.get("location")).toBe("https://xn--exmple-cua.example/%C3%B1");
  });

  it("takes no other method", async () => {
    const { ask, recorded } = serve({});
    const response = await ask({ method: "POST", body: "x" });
    expect([response.status, (await response.json()).code]).toEqual([405, "method_not_allowed"]);
    expect(recorded).toEqual([]);
  });
});

describe("whoever tries codes", () => {
  const made = "aB3dE6gH9jK";
  const guess = (n: number) => `guess${String(n).padStart(6, "0")}`;

  function open() {
    const looked: string[] = [];
    let time = 0;
    const handler = createHandler({
      links: () => ({
        find: (code) => {
          looked.push(code);
          return Promise.resolve(code === made ? "https://g.page/r/apex" : null);
        },
        record: () => Promise.resolve("clicked"),
      }),
      log: () => {},
      forwardedHops: () => 1,
      now: () => time,
    });
    const ask = async (code: string, source: string, faked = "") => {
      const response = await handler(
        new Request(at(code), { headers: { ...browser, "x-forwarded-for": `${faked}${source}` } }),
        "10.0.0.1",
      );
      return { response, said: [response.status, await response.text()] };
    };
    return { ask, looked, later: (ms: number) => time += ms };
  }

  it("is not looked up for any more, and is told the same of a code that leads somewhere", async () => {
    const { ask, looked } = open();
    for (let n = 0; n < 100; n++) {
      expect((await ask(guess(n), "192.0.2.7")).response.status).toBe(404);
    }
    // Not by writing another address in front of his own either.
    const wrong = await ask(guess(100), "192.0.2.7", "203.0.113.9, ");
    const right = await ask(made, "192.0.2.7");
    expect(wrong.response.status).toBe(429);
    expect(right.said).toEqual(wrong.said);
    expect([...right.response.headers]).toEqual([...wrong.response.headers]);
    expect(right.response.headers.get("location")).toBeNull();
    expect(looked).toHaveLength(100);
  });

  it("keeps nobody else out, and a person behind the same address not for long", async () => {
    const { ask, later, looked } = open();
    for (let n = 0; n < 150; n++) await ask(guess(n), "192.0.2.7");
    expect((await ask(made, "198.51.100.4")).response.status).toBe(302);
    // What somebody has just followed leads on from anywhere.
    expect((await ask(made, "192.0.2.7")).response.status).toBe(302);
    later(61_000);
    expect((await ask(made, "192.0.2.7")).response.status).toBe(302);
    // Where it leads is asked again by then: it may have ended.
    expect(looked.filter((code) => code === made)).toHaveLength(2);
    const { response } = await ask(guess(1), "192.0.2.7");
    expect(response.status).toBe(404);
  });

  it("is one whole network of IPv6", async () => {
    const { ask } = open();
    for (let n = 0; n < 100; n++) await ask(guess(n), `2001:db8:1:2::${(n + 1).toString(16)}`);
    expect((await ask(guess(100), "2001:db8:1:2:ffff::1")).response.status).toBe(429);
    expect((await ask(guess(100), "2001:db8:1:3::1")).response.status).toBe(404);
    expect([networkOf("::ffff:192.0.2.7"), networkOf("whoever")]).toEqual(["192.0.2.7", "whoever"]);
  });

  it("an office of thousands and a scanner of links, whose codes lead somewhere, are asked nothing", async () => {
    const { ask } = open();
    for (let n = 0; n < 2_000; n++) {
      expect((await ask(made, "192.0.2.7")).response.status).toBe(302);
    }
  });

  it("learns no more from what cannot be a code", async () => {
    const { ask, looked } = open();
    const short = await ask("guess", "192.0.2.7");
    const unknown = await ask(guess(1), "192.0.2.7");
    expect(short.said).toEqual(unknown.said);
    expect(looked).toEqual([guess(1)]);
  });
});
