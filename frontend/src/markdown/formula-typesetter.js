// Typesets formulas. Loaded with the first formula, because KaTeX, its fonts and its style sheet are large.
import katex from "katex";

/** Bounds for formulas of a hostile upstream: no links or HTML, few macro expansions, no huge sizes. */
const options = {
  trust: false,
  strict: /** @type {const} */ ("ignore"),
  throwOnError: true,
  maxExpand: 200,
  maxSize: 10,
};

/**
 * Resolves when the style sheet is loaded, or has failed to load.
 * @param {string} href
 * @returns {Promise<void>}
 */
export function loadStylesheet(href) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  return new Promise((resolve) => {
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
}

/**
 * Runs `render` with style attributes set as properties, because the page's Content-Security-Policy refuses the
 * style attributes that KaTeX sets.
 * @param {() => void} render
 */
function withoutStyleAttributes(render) {
  const { setAttribute } = Element.prototype;
  Element.prototype.setAttribute = function (name, value) {
    // Elements of MathML and SVG have the property too.
    if (name === "style") /** @type {HTMLElement} */ (this).style.cssText = value;
    else setAttribute.call(this, name, value);
  };
  try {
    render();
  } finally {
    Element.prototype.setAttribute = setAttribute;
  }
}

/**
 * Replaces the content of `node` by the typeset formula; throws when `source` is not a formula.
 * @param {string} source
 * @param {Element} node
 * @param {boolean} displayMode
 */
export function typesetFormula(source, node, displayMode) {
  const result = document.createElement("span");
  withoutStyleAttributes(() => katex.render(source, result, { ...options, displayMode }));
  node.replaceChildren(...result.childNodes);
}
