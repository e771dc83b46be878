// Buttons that copy a text to the clipboard and confirm it for a moment.
import { find } from "./dom.js";
import { text } from "./translations.js";

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** Milliseconds for which a button confirms that it copied. */
const CONFIRMATION_MS = 1600;

/**
 * @param {string} value
 * @param {string} html the same with formatting, or nothing
 */
export async function copyToClipboard(value, html) {
  if (html && navigator.clipboard && typeof ClipboardItem === "function") {
    const forms = { "text/plain": value, "text/html": html };
    const blobs = Object.entries(forms).map(([type, form]) => [type, new Blob([form], { type })]);
    return navigator.clipboard.write([new ClipboardItem(Object.fromEntries(blobs))]);
  }
  // navigator.clipboard exists on secure origins only; copying a selection works on the others.
  if (navigator.clipboard) return navigator.clipboard.writeText(value);
  const field = document.createElement("textarea");
  field.value = value;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  return field.remove();
}

/**
 * Makes `button`, which has an icon and a label, copy what `getText()` returns.
 * @param {HTMLElement} button
 * @param {() => string} getText
 * @param {() => string} [getHtml] the same text with its formatting, for documents and mails
 */
export function installCopyButton(button, getText, getHtml) {
  const icon = find(button, "use", SVGUseElement);
  const label = find(button, "span");
  const originalLabel = label.textContent;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  button.addEventListener("click", async () => {
    const focused = document.activeElement;
    await copyToClipboard(getText(), getHtml?.() ?? "");
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    icon.setAttribute("href", "#icon-check");
    label.textContent = text("copied");
    clearTimeout(timer);
    timer = setTimeout(() => {
      icon.setAttribute("href", "#icon-copy");
      label.textContent = originalLabel;
    }, CONFIRMATION_MS);
  });
}

/**
 * Creates a copy button; its icon is in the page's sprite (templates/icons.html).
 * @param {() => string} getText
 */
export function createCopyButton(getText) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet-button";
  const icon = document.createElementNS(SVG_NAMESPACE, "svg");
  icon.setAttribute("class", "icon");
  icon.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG_NAMESPACE, "use");
  use.setAttribute("href", "#icon-copy");
  icon.append(use);
  const label = document.createElement("span");
  label.textContent = text("copy");
  button.append(icon, label);
  installCopyButton(button, getText);
  return button;
}
