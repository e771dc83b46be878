// What a rendered block gets after sanitising: code bars, colours for code, typeset formulas.
// Both engines are loaded when the first code block or formula occurs.
import { createCopyButton } from "../copy-button.js";
import { loadOnce } from "../load-once.js";
import { text } from "../translations.js";
import { sanitizeCode } from "./sanitizer.js";

/** Characters of code above which it stays without colours, because highlighting would block the page. */
const MAX_COLOURED_CHARS = 60_000;

const loadHighlighter = loadOnce(() => import("./code-highlighter.js"));
const loadTypesetter = loadOnce(async () => {
  const typesetter = await import("./formula-typesetter.js");
  await typesetter.loadStylesheet(text("formulaStyles"));
  return typesetter;
});

/**
 * Puts code into a frame with a bar: its language and a copy button.
 * @param {HTMLElement} code
 * @param {boolean} withColours
 */
function decorateCode(code, withColours) {
  const language = code.className.match(/^language-(.+)/)?.[1] ?? "";
  const source = code.textContent;
  const [frame, bar] = [document.createElement("div"), document.createElement("div")];
  frame.className = "code";
  bar.className = "code-bar";
  const label = document.createElement("span");
  label.textContent = language || text("code");
  bar.append(
    label,
    createCopyButton(() => source),
  );
  const pre = /** @type {HTMLElement} */ (code.parentElement);
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(bar, pre);
  if (withColours && language && source.length <= MAX_COLOURED_CHARS) void colourCode(code, source, language);
}

/**
 * @param {HTMLElement} code
 * @param {string} source
 * @param {string} language
 */
async function colourCode(code, source, language) {
  try {
    const { highlightCode } = await loadHighlighter();
    const html = highlightCode(source, language);
    if (html) code.replaceChildren(sanitizeCode(html));
  } catch {
    // The code stays readable without colours.
  }
}

/** @param {HTMLElement} node */
async function decorateFormula(node) {
  const source = node.textContent;
  try {
    const { typesetFormula } = await loadTypesetter();
    typesetFormula(source, node, node.classList.contains("formula-display"));
  } catch {
    node.classList.add("formula-source");
  }
}

/**
 * Decorates one rendered block. Without colours it takes much less time.
 * @param {HTMLElement} block
 * @param {{ withColours: boolean }} options
 */
export function decorate(block, { withColours }) {
  /** @param {string} selector */
  const all = (selector) => /** @type {NodeListOf<HTMLElement>} */ (block.querySelectorAll(selector));
  for (const code of all("pre > code")) decorateCode(code, withColours);
  for (const wide of all(".table, .formula-display")) wide.tabIndex = 0;
  for (const formula of all(".formula")) void decorateFormula(formula);
}
