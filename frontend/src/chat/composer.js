// The form that a prompt is written in.
import { sends } from "./prompt-editor.js";

const form = document.getElementById("composer");
const field = form.querySelector("textarea");
const sendButton = form.querySelector('[data-part="send"]');
const stopButton = form.querySelector('[data-part="stop"]');
const model = form.querySelector("select");

export class Composer {
  #running = false;
  #person;

  /** Drafts are kept for `person`: somebody else may log in within the same tab. */
  constructor({ person, onSend, onStop, onModel }) {
    this.#person = person;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#running && field.value.trim()) onSend(field.value.trim());
    });
    field.addEventListener("keydown", (event) => this.#onKey(event));
    field.addEventListener("input", () => this.#changed());
    stopButton.addEventListener("click", () => {
      stopButton.disabled = true;
      onStop();
    });
    model.addEventListener("change", () => onModel(model.value));
    if (!field.value) field.value = sessionStorage.getItem(this.#draftKey) ?? "";
    this.#changed();
  }

  get model() {
    return model.value;
  }

  fill(prompt) {
    field.value = prompt;
    this.#changed();
    this.focus();
    field.setSelectionRange(prompt.length, prompt.length);
  }

  /** `prompt` is on its way: it leaves the field, unless another one is being written there. */
  sent(prompt) {
    if (field.value.trim() === prompt) field.value = "";
    this.#changed();
  }

  /** A refused prompt is a draft again when the page is loaded anew, unless another one is being written. */
  keep(prompt) {
    if (!field.value) sessionStorage.setItem(this.#draftKey, prompt);
  }

  focus() {
    field.focus({ preventScroll: true });
  }

  set running(value) {
    const hadFocus = form.contains(document.activeElement);
    this.#running = value;
    document.body.classList.toggle("answering", value);
    sendButton.hidden = value;
    stopButton.hidden = !value;
    stopButton.disabled = false;
    if (hadFocus) this.focus();
    this.#changed();
  }

  stopFailed() {
    stopButton.disabled = false;
  }

  get #draftKey() {
    return `draft:${this.#person}:${location.pathname}`;
  }

  #onKey(event) {
    if (!sends(event)) return;
    event.preventDefault();
    form.requestSubmit();
  }

  #changed() {
    sendButton.disabled = this.#running || !field.value.trim();
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    if (field.value) sessionStorage.setItem(this.#draftKey, field.value);
    else sessionStorage.removeItem(this.#draftKey);
  }
}
