// Shows one turn: what was asked, and the answer as it grows. Knows how things look, not where they come from.
import { html, picture } from "./dom.js";
import { factsLine } from "./facts.js";
import { failureCard } from "./failure.js";
import { rendered } from "./markdown.js";
import { stagesFigure } from "./waterfall.js";

export class TurnView {
  constructor(turn) {
    this.figures = new Map(turn.attachments.map((attachment) => [attachment, mediaFigure(attachment)]));
    this.prose = html("div", { class: "prose" });
    this.answer = html("article", { class: "answer", "aria-label": "Answer" }, waiting(turn.attachments), this.prose);
    this.node = html("li", { class: "turn" }, asked(turn, this.figures), this.answer);
  }

  // Shows the answer so far; at most once for each picture that the screen shows.
  grow(text) {
    this.text = text;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    this.answer.querySelector(".waiting")?.remove();
    this.prose.replaceChildren(...rendered(this.text ?? ""));
  }

  // outcome: as factsLine takes it.
  finish(outcome) {
    this.draw();
    const { receipt } = outcome.extras;
    this.answer.append(factsLine(outcome));
    if (receipt) this.answer.append(stagesFigure(receipt));
  }

  fail(error, blamed, acts) {
    this.draw();
    this.figures.get(blamed)?.classList.add("blamed");
    this.answer.append(failureCard(error, blamed, acts));
  }

  // A turn that another one follows offers nothing any more.
  settle() {
    this.answer.querySelector(".acts")?.remove();
  }
}

function asked({ words, attachments }, figures) {
  const media = attachments.length ? [html("div", { class: "media" }, ...figures.values())] : [];
  return html("div", { class: "asked" }, ...media, ...(words ? [html("p", { class: "words" }, words)] : []));
}

function mediaFigure({ kind, url, name }) {
  const shown = kind === "image" ? picture(url, name) : html("audio", { src: url, controls: "", "aria-label": name });
  return html("figure", {}, shown, html("figcaption", {}, name));
}

function waiting(attachments) {
  const kinds = new Set(attachments.map((attachment) => attachment.kind));
  const doing = [kinds.has("image") && "Looking", kinds.has("audio") && "Listening"].filter(Boolean).join(" and ") || "Thinking";
  return html("p", { class: "waiting" }, html("span", { class: "pulse", "aria-hidden": "true" }, html("i"), html("i"), html("i")), doing);
}
