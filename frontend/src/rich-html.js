// The formatted form of a completion for the clipboard: its elements alone, as documents and mails take them.

/** Attributes with a meaning; all others are looks, ids and states of the page. */
const KEPT = [
  "href",
  "start",
  "colspan",
  "rowspan",
  "type",
  "checked",
  "disabled",
  "dir",
  "encoding",
  "display",
  "xmlns",
];

/** What belongs to the page and not to the text. */
const PAGE_PARTS = "button, svg, .code-bar, .visually-hidden";

/** @param {Element} element */
function strip(element) {
  for (const { name, value } of [...element.attributes]) {
    // Footnotes lead to places of this page.
    if (!KEPT.includes(name) || value.startsWith("#")) element.removeAttribute(name);
  }
}

/**
 * Returns the HTML of a rendered text without the page's buttons, icons and classes; formulas are MathML. Empty in
 * browsers that cannot write it.
 * @param {HTMLElement} content
 */
export function richHtml(content) {
  const copy = /** @type {HTMLElement} */ (content.cloneNode(true));
  for (const formula of copy.querySelectorAll(".katex")) formula.replaceWith(...formula.querySelectorAll("math"));
  for (const part of copy.querySelectorAll(PAGE_PARTS)) part.remove();
  for (const element of copy.querySelectorAll("*")) strip(element);
  for (const plain of copy.querySelectorAll("span, div:has(> pre)")) plain.replaceWith(...plain.childNodes);
  return typeof copy.getHTML === "function" ? copy.getHTML() : "";
}
