// Markdown as the model writes it → elements. Every element is made here: what a page says is never taken for markup,
// but for tables, of which only the cells, their spans and their words are kept.

export function render(markdown) {
  const made = document.createDocumentFragment();
  const lines = markdown.split("\n");
  while (lines.length) {
    const block = next(lines);
    if (block) made.append(block);
  }
  return made;
}

function next(lines) {
  const line = lines.shift();
  if (!line.trim()) return null;
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) return element(`h${Math.min(heading[1].length + 1, 6)}`, inline(heading[2]));
  if (/^\s*<table/i.test(line)) return table(line + "\n" + taken(lines, line, /<\/table>/i));
  if (/^\s*```/.test(line)) return code(lines);
  if (/^\s*(---+|\*\*\*+)\s*$/.test(line)) return document.createElement("hr");
  if (/^\s*\|.*\|\s*$/.test(line)) return pipes([line, ...leading(lines, /^\s*\|.*\|\s*$/)]);
  if (/^\s*>/.test(line)) return quote([line, ...leading(lines, /^\s*>/)]);
  const item = /^\s*([-*•]|\d+[.)])\s+/;
  if (item.test(line)) return list([line, ...leading(lines, item)], item);
  return element("p", inline([line, ...leading(lines, /^(?!\s*$|#{1,6}\s|\s*<table|\s*```|\s*\|.*\|\s*$)/)].join("\n")));
}

function leading(lines, pattern) {
  const found = [];
  while (lines.length && pattern.test(lines[0])) found.push(lines.shift());
  return found;
}

function taken(lines, line, end) {
  const found = [];
  while (!end.test(line) && lines.length) found.push((line = lines.shift()));
  return found.join("\n");
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function code(lines) {
  const inside = leading(lines, /^(?!\s*```)/);
  lines.shift();
  return element("pre", element("code", inside.join("\n")));
}

function quote(lines) {
  return element("blockquote", render(lines.map((line) => line.replace(/^\s*>\s?/, "")).join("\n")));
}

function list(lines, item) {
  const kind = /^\s*\d/.test(lines[0]) ? "ol" : "ul";
  return element(kind, ...lines.map((line) => element("li", inline(line.replace(item, "")))));
}

function pipes(lines) {
  const rows = lines.map((line) => line.trim().slice(1, -1).split("|").map((cell) => cell.trim()));
  const ruled = rows.length > 1 && rows[1].every((cell) => /^:?-+:?$/.test(cell));
  if (ruled) rows.splice(1, 1);
  const made = rows.map((row, at) => element("tr", ...row.map((cell) => element(ruled && !at ? "th" : "td", inline(cell)))));
  return element("table", element("tbody", ...made));
}

function table(html) {
  const parsed = new DOMParser().parseFromString(html.replace(/<[^>]*>?/g, bare), "text/html");
  const rows = [...parsed.querySelectorAll("tr")].map((row) => element("tr", ...[...row.cells].map(cell)));
  return element("table", element("tbody", ...rows));
}

// A tag of tables with its spans, a break as a blank, and nothing of any other
function bare(tag) {
  const found = /^<(\/?)(table|thead|tbody|tfoot|tr|td|th)\b/i.exec(tag);
  const spans = [...tag.matchAll(/\b(colspan|rowspan)\s*=\s*["']?(\d{1,4})/gi)].map(([, name, number]) => ` ${name}="${number}"`);
  return found ? `<${found[1]}${found[2]}${spans.join("")}>` : " ";
}

function cell(given) {
  const made = element(given.nodeName === "TH" ? "th" : "td", inline(given.textContent));
  if (given.colSpan > 1) made.colSpan = Math.min(given.colSpan, 100);
  if (given.rowSpan > 1) made.rowSpan = Math.min(given.rowSpan, 1000);
  return made;
}

const INLINE = /\*\*(.+?)\*\*|`([^`]+)`|\\\((.+?)\\\)|\\\[([\s\S]+?)\\\]|!\[[^\]]*\]\([^)]*\)|\[([^\]]+)\]\((https?:[^)\s]+)\)|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])/g;

function inline(text) {
  const made = document.createDocumentFragment();
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    made.append(text.slice(at, found.index));
    at = found.index + found[0].length;
    const [, bold, mono, math, display, label, link, slanted] = found;
    if (bold) made.append(element("strong", inline(bold)));
    else if (mono) made.append(element("code", mono));
    else if (math || display) made.append(Object.assign(element("span", math || display), { className: "math" }));
    else if (link) made.append(Object.assign(element("a", label), { href: link, rel: "noopener noreferrer", target: "_blank" }));
    else if (slanted) made.append(element("em", inline(slanted)));
  }
  made.append(text.slice(at));
  return made;
}
