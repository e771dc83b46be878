// The menu of a message: copying a prompt, reading a completion aloud, another model, deleting.
import { copyToClipboard } from "../copy-button.js";
import { confirmIn } from "../dialogs.js";
import { byId, find, part, shownText } from "../dom.js";
import { text } from "../translations.js";
import { ReadAloud } from "./read-aloud.js";
/** @import { ChatModel } from "../types.js" */

/** Characters of the message that the question about its deletion shows. */
const QUOTED_CHARS = 120;

/** Pixels kept free between the menu and the edge of the window. */
const EDGE_PX = 8;

/**
 * @typedef {object} MessageMenuOptions
 * @property {ChatModel[]} models
 * @property {(message: HTMLElement) => Promise<void>} onDelete
 * @property {(message: HTMLElement, slug: string) => void} onRegenerate
 */

export class MessageMenu {
  #menu = byId("message-menu");
  #dialog = byId("delete-message-dialog", HTMLDialogElement);
  #readAloud = new ReadAloud();
  #models;
  #onDelete;
  #onRegenerate;
  /** @type {HTMLElement | null} */
  #message = null;

  /** @param {MessageMenuOptions} options */
  constructor({ models, onDelete, onRegenerate }) {
    this.#models = models;
    this.#onDelete = onDelete;
    this.#onRegenerate = onRegenerate;
    this.#menu.addEventListener("click", ({ target }) => {
      const button = /** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest("button"));
      const message = this.#message;
      if (!button || !message) return;
      this.#menu.hidePopover();
      void this.#run(button.dataset, message);
    });
  }

  /** @param {Element} button */
  open(button) {
    const message = /** @type {HTMLElement} */ (button.closest(".message"));
    this.#message = message;
    const isAnswer = message.classList.contains("answer");
    const isRead = this.#readAloud.reads(message);
    const isBusy = document.body.classList.contains("answering");
    /** @type {Record<string, boolean>} */
    const hidden = {
      copy: isAnswer || !part(message, "content").textContent,
      read: !isAnswer || isRead || !this.#readAloud.isPossible,
      silence: !isRead,
      delete: isBusy,
    };
    for (const item of /** @type {NodeListOf<HTMLElement>} */ (this.#menu.querySelectorAll("[data-action]"))) {
      item.hidden = Boolean(hidden[item.dataset.action ?? ""]);
    }
    const choices = isAnswer && !isBusy && message.dataset.id ? this.#models.filter(({ available }) => available) : [];
    part(this.#menu, "models").replaceChildren(...choices.map(createModelButton));
    this.#menu.togglePopover(true); // open already after a double click
    const { right, top, bottom } = button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#menu;
    const isLow = bottom + height + EDGE_PX > innerHeight;
    this.#menu.style.left = `${Math.max(EDGE_PX, Math.min(right, innerWidth - width - EDGE_PX))}px`;
    this.#menu.style.top = `${isLow ? Math.max(EDGE_PX, top - height) : bottom}px`;
    find(this.#menu, "button:not([hidden])").focus();
  }

  /**
   * @param {DOMStringMap} choice
   * @param {HTMLElement} message
   */
  async #run({ action, model }, message) {
    const content = part(message, "content");
    if (model) this.#onRegenerate(message, model);
    else if (action === "copy") await copyToClipboard(content.textContent, "");
    else if (action === "read") this.#readAloud.start(message, shownText(content));
    else if (action === "silence") this.#readAloud.stop();
    else {
      const quoted = shownText(content);
      const isLong = quoted.length > QUOTED_CHARS;
      part(this.#dialog, "text").textContent = isLong ? `${quoted.slice(0, QUOTED_CHARS)}…` : quoted;
      if (await confirmIn(this.#dialog)) await this.#onDelete(message);
    }
  }
}

/** @param {ChatModel} model */
function createModelButton({ slug, title }) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.model = slug;
  button.textContent = text("regenerateWith", { model: title });
  return button;
}
