// Keeps the end of a growing page in view, until the reader moves away from it. The first movement up is the wish to
// leave, however small it is; reaching the end again is the wish to follow.
import { byId } from "../dom.js";

/** Pixels from the end of the page within which a reader who scrolls down has reached it: lines arrive meanwhile. */
const END_MARGIN_PX = 96;

/** Keys that scroll up. */
const KEYS_UP = ["ArrowUp", "PageUp", "Home"];

/**
 * Returns whether an element between `target` and the page takes a movement up, because it scrolls itself.
 * @param {EventTarget | null} target
 */
function scrollsItself(target) {
  for (let element = target; element instanceof Element; element = element.parentElement) {
    if (element !== document.scrollingElement && element !== document.body && element.scrollTop > 0) return true;
  }
  return false;
}

export class AutoScroll {
  #page = /** @type {Element} */ (document.scrollingElement);
  /** Whether the reader is at the end, so that the page scrolls as it grows. */
  #following = true;
  #lastTop = 0;
  /** The height of the page when it was last laid out. */
  #lastHeight = 0;
  #lastTouchY = 0;
  /** Whether a pointer is pressed: what is below it must not move away before it is released. */
  #pressed = false;
  /**
   * What stays where it is while the rest of the page is rendered, until the reader moves: an element, the distance
   * from the top of the window that it shall have, and the one that it could get.
   * @type {{ element: Element, top: number, reached: number } | null}
   */
  #held = null;
  #onChange;

  /** @param {(following: boolean) => void} onChange called when the reader leaves the end of the page or returns */
  constructor(onChange) {
    this.#onChange = onChange;
    const main = byId("main");
    const passive = { passive: true };
    addEventListener("scroll", () => this.#onScroll(), passive);
    // These come before the page has scrolled; after it, the page would already have followed the growing text again.
    main.addEventListener("wheel", (event) => event.deltaY < 0 && this.#leave(event), passive);
    main.addEventListener("touchstart", (event) => this.#onTouch(event), passive);
    main.addEventListener("touchmove", (event) => this.#onTouch(event), passive);
    addEventListener("keydown", (event) => this.#onKey(event));
    main.addEventListener("pointerdown", (event) => (this.#pressed = event.button === 0), passive);
    // A menu or another window may take the release.
    for (const name of ["pointerup", "pointercancel", "contextmenu", "blur"]) {
      addEventListener(name, () => this.#release(), passive);
    }
    for (const name of ["wheel", "touchstart", "keydown", "pointerdown"]) {
      addEventListener(name, () => (this.#held = null), passive);
    }
    const observer = new ResizeObserver(() => this.#onResize());
    observer.observe(main);
    observer.observe(document.documentElement);
  }

  get following() {
    return this.#following;
  }

  scrollToEnd() {
    this.#held = null;
    this.#setFollowing(true);
    this.#lastHeight = this.#page.scrollHeight;
    this.#page.scrollTop = this.#lastHeight;
    this.#lastTop = this.#page.scrollTop;
  }

  /**
   * Shows an element `top` pixels below the top of the window, and keeps it there until the reader moves.
   * @param {Element} element
   * @param {number} top
   */
  standAt(element, top) {
    this.#setFollowing(false);
    this.#held = { element, top, reached: top };
    this.#hold();
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
    this.#setFollowing(this.#distance < END_MARGIN_PX);
    return result;
  }

  /** Pixels between what is shown and the end of the page. */
  get #distance() {
    return this.#page.scrollHeight - this.#page.clientHeight - this.#page.scrollTop;
  }

  #hold() {
    const held = this.#held;
    if (!held) return;
    this.#page.scrollTop += held.element.getBoundingClientRect().top - held.top;
    held.reached = held.element.getBoundingClientRect().top;
    this.#lastTop = this.#page.scrollTop;
  }

  #onResize() {
    this.#lastHeight = this.#page.scrollHeight;
    if (this.#held) this.#hold();
    else if (this.#following && !this.#pressed) this.scrollToEnd();
  }

  #onScroll() {
    const { scrollTop } = this.#page;
    // A scroll bar moves the page without any other event.
    if (this.#held && Math.abs(this.#held.element.getBoundingClientRect().top - this.#held.reached) > 2) {
      this.#held = null;
    }
    // A page whose height changes moves up too, as when a diagram takes the place of its source: the reader stays where
    // they are, and `#onResize` follows. A window that became higher shows the end.
    const isMoved = this.#page.scrollHeight === this.#lastHeight;
    if (isMoved && scrollTop < this.#lastTop && this.#distance > 1) this.#setFollowing(false);
    else if (scrollTop > this.#lastTop && this.#distance < END_MARGIN_PX) this.#setFollowing(true);
    this.#lastTop = scrollTop;
  }

  /** Follows what has grown meanwhile. */
  #release() {
    if (!this.#pressed) return;
    this.#pressed = false;
    if (this.#following) this.scrollToEnd();
  }

  /** @param {TouchEvent} event */
  #onTouch(event) {
    const y = event.touches[0]?.clientY ?? 0;
    if (event.type === "touchmove" && y > this.#lastTouchY) this.#leave(event);
    this.#lastTouchY = y;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.target instanceof Element && event.target.closest("textarea, input, select")) return;
    if (KEYS_UP.includes(event.key) || (event.key === " " && event.shiftKey)) this.#leave(event);
    // The browser scrolls smoothly to what was the end when the key was pressed.
    if (event.key === "End" && !scrollsItself(event.target)) this.#setFollowing(true);
  }

  /** @param {Event} event */
  #leave({ target }) {
    if (this.#page.scrollTop > 0 && !scrollsItself(target)) this.#setFollowing(false);
  }

  /** @param {boolean} following */
  #setFollowing(following) {
    if (this.#following === following) return;
    this.#following = following;
    this.#onChange(following);
  }
}
