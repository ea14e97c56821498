// The list of traces: asks for what the form says, shows it, and asks again.
import { get, keepLooking } from "./api.js";
import { byId, html, icon } from "./dom.js";
import { hopOf, hopsOf } from "./hops.js";
import { themeButton } from "./theme.js";
import { duration } from "./units.js";

const INTERVAL_MS = 2000;
const TYPING_MS = 150;

let shown = "";

byId("theme").append(icon("theme"));
themeButton(byId("theme"));
fill(new URLSearchParams(location.search));
byId("search").addEventListener("submit", (event) => event.preventDefault());
let typing;
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(look, TYPING_MS);
});
keepLooking(look, INTERVAL_MS);

async function look() {
  const search = query();
  history.replaceState(null, "", search.size ? `?${search}` : location.pathname);
  try {
    const { traces } = await get(`/api/traces?${search}`);
    if (`${search}` === `${query()}`) show(traces, search.size > 0);
    tellFailure("");
  } catch (error) {
    tellFailure(error.message);
  }
}

function query() {
  const told = { text: byId("text").value.trim(), errors: byId("errors").checked ? "true" : "", min_ms: byId("min-ms").value };
  return new URLSearchParams(Object.entries(told).filter(([, value]) => value));
}

function fill(told) {
  byId("text").value = told.get("text") ?? "";
  byId("errors").checked = told.get("errors") === "true";
  byId("min-ms").value = told.get("min_ms") ?? "";
}

function show(traces, isSearch) {
  const now = JSON.stringify(traces);
  byId("table").hidden = traces.length === 0;
  byId("empty").hidden = traces.length > 0;
  byId("empty").textContent = isSearch ? "No trace is like that." : "No request has come yet. Ask something, and it appears here.";
  if (now === shown) return;
  shown = now;
  const focused = document.activeElement?.closest(".line")?.dataset.trace;
  const longestMs = Math.max(...traces.map((trace) => trace.duration_ms));
  byId("lines").replaceChildren(...traces.map((trace) => line(trace, longestMs)));
  byId("status").textContent = `${traces.length} trace${traces.length === 1 ? "" : "s"}`;
  if (focused) byId("lines").querySelector(`[data-trace="${focused}"] a`)?.focus({ preventScroll: true });
}

function line(trace, longestMs) {
  const failed = trace.error && !trace.is_cancelled ? " failed" : "";
  return html("tr", { class: `line${failed}`, "data-trace": trace.trace_id },
    html("td", { class: "when", title: new Date(trace.start_ms).toISOString() }, clock(trace.start_ms)),
    html("td", {}, html("a", { href: `/traces/${trace.trace_id}`, title: trace.name }, trace.label), html("div", { class: "sub" }, ...subs(trace))),
    html("td", { class: "number" }, duration(trace.duration_ms), share(trace.duration_ms / longestMs)),
    html("td", { class: "number" }, trace.first_token_ms === null ? "" : duration(trace.first_token_ms)),
    html("td", {}, html("ul", { class: "through" }, ...hopsOf(trace.services).map(hop))));
}

function subs(trace) {
  const told = [trace.model, trace.request_id].filter(Boolean).map((words) => html("span", {}, words));
  if (trace.error) told.unshift(html("span", { class: trace.is_cancelled ? "badge" : "badge bad" }, trace.error));
  else if (trace.num_failed) told.unshift(html("span", { class: "badge bad" }, `${trace.num_failed} failed inside`));
  if (!trace.has_root) told.unshift(html("span", { class: "badge open" }, trace.is_settled ? "incomplete" : "in progress"));
  return told;
}

function share(ratio) {
  const bar = html("i");
  bar.style.width = `${Math.max(2, 100 * ratio)}%`;
  return html("span", { class: "took", "aria-hidden": "true" }, bar);
}

function hop({ name }) {
  return html("li", {}, html("span", { class: "swatch hop", ...hopOf(`${name}-model`) }), name);
}

function clock(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour12: false });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

function tellFailure(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}
