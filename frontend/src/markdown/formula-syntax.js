// Markdown syntax for formulas: $…$ and \(…\) in a line, $$…$$ and \[…\] on lines of their own.
// A formula leaves the parser as escaped text in an element; it is typeset after sanitising.
/** @import { MarkdownIt, StateBlock, StateInline } from "markdown-it" */

const DELIMITERS = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "$", close: "$", display: false },
];

/**
 * Returns whether single dollars are prices: they enclose no formula unless they touch it, as in "$5 and $10".
 * @param {string} source
 * @param {number} start
 * @param {number} end
 */
function isPrice(source, start, end) {
  const content = source.slice(start, end);
  return /^\s|\s$/.test(content) || /\d/.test(source[end + 1] ?? "");
}

/**
 * Returns where the closing delimiter is, -1 when there is none. One behind an odd number of backslashes is escaped.
 * @param {string} source
 * @param {string} close
 * @param {number} from
 */
function findClose(source, close, from) {
  for (let at = source.indexOf(close, from); at !== -1; at = source.indexOf(close, at + 1)) {
    let backslashes = 0;
    while (source[at - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return at;
  }
  return -1;
}

/**
 * Parses a formula within a line.
 * @param {StateInline} state
 * @param {boolean} silent
 */
function parseInline(state, silent) {
  const { src, pos } = state;
  const delimiter = DELIMITERS.find(({ open }) => src.startsWith(open, pos));
  if (!delimiter) return false;
  const start = pos + delimiter.open.length;
  const end = findClose(src, delimiter.close, start);
  if (end === -1 || end >= state.posMax || !src.slice(start, end).trim()) return false;
  if (delimiter.open === "$" && isPrice(src, start, end)) return false;
  if (!silent) {
    const token = state.push(delimiter.display ? "formula_display" : "formula", "", 0);
    token.content = src.slice(start, end).trim();
  }
  state.pos = end + delimiter.close.length;
  return true;
}

/**
 * Parses a formula on lines of its own.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function parseBlock(state, startLine, endLine, silent) {
  const isIndentedCode = (state.sCount[startLine] ?? 0) - state.blkIndent >= 4;
  const formula = isIndentedCode ? null : readBlock(state, startLine, endLine);
  if (!formula) return false;
  // A growing text may end inside of a formula: its source is shown until the rest has arrived.
  const mayGrow = state.env.growing && endLine === state.lineMax && state.parentType === "root";
  if (!formula.isClosed && !mayGrow) return false;
  if (!silent) {
    const token = state.push(formula.isClosed ? "formula_display" : "formula_unfinished", "", 0);
    token.content = formula.lines.join("\n").trim();
    token.map = [startLine, formula.nextLine];
    token.block = true;
    state.line = formula.nextLine;
  }
  return true;
}

/**
 * Returns the formula that begins in a line, or null. One that is not closed ends with the last line.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 */
function readBlock(state, startLine, endLine) {
  const first = lineOf(state, startLine);
  const delimiter = DELIMITERS.find(({ open, display }) => display && first.startsWith(open));
  if (!delimiter) return null;
  const lines = [];
  for (let line = startLine; line < endLine; line += 1) {
    const content = line === startLine ? first.slice(delimiter.open.length) : lineOf(state, line);
    if (!content && line > startLine) return null; // a blank line ends the paragraph
    const end = findClose(content, delimiter.close, 0);
    if (end !== -1) {
      lines.push(content.slice(0, end));
      const isAlone = !content.slice(end + delimiter.close.length).trim();
      return isAlone && lines.join("").trim() ? { lines, nextLine: line + 1, isClosed: true } : null;
    }
    lines.push(content);
  }
  return { lines, nextLine: endLine, isClosed: false };
}

/**
 * @param {StateBlock} state
 * @param {number} line
 */
function lineOf({ src, bMarks, tShift, eMarks }, line) {
  return src.slice((bMarks[line] ?? 0) + (tShift[line] ?? 0), eMarks[line]).trimEnd();
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function formulaSyntax(markdown) {
  markdown.inline.ruler.before("escape", "formula", parseInline);
  markdown.block.ruler.before("fence", "formula", parseBlock, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
  const elements = {
    formula: ["span", "formula"],
    formula_display: ["span", "formula formula-display"],
    formula_unfinished: ["div", "formula-unfinished"],
  };
  for (const [type, [element, classes]] of Object.entries(elements)) {
    markdown.renderer.rules[type] = (tokens, index) =>
      `<${element} class="${classes}">${markdown.utils.escapeHtml(tokens[index]?.content ?? "")}</${element}>`;
  }
}
