// The switch with which a new conversation becomes a temporary one, and the mark that it is one.
import { byId } from "../dom.js";

export class TemporaryChat {
  #button = byId("temporary");
  #note = byId("temporary-note");
  #chosen;

  /** @param {boolean} isTemporary whether the open conversation is a temporary one */
  constructor(isTemporary) {
    this.#chosen = isTemporary;
    this.#button.addEventListener("click", () => this.#choose(!this.#chosen));
  }

  /** Whether the conversation is, or will be, a temporary one. */
  get chosen() {
    return this.#chosen;
  }

  /** The conversation has begun: it stays what it is. */
  begin() {
    this.#button.hidden = true;
  }

  /**
   * Shows the address of the conversation; a temporary one has none, so that a reload leaves it.
   * @param {string} url
   */
  showAddress(url) {
    if (!this.#chosen) history.replaceState(null, "", url);
  }

  /** @param {boolean} chosen */
  #choose(chosen) {
    this.#chosen = chosen;
    this.#button.setAttribute("aria-pressed", String(chosen));
    this.#note.hidden = !chosen;
    byId("prompt").focus({ preventScroll: true });
  }
}
