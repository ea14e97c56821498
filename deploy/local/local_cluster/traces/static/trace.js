// One trace: asks for it until nothing more is expected, and shows it. Which spans are open, and which stretch of time is
// looked at, outlasts what comes in between.
import { get, keepLooking } from "./api.js";
import { Clock } from "./clock.js";
import { button, byId, html, icon } from "./dom.js";
import { factsOf, storyOf } from "./facts.js";
import { hopOf, hopsOf } from "./hops.js";
import { rowItem } from "./rows.js";
import { themeButton } from "./theme.js";
import { duration } from "./units.js";

const INTERVAL_MS = 1000;
const TICK_PIXELS = 76; // that a tick's words need
const EDGE_SHARE = 7; // per cent of the width where words would reach beyond it

const key = decodeURIComponent(location.pathname.split("/").pop());
const opened = new Set();
let trace = null;
let shown = "";
let zoom = null; // { name, fromMs, toMs }; null: all

byId("theme").append(icon("theme"));
themeButton(byId("theme"));
byId("rows").addEventListener("keydown", onKey);
new ResizeObserver(() => trace && draw()).observe(byId("axis"));
keepLooking(look, INTERVAL_MS);

async function look() {
  try {
    trace = await get(`/api/traces/${encodeURIComponent(key)}`);
    tellFailure("");
  } catch (error) {
    tellFailure(error.message);
    return true;
  }
  const now = JSON.stringify(trace);
  if (now !== shown) draw();
  shown = now;
  return !trace.is_settled;
}

function draw() {
  const focused = document.activeElement?.closest("#rows > li")?.dataset.span;
  document.title = `${trace.label} · Trichord`;
  byId("trace").hidden = false;
  byId("name").textContent = trace.label;
  byId("facts").replaceChildren(...factsOf(trace));
  const story = storyOf(trace);
  byId("story").textContent = story.words;
  byId("story").className = `story${story.isBad ? " bad" : ""}`;
  byId("legend").replaceChildren(...hopsOf(trace.services).map(legendItem));
  byId("windows").replaceChildren(...windows());
  const clock = new Clock(zoom?.fromMs ?? 0, zoom?.toMs ?? trace.duration_ms);
  byId("axis").replaceChildren(...axis(clock));
  const acts = { toggle, zoomTo };
  const lines = marks(clock);
  byId("rows").replaceChildren(...trace.rows.map((row) => rowItem(row, clock, lines, opened.has(row.span_id), acts)));
  if (focused) rowButton(focused)?.focus({ preventScroll: true });
}

function legendItem({ parts }) {
  return html("li", {}, ...parts.map(({ service, part }) => html("span", { title: service }, html("span", { class: "swatch hop", ...hopOf(service) }), part)));
}

// Round times and the first token; no tick so near to that, that their words would meet.
function marks(clock) {
  const share = (100 * TICK_PIXELS) / Math.max(byId("axis").clientWidth, TICK_PIXELS);
  const first = trace.first_token_ms;
  const isShown = first !== null && clock.shows(first);
  const room = share * (isShown && clock.at(first) > 100 - EDGE_SHARE ? 2 : 1.3);
  const ticks = clock.ticks(share).map((ms) => ({ ms, isFirstToken: false }));
  const apart = ticks.filter(({ ms }) => !isShown || Math.abs(clock.at(ms) - clock.at(first)) > room);
  return isShown ? [...apart, { ms: first, isFirstToken: true }] : ticks;
}

function axis(clock) {
  return marks(clock).map(({ ms, isFirstToken }) => {
    const edge = clock.at(ms) < EDGE_SHARE ? "at-left" : clock.at(ms) > 100 - EDGE_SHARE ? "at-right" : "";
    const words = isFirstToken ? html("span", { class: `first-token ${edge}` }, `first token ${duration(ms)}`) : html("span", { class: edge }, tickLabel(ms));
    words.style.left = `${clock.at(ms)}%`;
    return words;
  });
}

function windows() {
  const found = [{ name: "All", fromMs: 0, toMs: trace.duration_ms, zoom: null }];
  if (trace.first_token_ms > 0) found.push({ name: "To the first token", zoom: { name: "To the first token", fromMs: 0, toMs: trace.first_token_ms } });
  if (zoom && !found.some(({ name }) => name === zoom.name)) found.push({ name: zoom.name, zoom });
  if (found.length === 1) return [];
  return found.map((one) => {
    const made = button("", one.name, () => lookAt(one.zoom));
    made.setAttribute("aria-pressed", String((zoom?.name ?? "All") === one.name));
    return made;
  });
}

function lookAt(stretch) {
  zoom = stretch;
  draw();
}

function zoomTo(row) {
  lookAt({ name: row.label, fromMs: row.start_ms, toMs: row.start_ms + row.duration_ms });
}

function toggle(row) {
  if (!opened.delete(row.span_id)) opened.add(row.span_id);
  draw();
  rowButton(row.span_id).focus({ preventScroll: true });
}

function rowButton(spanId) {
  return byId("rows").querySelector(`li[data-span="${CSS.escape(spanId)}"] > .row`);
}

function onKey(event) {
  const item = event.target.closest("#rows > li");
  const step = { ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling, Home: byId("rows").firstElementChild, End: byId("rows").lastElementChild }[event.key];
  if (step) {
    event.preventDefault();
    step.querySelector(".row").focus();
  } else if (event.key === "Escape" && opened.delete(item.dataset.span)) {
    draw();
    rowButton(item.dataset.span).focus({ preventScroll: true });
  }
}

function tickLabel(ms) {
  return ms >= 1000 ? `${Number((ms / 1000).toPrecision(4))} s` : `${Number(ms.toPrecision(4))} ms`;
}

function tellFailure(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}
