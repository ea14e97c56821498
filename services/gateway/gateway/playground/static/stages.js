// Where an answer's time went, from its receipt: lanes of bars on one clock, in milliseconds from the request's arrival.
// Pure. The receipt gives lengths; what follows what is the gateway's order of work.

const ITEM_STAGES = [
  ["fetch", "fetch_ms", 1], ["store", "store_ms", 1], ["queue", "queue_ms", 1],
  ["decode", "decode_ms", 2], ["encode", "encode_ms", 4], ["transfer", "transfer_ms", 3],
];
const DECODER_STAGES = [["tokenize", "tokenize_ms", 2], ["queue", "queue_ms", 1], ["prefill", "prefill_ms", 4]];
const OWNERS = { MODALITY_IMAGE: ["image", "Image"], MODALITY_AUDIO: ["audio", "Sound"] };
const SOURCES = { EMBEDDING_SOURCE_STORE: "kept", EMBEDDING_SOURCE_SHARED: "shared" };

export function waterfallOf(receipt) {
  const encodedMs = receipt.admit_ms + receipt.encode_ms;
  const gateway = [
    ...bars([["admit", "admit_ms", 4]], receipt, 0, "gateway"),
    ...bars([["merge", "merge_ms", 4], ["queue", "queue_ms", 1]], receipt, encodedMs, "gateway"),
  ];
  const mergedMs = encodedMs + receipt.merge_ms + (receipt.queue_ms ?? 0);
  const startMs = Math.max(mergedMs, receipt.first_token_ms - receipt.decoder.first_token_ms);
  const decoder = [
    ...bars(DECODER_STAGES, receipt.decoder, startMs, "decoder"),
    ...bars([["decode", "decode_ms", 2]], receipt.decoder, receipt.first_token_ms, "decoder"),
  ];
  const lanes = [lane("Gateway", gateway), ...itemLanes(receipt), lane("Decoder", decoder)];
  const ends = lanes.flatMap((one) => one.bars.map((bar) => bar.startMs + bar.ms));
  return { lanes, firstTokenMs: receipt.first_token_ms, totalMs: Math.max(receipt.total_ms, ...ends) };
}

function itemLanes(receipt) {
  const counts = {};
  return receipt.items.map((item) => {
    const [owner, noun] = OWNERS[item.modality];
    counts[owner] = (counts[owner] ?? 0) + 1;
    return lane(`${noun} ${counts[owner]}`, bars(ITEM_STAGES, item, receipt.admit_ms, owner), SOURCES[item.source]);
  });
}

function lane(name, itsBars, note = "") {
  return { name, note, bars: itsBars, ms: itsBars.reduce((sum, bar) => sum + bar.ms, 0) };
}

// One after another from startMs on; stages that took no time have no bar.
function bars(stages, times, startMs, owner) {
  const made = [];
  for (const [stage, member, shade] of stages) {
    const ms = times[member] ?? 0;
    if (ms > 0) made.push({ stage, owner, shade, startMs, ms });
    startMs += ms;
  }
  return made;
}
