// The direction of each block, by its own first strong letter. Code and formulas have none: they run left to right.
// HTML's dir="auto" would not do for lists: a list whose items have it has no letters of its own.
/** @import { MarkdownIt, StateCore, Token } from "markdown-it" */

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const STRONG = /\p{L}/u;

/**
 * Returns the direction of an inline token, or undefined when it has no letters.
 * @param {Token} token
 */
function directionOf({ children }) {
  for (const { type, content } of children ?? []) {
    const letter = type === "text" ? content.match(STRONG)?.[0] : undefined;
    if (letter) return RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
  }
  return undefined;
}

/**
 * Gives blocks their directions, in texts that have letters from right to left.
 * @param {StateCore} state
 */
function setDirections({ src, tokens }) {
  if (!RIGHT_TO_LEFT.test(src)) return;
  /** @type {Token[]} */
  const open = [];
  for (const token of tokens) {
    if (token.nesting === 1) open.push(token);
    if (token.nesting === -1) open.pop();
    const direction = token.type === "inline" ? directionOf(token) : undefined;
    if (!direction) continue;
    for (const block of open) if (!block.attrGet("dir")) block.attrPush(["dir", direction]);
  }
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function textDirection(markdown) {
  markdown.core.ruler.push("direction", setDirections);
}
