// Records from the microphone to a WAV file of 16 kHz, which is what the model hears at. Knows nothing of the page.
import { wavOf } from "./wav.js";

const SAMPLE_RATE = 16000;

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the site's settings.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone is in use by another program.",
};

// Starts recording. Throws an Error that says why it cannot.
export async function startRecording() {
  if (!navigator.mediaDevices) throw new Error("Browsers record only on pages from https:// or from this machine.");
  try {
    return new Recording(await navigator.mediaDevices.getUserMedia({ audio: true }));
  } catch (error) {
    throw new Error(REASONS[error.name] ?? "The microphone cannot be opened.");
  }
}

class Recording {
  constructor(stream) {
    this.stream = stream;
    this.pieces = [];
    this.recorder = new MediaRecorder(stream);
    this.recorder.addEventListener("dataavailable", (event) => this.pieces.push(event.data));
    this.recorder.start();
  }

  // Ends it. The file; throws an Error if nothing was recorded.
  async stop() {
    const ended = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await ended;
    this.stream.getTracks().forEach((track) => track.stop());
    const samples = await samplesOf(new Blob(this.pieces));
    return new File([wavOf(samples, SAMPLE_RATE)], "recording.wav", { type: "audio/wav" });
  }
}

async function samplesOf(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
    return monoOf(await context.decodeAudioData(await blob.arrayBuffer()));
  } catch {
    throw new Error("Nothing was recorded. Record a little longer.");
  }
}

function monoOf(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
  return channels[0].map((_, index) => channels.reduce((sum, channel) => sum + channel[index], 0) / channels.length);
}
