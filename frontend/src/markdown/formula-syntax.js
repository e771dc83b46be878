// Markdown syntax for formulas: $…$ and \(…\) in a line; $$…$$, \[…\] and bare environments in a line or on lines of
// their own. A formula leaves the parser as escaped text in an element; it is typeset after sanitising.
import { indentOf, isOutdented, lineOf, mayGrow, mayLookAhead } from "./block-lines.js";
import { isFormula, isMathematical } from "./dollars.js";
/** @import { MarkdownIt, StateBlock, StateInline } from "markdown-it" */

/** Characters within which a formula in a line must end; they bound the search in hostile texts. */
const MAX_INLINE_CHARS = 3_000;

/** Characters above which an environment on lines of its own is text; they bound the search. */
const MAX_ENVIRONMENT_CHARS = 20_000;

const DELIMITERS = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "$", close: "$", display: false },
];

/** The beginning of an environment that KaTeX displays without dollars around it. */
const ENVIRONMENT =
  /^\\begin\{((?:equation|align|aligned|alignat|alignedat|gather|gathered|multline|eqnarray|split|[dr]?cases|array|[pbBvV]?matrix|smallmatrix|CD)\*?)\}/;

/**
 * Returns where the closing delimiter is, -1 when there is none. One behind an odd number of backslashes is escaped.
 * @param {string} source
 * @param {string} close
 * @param {number} from
 */
export function findClose(source, close, from) {
  for (let at = source.indexOf(close, from); at !== -1; at = source.indexOf(close, at + 1)) {
    let backslashes = 0;
    while (source[at - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return at;
  }
  return -1;
}

/**
 * Reads how environments of one kind are nested. Returns where in `source` the outermost one ends, -1 when it does not,
 * and how many are open then.
 * @param {string} source
 * @param {string} name
 * @param {number} [outer] how many are open before `source`
 */
function findEnvironmentEnd(source, name, outer = 0) {
  let depth = outer;
  const bare = name.replace("*", "\\*");
  for (const { 0: mark, 1: kind, index } of source.matchAll(new RegExp(`\\\\(begin|end)\\{${bare}\\}`, "g"))) {
    depth += kind === "begin" ? 1 : -1;
    if (!depth) return { end: index + mark.length, depth };
  }
  return { end: -1, depth };
}

/**
 * Returns the formula at the beginning of `source`, which follows `before`; null when there is none.
 * @param {string} source
 * @param {string} before the character before
 * @returns {{ content: string, length: number, display: boolean } | null}
 */
function readInline(source, before) {
  const name = source.match(ENVIRONMENT)?.[1];
  if (name) {
    const { end: length } = findEnvironmentEnd(source, name);
    return length === -1 ? null : { content: source.slice(0, length), length, display: true };
  }
  const delimiter = DELIMITERS.find(({ open }) => source.startsWith(open));
  if (!delimiter) return null;
  const { open, close, display } = delimiter;
  const end = findClose(source, close, open.length);
  const content = source.slice(open.length, end).trim();
  // A code span begins within: code is stronger than formulas.
  if (end === -1 || !content || content.includes("`")) return null;
  if (open === "$" && !isFormula(before + source, before.length + 1, before.length + end)) return null;
  return { content, length: end + close.length, display };
}

/**
 * Parses a formula within a line.
 * @param {StateInline} state
 * @param {boolean} silent
 */
function parseInline(state, silent) {
  const { src, pos, posMax } = state;
  if (src[pos] !== "$" && src[pos] !== "\\") return false;
  const source = src.slice(pos, Math.min(posMax, pos + MAX_INLINE_CHARS));
  const formula = readInline(source, src.slice(Math.max(pos - 1, 0), pos));
  if (!formula) return false;
  if (!silent) {
    const token = state.push(formula.display ? "formula_display" : "formula", "", 0);
    token.content = formula.content;
  }
  state.pos = pos + formula.length;
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
  if (indentOf(state, startLine) >= 4) return false; // code
  const formula = readBlock(state, startLine, endLine);
  if (!formula) return false;
  // A growing text may end inside of a formula: its source is shown until the rest has arrived.
  if (!formula.isClosed && !mayGrow(state, endLine)) return false;
  if (!silent) {
    const token = state.push(formula.isClosed ? "formula_display" : "formula_unfinished", "", 0);
    token.content = formula.lines
      .filter((line) => line.trim())
      .join("\n")
      .trim();
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
  const name = first.match(ENVIRONMENT)?.[1];
  if (name) return readEnvironment(state, startLine, endLine, name);
  const delimiter = DELIMITERS.find(({ open, display }) => display && first.startsWith(open));
  if (!delimiter) return null;
  return readDisplay(state, startLine, endLine, delimiter);
}

/**
 * Yields the lines of a display, the first without its delimiter, until they cannot belong to it.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {string} open
 */
function* readDisplayLines(state, startLine, endLine, open) {
  let [hasBlank, hasProse] = [false, false];
  for (let line = startLine; line < endLine && !isOutdented(state, line) && mayLookAhead(state); line += 1) {
    const content = lineOf(state, line).slice(line === startLine ? open.length : 0);
    hasBlank ||= !content && line > startLine;
    hasProse ||= !isMathematical(content.replace(/\$\$.*/, ""));
    // A display that was not closed must not reach to the next one, over the prose between them.
    if (hasBlank && hasProse) return;
    yield content;
  }
}

/**
 * Returns the formula between delimiters that begins in a line, or null when more than it stands on its lines.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {{ open: string, close: string }} delimiter
 */
function readDisplay(state, startLine, endLine, { open, close }) {
  const lines = [];
  for (const content of readDisplayLines(state, startLine, endLine, open)) {
    const end = findClose(content, close, 0);
    lines.push(end === -1 ? content : content.slice(0, end));
    if (end === -1) continue;
    const isAlone = lines.join("").trim() && !content.slice(end + close.length).trim();
    return isAlone ? { lines, nextLine: startLine + lines.length, isClosed: true } : null;
  }
  return startLine + lines.length === endLine ? { lines, nextLine: endLine, isClosed: false } : null;
}

/**
 * Returns the environment that begins in a line, or null when more than it stands on its lines.
 * @param {StateBlock} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {string} name
 */
function readEnvironment(state, startLine, endLine, name) {
  const lines = [];
  let open = 0;
  let chars = 0;
  for (let line = startLine; line < endLine && !isOutdented(state, line); line += 1) {
    const content = lineOf(state, line);
    chars += content.length;
    if (chars > MAX_ENVIRONMENT_CHARS || !mayLookAhead(state)) return null;
    lines.push(content);
    const { end, depth } = findEnvironmentEnd(content, name, open);
    if (end !== -1) return content.slice(end).trim() ? null : { lines, nextLine: line + 1, isClosed: true };
    open = depth;
  }
  return startLine + lines.length === endLine ? { lines, nextLine: endLine, isClosed: false } : null;
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
