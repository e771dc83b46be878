// Keeps the end of a growing page in view, but only while the reader is there.
import { byId } from "../dom.js";

/** Pixels from the end of the page within which the reader counts as being at the end. */
const END_MARGIN_PX = 96;

export class AutoScroll {
  #page = /** @type {Element} */ (document.scrollingElement);
  /** Whether the reader is at the end, so that the page scrolls as it grows. */
  #following = true;
  #lastTop = 0;
  #onChange;

  /** @param {(following: boolean) => void} onChange called when the reader leaves the end of the page or returns */
  constructor(onChange) {
    this.#onChange = onChange;
    addEventListener("scroll", () => this.#onScroll(), { passive: true });
    const observer = new ResizeObserver(() => this.#following && this.scrollToEnd());
    observer.observe(byId("main"));
    observer.observe(document.documentElement);
  }

  scrollToEnd() {
    this.#setFollowing(true);
    this.#page.scrollTop = this.#page.scrollHeight;
  }

  /**
   * Changes the page, and scrolls so that what `measureTop()` measures keeps its place on the screen.
   * @template T
   * @param {() => number} measureTop
   * @param {() => Promise<T>} change
   */
  async keepInPlace(measureTop, change) {
    const before = measureTop();
    const result = await change();
    this.#page.scrollTop += measureTop() - before;
    this.#setFollowing(this.#isAtEnd());
    return result;
  }

  #isAtEnd() {
    return this.#page.scrollHeight - this.#page.clientHeight - this.#page.scrollTop < END_MARGIN_PX;
  }

  #onScroll() {
    // Only the reader scrolls up: growth of the page below moves nothing.
    if (this.#isAtEnd()) this.#setFollowing(true);
    else if (this.#page.scrollTop < this.#lastTop) this.#setFollowing(false);
    this.#lastTop = this.#page.scrollTop;
  }

  /** @param {boolean} following */
  #setFollowing(following) {
    if (this.#following === following) return;
    this.#following = following;
    this.#onChange(following);
  }
}
