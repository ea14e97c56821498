// The gateway's HTTP API as the page uses it. Knows nothing of the page.
import { eventData } from "./sse.js";

// A request that was refused or broke off, as the gateway told it. Status 0: nobody answered.
export class ApiError extends Error {
  constructor(message, { status = 0, code = "", param = "", requestId = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, param, requestId });
  }
}

// What is served: id, context_tokens, max_images, max_audios.
export async function servedModel(key) {
  const response = await send("/v1/models", { headers: headers(key) });
  return (await response.json()).data[0];
}

// An answer: its request id, and its chunks as they come.
export async function ask(body, key, signal) {
  const response = await send("/v1/chat/completions", {
    method: "POST", headers: { ...headers(key), "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  });
  const requestId = response.headers.get("x-request-id") ?? "";
  return { requestId, chunks: chunksOf(response, requestId) };
}

async function* chunksOf(response, requestId) {
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw refusal(chunk.error, 0, requestId);
      yield chunk;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new ApiError("The connection broke before the answer was complete.", { code: "broken_off", requestId });
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("No answer came. Is the gateway still running, and is there a network?", { code: "unreachable" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw refusal(told.error ?? { message: "The answer is not the gateway's." }, response.status, response.headers.get("x-request-id"));
}

function refusal(told, status, requestId) {
  return new ApiError(told.message, { status, code: told.code ?? "", param: told.param ?? "", requestId: requestId ?? "" });
}

function headers(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}
