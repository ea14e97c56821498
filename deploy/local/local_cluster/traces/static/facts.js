// What is told of a trace above its waterfall.
import { copyButton, html } from "./dom.js";
import { duration } from "./units.js";

export function factsOf(trace) {
  const facts = [told(duration(trace.duration_ms), "in all")];
  if (trace.first_token_ms !== null) facts.push(told(duration(trace.first_token_ms), "to the first token"));
  facts.push(told(String(trace.num_spans), trace.num_spans === 1 ? "span" : "spans"), html("span", {}, new Date(trace.start_ms).toLocaleString()));
  if (trace.model) facts.push(html("span", {}, trace.model));
  if (trace.request_id) facts.push(copyButton(trace.request_id, trace.request_id, "Copy the request id"));
  facts.push(copyButton(`trace ${trace.trace_id.slice(0, 8)}…`, trace.trace_id, "Copy the trace id"));
  return facts;
}

// How it ended, and what is missing: { words, isBad }.
export function storyOf(trace) {
  const where = trace.origin ? ` It began in ${trace.origin.service}, at ${trace.origin.label}.` : "";
  const sentences = [];
  if (trace.is_cancelled) sentences.push("The caller left before the end.");
  else if (trace.error) sentences.push(`Failed: ${trace.error}.${where}`);
  else if (trace.num_failed) sentences.push(`Went well, although ${trace.num_failed} of its spans failed.`);
  if (!trace.has_root) sentences.push(trace.is_settled ? "The outermost span never came." : "In progress: spans come as they end.");
  if (trace.num_refused) sentences.push(`${trace.num_refused} further spans had no room.`);
  return { words: sentences.join(" "), isBad: Boolean(trace.error) && !trace.is_cancelled };
}

function told(figure, meaning) {
  return html("span", {}, html("b", {}, figure), ` ${meaning}`);
}
