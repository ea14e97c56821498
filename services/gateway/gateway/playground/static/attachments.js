// Images and sounds on their way into a message. A file's name tells its kind; the gateway looks at the bytes.

export const MAX_BYTES = 25 * 2 ** 20; // of one file, as the gateway's TRICHORD_HTTP_MAX_MEDIA_BYTES has it by default

const KINDS = {
  png: "image", jpg: "image", jpeg: "image", webp: "image",
  wav: "audio", mp3: "audio", flac: "audio", ogg: "audio", m4a: "audio", webm: "audio",
};

export class Attachment {
  // Throws an Error whose message says what is wrong with the file.
  constructor(file) {
    this.format = file.name.split(".").pop().toLowerCase();
    this.kind = KINDS[this.format];
    this.name = file.name;
    if (!this.kind) throw new Error(`“${file.name}” is neither an image (PNG, JPEG, WebP) nor a sound (WAV, MP3, FLAC, Ogg, M4A, WebM).`);
    if (!file.size) throw new Error(`“${file.name}” is empty.`);
    if (file.size > MAX_BYTES) throw new Error(`“${file.name}” has ${sizeOf(file.size)}; at most ${sizeOf(MAX_BYTES)} are taken.`);
    this.file = file;
    this.url = URL.createObjectURL(file);
    this.size = sizeOf(file.size);
  }

  // The part of a message that it is.
  async part() {
    this.dataUrl ??= await dataUrlOf(this.file);
    if (this.kind === "image") return { type: "image_url", image_url: { url: this.dataUrl } };
    const data = this.dataUrl.slice(this.dataUrl.indexOf(",") + 1);
    return { type: "input_audio", input_audio: { data, format: this.format } };
  }

  dispose() {
    URL.revokeObjectURL(this.url);
  }
}

function dataUrlOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`“${file.name}” cannot be read any more. Attach it again.`));
    reader.readAsDataURL(file);
  });
}

function sizeOf(numBytes) {
  return numBytes < 2 ** 20 ? `${Math.ceil(numBytes / 1024)} KB` : `${(numBytes / 2 ** 20).toFixed(1)} MB`;
}
