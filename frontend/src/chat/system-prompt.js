// The system prompt of a conversation ("instructions" on the page): shown above it, edited in a dialog.
import { call, Refusal } from "../api.js";
import { byId, find, part } from "../dom.js";
/** @import { Conversation, Id } from "../types.js" */

export class SystemPrompt {
  #block = byId("instructions");
  #text = find(this.#block, "p");
  #dialog = byId("instructions-dialog", HTMLDialogElement);
  #field = find(this.#dialog, "textarea", HTMLTextAreaElement);
  #error = part(this.#dialog, "error");
  #getConversationId;
  #draftKey;

  /**
   * @param {object} options
   * @param {Id} options.userId until the first prompt the text is kept in the tab, for this user
   * @param {() => Id | null} options.getConversationId null before the first prompt
   */
  constructor({ userId, getConversationId }) {
    this.#getConversationId = getConversationId;
    this.#draftKey = `instructions:${userId}`;
    if (getConversationId() === null) this.#show(sessionStorage.getItem(this.#draftKey) ?? "");
    byId("edit-instructions").addEventListener("click", () => this.#open());
    part(this.#dialog, "save").addEventListener("click", () => this.#save());
  }

  get text() {
    return this.#text.textContent;
  }

  /** Drops the draft, because the server keeps the text from the first prompt on. */
  clearDraft() {
    sessionStorage.removeItem(this.#draftKey);
  }

  #open() {
    this.#field.value = this.text;
    this.#error.hidden = true;
    this.#dialog.showModal();
  }

  async #save() {
    let text = this.#field.value.trim();
    const id = this.#getConversationId();
    try {
      if (id === null) sessionStorage.setItem(this.#draftKey, text);
      else text = await storeSystemPrompt(id, text);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#error.textContent = error.message;
      this.#error.hidden = false;
      return;
    }
    this.#show(text);
    this.#dialog.close();
  }

  /** @param {string} text */
  #show(text) {
    this.#text.textContent = text;
    this.#block.hidden = !text;
  }
}

/**
 * @param {Id} conversationId
 * @param {string} text
 */
async function storeSystemPrompt(conversationId, text) {
  /** @type {Conversation} */
  const stored = await call("PATCH", `/api/conversations/${conversationId}/`, { system_prompt: text });
  return stored.system_prompt;
}
