// Shows Markdown that grows. What can no longer change is rendered once; each update parses and renders only what
// follows it, at most once per animation frame, and less often where frames take long.
import { decorate } from "./decorations.js";
import { FramePace } from "./frame-pace.js";
import { GrowingBlocks } from "./growing-blocks.js";
import { patchChildren, patchNode } from "./patch.js";
import { sanitizeMarkdown } from "./sanitizer.js";
import { appendToSections, removeFromSections } from "./sections.js";
/** @import { Block } from "./markdown.js" */

/** Milliseconds after the end of a text in which the rest of it is shown at the usual pace; then it is hurried. */
const PATIENT_MS = 30_000;

/** Milliseconds for which the end of a text waits for what is not shown yet; then one frame shows all of it. */
const MOST_REST_MS = 60_000;

/** Numbers the texts of a page, so that the ids within them are unique. */
const numbers = { last: 0 };

/**
 * Returns the element in a rendered list or table that holds its parts. Not every browser knows `:scope` in a fragment.
 * @param {Element | DocumentFragment} block
 */
function partsContainer({ firstElementChild: first }) {
  return first?.matches(".table") ? first.querySelector("tbody") : first;
}

export class GrowingMarkdown {
  #node;
  #prefix;
  #source = "";
  /** @type {{ block: Block, node: HTMLElement }[]} */
  #shownBlocks = [];
  #blocks = new GrowingBlocks(true);
  /** Characters of the source that are shown. */
  #shownChars = 0;
  /** Whether frames show the text as it grows. */
  #isGrowing = false;
  /** Id of the requested animation frame; 0 when none is requested. */
  #frame = 0;
  #pace = new FramePace();
  /** Called when the whole text is shown. @type {(() => void) | null} */
  #onWhole = null;

  /** @param {HTMLElement} node empty, or with a stored text, which stays invisible until it is rendered */
  constructor(node) {
    this.#node = node;
    this.#source = node.textContent;
    numbers.last += 1;
    this.#prefix = `text-${numbers.last}-`;
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
    this.#blocks = new GrowingBlocks(true);
    this.#shownChars = source.length; // so that the next frame shows it whole
    this.#requestFrame();
  }

  /**
   * Resolves in the frame after the one that shows the end of the text. A slow device may be behind by much, and needs
   * several frames; a hidden window has none, and is not waited for.
   * @returns {Promise<void>}
   */
  async showRest() {
    if (!this.#frame) return;
    const hurrying = setTimeout(() => (this.#pace.hurried = true), PATIENT_MS);
    await new Promise((resolve) => {
      this.#onWhole = () => resolve(undefined);
      document.addEventListener("visibilitychange", this.#onWhole, { once: true });
      setTimeout(this.#onWhole, MOST_REST_MS);
      if (document.hidden) this.#onWhole();
    });
    clearTimeout(hurrying);
    this.#pace.hurried = false;
    this.#onWhole = null;
  }

  /** Renders the whole text at once, because a late link definition may have changed an early block. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#blocks = new GrowingBlocks(false);
    this.#render();
    this.#onWhole?.();
  }

  #requestFrame() {
    if (!this.#frame) this.#frame = requestAnimationFrame((now) => this.#onFrame(now));
  }

  /** @param {number} now */
  #onFrame(now) {
    this.#frame = 0;
    if (!this.#pace.isDue(now)) {
      this.#requestFrame();
      return;
    }
    this.#isGrowing = true;
    const end = this.#pace.endOf(this.#source, this.#shownChars);
    this.#pace.measure(end - this.#shownChars, () => this.#render(end));
    if (end < this.#source.length) this.#requestFrame();
    else if (this.#onWhole) requestAnimationFrame(this.#onWhole);
  }

  /** @param {number} [end] the characters to show */
  #render(end = this.#source.length) {
    this.#shownChars = end;
    if (!this.#shownBlocks.length) this.#node.textContent = "";
    this.#node.dataset.rendered = "";
    const { first, blocks } = this.#blocks.render(this.#source, end);
    for (const [i, block] of blocks.entries()) this.#showBlock(first + i, block);
    for (const { node } of this.#shownBlocks.splice(first + blocks.length)) removeFromSections(node);
  }

  /**
   * @param {number} index
   * @param {Block} block
   */
  #showBlock(index, block) {
    const shown = this.#shownBlocks[index];
    if (shown?.block.html === block.html) return;
    const node = shown?.node ?? appendToSections(this.#node, this.#isGrowing);
    // A table whose head alone has come has no container yet.
    const container = partsContainer(node);
    if (container && shown?.block.parts.length && shown.block.before === block.before && block.parts.length) {
      this.#showParts(container, shown.block.parts, block);
    } else {
      patchChildren(node, sanitizeMarkdown(block.html));
      this.#decorate(node);
    }
    this.#shownBlocks[index] = { block, node };
  }

  /**
   * Updates the items of a list or the rows of a table that have changed.
   * @param {Element} container
   * @param {string[]} shown
   * @param {Block} block
   */
  #showParts(container, shown, { before, parts, after }) {
    for (const [i, html] of parts.entries()) {
      if (shown[i] === html) continue;
      const fresh = partsContainer(sanitizeMarkdown(before + html + after))?.firstElementChild;
      if (!fresh) continue;
      const live = container.children[i];
      if (!live) container.append(fresh);
      else if (!patchNode(live, fresh)) live.replaceWith(fresh);
      this.#decorate(/** @type {Element} */ (container.children[i]));
    }
    while (container.children.length > parts.length) container.lastElementChild?.remove();
  }

  /** @param {Element} element */
  #decorate(element) {
    decorate(element, { root: this.#node, prefix: this.#prefix });
  }
}
