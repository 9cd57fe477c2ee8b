// An email that comes in, whatever a stranger has made of it; of one in HTML alone, its words.
import { expect, test } from "vitest";
import { postmarkEventOf } from "../../functions/_shared/channels/email/postmark/events.ts";
import { contentOf } from "../../functions/_shared/channels/email/receiver.ts";

const wordsOf = (html: string) => contentOf({ html }).text;

test.each([
  ["<p>Tuesday\n is <b>fine</b>.</p><p>Maria</p>", "Tuesday is fine.\nMaria"],
  ["<HEAD><title>Re</title></HEAD>Hi<BR />there<style>p {}</STYLE >", "Hi\nthere"],
  ["A<!-- <p>no</p> -->B<script>if (a < b) {}</script>C", "ABC"],
  ["&lt;b&gt; Tom &amp; Ann&#39;s &quot;roof&quot;&nbsp;&amp;lt;", `<b> Tom & Ann's "roof" &lt;`],
  ["<table><tr><td>One</td></tr><tr><td>Two</td></tr></table>", "One\nTwo"],
  ["<header>Yes</header><blockquote>Was: no</blockquote>", "Yes"],
  ["<style>p {} Hello", "p {} Hello"],
  ["5 < 6 and 7 > 6<br>I <3 it", "5 < 6 and 7 > 6\nI <3 it"],
])("%j says %j", (html, words) => expect(wordsOf(html)).toBe(words));

// A line takes a few milliseconds. What goes over the rest again at each piece takes seconds for the first size, and
// minutes for the last.
test.each([
  "<",
  "<p",
  "<br",
  "<style>",
  "</style ",
  "<script></script",
  "<title>x</title>",
  "<!--",
  "<!-- --",
  "<blockquot",
  "&nbsp;",
  " <b> ",
  "\n ",
])("400 kB of %j are read once", (piece) => {
  for (const size of [25_000, 100_000, 400_000]) {
    const began = performance.now();
    wordsOf(piece.repeat(size / piece.length));
    expect(performance.now() - began).toBeLessThan(1_000);
  }
});

test("of all whom it is to, a thousand are looked for: first who got it", () => {
  const email = {
    MessageID: "1",
    From: "maria@example.com",
    ToFull: Array.from({ length: 50_000 }, (_, i) => ({ Email: `crew-${i}@example.com` })),
    OriginalRecipient: "office@apex.example",
  };
  const { to } = postmarkEventOf(email)!.event;
  expect([to?.length, to?.[0], to?.[1]])
    .toEqual([1_000, "office@apex.example", "crew-0@example.com"]);
});

test("of two verdicts by one name Postmark's own counts, which comes first", () => {
  const email = {
    MessageID: "1",
    From: "maria@example.com",
    Headers: [
      { Name: "Received-SPF", Value: "Fail (not designated)" },
      { Name: "Received-SPF", Value: "Pass" },
    ],
  };
  expect(postmarkEventOf(email)!.event.headers)
    .toEqual({ "Received-SPF": "Fail (not designated)" });
});

test.each([
  ["Authentication-Results", "mx.evil.example; dmarc=pass"],
  ["received-spf", "Pass"],
])("what its writer says of itself in %s is no verdict of Postmark's", (Name, Value) => {
  const own = { Name: "Received-SPF", Value: "Fail (not designated)" };
  const email = { MessageID: "1", From: "maria@example.com", Headers: [own, { Name, Value }] };
  expect(postmarkEventOf(email)!.event.headers).toEqual({ [own.Name]: own.Value });
});
