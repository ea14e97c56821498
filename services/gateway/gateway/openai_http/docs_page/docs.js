// Shows /openapi.json and lets every operation be tried. Loads nothing else; everything is set as text, never as HTML.
"use strict";

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(typeName).join(" | ");
  if (schema.type === "array") return `${typeName(schema.items || {})}[]`.replace(/^(.* \| .*)\[\]$/, "($1)[]");
  return schema.type || "any";
}

function range(schema) {
  const choice = [schema, ...(schema.anyOf || [])].find((one) => one.minimum !== undefined || one.maximum !== undefined);
  return choice ? ` (${choice.minimum ?? ""} to ${choice.maximum ?? choice.exclusiveMaximum ?? ""})` : "";
}

function typeTable(name, schema) {
  const rows = Object.entries(schema.properties || {}).map(([member, type]) =>
    element("tr", {},
      element("td", { className: "path", textContent: member + ((schema.required || []).includes(member) ? " *" : "") }),
      element("td", { textContent: typeName(type) + range(type) }),
      element("td", { className: "soft", textContent: type.description || "" })));
  const head = element("summary", { textContent: name }, element("span", { className: "soft", textContent: ` ${schema.description || ""}` }));
  return element("details", { id: `type-${name}` }, head, element("div", { className: "wide" }, element("table", {}, ...rows)));
}

async function* pieces(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
}

async function ask(method, path, body, output, signal) {
  const headers = {};
  if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body, signal });
  output.textContent = `${response.status} ${response.statusText}\nx-request-id: ${response.headers.get("x-request-id")}\n\n`;
  for await (const piece of pieces(response)) {
    output.append(piece);
    output.scrollTop = output.scrollHeight;
  }
}

function tryForm(method, path, operation) {
  const example = operation.requestBody?.content["application/json"]?.example;
  const body = example && element("textarea", { spellcheck: false, ariaLabel: "Request body" });
  if (body) body.value = JSON.stringify(example, null, 2);
  const address = element("input", { value: path.replace("{id}", "MODEL"), ariaLabel: "Path" });
  const send = element("button", { type: "button", textContent: "Send" });
  const stop = element("button", { type: "button", textContent: "Stop", disabled: true });
  const output = element("pre", { tabIndex: 0, ariaLive: "polite" });
  let running = null;
  send.addEventListener("click", async () => {
    running = new AbortController();
    [send.disabled, stop.disabled] = [true, false];
    try {
      await ask(method, address.value, body?.value, output, running.signal);
    } catch (error) {
      output.append(error.name === "AbortError" ? "\n(stopped)" : `\n${error.message}`);
    }
    [send.disabled, stop.disabled] = [false, true];
  });
  stop.addEventListener("click", () => running.abort());
  return [...(path.includes("{") ? [address] : []), ...(body ? [body] : []), element("p", {}, send, stop), output];
}

function operationCard(path, method, operation) {
  const head = element("summary", {},
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("span", { className: "path", textContent: path }),
    element("span", { className: "soft", textContent: ` ${operation.summary}` }));
  const note = element("p", { textContent: operation.description || "" });
  return element("details", {}, head, note, ...tryForm(method.toUpperCase(), path, operation));
}

async function main() {
  const api = await (await fetch("/openapi.json")).json();
  byId("version").textContent = api.info.version;
  byId("description").textContent = api.info.description;
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) byId("operations").append(operationCard(path, method, operation));
  byId("operations").querySelector("details").open = true;
  for (const [name, schema] of Object.entries(api.components.schemas)) byId("types").append(typeTable(name, schema));
}

main().catch((error) => byId("operations").append(`/openapi.json cannot be read: ${error.message}`));
