// Tells formulas between single dollars from amounts of money, and from names of variables and shares.

/** A word of prose: two letters or more. A letter alone is a variable. */
const WORD = /(?<![\p{L}\\])\p{Script=Latin}{2,}/u;
const WORDS = new RegExp(WORD, "gu");

/** Characters without which a text of several words is no formula. */
const MATHEMATICAL = /[\\^_=+<>|*/{}-]/;

/** Letters that may follow a formula directly, as in "the $n$th". */
const SUFFIX = /^(?:th|st|nd|rd|s)(?![a-z])/i;

/**
 * Returns `content` without what TeX spells with letters: commands, and the texts within them.
 * @param {string} content
 */
const withoutCommands = (content) =>
  content.replace(/\\(?:text|mathrm|operatorname|mbox)[a-z]*\*?\s*\{[^{}]*\}/g, " ").replace(/\\[a-z]+/gi, " ");

/**
 * Returns whether a text between two dollars reads like prose.
 * @param {string} content
 */
function isProse(content) {
  const plain = withoutCommands(content);
  if (/^[-+]?\d/.test(content)) {
    // "5/month", "5, 10" and "200. Pay in R" are amounts; "2x + 3y = 5" and "100" are not.
    return WORD.test(plain) || (/\s/.test(content) && !MATHEMATICAL.test(content));
  }
  if (!/\s/.test(content.trim())) return false;
  return !MATHEMATICAL.test(content) && WORD.test(plain);
}

/**
 * Returns whether the dollar at `at` can begin a formula. One behind a letter or digit belongs to it, as in US$.
 * @param {string} source
 * @param {number} at
 */
export const canOpen = (source, at) => !/[A-Za-z0-9]/.test(source[at - 1] ?? "") && /\S/.test(source[at + 1] ?? "");

/**
 * Returns whether what stands between two dollars, from `start` to `end`, is a formula.
 * @param {string} source
 * @param {number} start
 * @param {number} end
 */
export function isFormula(source, start, end) {
  const content = source.slice(start, end);
  if (!canOpen(source, start - 1) || /^\s|\s$/.test(content)) return false;
  const next = source.slice(end + 1, end + 5);
  if (/^[A-Za-z0-9{]/.test(next) && !SUFFIX.test(next)) return false;
  if (/^\{[\w.]{2,}\}/.test(content)) return false; // a template: ${name}
  return !isProse(content);
}

/**
 * Returns whether a line of a display is no prose.
 * @param {string} line
 */
export function isMathematical(line) {
  if (/(?<!\\)\$/.test(line)) return false;
  const plain = withoutCommands(line);
  if (/\p{Script=Han}{2}/u.test(plain)) return false;
  return (plain.match(WORDS) ?? []).length < 2 || /[\\^=]/.test(line);
}
