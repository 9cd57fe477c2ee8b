// Where a variable may stand in HTML, as automation.check_html() says it: not where a mail program or
// a browser reads a program, a page or an attribute. tests/language holds the two together.

import { templateProblem } from "./template.ts";

export interface HtmlHazard {
  place: "script" | "program" | "page" | "address" | "unquoted";
  /** Of the attribute, in lower case. */
  name?: string;
  /** The character of the variable, from 1. */
  at?: number;
}

const MASK = "\ue000";
const tagPattern =
  /\{\{(?:![^]*?\}\}|\{?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^"'}])*\}\}\}?)/suy;
const insertsNothing = /^\{\{(?:!|\s*[#/]|\s*else(?![\w$]))/u;
const attributePattern = /([^\s"'<>/=]+)(\s*=\s*)("[^"]*"|'[^']*')/gu;

/** Every variable written over, what inserts nothing with blanks; undefined when a tag does not end. */
function maskTags(html: string): string | undefined {
  let masked = "";
  let here = 0;
  for (let ahead = html.indexOf("{{"); ahead >= 0; ahead = html.indexOf("{{", here)) {
    masked += html.slice(here, ahead);
    tagPattern.lastIndex = ahead;
    const tag = masked.endsWith("\\") ? "{{" : tagPattern.exec(html)?.[0];
    if (tag === undefined) return undefined;
    masked += (tag === "{{" || insertsNothing.test(tag) ? " " : MASK).repeat(tag.length);
    here = ahead + tag.length;
  }
  return masked + html.slice(here);
}

/** Does an attribute's value, as it is read, begin with what a browser runs? */
function isProgram(value: string): boolean {
  const read = value
    .replace(
      /&(?:tab|newline);?|&#(?:x0*[9ad]|0*(?:9|10|13)(?![0-9]));?|[^!-\u{10ffff}]|["']/giu,
      "",
    )
    .replace(/&colon;?|&#(?:x0*3a|0*58);?/gi, ":");
  return value.includes(MASK) &&
    /^(?:(?:javascript|vbscript)[:\ue000]|data:(?:\ue000|text\/html|text\/xml|image\/svg\+xml|application\/(?:xhtml\+)?xml))/i
      .test(read);
}

function tagHazard(tag: string): HtmlHazard | undefined {
  for (
    const { 0: written, 1: given = "", 3: value = "", index } of tag.matchAll(attributePattern)
  ) {
    if (!value.includes(MASK)) continue;
    const name = given.toLowerCase();
    const place = name.startsWith("on")
      ? "program"
      : name === "srcdoc"
      ? "page"
      : isProgram(value)
      ? "address"
      : undefined;
    const at = index + written.length - value.length + value.indexOf(MASK);
    if (place) return { place, name, at };
  }
  const outside = tag.replace(/=\s*(?:"[^"]*"|'[^']*')/g, "=");
  return outside.includes(MASK) ? { place: "unquoted" } : undefined;
}

function hazardIn(masked: string): HtmlHazard | undefined {
  for (let here = masked.indexOf("<"); here >= 0; here = masked.indexOf("<", here)) {
    const rest = masked.slice(here);
    if (rest.startsWith("<!--")) {
      const end = rest.indexOf("-->");
      if (end < 0) return undefined;
      here += end + 3;
      continue;
    }
    const tag = /^<\/?[A-Za-z](?:[^<>"']|"[^"]*"|'[^']*')*>?/u.exec(rest)?.[0];
    const found = tag === undefined ? undefined : tagHazard(tag);
    if (found) return found.at === undefined ? found : { ...found, at: found.at + here };
    here += tag?.length ?? 1;
    if (tag === undefined || !/^<script[\s/>]/i.test(tag)) continue;
    const end = masked.slice(here).search(/<\/script/i);
    const at = masked.slice(here, end < 0 ? undefined : here + end).indexOf(MASK);
    if (at >= 0) return { place: "script", at: here + at };
    if (end < 0) return undefined;
    here += end;
  }
  return undefined;
}

/** The first variable of an HTML text that stands where it must not. */
export function htmlHazard(html: string): HtmlHazard | undefined {
  const masked = templateProblem(html) ? undefined : maskTags(html);
  const found = masked === undefined ? undefined : hazardIn(masked);
  if (found?.at === undefined) return found;
  return { ...found, at: Array.from(html.slice(0, found.at)).length + 1 };
}

/** What to say of it. */
export function hazardWords({ place, name, at }: HtmlHazard): string {
  const stands = `the variable at character ${at} stands in`;
  switch (place) {
    case "script":
      return `${stands} <script> and would be run as a program`;
    case "program":
      return `${stands} ${name} and would be run as a program`;
    case "page":
      return `${stands} srcdoc and would be read as a page of its own`;
    case "address":
      return `${stands} a ${name} that a browser runs as a program`;
    case "unquoted":
      return "must be HTML whose attributes with variables are in quotes";
  }
}
