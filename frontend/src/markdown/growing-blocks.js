// The blocks of a text that grows. What can no longer change is parsed once: blocks before the last one, and in a list
// or a table, which may become long, its items or rows before the last ones.
import { measureSettled, renderBlocks, renderFootnotes } from "./markdown.js";
/** @import { Block } from "./markdown.js" */

/** Parts that are settled together: some, because each time the source is cut and the parts are copied. */
const LEAST_SETTLED_PARTS = 8;

/** Parts at the end that may still change: the one that is being written, and one before it. */
const OPEN_PARTS = 2;

/**
 * The beginning of a list or table whose end may still change: its settled parts, what its HTML and its source have
 * before the first one, and where it begins in the text. Without parts it stands for none.
 * @typedef {{ parts: string[], before: string, head: string, start: number }} Begun
 */

/** @type {Begun} */
const NONE_BEGUN = { parts: [], before: "", head: "", start: 0 };

/** @param {string} html */
const tagOf = (html) => /^<\w+/.exec(html)?.[0];

export class GrowingBlocks {
  #env;
  #settledBlocks = 0;
  /** Characters of the text that are not parsed again. */
  #settledChars = 0;
  #begun = NONE_BEGUN;
  /** Whether the parts of lists and tables are settled one by one. */
  #divides;

  /** @param {boolean} growing whether more text will follow */
  constructor(growing) {
    this.#env = { growing };
    this.#divides = growing;
  }

  /**
   * Returns the blocks of the first `end` characters of a text, without those that are settled; `first` is how many
   * these are.
   * @param {string} text as before, or with more at its end
   * @param {number} end
   * @returns {{ first: number, blocks: Block[] }}
   */
  render(text, end) {
    const first = this.#settledBlocks;
    const source = this.#begun.head + text.slice(this.#settledChars, end).replace(/\r\n?/g, "\n");
    const blocks = renderBlocks(source, this.#env);
    if (!this.#goesOn(blocks[0])) {
      this.#settledChars = this.#begun.start;
      this.#begun = NONE_BEGUN;
      this.#divides = false;
      return this.render(text, end);
    }
    const notes = renderFootnotes(this.#env);
    // With carriage returns, positions in the normalised text are not those in the source.
    if (this.#env.growing && !text.includes("\r")) this.#settle(source, blocks);
    return { first, blocks: notes ? [...blocks, notes] : blocks };
  }

  /**
   * Puts the settled parts before those of a block that goes on with the list or table. Returns whether it does.
   * @param {Block | undefined} block
   */
  #goesOn(block) {
    const { parts, before } = this.#begun;
    if (!parts.length) return true;
    if (!block?.parts.length || tagOf(block.before) !== tagOf(before)) return false;
    const partLines = [...parts.map(() => 0), ...block.partLines];
    Object.assign(block, { before, parts: [...parts, ...block.parts], partLines });
    block.html = before + block.parts.join("") + block.after;
    return true;
  }

  /**
   * @param {string} source
   * @param {Block[]} blocks
   */
  #settle(source, blocks) {
    const { count, chars, lineStarts } = measureSettled(source, blocks);
    const last = blocks[count];
    if (chars) {
      this.#settledBlocks += count;
      this.#settledChars += chars - this.#begun.head.length;
      this.#begun = NONE_BEGUN;
    }
    if (last && this.#divides && count === blocks.length - 1) this.#settleParts(source, last, lineStarts);
  }

  /**
   * @param {string} source
   * @param {Block} block the last one
   * @param {number[]} lineStarts
   */
  #settleParts(source, { line, before, parts, partLines }, lineStarts) {
    const known = this.#begun.parts.length;
    const settled = parts.length - OPEN_PARTS;
    if (settled - known < LEAST_SETTLED_PARTS) return;
    const [begin = 0, from = 0, to = 0] = [line, partLines[known], partLines[settled]].map((at) => lineStarts[at ?? 0]);
    const { head, start } = known ? this.#begun : { head: source.slice(begin, from), start: this.#settledChars };
    this.#settledChars += to - (known ? from : begin);
    this.#begun = { parts: parts.slice(0, settled), before, head, start };
  }
}
