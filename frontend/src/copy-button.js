// Copying to the clipboard, and buttons that do it and show for a moment whether it worked.
import { find } from "./dom.js";
import { text } from "./translations.js";

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** Milliseconds for which a button shows whether it copied. */
const OUTCOME_MS = 1600;

/**
 * @param {string} value
 * @param {string} html
 */
async function write(value, html) {
  if (html && navigator.clipboard && typeof ClipboardItem === "function") {
    const forms = { "text/plain": value, "text/html": html };
    const blobs = Object.entries(forms).map(([type, form]) => [type, new Blob([form], { type })]);
    await navigator.clipboard.write([new ClipboardItem(Object.fromEntries(blobs))]);
  } else if (navigator.clipboard) {
    await navigator.clipboard.writeText(value);
  } else {
    copySelection(value);
  }
}

/**
 * Copies where the page has no `navigator.clipboard`, which exists on secure origins only.
 * @param {string} value
 */
function copySelection(value) {
  const field = document.createElement("textarea");
  field.value = value;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new DOMException("The browser copies no selection.", "NotAllowedError");
}

/**
 * Copies a text, announces whether the browser allowed it, and returns the announcement.
 * @param {string} value
 * @param {string} html the same with formatting, or nothing
 */
export async function copyToClipboard(value, html) {
  let outcome = text("copied");
  try {
    await write(value, html);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    outcome = text("notCopied");
  }
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = outcome;
  return outcome;
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
    const outcome = await copyToClipboard(getText(), getHtml?.() ?? "");
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    icon.setAttribute("href", outcome === text("copied") ? "#icon-check" : "#icon-copy");
    label.textContent = outcome;
    clearTimeout(timer);
    timer = setTimeout(() => {
      icon.setAttribute("href", "#icon-copy");
      label.textContent = originalLabel;
    }, OUTCOME_MS);
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
