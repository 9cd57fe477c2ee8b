// pages/unsubscribe.html as a person uses it: what it offers, what it posts, and what it says. Its script runs with just
// as much of a browser as it asks for; scripts/stack serves the page to a real one.
import fs from "node:fs";
import vm from "node:vm";
import { describe, expect, it } from "vitest";

const html = fs.readFileSync(new URL("../../pages/unsubscribe.html", import.meta.url), "utf8");
const script = /<script>(.*?)<\/script>/s.exec(html)![1]!;
const offered = [...html.matchAll(/<input type="radio" name="purpose" value="(\w+)"( checked)?>/g)]
  .map(([, purpose, checked]) => ({ purpose: purpose!, checked: checked !== undefined }));

const token = "ab".repeat(32);
const post = "https://apex.supabase.example/functions/v1/unsubscribe";

/** Opened with this behind the #; every post is answered with the status, or breaks off. */
function open(hash: Record<string, string>, answer: number | "lost" = 200) {
  const posted: { url: string; method: string; body: string }[] = [];
  let chosen = offered.find(({ checked }) => checked)!.purpose;
  let submit: (event: object) => Promise<void> = () => Promise.resolve();
  const button = { disabled: false };
  const form = {
    hidden: true,
    querySelector: () => button,
    addEventListener: (_: string, listener: typeof submit) => void (submit = listener),
  };
  const said = { textContent: "", focus: () => {} };
  vm.runInNewContext(script, {
    URL,
    URLSearchParams,
    String,
    Error,
    location: { hash: `#${new URLSearchParams(hash)}` },
    document: { getElementById: (id: string) => ({ form, said })[id] },
    FormData: class {
      *[Symbol.iterator]() {
        yield ["purpose", chosen];
      }
    },
    fetch: (url: URL, { method, body }: { method: string; body: URLSearchParams }) => {
      posted.push({ url: url.href, method, body: body.toString() });
      if (answer === "lost") return Promise.reject(new TypeError("Failed to fetch"));
      return Promise.resolve(new Response(null, { status: answer }));
    },
  });
  return {
    posted,
    form,
    said,
    button,
    press: async (purpose = chosen) => {
      chosen = purpose;
      await submit({ preventDefault: () => {} });
    },
  };
}

describe("the unsubscribe page", () => {
  it("offers offers alone, and everything; nobody is unsubscribed of receipts unasked", () => {
    expect(offered).toEqual([
      { purpose: "marketing", checked: true },
      { purpose: "all", checked: false },
    ]);
  });

  it("does nothing by being opened: a scanner runs scripts too", () => {
    const page = open({ token, post });
    expect([page.form.hidden, page.posted]).toEqual([false, []]);
  });

  it.each(["marketing", "all"])(
    "posts %s with its token, and says that it is done",
    async (purpose) => {
      const page = open({ token, post });
      await page.press(purpose);
      expect(page.posted).toEqual([
        { url: `${post}?token=${token}`, method: "POST", body: `purpose=${purpose}` },
      ]);
      expect(page.form.hidden).toBe(true);
      expect(page.said.textContent).toMatch(/^Done/);
    },
  );

  it.each([500, 429, "lost"] as const)(
    "says when it did not work (%s), and may be pressed again",
    async (answer) => {
      const page = open({ token, post }, answer);
      await page.press();
      expect(page.said.textContent).toMatch(/^That did not work/);
      expect([page.form.hidden, page.button.disabled]).toEqual([false, false]);
      await page.press();
      expect(page.posted).toHaveLength(2);
    },
  );

  it.each([
    {},
    { token },
    { post },
    { token, post: "javascript:alert(1)" },
    { token, post: "data:text/html,x" },
    { token, post: "/unsubscribe" },
  ])("with a link that is not whole (%o) offers nothing, and says what to do", (hash) => {
    const page = open(hash as Record<string, string>);
    expect(page.form.hidden).toBe(true);
    expect(page.said.textContent).toMatch(/^Part of this link is missing/);
  });
});
