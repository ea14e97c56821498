// Which hop a service is: whose colour it has, and how deep in that hop it is. Pure.

const HOPS = { gateway: "gateway", "vision-encoder": "vision", "audio-encoder": "audio", "llm-decoder": "decoder", autoscaler: "scaler" };

const DEPTHS = ["", "triton", "model"];

// Services by the hop that they are parts of: { name, parts: [{ service, part }] }, from the outermost part inwards.
export function hopsOf(services) {
  const hops = new Map();
  for (const service of services) {
    const { own, part } = partsOf(service);
    if (!hops.has(own)) hops.set(own, { name: own, parts: [] });
    hops.get(own).parts.push({ service, part: part || own, depth: DEPTHS.indexOf(part) });
  }
  for (const { parts } of hops.values()) parts.sort((one, other) => one.depth - other.depth);
  return [...hops.values()];
}

// The attributes of an element in a service's colour.
export function hopOf(service) {
  const { own, part } = partsOf(service);
  const hop = Object.hasOwn(HOPS, own) ? HOPS[own] : "other";
  const hasPaler = hop === "vision" || hop === "audio" || hop === "decoder";
  return { "data-hop": hop, "data-shade": hasPaler && part !== "model" ? part || "front" : "model" };
}

function partsOf(service) {
  const [, own, part = ""] = /^(.*?)(?:-(triton|model))?$/s.exec(service);
  return { own, part };
}
