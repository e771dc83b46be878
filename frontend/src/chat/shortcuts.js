// Keyboard shortcuts. Their table is the dialog that lists them: templates/chat/shortcuts_dialog.html.
import { byId, part } from "../dom.js";

/** The key in localStorage under which this browser keeps that the user wants no shortcuts of a single key. */
const OFF_KEY = "single-keys-off";

/** Elements in which keys write, or choose by their first letter. */
const FIELDS = "input, textarea, select, [contenteditable], [role=menu], [role=listbox], [role=textbox]";

/** What closes with Escape before a generation is stopped. */
const OPEN_LAYERS = "dialog[open], details.menu[open], .sidebar.open";

/** @typedef {Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "isComposing" | "repeat">} KeyPress */

/**
 * Returns the single key that a press means as a shortcut, or "". Keyboards with Chinese input give full-width marks.
 * @param {KeyPress} press
 */
export function singleKey({ key, ctrlKey, metaKey, altKey, isComposing, repeat }) {
  if (ctrlKey || metaKey || altKey || isComposing || repeat) return "";
  return { "？": "?", "，": "," }[key] ?? (key.length === 1 ? key.toLowerCase() : "");
}

/**
 * Returns whether a press opens the list of shortcuts from everywhere.
 * @param {KeyPress} press
 */
export const isHelpPress = ({ key, ctrlKey, metaKey, altKey }) => (ctrlKey || metaKey) && !altKey && key === "/";

/** @param {string} selector */
const lastOf = (selector) => /** @type {HTMLElement | undefined} */ ([...document.querySelectorAll(selector)].at(-1));

const isLayerOpen = () =>
  document.querySelector(OPEN_LAYERS) !== null ||
  (CSS.supports("selector(:popover-open)") && document.querySelector(":popover-open") !== null);

class Shortcuts {
  #dialog = byId("shortcuts-dialog", HTMLDialogElement);
  #checkbox = part(this.#dialog, "use-single-keys", HTMLInputElement);
  #rows = /** @type {HTMLElement[]} */ ([...this.#dialog.querySelectorAll("[data-key]")]);
  #composer = byId("composer");

  install() {
    this.#checkbox.checked = localStorage.getItem(OFF_KEY) === null;
    this.#checkbox.addEventListener("change", () => {
      if (this.#checkbox.checked) localStorage.removeItem(OFF_KEY);
      else localStorage.setItem(OFF_KEY, "1");
    });
    for (const opener of document.querySelectorAll("[data-open-shortcuts]")) {
      opener.addEventListener("click", () => this.#open());
    }
    // Before other listeners, which close menus with Escape: one press must not also stop the generation.
    document.addEventListener("keydown", (event) => this.#onKey(event), true);
  }

  #open() {
    if (this.#dialog.open) return;
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.removeAttribute("open");
    for (const row of this.#rows) row.hidden = !lastOf(this.#selectorOf(row));
    this.#dialog.showModal();
  }

  /** @param {HTMLElement} row */
  #selectorOf(row) {
    return row.dataset.focus ?? row.dataset.click ?? "";
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (isHelpPress(event)) {
      event.preventDefault();
      this.#open();
    } else if (event.key === "Escape" && !event.isComposing) {
      this.#onEscape(target);
    } else if (this.#checkbox.checked && !target.closest(FIELDS) && !isLayerOpen()) {
      const key = singleKey(event);
      const row = this.#rows.find((candidate) => candidate.dataset.key === key);
      if (row && this.#run(row)) event.preventDefault();
    }
  }

  /** @param {HTMLElement} target */
  #onEscape(target) {
    const isInComposer = this.#composer.contains(target);
    if (isLayerOpen() || (target.closest(FIELDS) && !isInComposer)) return;
    const stop = part(this.#composer, "stop", HTMLButtonElement);
    if (!stop.hidden && !stop.disabled) stop.click();
    else if (isInComposer) target.blur();
  }

  /**
   * Runs the shortcut of a row; returns whether the page has its element.
   * @param {HTMLElement} row
   */
  #run(row) {
    const element = lastOf(this.#selectorOf(row));
    if (!element) return false;
    if (row.dataset.focus) {
      if (element.closest("[inert]")) byId("open-sidebar").click();
      element.focus();
    } else {
      element.click();
    }
    return true;
  }
}

/** Makes the shortcuts work, and the buttons that open their list. */
export const installShortcuts = () => new Shortcuts().install();
