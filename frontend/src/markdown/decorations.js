// What rendered elements get after sanitising: frames for code, typeset formulas, links between footnotes.
// The engine for formulas is loaded when the first one occurs.
import { loadOnce } from "../load-once.js";
import { text } from "../translations.js";
import { frameCode } from "./code-frame.js";
import { isDecorated, markDecorated } from "./patch.js";

const loadTypesetter = loadOnce(async () => {
  const typesetter = await import("./formula-typesetter.js");
  await typesetter.loadStylesheet(text("formulaStyles"));
  return typesetter;
});

/** Characters of a formula in a line above which it may be too wide, and is measured. */
const MEASURED_CHARS = 60;

/**
 * Lets a formula that is wider than its line scroll.
 * @param {HTMLElement} node
 */
function makeScrollable(node) {
  const block = node.closest("p, li, td, th, blockquote, .block");
  if (!block || node.getBoundingClientRect().right <= block.getBoundingClientRect().right + 1) return;
  node.classList.add("formula-wide");
  node.tabIndex = 0;
}

/** @param {HTMLElement} node */
async function decorateFormula(node) {
  const source = node.textContent;
  markDecorated(node, { source: node.cloneNode(true) });
  try {
    const { typesetFormula } = await loadTypesetter();
    const isDisplay = node.classList.contains("formula-display");
    typesetFormula(source, node, isDisplay);
    if (!isDisplay && source.length > MEASURED_CHARS) makeScrollable(node);
  } catch {
    node.classList.add("formula-source");
  }
}

/**
 * Makes a mark lead to its note; the first one of a note can be returned to.
 * @param {HTMLElement} mark
 * @param {Element} root
 * @param {string} prefix
 */
function linkMark(mark, root, prefix) {
  markDecorated(mark, { source: mark.cloneNode(true) });
  const link = document.createElement("a");
  link.href = `#${prefix}note-${mark.textContent}`;
  link.setAttribute("role", "doc-noteref");
  const id = `${prefix}mark-${mark.textContent}`;
  if (!root.querySelector(`#${id}`)) link.id = id;
  link.append(...mark.childNodes);
  mark.append(link);
}

/**
 * Gives a note its id, and a link back to its first mark.
 * @param {HTMLElement} note
 * @param {string} prefix
 */
function linkNote(note, prefix) {
  const number = note.getAttribute("value");
  markDecorated(note, { source: note.cloneNode(true) });
  note.id = `${prefix}note-${number}`;
  const back = document.createElement("a");
  back.href = `#${prefix}mark-${number}`;
  back.setAttribute("role", "doc-backlink");
  back.setAttribute("aria-label", text("backToText"));
  back.textContent = "↩";
  const last = note.lastElementChild;
  if (last instanceof HTMLParagraphElement) last.append(" ", back);
  else note.append(back);
}

/**
 * Decorates what is new within a rendered element.
 * @param {Element} element
 * @param {{ root: Element, prefix: string }} text the element around the whole text, and what its ids begin with
 */
export function decorate(element, { root, prefix }) {
  /** @param {string} selector */
  const all = (selector) =>
    /** @type {HTMLElement[]} */ ([...element.querySelectorAll(selector)]).filter((each) => !isDecorated(each));
  for (const code of all("pre:not([tabindex]) > code")) frameCode(code);
  for (const wide of all(".table, .formula-display")) wide.tabIndex = 0;
  for (const formula of all(".formula")) void decorateFormula(formula);
  for (const note of all(".footnote[value]")) linkNote(note, prefix);
  for (const mark of all(".footnote-mark")) linkMark(mark, root, prefix);
}
