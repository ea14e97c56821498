// The process's JSON, asked for again and again while the page is looked at. Knows nothing of the pages.

const TIMEOUT_MS = 5000;

// What a path answers. Throws an Error with a sentence for people.
export async function get(path) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new Error("The cluster does not answer. Does it still run?");
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.error ?? "The answer is not the cluster's.");
  return told;
}

// Calls `look` now, and then again so long after each time that it has returned, until it returns false. Hidden pages rest.
export async function keepLooking(look, intervalMs) {
  while (document.hidden || (await look()) !== false) await new Promise((done) => setTimeout(done, intervalMs));
}
