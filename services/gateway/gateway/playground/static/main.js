// Puts the page together.
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { button, byId, icon } from "./dom.js";
import { Gateway } from "./gateway.js";
import { followEnd } from "./scrolling.js";
import { Settings } from "./settings.js";
import { themeButton } from "./theme.js";

const ICONS = {
  "new-chat": "plus", theme: "theme", "open-settings": "sliders", "close-settings": "close", "add-image": "image",
  "add-audio": "audio", record: "microphone", send: "send", stop: "stop",
};
const IDEAS = ["What can you do?", "Explain how a rainbow forms", "Write a haiku about three strings"];

for (const [id, name] of Object.entries(ICONS)) byId(id).append(icon(name));

const settings = new Settings(() => gateway.greet());
const gateway = new Gateway(settings);
const chat = new Chat(byId("turns"), gateway, () => settings.values(), {
  busy: (isBusy) => composer.setBusy(isBusy),
  status: (words) => { byId("status").textContent = words; },
  edit: ({ words, attachments }) => composer.fill(words, attachments),
  emptied: (isEmpty) => { byId("welcome").hidden = !isEmpty; },
});
const composer = new Composer({ send: (words, attachments) => send(words, attachments), stop: () => chat.stop() });

function send(words, attachments) {
  if (!gateway.isLocked) return void chat.send(words, attachments);
  composer.fill(words, attachments);
  settings.askForKey();
}

byId("ideas").append(...IDEAS.map((idea) => button("pill", idea, () => send(idea, []))));
byId("served").addEventListener("click", () => (gateway.isLocked ? settings.askForKey() : gateway.greet()));
byId("new-chat").addEventListener("click", () => {
  chat.clear();
  composer.clear();
});
themeButton(byId("theme"));

followEnd(byId("scroller"), byId("turns"));
composer.prompt.focus();
gateway.greet();
