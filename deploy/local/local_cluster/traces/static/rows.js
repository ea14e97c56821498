// One line of the waterfall: a name, a bar, and what the span says of itself once it is opened.
import { detailsOf } from "./details.js";
import { html } from "./dom.js";
import { hopOf } from "./hops.js";
import { duration } from "./units.js";

const MAX_INDENT = 14;
const INDENT_REM = 0.875;
const FIRST_TOKEN = "first token"; // the event that everybody waits for

// marks: times with a line through every lane; acts: { toggle, zoomTo }, each given the row.
export function rowItem(row, clock, marks, isOpen, acts) {
  const line = html("button", { type: "button", class: "row", "aria-expanded": String(isOpen), "aria-label": nameOf(row), title: tipOf(row) },
    titleOf(row), html("span", { class: "lane" }, ...marks.map((mark) => gridLine(mark, clock)), ...barNodes(row, clock)));
  line.addEventListener("click", () => acts.toggle(row));
  const item = html("li", { class: `hop ${stateOf(row)}`, "data-span": row.span_id, ...hopOf(row.service ?? "") }, line);
  if (isOpen) item.append(detailsOf(row, acts));
  return item;
}

function stateOf(row) {
  if (row.is_missing) return "missing";
  if (row.is_cancelled) return "cancelled";
  return row.error ? "failed" : "";
}

function titleOf(row) {
  const indent = html("span", { class: "indent" });
  indent.style.width = `${Math.min(row.depth, MAX_INDENT) * INDENT_REM}rem`;
  const told = [indent, html("span", { class: "swatch" }), html("span", { class: "name" }, shownName(row), ...(row.note ? [html("small", {}, ` ${row.note}`)] : []))];
  if (row.is_origin) told.push(html("span", { class: row.is_cancelled ? "error badge" : "error badge bad" }, row.is_cancelled ? "cancelled" : row.error));
  return html("span", { class: "title" }, ...told);
}

function barNodes(row, clock) {
  const seen = clock.seen(row.start_ms, row.duration_ms);
  if (!seen) return [];
  const edges = `${seen.isCutLeft ? " cut-left" : ""}${seen.isCutRight ? " cut-right" : ""}`;
  const bar = html("span", { class: `span${edges}` });
  bar.style.left = `${seen.left}%`;
  bar.style.width = `${seen.width}%`;
  const took = html("span", { class: "took" }, duration(row.duration_ms));
  took.style.left = `${seen.left + seen.width}%`;
  return [bar, ...(row.events ?? []).filter((event) => clock.shows(event.at_ms)).map((event) => tick(event, clock)), took];
}

function tick(event, clock) {
  const made = html("span", { class: event.name === FIRST_TOKEN ? "event strong" : "event", title: `${event.name} at ${duration(event.at_ms)}` });
  made.style.left = `${clock.at(event.at_ms)}%`;
  return made;
}

function gridLine({ ms, isFirstToken }, clock) {
  const made = html("span", { class: isFirstToken ? "grid first" : "grid" });
  made.style.left = `${clock.at(ms)}%`;
  return made;
}

function shownName(row) {
  return row.is_missing ? "not received" : row.label;
}

function nameOf(row) {
  const failed = row.error ? `, ${row.is_cancelled ? "cancelled" : `failed: ${row.error}`}` : "";
  return `${shownName(row)}${row.service ? `, ${row.service}` : ""}, ${duration(row.duration_ms)}, from ${duration(row.start_ms)} on${failed}`;
}

function tipOf(row) {
  return row.is_missing ? "The span that called these has not been received" : `${row.name} · ${row.service}`;
}
