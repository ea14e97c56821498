// What went wrong, said as it is: a heading for people, the gateway's own words, the part it names, and the request id.
import { button, copyButton, html } from "./dom.js";

const TITLES = {
  unreachable: "The gateway cannot be reached", broken_off: "The answer broke off",
  invalid_api_key: "The API key was not accepted", permission_denied: "This key may not chat",
  invalid_image: "An image cannot be used", invalid_audio: "A sound cannot be used",
  media_too_large: "A file is too large", request_too_large: "The request is too large",
  context_length_exceeded: "The conversation is too long", model_not_found: "Another model is served now",
  rate_limit_exceeded: "A limit is reached", overloaded: "Too busy just now",
  unavailable: "A part of the cluster is away", deadline_exceeded: "The time was up", internal_error: "A fault of the server",
};

// error: an ApiError; blamed: the attachment it names, if it names one; acts: label to function.
export function failureCard(error, blamed, acts) {
  const title = html("h3", {}, TITLES[error.code] ?? "The request was refused");
  const buttons = Object.entries(acts).map(([label, act]) => button("pill", label, act));
  return html("section", { class: "error", role: "alert" },
    title, html("p", {}, error.message), details(error, blamed), html("div", { class: "acts" }, ...buttons));
}

function details(error, blamed) {
  const rows = [];
  if (blamed) rows.push(["File", blamed.name]);
  if (error.param) rows.push(["Part", html("span", { class: "mono" }, error.param)]);
  if (error.code) rows.push(["Code", html("span", { class: "mono" }, error.status ? `${error.code} · HTTP ${error.status}` : error.code)]);
  if (error.requestId) rows.push(["Request", copyButton(error.requestId, error.requestId, "Copy the request id")]);
  return html("dl", {}, ...rows.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));
}
