/**
 * What the user writes at an address and has not sent. The tab keeps it when the page is loaded again.
 */
export class TabDraft {
  #prefix;
  #key;

  /** @param {string} prefix tells apart what is kept, and for which user */
  constructor(prefix) {
    this.#prefix = prefix;
    this.#key = this.#shownKey;
  }

  get #shownKey() {
    return `${this.#prefix}:${location.pathname}`;
  }

  get text() {
    return sessionStorage.getItem(this.#key) ?? "";
  }

  set text(text) {
    if (text) sessionStorage.setItem(this.#key, text);
    else sessionStorage.removeItem(this.#key);
  }

  /** Moves the draft to the address that the page has got, because its first prompt has begun a conversation. */
  follow() {
    const { text } = this;
    this.text = "";
    this.#key = this.#shownKey;
    if (text) this.text = text;
  }
}
