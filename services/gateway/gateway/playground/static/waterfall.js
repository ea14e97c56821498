// Draws the stages of an answer as an SVG that fits its width, with the same numbers in a table for who cannot see it.
import { html, svg } from "./dom.js";
import { Scale } from "./scale.js";
import { waterfallOf } from "./stages.js";
import { duration } from "./units.js";

const NAMES = 72; // pixels for the lanes' names
const TOP = 22;
const LANE = 34;
const BAR = 24;
const AXIS = 22;
const LEAST_BAR = 2;
const LETTER = 5.7; // pixels of one, about

export function stagesFigure(receipt) {
  const waterfall = waterfallOf(receipt);
  const told = html("figcaption", {},
    html("span", {}, html("b", {}, duration(waterfall.firstTokenMs)), " to the first token"),
    html("span", {}, html("b", {}, duration(waterfall.totalMs)), " in all"));
  const figure = html("figure", { class: "stages", "aria-label": "Where the time went" }, told, html("div"), numbers(waterfall));
  const place = figure.children[1];
  new ResizeObserver(() => {
    if (place.clientWidth) place.replaceChildren(drawn(waterfall, place.clientWidth));
  }).observe(place);
  return figure;
}

function drawn(waterfall, width) {
  const scale = new Scale(waterfall, NAMES, width - 1);
  const bottom = TOP + waterfall.lanes.length * LANE;
  const name = `First token after ${duration(waterfall.firstTokenMs)}, all after ${duration(waterfall.totalMs)}`;
  return svg("svg", { class: "waterfall", role: "img", "aria-label": name, width, height: bottom + AXIS },
    ...axis(scale, bottom),
    ...waterfall.lanes.flatMap((lane, index) => laneNodes(lane, TOP + index * LANE, scale)),
    ...firstToken(waterfall, scale, bottom));
}

function axis(scale, bottom) {
  const nodes = scale.ticks(64).flatMap((ms) => [
    svg("line", { class: "grid", x1: scale.at(ms), x2: scale.at(ms), y1: TOP - 4, y2: bottom }),
    label(scale.at(ms), bottom + 15, tickLabel(ms), ms ? "middle" : "start"),
  ]);
  nodes.push(label(scale.right, bottom + 15, duration(scale.totalMs), "end"));
  if (scale.isBent) nodes.push(svg("path", { class: "break", d: `M${scale.bend + 10} ${bottom + 15}l3 -8m3 8l3 -8` }));
  return nodes;
}

function laneNodes(lane, y, scale) {
  const top = y + (LANE - BAR) / 2;
  const track = svg("rect", { class: "lane", x: scale.left, y: top, width: scale.right - scale.left, height: BAR, rx: 5 });
  const told = lane.note ? `${lane.note} · ${duration(lane.ms)}` : duration(lane.ms);
  return [
    track,
    label(0, y + 15, lane.name, "start", "lane-name"),
    label(0, y + 29, told, "start"),
    ...lane.bars.flatMap((bar) => barNodes(bar, lane, top, scale)),
  ];
}

function barNodes(bar, lane, top, scale) {
  const x = scale.at(bar.startMs);
  const width = Math.max(LEAST_BAR, scale.at(bar.startMs + bar.ms) - x);
  const tip = `${lane.name}: ${bar.stage} ${duration(bar.ms)}, from ${duration(bar.startMs)} on`;
  const rect = svg("rect", {
    class: "stage", "data-owner": bar.owner, "data-shade": bar.shade, "data-stage": bar.stage, x, y: top, width, height: BAR, rx: 4,
  }, svg("title", {}, tip));
  const words = [`${bar.stage} ${duration(bar.ms)}`, bar.stage].find((one) => one.length * LETTER + 12 < width);
  return words ? [rect, label(x + 5, top + 16, words, "start", bar.shade > 2 ? "bar-label" : "bar-label on-pale")] : [rect];
}

function firstToken(waterfall, scale, bottom) {
  const x = scale.at(waterfall.firstTokenMs);
  const words = `first token ${duration(waterfall.firstTokenMs)}`;
  const half = (words.length * LETTER) / 2 + 6;
  const middle = Math.max(NAMES + half, Math.min(x, scale.right - half));
  return [
    svg("line", { class: "first", x1: x, x2: x, y1: TOP - 4, y2: bottom }),
    label(middle, TOP - 9, words, "middle", "first-label"),
  ];
}

function tickLabel(ms) {
  return ms >= 1000 ? `${Number((ms / 1000).toPrecision(3))} s` : `${Number(ms.toPrecision(3))} ms`;
}

function label(x, y, words, anchor, className = "") {
  return svg("text", { x, y, class: className, "text-anchor": anchor }, words);
}

function numbers({ lanes }) {
  const rows = lanes.map((lane) => html("tr", {}, html("th", { scope: "row" }, lane.name), html("td", {}, ...lane.bars.map(stageOf))));
  return html("details", {}, html("summary", {}, "Numbers"), html("table", {}, html("tbody", {}, ...rows)));
}

function stageOf({ stage, ms }) {
  return html("span", { class: "number" }, `${stage} `, html("b", {}, duration(ms)));
}
