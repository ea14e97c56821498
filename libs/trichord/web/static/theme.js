// The button that switches between light and dark; without it the page follows the system.
export function themeButton(button) {
  button.addEventListener("click", () => {
    const { dataset } = document.documentElement;
    const now = dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    dataset.theme = now === "dark" ? "light" : "dark";
  });
}
