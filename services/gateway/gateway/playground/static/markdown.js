// A small part of Markdown to elements: paragraphs, headings, lists, quotes, fenced code; bold, italic and code inline.
// Links and images stay the text they are: a model must not lead a reader, or a browser, anywhere.
import { html } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)/;
const HEADING = /^#{1,6} +(.*)$/;
const ITEM = /^ {0,3}(?:[-*+]|(\d{1,9})[.)]) +(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const INLINE = /(`+)(.+?)\1|\*\*(?=\S)(.+?)\*\*|\*(?=[^\s*])([^*]+?)\*/gs;

export function rendered(text) {
  const lines = text.split("\n");
  const blocks = [];
  while (lines.length) {
    if (!lines[0].trim()) lines.shift();
    else blocks.push(block(lines));
  }
  return blocks;
}

function block(lines) {
  if (FENCE.test(lines[0])) return code(lines);
  if (HEADING.test(lines[0])) return html("h3", {}, ...inline(HEADING.exec(lines.shift())[1]));
  if (ITEM.test(lines[0])) return list(lines);
  if (QUOTE.test(lines[0])) return html("blockquote", {}, ...inline(taken(lines, QUOTE).map((match) => match[1]).join("\n")));
  return html("p", {}, ...inline(paragraph(lines)));
}

function code(lines) {
  const [, fence] = FENCE.exec(lines.shift());
  const end = lines.findIndex((line) => line.trim().startsWith(fence));
  const inside = lines.splice(0, end < 0 ? lines.length : end);
  lines.shift();
  return html("pre", { tabindex: "0" }, html("code", {}, inside.join("\n")));
}

function list(lines) {
  const [, number] = ITEM.exec(lines[0]);
  const items = [];
  for (const match of taken(lines, ITEM, /^\s+(\S.*)$/)) {
    if (match.length === 3) items.push(match[2]);
    else items[items.length - 1] += `\n${match[1]}`;
  }
  const made = items.map((item) => html("li", {}, ...inline(item)));
  return number === undefined ? html("ul", {}, ...made) : html("ol", { start: number }, ...made);
}

// Takes lines as long as they match the first pattern, or after one of those the second; tells the matches.
function taken(lines, pattern, continuation = pattern) {
  const matches = [];
  for (let match; lines.length && (match = pattern.exec(lines[0]) ?? continuation.exec(lines[0])); lines.shift()) matches.push(match);
  return matches;
}

function paragraph(lines) {
  const isOther = (line) => !line.trim() || [FENCE, HEADING, ITEM, QUOTE].some((pattern) => pattern.test(line));
  const end = lines.findIndex((line, index) => index > 0 && isOther(line));
  return lines.splice(0, end < 0 ? lines.length : end).join("\n");
}

function inline(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , snippet, bold, italic] = match;
    nodes.push(text.slice(from, match.index));
    if (snippet) nodes.push(html("code", {}, snippet));
    else nodes.push(bold ? html("strong", {}, ...inline(bold)) : html("em", {}, italic));
    from = match.index + whole.length;
  }
  return [...nodes, text.slice(from)].filter((node) => node !== "");
}
