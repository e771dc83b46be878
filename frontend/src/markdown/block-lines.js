// Reads lines of a block as the parser sees them: without the indentation of lists and the marks of quotations.
/** @import { MarkdownIt, StateBlock } from "markdown-it" */

/**
 * Returns a line without its indentation and trailing spaces.
 * @param {StateBlock} state
 * @param {number} line
 */
export function lineOf({ src, bMarks, tShift, eMarks }, line) {
  return src.slice((bMarks[line] ?? 0) + (tShift[line] ?? 0), eMarks[line]).trimEnd();
}

/**
 * Returns how many columns a line is indented, within the block around it.
 * @param {StateBlock} state
 * @param {number} line
 */
export const indentOf = ({ sCount, blkIndent }, line) => (sCount[line] ?? 0) - blkIndent;

/**
 * Returns whether a line with text ends the list item around it, because it is not indented far enough.
 * @param {StateBlock} state
 * @param {number} line
 */
export const isOutdented = (state, line) => indentOf(state, line) < 0 && !state.isEmpty(line);

/**
 * Returns whether more text may follow the last line of a block that begins at the top level.
 * @param {StateBlock} state
 * @param {number} endLine
 */
export const mayGrow = (state, endLine) =>
  Boolean(state.env.growing) && endLine === state.lineMax && state.parentType === "root";

/** Lines that rules may look ahead within one text, all together; they bound the work for hostile texts. */
const MAX_LINES_AHEAD = 20_000;

/**
 * Returns whether a rule may look ahead by one more line.
 * @param {StateBlock} state
 */
export function mayLookAhead({ env }) {
  env.linesAhead = Number(env.linesAhead ?? 0) + 1;
  return Number(env.linesAhead) <= MAX_LINES_AHEAD;
}

/**
 * The plugin for markdown-it: each text begins with all its lines ahead; a text within it (`env.isWithin`) shares them.
 * @param {MarkdownIt} markdown
 */
export function lookAhead(markdown) {
  markdown.core.ruler.before("normalize", "look_ahead", ({ env }) => {
    if (!env.isWithin) env.linesAhead = 0;
  });
}
