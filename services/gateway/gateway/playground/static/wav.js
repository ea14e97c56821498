// Samples to a WAV file: PCM, 16 bits, one channel (RIFF, WAVE format 1).

const HEADER_BYTES = 44;
const BYTES_PER_SAMPLE = 2;

// samples: Float32Array in [-1, 1]; what is beyond is clipped.
export function wavOf(samples, sampleRate) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + samples.length * BYTES_PER_SAMPLE));
  writeHeader(view, samples.length * BYTES_PER_SAMPLE, sampleRate);
  samples.forEach((sample, index) => {
    const clipped = Math.max(-1, Math.min(1, sample));
    view.setInt16(HEADER_BYTES + index * BYTES_PER_SAMPLE, Math.round(clipped * 0x7fff), true);
  });
  return view.buffer;
}

function writeHeader(view, numBytes, sampleRate) {
  writeText(view, 0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + numBytes, true);
  writeText(view, 8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format that follows
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * BYTES_PER_SAMPLE, true); // bytes a second
  view.setUint16(32, BYTES_PER_SAMPLE, true);
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true); // bits a sample
  writeText(view, 36, "data");
  view.setUint32(40, numBytes, true);
}

function writeText(view, at, text) {
  [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
}
