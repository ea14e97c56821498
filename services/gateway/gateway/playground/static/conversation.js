// What was said, as the API wants it told. Knows nothing of the page or of the network.
//
// A turn is { words, attachments, answer }. One without an answer is part of the request only while it is asked.

export async function messagesOf(system, turns) {
  const messages = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns) {
    messages.push({ role: "user", content: await contentOf(turn) });
    if (turn.answer) messages.push({ role: "assistant", content: turn.answer });
  }
  return messages;
}

// The attachment that a path of the API names, e.g. messages[2].content[0].image_url; undefined if it names none.
export function attachmentAt(param, system, turns) {
  const [, message, part] = /^messages\[(\d+)\]\.content\[(\d+)\]/.exec(param) ?? [];
  const spoken = turns.flatMap((turn) => (turn.answer ? [turn, null] : [turn]));
  return spoken[message - (system ? 1 : 0)]?.attachments[part];
}

async function contentOf({ words, attachments }) {
  if (!attachments.length) return words;
  const parts = await Promise.all(attachments.map((attachment) => attachment.part()));
  return words ? [...parts, { type: "text", text: words }] : parts;
}
