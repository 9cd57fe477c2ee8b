// Of an email in HTML alone, its words. A stranger has written it, and may have written it to keep us busy: each step goes
// over it once, and no pattern looks ahead for an end that may never come.

/** What is not shown, from where it begins to where it ends; of what has no end, its tag alone goes. */
function withoutHidden(html: string): string {
  const begin = /<(?:!--|(style|script|head|title)\b)/gi;
  const endless = new Set<string>();
  let shown = "";
  let at = 0;
  for (let found = begin.exec(html); found; found = begin.exec(html)) {
    const name = (found[1] ?? "--").toLowerCase();
    if (endless.has(name)) continue;
    const end = name === "--" ? /-->/g : new RegExp(`</${name}\\s*>`, "gi");
    end.lastIndex = begin.lastIndex;
    if (end.test(html)) {
      shown += html.slice(at, found.index);
      at = begin.lastIndex = end.lastIndex;
    } else endless.add(name);
  }
  return shown + html.slice(at);
}

const BREAK = /^<(?:br|\/p|\/div|\/tr|\/li|\/h[1-6])\b/i;

function withoutTags(html: string): string {
  const begin = /<[a-z/!?]/gi;
  let text = "";
  let at = 0;
  for (let found = begin.exec(html); found; found = begin.exec(html)) {
    const open = found.index;
    const close = html.indexOf(">", open);
    if (close < 0) break;
    // The longest name of a tag that breaks a line has four letters.
    text += html.slice(at, open) + (BREAK.test(html.slice(open, open + 6)) ? "\n" : "");
    at = begin.lastIndex = close + 1;
  }
  return text + html.slice(at);
}

const ENTITIES: Readonly<Record<string, string>> = {
  nbsp: " ",
  "#160": " ",
  lt: "<",
  gt: ">",
  quot: '"',
  "#39": "'",
  amp: "&",
};

/** Without what it answers to. */
export function textOfHtml(html: string): string {
  const [own = ""] = withoutHidden(html).split(/<blockquote\b/i, 1);
  return withoutTags(own.replace(/\s+/g, " "))
    .replace(/&(nbsp|#160|lt|gt|quot|#39|amp);/gi, (_entity, name) => ENTITIES[name.toLowerCase()]!)
    .split("\n").map((line) => line.trim()).join("\n")
    .trim();
}
