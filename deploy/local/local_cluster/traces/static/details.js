// What a span says of itself: who made it, its attributes, what happened in it and what it has to do with.
import { button, copyButton, html } from "./dom.js";
import { duration } from "./units.js";

export function detailsOf(row, acts) {
  if (row.is_missing) return html("div", { class: "details" }, html("p", {}, "Its parent has not been received: it has not ended, was not sampled, or was lost."));
  const told = [
    section("Span", [["name", row.name], ["service", row.service], ["process", row.instance], ["kind", row.kind], ["from", duration(row.start_ms)], ["took", duration(row.duration_ms)]]),
    section("Attributes", Object.entries(row.attributes)),
    section("Events", row.events.map((event) => [duration(event.at_ms), eventWords(event)])),
    linksOf(row.links),
  ];
  const tools = html("div", { class: "acts" }, copyButton(`span ${row.span_id}`, row.span_id, "Copy the span id"));
  if (row.duration_ms > 0) tools.prepend(button("pill small", "Look closer", () => acts.zoomTo(row)));
  return html("div", { class: "details" }, ...told.filter(Boolean), tools);
}

function section(name, pairs) {
  const filled = pairs.filter(([, value]) => value !== "");
  if (!filled.length) return null;
  const list = html("dl", {}, ...filled.flatMap(([term, value]) => [html("dt", {}, term), html("dd", {}, words(value))]));
  return html("div", {}, html("h3", {}, name), list);
}

function linksOf(links) {
  if (!links.length) return null;
  const items = links.map(({ trace_id: traceId }) => html("li", {}, html("a", { href: `/traces/${traceId}` }, `trace ${traceId}`)));
  return html("div", {}, html("h3", {}, "Has to do with"), html("ul", {}, ...items));
}

function eventWords({ name, attributes }) {
  return [name, ...Object.entries(attributes).map(([term, value]) => `${term}=${words(value)}`)].join("  ");
}

function words(value) {
  return Array.isArray(value) ? value.map(String).join(", ") : String(value);
}
