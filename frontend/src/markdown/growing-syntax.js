// How the end of a growing text is parsed. What the next words may turn into something else is not shown yet.
import { indentOf, lineOf, mayGrow } from "./block-lines.js";
import { completeText } from "./growing-text.js";
/** @import { MarkdownIt, StateBlock, StateCore, Token } from "markdown-it" */

/** A line that is being written, and makes the one above it a heading unless it becomes an item of a list. */
const PARTIAL_LINE = /\n[ \t>]*(?:-+|=+)[ \t]*$/;

/** The row below the head of a table, as far as it is written. */
const PARTIAL_DELIMITERS = /^[|:\s-]*$/;

/**
 * Returns the text that is being written: the last one, unless it is code or a formula.
 * @param {Token[]} tokens
 */
function findLastText(tokens) {
  for (const token of [...tokens].reverse()) {
    // The cells to the right of the growing one are empty.
    if (token.type === "inline" && token.content) return token;
    if (token.nesting === 0 && token.type !== "inline") return null;
    if (token.type === "tr_open") return null;
  }
  return null;
}

/** @param {StateCore} state */
function hidePartialLine(state) {
  if (state.env.growing) state.src = state.src.replace(PARTIAL_LINE, "\n");
}

/**
 * Completes the text that is being written.
 * @param {StateCore} state
 */
function completeLastText({ env, tokens }) {
  const last = env.growing ? findLastText(tokens) : null;
  if (last) last.content = completeText(last.content);
}

/**
 * Parses the head of a table before the row below it is there.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function parseTableHead(state, startLine, endLine, silent) {
  const head = lineOf(state, startLine);
  if (!mayGrow(state, endLine) || !/^\|.*\S/.test(head) || indentOf(state, startLine) >= 4) return false;
  const isHeadOnly = endLine - startLine === 1;
  if (!isHeadOnly && !(endLine - startLine === 2 && hasPartialDelimiters(state, startLine + 1))) return false;
  if (silent) return true;
  const cells = head
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "")
    .split(/(?<!\\)\|/);
  const from = state.tokens.length;
  const source = `|${cells.join("|")}|\n|${"---|".repeat(cells.length)}`;
  state.md.block.parse(source, state.md, state.env, state.tokens);
  for (const token of state.tokens.slice(from)) if (token.map) token.map = [startLine, endLine];
  state.line = endLine;
  return true;
}

/**
 * Returns whether the last line is being written, and may become the row below the head of a table.
 * @param {StateBlock} state
 * @param {number} line
 */
const hasPartialDelimiters = (state, line) => !state.src.endsWith("\n") && PARTIAL_DELIMITERS.test(lineOf(state, line));

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function growingSyntax(markdown) {
  markdown.core.ruler.before("inline", "growing", completeLastText);
  markdown.block.ruler.after("table", "growing_table", parseTableHead, { alt: ["paragraph"] });
  markdown.core.ruler.after("normalize", "growing_line", hidePartialLine);
}
