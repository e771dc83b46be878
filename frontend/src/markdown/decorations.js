// What is added to a rendered block after sanitising: code bars and colours, typeset formulas.
// Both engines are loaded when the first code block or formula occurs.
import { copyButton } from "../copy-button.js";
import { sanitisedCode } from "./markdown.js";
import { text } from "../translations.js";

const LONGEST_COLOURED = 60_000;

function once(load) {
  let loading = null;
  return () => {
    loading ??= load().catch((error) => {
      loading = null;
      throw error;
    });
    return loading;
  };
}

const loadHighlighting = once(() => import("./code-highlighter.js"));
const loadTypesetting = once(() => import("./formula-typesetter.js"));

function decorateCode(code, plain) {
  const language = code.className.match(/^language-(.+)/)?.[1] ?? "";
  const frame = document.createElement("div");
  frame.className = "code";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const label = document.createElement("span");
  label.textContent = language || text("code");
  const source = code.textContent;
  bar.append(label, copyButton(() => source));
  const pre = code.parentElement;
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(bar, pre);
  if (plain || !language || source.length > LONGEST_COLOURED) return;
  loadHighlighting()
    .then(({ highlighted }) => {
      const html = highlighted(source, language);
      if (html) code.replaceChildren(sanitisedCode(html));
    })
    .catch(() => {});
}

function decorateFormula(node) {
  const source = node.textContent;
  loadTypesetting()
    .then(({ typeset }) => typeset(source, node, node.classList.contains("formula-display")))
    .catch(() => node.classList.add("formula-source"));
}

/** `plain`: leaves out the colours, which take the longest. */
export function decorate(block, { plain }) {
  for (const code of block.querySelectorAll("pre > code")) decorateCode(code, plain);
  for (const wide of block.querySelectorAll(".table, .formula-display")) wide.tabIndex = 0;
  for (const formula of block.querySelectorAll(".formula")) decorateFormula(formula);
}
