// Completes the last line of a growing text: what is still open is closed, and what cannot be shown yet is held back.
// So a text never shows marks of Markdown that the next words turn into something else.
import { canOpen } from "./dollars.js";
import { findClose } from "./formula-syntax.js";

/** Characters above which an open link or formula is shown as text, because it will hardly be closed any more. */
const MAX_HELD_CHARS = 400;

/** The same for a dollar, which is rarely the beginning of a formula. */
const MAX_HELD_DOLLAR_CHARS = 60;

/** Characters within which an opening bracket or formula is searched for its end. */
const MAX_SEARCHED_CHARS = 1_000;

/** Openings above which none is closed, because the text is no prose. */
const MAX_OPENINGS = 50;

/** A last line of which the next characters may make a list, a heading, a rule, a quotation, a table or a fence. */
const PARTIAL_BLOCK = /(^|\n)[ \t]*(?:[-=*_+#>|~`:]+|\d{1,3}[.)]?)[ \t]*$/;

/** A tag or an address in angle brackets that is being written. */
const PARTIAL_TAG = /^<\/?(?:[a-z]{0,8}|https?:[^\s<>]*)$/i;

const PAIRED_TAG = /^<(\/?)(sub|sup|kbd)(?:\s[^<>]*)?>/i;

/**
 * Something that is open: what closes it, where it began, and where its text begins.
 * @typedef {{ close: string, at: number, start: number }} Opening
 */

/** Reads a text from left to right. `cut` is where the part begins that is held back. */
class Reader {
  /** @type {Opening[]} */
  openings = [];
  at = 0;

  /** @param {string} source */
  constructor(source) {
    this.source = source;
    this.cut = source.length;
  }

  read() {
    while (this.at < this.cut) this.#step();
  }

  #step() {
    const { source, at } = this;
    const char = source[at] ?? "";
    if ("*_~".includes(char)) this.#readEmphasis(char);
    else if (char === "\\") this.#readBackslash();
    else if (char === "`") this.#readCode();
    else if (char === "$") this.#readDollar();
    else if (char === "[") this.#readLink();
    else if (char === "<") this.#readTag();
    else this.at += 1;
  }

  #readBackslash() {
    const next = this.source[this.at + 1] ?? "";
    if (next === "(" || next === "[") this.#readFormula(`\\${next}`);
    else this.at += 2;
  }

  /**
   * Holds back what follows, unless it has become too long.
   * @param {number} [limit]
   */
  #hold(limit = MAX_HELD_CHARS) {
    if (this.source.length - this.at <= limit) {
      const isImage = this.source[this.at] === "[" && this.source[this.at - 1] === "!";
      this.cut = isImage ? this.at - 1 : this.at;
    } else this.at += 1;
  }

  /** @param {string} open */
  #readFormula(open) {
    const close = { "\\(": "\\)", "\\[": "\\]", $$: "$$" }[open] ?? "$";
    const searched = this.source.slice(this.at, this.at + MAX_SEARCHED_CHARS);
    const end = findClose(searched, close, open.length);
    if (end !== -1) this.at += end + close.length;
    else this.#hold();
  }

  #readDollar() {
    const { source, at } = this;
    if (source.startsWith("$$", at)) {
      this.#readFormula("$$");
      return;
    }
    const end = findClose(source, "$", at + 1);
    const mayOpen = canOpen(source, at) && !/\d/.test(source[at + 1] ?? "");
    if (end !== -1 && mayOpen) this.at = end + 1;
    else if (at === source.length - 1 || mayOpen) this.#hold(MAX_HELD_DOLLAR_CHARS);
    else this.at += 1;
  }

  #readCode() {
    const { source, at } = this;
    const [run = ""] = source.slice(at).match(/^`+/) ?? [];
    const start = at + run.length;
    if (start === source.length) {
      this.cut = at;
      return;
    }
    const rest = source.slice(start);
    const end = rest.search(new RegExp(`(?<!\`)${run}(?!\`)`));
    if (end !== -1) this.at = start + end + run.length;
    else {
      // The last backticks may be the first ones of those that close the code.
      this.cut = source.length;
      while (source[this.cut - 1] === "`" && this.cut > start) this.cut -= 1;
      this.#open({ close: run, at, start });
      this.at = this.cut;
    }
  }

  #readLink() {
    const { source, at } = this;
    const labelEnd = findBracket(source, at, "[", "]");
    const next = labelEnd === -1 ? "" : (source[labelEnd + 1] ?? "");
    const close = { "(": ")", "[": "]" }[next];
    const targetEnd = close ? findBracket(source, labelEnd + 1, next, close) : at;
    const isDefinition = next === ":" && (at === 0 || source[at - 1] === "\n");
    const isUnfinished = isDefinition && !/^\s*\S+\s/.test(source.slice(labelEnd + 2));
    if (!next || targetEnd === -1 || isUnfinished) this.#hold();
    else this.at = targetEnd + 1; // without a target, what stands in the brackets may have emphasis
  }

  #readTag() {
    const rest = this.source.slice(this.at);
    if (PARTIAL_TAG.test(rest)) {
      this.#hold();
      return;
    }
    const [tag = "", slash, name] = rest.match(PAIRED_TAG) ?? [];
    if (tag && !slash) this.#open({ close: `</${name}>`, at: this.at, start: this.at + tag.length });
    if (slash) this.#close(`</${name}>`);
    this.at += tag.length || 1;
  }

  /** @param {string} char */
  #readEmphasis(char) {
    const { source, at } = this;
    const run = source.slice(at).match(/^(.)\1*/)?.[0] ?? char;
    const end = at + run.length;
    this.at = end;
    if (end === source.length) {
      this.cut = at;
      return;
    }
    const [before, after] = [source.charAt(at - 1), source.charAt(end)];
    if (run === "~" || (char === "_" && isWithinWord(before, after))) return;
    const isClosing = before.trim() !== "" && this.#close(run);
    if (!isClosing && after.trim()) this.#open({ close: run, at, start: end });
  }

  /**
   * Notes an opening. Above the limit there are no further ones, and none is closed: the text is no prose.
   * @param {Opening} opening
   */
  #open(opening) {
    if (this.openings.length <= MAX_OPENINGS) this.openings.push(opening);
  }

  /**
   * Closes the last opening of this kind, and those within it. Returns whether there was one.
   * @param {string} close
   */
  #close(close) {
    if (this.openings.length > MAX_OPENINGS) return false;
    const index = this.openings.findLastIndex((opening) => opening.close.toLowerCase() === close.toLowerCase());
    if (index !== -1) this.openings.length = index;
    return index !== -1;
  }
}

/**
 * @param {string} before
 * @param {string} after
 */
const isWithinWord = (before, after) => /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);

/**
 * Returns where the bracket closes that opens at `from`; -1 when it does not. Brackets within it close first.
 * @param {string} source
 * @param {number} from
 * @param {string} open
 * @param {string} close
 */
function findBracket(source, from, open, close) {
  let depth = 0;
  const end = Math.min(source.length, from + MAX_SEARCHED_CHARS);
  for (let at = from; at < end; at += 1) {
    if (source[at] === "\\") at += 1;
    else if (source[at] === open) depth += 1;
    else if (source[at] === close) depth -= 1;
    if (!depth) return at;
  }
  return -1;
}

/**
 * Returns a growing paragraph, heading or cell as it is shown.
 * @param {string} source
 */
export function completeText(source) {
  const reader = new Reader(source.replace(PARTIAL_BLOCK, ""));
  reader.read();
  let shown = reader.source.slice(0, reader.cut).trimEnd();
  if (reader.openings.length > MAX_OPENINGS) return shown;
  // What was opened last has no text yet, when it stands at the end.
  let opening = reader.openings.pop();
  while (opening && opening.start >= shown.length) {
    if (opening.at < shown.length) shown = shown.slice(0, opening.at).trimEnd();
    opening = reader.openings.pop();
  }
  for (; opening; opening = reader.openings.pop()) shown += opening.close;
  return shown;
}
