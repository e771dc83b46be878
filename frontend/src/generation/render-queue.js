// Renders the stored texts of a conversation: at once those that the screen shows when it opens, others as the reader
// comes near them, and the rest while the browser is idle, so that the user can scroll and type meanwhile.

/** Milliseconds for which texts are rendered at once, when a conversation opens. */
const FIRST_MS = 200;

/** How many screens are filled at once. */
const FIRST_SCREENS = 1.5;

/** Milliseconds of idle time that must remain for another text to be rendered in it. */
const ENOUGH_MS = 4;

/** Milliseconds after which a text is rendered although the browser is never idle. */
const NEVER_IDLE_MS = 1_000;

/** Milliseconds between two texts where the browser does not say when it is idle. */
const PAUSE_MS = 30;

/** How far from the screen a text is rendered before its turn. */
const NEAR = "100% 0px";

export class RenderQueue {
  /**
   * What renders the text in each node, in the order of the conversation.
   * @type {Map<Element, () => void>}
   */
  #waiting = new Map();
  /** Whether the next text is waiting for idle time. */
  #isWorking = false;
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

  /**
   * Renders all nodes that were added.
   * @param {Element | null} [first] what the screen shows at its top; without it, the screen shows the end
   */
  start(first = null) {
    const nodes = [...this.#waiting.keys()];
    if (first) {
      const isBelow = /** @param {Element} node */ (node) =>
        node === first || first.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING;
      this.#fill(nodes.filter(isBelow));
    } else {
      this.#fill(nodes.reverse());
    }
    this.#waitForIdle();
  }

  /**
   * Renders nodes until they fill the screen.
   * @param {Element[]} nodes
   */
  #fill(nodes) {
    const end = performance.now() + FIRST_MS;
    let height = 0;
    for (const node of nodes) {
      this.#render(node);
      height += node.getBoundingClientRect().height;
      if (height > FIRST_SCREENS * innerHeight || performance.now() > end) return;
    }
  }

  #waitForIdle() {
    if (this.#isWorking || !this.#waiting.size) return;
    this.#isWorking = true;
    if ("requestIdleCallback" in window) requestIdleCallback((idle) => this.#work(idle), { timeout: NEVER_IDLE_MS });
    else setTimeout(() => this.#work(null), PAUSE_MS);
  }

  /** @param {IdleDeadline | null} idle null where the browser does not say how long it is idle */
  #work(idle) {
    this.#isWorking = false;
    for (const node of [...this.#waiting.keys()].reverse()) {
      this.#render(node);
      if (!idle || idle.timeRemaining() < ENOUGH_MS) break;
    }
    this.#waitForIdle();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onNear(entries) {
    for (const { target, isIntersecting } of entries) if (isIntersecting) this.#render(target);
  }

  /**
   * Renders a node before its turn.
   * @param {Element} node
   */
  renderNow(node) {
    if (this.#waiting.has(node)) this.#render(node);
  }

  /** @param {Element} node */
  #render(node) {
    this.#observer.unobserve(node);
    const render = this.#waiting.get(node);
    this.#waiting.delete(node);
    render?.();
  }
}
