// Copy buttons.
import { icon } from "./icons.js";
import { text } from "./translations.js";

/** navigator.clipboard exists only on secure origins; a selection works on the others. */
async function copy(string) {
  if (navigator.clipboard) return navigator.clipboard.writeText(string);
  const field = document.createElement("textarea");
  field.value = string;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** Lets `button` copy what `source()` returns, and say so for a moment. */
export function makeCopyButton(button, source) {
  const use = button.querySelector("use");
  const label = button.querySelector("span");
  const words = label.textContent;
  let timer = 0;
  button.addEventListener("click", async () => {
    const focused = document.activeElement;
    await copy(source());
    focused?.focus?.({ preventScroll: true });
    use.setAttribute("href", "#icon-check");
    label.textContent = text("copied");
    clearTimeout(timer);
    timer = setTimeout(() => {
      use.setAttribute("href", "#icon-copy");
      label.textContent = words;
    }, 1600);
  });
}

export function copyButton(source) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet-button";
  const label = document.createElement("span");
  label.textContent = text("copy");
  button.append(icon("copy"), label);
  makeCopyButton(button, source);
  return button;
}
