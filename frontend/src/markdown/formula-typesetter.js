// Formulas typeset with KaTeX; loaded with the first formula.
import katex from "katex";

const options = {
  trust: false,
  strict: "ignore",
  throwOnError: true,
  maxExpand: 200,
  maxSize: 10,
};

const stylesheet = document.createElement("link");
stylesheet.rel = "stylesheet";
stylesheet.href = document.getElementById("strings").dataset.formulaStyles;
await new Promise((resolve) => {
  stylesheet.onload = stylesheet.onerror = resolve;
  document.head.append(stylesheet);
});

/** KaTeX sets a few style attributes, which the page's policy refuses; as properties they are allowed. */
function withoutStyleAttributes(render) {
  const { setAttribute } = Element.prototype;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
  try {
    render();
  } finally {
    Element.prototype.setAttribute = setAttribute;
  }
}

/** Replaces the content of `node`; throws for what is no formula. */
export function typeset(source, node, displayMode) {
  const result = document.createElement("span");
  withoutStyleAttributes(() => katex.render(source, result, { ...options, displayMode }));
  node.replaceChildren(...result.childNodes);
}
