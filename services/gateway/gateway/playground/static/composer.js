// Where a message is made: text, files that are picked, dropped, pasted or recorded, and the buttons around them.
import { Attachment } from "./attachments.js";
import { button, byId, html, icon, picture } from "./dom.js";
import { startRecording } from "./microphone.js";

const LONGEST_RECORDING_S = 120;

export class Composer {
  // on: { send(words, attachments), stop() }.
  constructor(on) {
    this.on = on;
    this.prompt = byId("prompt");
    this.attachments = [];
    this.isBusy = false;
    this.recording = null;
    this.listenToTyping();
    this.listenToFiles();
    byId("record").addEventListener("click", () => this.record());
    byId("send").addEventListener("click", () => this.send());
    byId("stop").addEventListener("click", () => this.on.stop());
  }

  setBusy(isBusy) {
    this.isBusy = isBusy;
    byId("stop").hidden = !isBusy;
    byId("send").hidden = isBusy;
    this.refresh();
  }

  // Puts a message back to be changed.
  fill(words, attachments) {
    this.prompt.value = words;
    this.attachments = [...attachments];
    this.refresh();
    this.prompt.focus();
  }

  clear() {
    this.endRecording()?.stop().catch(() => {}); // of a sound that nobody wants any more
    this.attachments.forEach((attachment) => attachment.dispose());
    this.fill("", []);
    this.say("");
  }

  send() {
    const words = this.prompt.value.trim();
    if (this.isBusy || this.recording || !(words || this.attachments.length)) return;
    const { attachments } = this;
    this.fill("", []);
    this.say("");
    this.on.send(words, attachments);
  }

  add(files) {
    const problems = [];
    for (const file of files) {
      try {
        this.attachments.push(new Attachment(file));
      } catch (error) {
        problems.push(error.message);
      }
    }
    this.say(problems.join(" "));
    this.refresh();
    this.prompt.focus();
  }

  async record() {
    byId("record").disabled = true;
    try {
      if (this.recording) this.add([await this.endRecording().stop()]);
      else await this.beginRecording();
    } catch (error) {
      this.say(error.message);
    }
    byId("record").disabled = false;
    this.refresh();
  }

  async beginRecording() {
    this.recording = await startRecording();
    this.say("");
    let seconds = 0;
    const tell = () => { byId("recorded").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`; };
    tell();
    this.clock = setInterval(() => {
      seconds += 1;
      tell();
      if (seconds >= LONGEST_RECORDING_S) this.record();
    }, 1000);
  }

  // The recording that ran, if one did; its sound is still to be fetched, or dropped.
  endRecording() {
    const { recording } = this;
    this.recording = null;
    clearInterval(this.clock);
    return recording;
  }

  listenToTyping() {
    this.prompt.addEventListener("input", () => this.refresh());
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) this.on.stop();
    });
  }

  listenToFiles() {
    for (const kind of ["image", "audio"]) {
      const picker = byId(`${kind}-files`);
      byId(`add-${kind}`).addEventListener("click", () => picker.click());
      picker.addEventListener("change", () => {
        this.add(picker.files);
        picker.value = "";
      });
    }
    addEventListener("paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.add(event.clipboardData.files);
    });
    this.listenToDrops();
  }

  listenToDrops() {
    const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      byId("drop").hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) byId("drop").hidden = true;
    });
    addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      byId("drop").hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  say(problem) {
    byId("notice").textContent = problem;
    byId("notice").hidden = !problem;
  }

  refresh() {
    const list = byId("attachments");
    list.replaceChildren(...this.attachments.map((attachment) => this.chip(attachment)));
    list.hidden = !this.attachments.length;
    byId("send").disabled = Boolean(this.recording) || !(this.prompt.value.trim() || this.attachments.length);
    byId("record").setAttribute("aria-pressed", String(Boolean(this.recording)));
    byId("record").setAttribute("aria-label", this.recording ? "Finish the recording" : "Record from the microphone");
    byId("recorded").hidden = !this.recording;
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight}px`;
  }

  chip(attachment) {
    const shown = attachment.kind === "image"
      ? picture(attachment.url, "")
      : html("span", { class: "glyph" }, icon("audio"));
    const remove = button("link", icon("close"), () => {
      this.attachments = this.attachments.filter((one) => one !== attachment);
      attachment.dispose();
      this.refresh();
      this.prompt.focus();
    });
    remove.setAttribute("aria-label", `Remove ${attachment.name}`);
    const words = html("span", { class: "name" }, attachment.name, html("span", { class: "size" }, attachment.size));
    return html("li", { class: "chip", "data-kind": attachment.kind }, shown, words, remove);
  }
}
