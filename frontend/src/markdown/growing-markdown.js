// A node that shows growing Markdown. Blocks that can no longer change are rendered once; each update parses
// and renders only what comes after them, at most once per animation frame.
import { decorate } from "./decorations.js";
import { blocksOf, sanitised } from "./markdown.js";

/** A growing block longer than this is coloured when it is complete, not at every frame. */
const LONG_BLOCK = 8_000;

export class Prose {
  #node;
  #source = "";
  #blocks = [];
  #env = { growing: true };
  #settledBlocks = 0;
  #settledChars = 0;
  #frame = 0;
  #notBefore = 0;

  constructor(node) {
    this.#node = node;
  }

  get source() {
    return this.#source;
  }

  append(text) {
    this.#source += text;
    this.#schedule();
  }

  /** Starts over with another text. What is shown stays until the next frame. */
  replace(text) {
    this.#source = text;
    this.#unsettle();
    this.#schedule();
  }

  /** Renders everything, now: a late link definition may have changed an early block. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#unsettle();
    this.#env.growing = false;
    this.#render();
  }

  #unsettle() {
    this.#env = { growing: true };
    this.#settledBlocks = 0;
    this.#settledChars = 0;
  }

  #schedule() {
    if (!this.#frame) this.#frame = requestAnimationFrame((now) => this.#onFrame(now));
  }

  // A frame that took long (one huge block) makes the next ones rarer, so the page stays usable.
  #onFrame(now) {
    this.#frame = 0;
    if (now < this.#notBefore) {
      this.#schedule();
      return;
    }
    const begin = performance.now();
    this.#render();
    this.#notBefore = now + 4 * (performance.now() - begin);
  }

  #render() {
    const tail = this.#source.slice(this.#settledChars).replace(/\r\n?/g, "\n");
    const blocks = blocksOf(tail, this.#env);
    this.#patch(blocks);
    this.#settle(tail, blocks);
  }

  #patch(blocks) {
    const first = this.#settledBlocks;
    for (const [i, { html }] of blocks.entries()) {
      const plain = this.#env.growing && i === blocks.length - 1 && html.length > LONG_BLOCK;
      const shown = this.#blocks[first + i];
      if (shown?.html === html && shown.plain === plain) continue;
      const node = document.createElement("div");
      node.className = "block";
      node.append(sanitised(html));
      decorate(node, { plain });
      if (shown) shown.node.replaceWith(node);
      else this.#node.append(node);
      this.#blocks[first + i] = { html, node, plain };
    }
    for (const { node } of this.#blocks.splice(first + blocks.length)) node.remove();
  }

  /** A block is settled once the next one has begun with a complete line. */
  #settle(tail, blocks) {
    const starts = [0];
    for (let at = tail.indexOf("\n"); at !== -1; at = tail.indexOf("\n", at + 1)) starts.push(at + 1);
    if (this.#source.includes("\r")) return;
    for (let i = blocks.length - 1; i > 0; i -= 1) {
      if (blocks[i].line >= starts.length - 1) continue;
      this.#settledBlocks += i;
      this.#settledChars += starts[blocks[i].line];
      return;
    }
  }
}
