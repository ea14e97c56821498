// The drawer: the key, which stays in its input and so in memory, and how answers are made.
import { byId } from "./dom.js";

export class Settings {
  // onKey(): the key has changed.
  constructor(onKey) {
    this.drawer = byId("settings");
    byId("open-settings").addEventListener("click", () => this.open());
    byId("close-settings").addEventListener("click", () => this.drawer.close());
    this.drawer.addEventListener("click", (event) => {
      if (event.target === this.drawer && event.offsetX < 0) this.drawer.close();
    });
    byId("key").addEventListener("change", onKey);
    byId("temperature").addEventListener("input", () => {
      byId("temperature-value").textContent = this.values().temperature;
    });
  }

  open() {
    this.drawer.showModal();
  }

  askForKey() {
    this.open();
    byId("key").focus();
  }

  get key() {
    return byId("key").value.trim();
  }

  sayOfKey(problem) {
    byId("key-note").textContent = problem;
    byId("key-note").hidden = !problem;
  }

  values() {
    return {
      system: byId("system").value.trim(),
      temperature: byId("temperature").valueAsNumber,
      maxTokens: Math.max(1, Math.round(byId("max-tokens").valueAsNumber || 512)),
    };
  }
}
