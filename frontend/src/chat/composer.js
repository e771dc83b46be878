// The form below the conversation, in which the user writes prompts and chooses the model.
import { byId, find, part } from "../dom.js";
import { fitHeight, installSendKey } from "./prompt-field.js";
/** @import { Id } from "../types.js" */

export class Composer {
  #form = byId("composer", HTMLFormElement);
  #field = find(this.#form, "textarea", HTMLTextAreaElement);
  #sendButton = part(this.#form, "send", HTMLButtonElement);
  #stopButton = part(this.#form, "stop", HTMLButtonElement);
  #modelChoice = find(this.#form, "select", HTMLSelectElement);
  #running = false;
  #disabled = false;
  #userId;

  /**
   * @param {object} options
   * @param {Id} options.userId drafts are kept for this user, because another one may log in within the same tab
   * @param {(prompt: string) => void} options.onSend
   * @param {() => void} options.onStop
   * @param {(slug: string) => void} options.onModel
   */
  constructor({ userId, onSend, onStop, onModel }) {
    this.#userId = userId;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const prompt = this.#field.value.trim();
      if (!this.#running && !this.#disabled && prompt) onSend(prompt);
    });
    this.#field.addEventListener("input", () => this.#update());
    installSendKey(this.#field);
    this.#stopButton.addEventListener("click", () => {
      this.#stopButton.disabled = true;
      onStop();
    });
    this.#modelChoice.addEventListener("change", () => onModel(this.model));
    if (!this.#field.value) this.#field.value = sessionStorage.getItem(this.#draftKey) ?? "";
    this.#update();
  }

  /** The slug of the chosen model. */
  get model() {
    return this.#modelChoice.value;
  }

  /**
   * Puts a prompt into the field, for the user to change or send.
   * @param {string} prompt
   */
  fill(prompt) {
    this.#field.value = prompt;
    this.#update();
    this.focus();
    this.#field.setSelectionRange(prompt.length, prompt.length);
  }

  /**
   * Empties the field when a prompt was sent, unless the user is writing another one.
   * @param {string} prompt
   */
  clear(prompt) {
    if (this.#field.value.trim() === prompt) this.#field.value = "";
    this.#update();
  }

  /**
   * Keeps a refused prompt as the draft for the next load of the page, unless the user is writing another one.
   * @param {string} prompt
   */
  keepDraft(prompt) {
    if (!this.#field.value) sessionStorage.setItem(this.#draftKey, prompt);
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  /** @param {boolean} value whether a generation runs: it can be stopped, and nothing else sent */
  set running(value) {
    const hadFocus = this.#form.contains(document.activeElement);
    this.#running = value;
    document.body.classList.toggle("answering", value);
    this.#sendButton.hidden = value;
    this.#stopButton.hidden = !value;
    this.enableStop();
    if (hadFocus) this.focus();
    this.#update();
  }

  /** @param {boolean} value whether nothing can be sent for a moment */
  set disabled(value) {
    this.#disabled = value;
  }

  enableStop() {
    this.#stopButton.disabled = false;
  }

  get #draftKey() {
    return `draft:${this.#userId}:${location.pathname}`;
  }

  #update() {
    this.#sendButton.disabled = this.#running || !this.#field.value.trim();
    fitHeight(this.#field);
    if (this.#field.value) sessionStorage.setItem(this.#draftKey, this.#field.value);
    else sessionStorage.removeItem(this.#draftKey);
  }
}
