// Reads a message aloud with the browser's own voices, where it has some.

/** Text in which a Chinese voice reads best. */
const CHINESE = /\p{Script=Han}/u;

export class ReadAloud {
  /** @type {HTMLElement | null} */
  #message = null;

  constructor() {
    if (this.isPossible) addEventListener("pagehide", () => this.stop());
  }

  get isPossible() {
    return "speechSynthesis" in window;
  }

  /** @param {HTMLElement} message */
  reads(message) {
    return this.#message === message;
  }

  /**
   * @param {HTMLElement} message
   * @param {string} words
   */
  start(message, words) {
    this.stop();
    const speech = new SpeechSynthesisUtterance(words);
    speech.lang = CHINESE.test(words) ? "zh-CN" : document.documentElement.lang;
    speech.onend = speech.onerror = () => {
      if (this.#message === message) this.#message = null;
    };
    this.#message = message;
    speechSynthesis.speak(speech);
  }

  stop() {
    this.#message = null;
    speechSynthesis.cancel();
  }
}
