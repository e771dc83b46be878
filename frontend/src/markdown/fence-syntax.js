// Fenced code. Unlike CommonMark, a fence may hold others of its own length: models that are asked for a README put
// fences of three into a fence of three. Where the fences do not add up, CommonMark's rule holds.
import { indentOf, isOutdented, lineOf, mayGrow, mayLookAhead } from "./block-lines.js";
/** @import { MarkdownIt, StateBlock } from "markdown-it" */

const FENCE = /^(`{3,}|~{3,})\s*(.*)$/;

/** Languages of texts that have fences themselves. */
const MARKDOWN = /^(?:markdown|md|mdx|gfm)\b/i;

/** @typedef {{ line: number, marker: string, length: number, info: string }} Fence */

/**
 * Returns the fence in a line, or null.
 * @param {StateBlock} state
 * @param {number} line
 * @returns {Fence | null}
 */
function readFence(state, line) {
  if (indentOf(state, line) >= 4) return null;
  const [, fence = "", info = ""] = lineOf(state, line).match(FENCE) ?? [];
  if (!fence || (fence.startsWith("`") && info.includes("`"))) return null;
  return { line, marker: fence.charAt(0), length: fence.length, info };
}

/**
 * Returns the fences after `outer` that have its marker, and are as long.
 * @param {StateBlock} state
 * @param {Fence} outer
 * @param {number} endLine
 */
function* readInnerFences(state, outer, endLine) {
  for (let line = outer.line + 1; line < endLine && !isOutdented(state, line); line += 1) {
    const fence = readFence(state, line);
    if (fence && fence.marker === outer.marker && fence.length >= outer.length) yield fence;
  }
}

/**
 * Returns whether a line stands between an empty one and one with text, as a fence without a language does that opens.
 * @param {StateBlock} state
 * @param {number} line
 * @param {number} endLine
 */
const beginsParagraph = (state, line, endLine) =>
  state.isEmpty(line - 1) && line + 1 < endLine && !state.isEmpty(line + 1);

/**
 * Returns the line that closes a fence, after all that it holds; null when they do not add up.
 * @param {StateBlock} state
 * @param {Fence} outer
 * @param {number} endLine
 */
function matchFences(state, outer, endLine) {
  const isMarkdown = MARKDOWN.test(outer.info);
  const open = [outer];
  for (const fence of readInnerFences(state, outer, endLine)) {
    if (!mayLookAhead(state)) return null;
    if (fence.info || (isMarkdown && open.length === 1 && beginsParagraph(state, fence.line, endLine)))
      open.push(fence);
    else if (fence.length >= /** @type {Fence} */ (open.at(-1)).length) open.pop();
    if (!open.length) return fence.line;
  }
  return null;
}

/**
 * Returns the line that closes a fence, or null.
 * @param {StateBlock} state
 * @param {Fence} outer
 * @param {number} endLine
 */
function findEnd(state, outer, endLine) {
  const line = matchFences(state, outer, endLine);
  // A text that grows may still close them all.
  if (line !== null || (MARKDOWN.test(outer.info) && mayGrow(state, endLine))) return line;
  for (const fence of readInnerFences(state, outer, endLine)) if (!fence.info) return fence.line;
  return null;
}

/**
 * Returns the line after the last one of a fence that is never closed: where its container ends.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 */
function findContainerEnd(state, startLine, endLine) {
  let line = startLine + 1;
  while (line < endLine && !isOutdented(state, line)) line += 1;
  return line;
}

/**
 * @param {StateBlock} state
 * @param {string} info
 * @param {boolean} isGrowing
 */
function pushToken(state, info, isGrowing) {
  if (!/^math\b/i.test(info)) return state.push("fence", "code", 0);
  return state.push(isGrowing ? "formula_unfinished" : "formula_display", "", 0);
}

/**
 * Parses a fence.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function parseFence(state, startLine, endLine, silent) {
  const fence = readFence(state, startLine);
  if (!fence) return false;
  if (silent) return true;
  const closing = findEnd(state, fence, endLine);
  const contentEnd = closing ?? findContainerEnd(state, startLine, endLine);
  const isGrowing = closing === null && Boolean(state.env.growing);
  const token = pushToken(state, fence.info, isGrowing);
  token.block = true;
  token.info = fence.info;
  token.markup = fence.marker.repeat(fence.length);
  token.content = state.getLines(startLine + 1, contentEnd, state.sCount[startLine] ?? 0, true);
  if (isGrowing) hidePartialLine(token, state.src, contentEnd === startLine + 1);
  state.line = closing === null ? contentEnd : closing + 1;
  token.map = [startLine, state.line];
  return true;
}

/**
 * Hides what may still turn into something else: a language that is being written, and the closing fence.
 * @param {{ info: string, content: string, markup: string }} token
 * @param {string} source
 * @param {boolean} isFirstLine
 */
function hidePartialLine(token, source, isFirstLine) {
  if (isFirstLine && !source.endsWith("\n")) token.info = "";
  const last = token.content.slice(token.content.lastIndexOf("\n", token.content.length - 2) + 1);
  if (last.trim() && token.markup.startsWith(last.trim())) token.content = token.content.slice(0, -last.length);
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function fenceSyntax(markdown) {
  markdown.block.ruler.at("fence", parseFence, { alt: ["paragraph", "reference", "blockquote", "list"] });
}
