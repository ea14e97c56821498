// What an answer took, as a line of small facts under it.
import { hasTraces } from "./deployment.js";
import { copyButton, html } from "./dom.js";

const REASONS = {
  length: ["cut off at its longest", "The answer reached the limit of tokens that the settings or the model set"],
  stopped: ["stopped", "You stopped the answer; what came until then stays in the conversation"],
};

// usage: the API's usage; extras: the API's "trichord" member; either may be missing if the answer was cut off.
export function factsLine({ usage, extras, reason, requestId, answer }) {
  const facts = usage ? [...promptFacts(usage, extras.usage ?? {}), ...answerFacts(usage, extras.receipt)] : [];
  if (reason in REASONS) facts.push(fact("none", ...REASONS[reason]));
  if (answer) facts.push(copyButton("Copy", answer, "Copy the answer"));
  if (requestId) facts.push(copyButton("Request id", requestId, `Copy the request id ${requestId}`));
  const traceId = extras.receipt?.trace_id;
  if (hasTraces && traceId) facts.push(traceLink(traceId));
  return html("p", { class: "facts" }, ...facts);
}

function promptFacts({ prompt_tokens_details: prompt }, media) {
  const facts = [fact("text", `${prompt.text_tokens} text`, "Tokens of the prompt that are text")];
  if (prompt.image_tokens) facts.push(fact("image", `${prompt.image_tokens} image${inside(tilesOf(media))}`, "Tokens of the prompt that stand for images, and the tiles these were cut into"));
  if (prompt.audio_tokens) facts.push(fact("audio", `${prompt.audio_tokens} sound${inside(secondsOf(media))}`, "Tokens of the prompt that stand for sounds, and their length"));
  if (prompt.cached_tokens) facts.push(fact("none", `${prompt.cached_tokens} cached`, "Tokens of the prompt that the decoder had already computed"));
  return facts;
}

function answerFacts({ completion_tokens: tokens }, receipt) {
  const facts = [fact("none", `→ ${tokens} token${tokens === 1 ? "" : "s"}`, "Tokens generated")];
  const decodeMs = receipt?.decoder.decode_ms;
  if (decodeMs > 0 && tokens > 1) facts.push(fact("none", `${(((tokens - 1) * 1000) / decodeMs).toFixed(0)} tokens/s`, "Tokens a second after the first"));
  return facts;
}

function fact(modality, words, meaning) {
  return html("span", { class: "fact", "data-modality": modality, title: meaning }, words);
}

function traceLink(traceId) {
  const meaning = "How this answer went through every process, in a new tab";
  return html("a", { class: "trace", href: `/traces/${traceId}`, target: "_blank", rel: "noopener", title: meaning }, "Trace");
}

function tilesOf({ image_tiles: tiles }) {
  return tiles && `${tiles} tile${tiles === 1 ? "" : "s"}`;
}

function secondsOf({ audio_seconds: seconds }) {
  return seconds && `${seconds.toFixed(1)} s`;
}

function inside(words) {
  return words ? ` (${words})` : "";
}
