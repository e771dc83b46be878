// How often a growing text is rendered, and how much of it at once, so that the page stays usable on a slow device: an
// update shows what takes about one frame, and a pause follows in which the user can type and scroll.

/** Milliseconds of an update, layout and painting included, above which a pause follows and updates get smaller. */
const FRAME_MS = 14;

/** So many times the duration of an update is the pause after it. */
const PAUSE_FACTOR = 3;

/** The same while more text waits than one update shows: pauses as long would let it fall behind ever more. */
const LATE_PAUSE_FACTOR = 0.5;

/** Characters that one update may add: the first one, and any. */
const FIRST_CHARS = 2_000;
const LEAST_CHARS = 120;
const MOST_CHARS = 20_000;

export class FramePace {
  #chars = FIRST_CHARS;
  #isLate = false;
  /** Time before which nothing is rendered. */
  #notBefore = 0;

  /** @param {number} now */
  isDue(now) {
    return now >= this.#notBefore;
  }

  /**
   * Returns how much of `source` the next update shows.
   * @param {string} source
   * @param {number} shown the characters that are shown
   */
  endOf(source, shown) {
    const end = shown + this.#chars;
    this.#isLate = end < source.length;
    if (!this.#isLate) return source.length;
    return /[\uD800-\uDBFF]/.test(source.charAt(end - 1)) ? end + 1 : end;
  }

  /**
   * Runs an update that adds so many characters. The task after it comes when the browser has laid out and painted.
   * @param {number} chars
   * @param {() => void} render
   */
  measure(chars, render) {
    const begin = performance.now();
    this.#notBefore = Infinity;
    render();
    setTimeout(() => {
      const end = performance.now();
      const duration = end - begin;
      const fitting = Math.round((chars * 2 * FRAME_MS) / duration);
      if (chars && (this.#isLate || duration > 2 * FRAME_MS)) {
        this.#chars = Math.min(Math.max(fitting, LEAST_CHARS), MOST_CHARS);
      }
      const factor = this.#isLate ? LATE_PAUSE_FACTOR : PAUSE_FACTOR;
      this.#notBefore = duration > FRAME_MS ? end + factor * duration : 0;
    });
  }
}
