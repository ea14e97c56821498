// Which model is served, and whether this page may ask it; told in the bar.
import { servedModel } from "./api.js";
import { byId } from "./dom.js";

const RETRY_MS = 5000;

export class Gateway {
  constructor(settings) {
    this.settings = settings;
    this.served = null;
  }

  get key() {
    return this.settings.key;
  }

  // The model's name. Throws an ApiError.
  async model() {
    this.served ??= await this.connect();
    return this.served.id;
  }

  async connect() {
    clearTimeout(this.retry);
    try {
      const served = await servedModel(this.key);
      this.tell("ready", served.id, `Answers of ${served.id}: ${served.context_tokens} tokens of context`);
      this.settings.sayOfKey("");
      return served;
    } catch (error) {
      this.explain(error);
      throw error;
    }
  }

  // The same, on the page's own account: what goes wrong is told in the bar and tried again.
  async greet() {
    this.served = await this.connect().catch(() => null);
  }

  explain(error) {
    if (error.status === 401 || error.status === 403) {
      this.tell("locked", "Needs a key", "Enter an API key");
      this.settings.sayOfKey(this.key ? error.message : "");
    } else {
      this.tell("away", "Away", error.message);
      this.retry = setTimeout(() => this.greet(), RETRY_MS);
    }
  }

  get isLocked() {
    return byId("served").dataset.state === "locked";
  }

  tell(state, name, meaning) {
    byId("served").dataset.state = state;
    byId("served").title = meaning;
    byId("served-name").textContent = name;
  }
}
