// Makes elements. Children that are strings become text: nothing here, or anywhere on the page, reads HTML.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7.5 7.5h9v9h-9z",
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17M15.5 9.2h.01",
  audio: "M4 10.5v3M8 7.5v9M12 4v16M16 8v8M20 10.5v3",
  microphone: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM6 11a6 6 0 0 0 12 0M12 17v4",
  plus: "M12 5v14M5 12h14",
  sliders: "M4 8h8M16 8h4M4 16h3M11 16h9M12 8a2 2 0 1 0 4 0a2 2 0 1 0-4 0M7 16a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16M15 8.5h3.5M15 12h5M15 15.5h3.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM15 5.5V4H4v11h1.5",
};

export const byId = (id) => document.getElementById(id);

export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

export function button(className, label, act) {
  const made = html("button", { type: "button", class: className }, ...[label].flat());
  made.addEventListener("click", act);
  return made;
}

// An image; a sign in its place if the browser cannot show it either.
export function picture(url, alternative) {
  const made = html("img", { src: url, alt: alternative });
  made.addEventListener("error", () => made.replaceWith(html("span", { class: "glyph" }, icon("image"))), { once: true });
  return made;
}

// A button that shows `shown` and copies `text`; where the browser gives no clipboard, it selects the text instead.
export function copyButton(shown, text, name) {
  const words = html("span", {}, shown);
  const made = button("link copy", [icon("copy"), words], async () => {
    try {
      await navigator.clipboard.writeText(text);
      words.textContent = "Copied";
      setTimeout(() => { words.textContent = shown; }, 1200);
    } catch {
      getSelection().selectAllChildren(words);
    }
  });
  made.setAttribute("aria-label", name);
  made.title = name;
  return made;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
