// Shows Markdown that grows. Blocks that can no longer change are rendered once; each update parses and renders only
// what follows them, at most once per animation frame.
import { decorate } from "./decorations.js";
import { measureSettled, renderBlocks } from "./markdown.js";
import { sanitizeMarkdown } from "./sanitizer.js";

/** Characters of HTML above which a growing block gets its colours only when it is complete, not at every frame. */
const LONG_BLOCK_CHARS = 8_000;

/** A frame that took long is followed by a pause of so many times its duration, so that the page stays usable. */
const PAUSE_FACTOR = 4;

export class GrowingMarkdown {
  #node;
  #source = "";
  /** @type {{ html: string, node: HTMLElement, withColours: boolean }[]} */
  #shownBlocks = [];
  #env = { growing: true };
  #settledBlocks = 0;
  #settledChars = 0;
  /** Id of the requested animation frame; 0 when none is requested. */
  #frame = 0;
  /** Time before which no frame renders. */
  #notBefore = 0;

  /** @param {HTMLElement} node */
  constructor(node) {
    this.#node = node;
  }

  get source() {
    return this.#source;
  }

  /** @param {string} delta */
  append(delta) {
    this.#source += delta;
    this.#requestFrame();
  }

  /**
   * Starts over with another text. The page keeps the old one until the next frame.
   * @param {string} source
   */
  replace(source) {
    this.#source = source;
    this.#startOver();
    this.#requestFrame();
  }

  /** Renders the whole text at once, because a late link definition may have changed an early block. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#startOver();
    this.#env.growing = false;
    this.#render();
  }

  #startOver() {
    this.#env = { growing: true };
    this.#settledBlocks = 0;
    this.#settledChars = 0;
  }

  #requestFrame() {
    if (!this.#frame) this.#frame = requestAnimationFrame((now) => this.#onFrame(now));
  }

  /** @param {number} now */
  #onFrame(now) {
    this.#frame = 0;
    if (now < this.#notBefore) {
      this.#requestFrame();
      return;
    }
    const begin = performance.now();
    this.#render();
    this.#notBefore = now + PAUSE_FACTOR * (performance.now() - begin);
  }

  #render() {
    const source = this.#source.slice(this.#settledChars).replace(/\r\n?/g, "\n");
    const blocks = renderBlocks(source, this.#env);
    for (const [i, { html }] of blocks.entries()) {
      const isLongAndGrowing = this.#env.growing && i === blocks.length - 1 && html.length > LONG_BLOCK_CHARS;
      this.#showBlock(this.#settledBlocks + i, html, !isLongAndGrowing);
    }
    for (const { node } of this.#shownBlocks.splice(this.#settledBlocks + blocks.length)) node.remove();
    // With carriage returns, positions in the normalised text are not those in the source.
    if (this.#source.includes("\r")) return;
    const settled = measureSettled(source, blocks);
    this.#settledBlocks += settled.count;
    this.#settledChars += settled.chars;
  }

  /**
   * @param {number} index
   * @param {string} html
   * @param {boolean} withColours
   */
  #showBlock(index, html, withColours) {
    const shown = this.#shownBlocks[index];
    if (shown?.html === html && shown.withColours === withColours) return;
    const node = document.createElement("div");
    node.className = "block";
    node.append(sanitizeMarkdown(html));
    decorate(node, { withColours });
    if (shown) shown.node.replaceWith(node);
    else this.#node.append(node);
    this.#shownBlocks[index] = { html, node, withColours };
  }
}
