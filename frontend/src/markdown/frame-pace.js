// When a growing text is rendered, and how much of it at once, so that the page stays usable on a slow device: after an
// update that takes longer than a frame a pause follows, in which a text that arrives faster than the device can show
// it waits, and no update begins while the user is about to press a key.

/** Milliseconds of an update, layout and painting included, above which a pause follows. */
const FRAME_MS = 14;

/** So many times the duration of an update is the pause after it. */
const PAUSE_FACTOR = 3;

/** Milliseconds of an update that a reader notices, and frames of the pause after it: less than one in twenty is slow. */
const SLOW_MS = 30;
const SLOW_PAUSE_FRAMES = 22;

/** Milliseconds after which such a pause ends anyway: without a text that waits, no frames are counted. */
const MOST_PAUSE_MS = 1_000;

/** Milliseconds that an update may take; and while the user is typing. */
const LONG_MS = 100;
const LONG_TYPING_MS = 80;

/** Characters that an update may add: the first one, and any. */
const FIRST_CHARS = 1_000;
const LEAST_CHARS = 80;

/** So many times the characters of the largest recent update an update may add: the line leads no further. */
const GROWTH = 1.5;

/** Milliseconds after a key for which the user is taken to be typing. */
const TYPING_MS = 400;

/** Frames after a key in which an update may begin: the first one shows the key, and the next key is not likely yet. */
const [FIRST_FREE_FRAME, LAST_FREE_FRAME] = [3, 5];

/** Milliseconds for which an update waits for such a frame. */
const MOST_WAIT_MS = 500;

/** The weight of an update in the estimate, compared with the one after it. */
const DECAY = 0.85;

/** When a key was last pressed on this page, which all of its texts share. */
const typing = { lastKey: -Infinity };
globalThis.addEventListener?.("keydown", () => (typing.lastKey = performance.now()), { capture: true, passive: true });

/** What updates cost: a line through their durations over the characters that they added, recent ones first. */
export class UpdateCost {
  #weight = 0;
  #chars = 0;
  #duration = 0;
  #squares = 0;
  #products = 0;
  /** Characters of the largest recent update. */
  #largest = 0;

  /**
   * @param {number} chars
   * @param {number} duration in milliseconds
   */
  add(chars, duration) {
    this.#weight = this.#weight * DECAY + 1;
    this.#chars = this.#chars * DECAY + chars;
    this.#duration = this.#duration * DECAY + duration;
    this.#squares = this.#squares * DECAY + chars * chars;
    this.#products = this.#products * DECAY + chars * duration;
    this.#largest = Math.max(this.#largest * DECAY, chars);
  }

  /**
   * Returns how many characters an update of so many milliseconds adds. Where more than half of them pass without any,
   * it may take half as long again as an update without any.
   * @param {number} milliseconds
   */
  fittingChars(milliseconds) {
    if (!this.#weight) return FIRST_CHARS;
    const [chars, duration] = [this.#chars / this.#weight, this.#duration / this.#weight];
    const variance = this.#squares / this.#weight - chars * chars;
    const covariance = this.#products / this.#weight - chars * duration;
    const perChar = variance > 1 && covariance > 0 ? covariance / variance : duration / chars;
    const fixed = Math.max(duration - perChar * chars, 0);
    const fitting = Math.round(Math.max(milliseconds - fixed, fixed / 2) / perChar);
    const most = Math.round(Math.max(this.#largest * GROWTH, FIRST_CHARS));
    return Math.min(Math.max(fitting, LEAST_CHARS), most);
  }
}

export class FramePace {
  #cost = new UpdateCost();
  /** Time before which nothing is rendered. */
  #notBefore = 0;
  /** Frames of the pause that are left, and the time at which it ends anyway. */
  #pauseFrames = 0;
  #pauseEnd = 0;
  #key = typing.lastKey;
  #framesSinceKey = Infinity;
  /** Since when an update waits for a frame after a key. @type {number | null} */
  #heldSince = null;
  #isHurried = false;

  /** @param {boolean} value whether updates follow each other without a pause, because the text has ended */
  set hurried(value) {
    this.#isHurried = value;
    if (value && Number.isFinite(this.#notBefore)) this.#pause(0, 0, 0);
  }

  /**
   * Returns whether this frame may render; called in each frame while text waits.
   * @param {number} now
   */
  isDue(now) {
    this.#framesSinceKey = this.#key === typing.lastKey ? this.#framesSinceKey + 1 : 1;
    this.#key = typing.lastKey;
    this.#pauseFrames -= 1;
    if (now < this.#notBefore || (this.#pauseFrames >= 0 && now < this.#pauseEnd)) return false;
    if (!isTyping(now)) return true;
    this.#heldSince ??= now;
    if (now - this.#heldSince > MOST_WAIT_MS) return true;
    return this.#framesSinceKey >= FIRST_FREE_FRAME && this.#framesSinceKey <= LAST_FREE_FRAME;
  }

  /**
   * Returns how much of `source` the next update shows.
   * @param {string} source
   * @param {number} shown the characters that are shown
   */
  endOf(source, shown) {
    const end = shown + this.#cost.fittingChars(isTyping(performance.now()) ? LONG_TYPING_MS : LONG_MS);
    if (end >= source.length) return source.length;
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
    this.#heldSince = null;
    render();
    setTimeout(() => {
      const end = performance.now();
      const duration = end - begin;
      if (chars) this.#cost.add(chars, duration);
      if (this.#isHurried || duration <= FRAME_MS) this.#pause(0, 0, 0);
      else this.#pause(end + PAUSE_FACTOR * duration, duration > SLOW_MS ? SLOW_PAUSE_FRAMES : 0, end + MOST_PAUSE_MS);
    });
  }

  /**
   * @param {number} notBefore the time of its end
   * @param {number} frames that it has at least
   * @param {number} end the time at which it ends without them
   */
  #pause(notBefore, frames, end) {
    this.#notBefore = notBefore;
    this.#pauseFrames = frames;
    this.#pauseEnd = end;
  }
}

/** @param {number} now */
const isTyping = (now) => now - typing.lastKey < TYPING_MS;
