// Notices what other tabs and devices do: new turns of the open conversation, and changes of the list. Tabs of one
// browser send each other a hint; beyond that, a page that is looked at asks the server for one row now and then.
import { call, ignoreRefusal } from "../api.js";
/** @import { Conversation, Id } from "../types.js" */

/** Milliseconds between two checks. A new turn shall show within five seconds. */
const CHECK_MS = 4_000;

/** Milliseconds without any action of the user after which checks become rare, and the time between these. */
const IDLE_AFTER_MS = 120_000;
const IDLE_CHECK_MS = 30_000;

/** Milliseconds that a prompt waits for a check, at most. */
const PATIENCE_MS = 1_500;

/** Name of the channel between the tabs of one browser. */
const CHANNEL = "rivulet-conversations";

/**
 * @typedef {object} WatchOptions
 * @property {string | null} updatedAt when the open conversation was used last, as the page shows it
 * @property {() => Id | null} getConversationId null before the first prompt
 * @property {() => boolean} isBusy whether this tab follows a generation of the open conversation
 * @property {(stored: Conversation) => void} onChecked gets the open conversation as it is stored
 * @property {() => Promise<void>} onNews shows the new turns of the open conversation
 * @property {() => Promise<void>} onListChanged
 */

export class ConversationWatch {
  #channel = new BroadcastChannel(CHANNEL);
  #options;
  /**
   * When the conversation was used last, as far as this page shows it; null after this tab itself has used it.
   * @type {string | null}
   */
  #shownAt;
  /** Counts what this tab has changed itself: what was read before a change says nothing after it. */
  #changes = 0;
  #checkedAt = performance.now();
  #activeAt = performance.now();
  /** @type {Promise<boolean> | null} */
  #checking = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {WatchOptions} options */
  constructor(options) {
    this.#options = options;
    this.#shownAt = options.updatedAt;
  }

  start() {
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
      addEventListener(name, () => (this.#activeAt = performance.now()), { passive: true });
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(this.#timer) : this.#look()));
    addEventListener("focus", () => this.#look());
    this.#channel.addEventListener("message", ({ data }) => this.#onHint(data));
    this.#wait();
  }

  /** Sends the other tabs a hint that this tab has changed a conversation. */
  announce() {
    this.#changes += 1;
    this.#channel.postMessage({ conversation: this.#options.getConversationId() });
  }

  /** Takes what is stored for what this tab shows, because the change is its own. */
  acceptChange() {
    this.#changes += 1;
    this.#shownAt = null;
  }

  /** Returns whether there are turns that this page did not show. They are shown then. */
  async hasNews() {
    if (performance.now() - this.#checkedAt < CHECK_MS + PATIENCE_MS && !this.#checking) return false;
    const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, false));
    return Promise.race([this.#check(), patience]);
  }

  /** @param {{ conversation: Id | null }} hint */
  #onHint({ conversation }) {
    ignoreRefusal(this.#options.onListChanged);
    if (conversation === null || String(conversation) !== String(this.#options.getConversationId())) return;
    // Not null: whatever is stored now is new.
    this.#shownAt = "";
    this.#check();
  }

  /** Checks what may have changed while the page was not looked at. */
  #look() {
    this.#activeAt = performance.now();
    if (performance.now() - this.#checkedAt < CHECK_MS) return;
    ignoreRefusal(this.#options.onListChanged);
    this.#check();
  }

  #wait() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const isIdle = performance.now() - this.#activeAt > IDLE_AFTER_MS;
    this.#timer = setTimeout(() => this.#check(), isIdle ? IDLE_CHECK_MS : CHECK_MS);
  }

  #check() {
    this.#checking ??= this.#compare()
      .catch(() => false) // out of reach, or deleted: the next request of the user shows why
      .finally(() => {
        this.#checking = null;
        this.#checkedAt = performance.now();
        this.#wait();
      });
    return this.#checking;
  }

  async #compare() {
    const { getConversationId, isBusy, onChecked, onNews, onListChanged } = this.#options;
    const id = getConversationId();
    if (id === null || isBusy()) return false;
    const changes = this.#changes;
    /** @type {Conversation} */
    const stored = await call("GET", `/api/conversations/${id}/`);
    if (isBusy() || getConversationId() !== id || changes !== this.#changes) return false;
    onChecked(stored);
    const isNews = this.#shownAt !== null && this.#shownAt !== stored.updated_at;
    this.#shownAt = stored.updated_at;
    if (!isNews) return false;
    ignoreRefusal(onListChanged);
    await onNews();
    return true;
  }
}
