// Renders the stored texts of a conversation, the last ones first. A short conversation is rendered at once; of a long
// one the rest follows in small portions, so that the user can scroll and type meanwhile.

/** Milliseconds for which texts are rendered at once, when a conversation opens. */
const FIRST_MS = 200;

/** Milliseconds for which texts are rendered between two events of the user. */
const PORTION_MS = 16;

/** How far from the screen a text is rendered before its turn. */
const NEAR = "100% 0px";

export class RenderQueue {
  /**
   * What renders the text in each node, in the order of the conversation.
   * @type {Map<Element, () => void>}
   */
  #waiting = new Map();
  #observer = new IntersectionObserver((entries) => this.#onNear(entries), { rootMargin: NEAR });

  /**
   * Adds a node below those that wait already.
   * @param {Element} node
   * @param {() => void} render
   */
  add(node, render) {
    this.#waiting.set(node, render);
    this.#observer.observe(node);
  }

  /** Renders all nodes that were added. */
  start() {
    this.#work(FIRST_MS);
  }

  /** @param {number} milliseconds */
  #work(milliseconds) {
    const end = performance.now() + milliseconds;
    for (const node of [...this.#waiting.keys()].reverse()) {
      if (performance.now() > end) break;
      this.#render(node);
    }
    if (this.#waiting.size) setTimeout(() => this.#work(PORTION_MS));
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onNear(entries) {
    for (const { target, isIntersecting } of entries) if (isIntersecting) this.#render(target);
  }

  /** @param {Element} node */
  #render(node) {
    this.#observer.unobserve(node);
    const render = this.#waiting.get(node);
    this.#waiting.delete(node);
    render?.();
  }
}
