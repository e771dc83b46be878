// The instructions of a conversation (its system prompt): shown above it, written in a dialog.
import { call, Refusal } from "../api.js";

const shown = document.getElementById("instructions");
const dialog = document.getElementById("instructions-dialog");
const field = dialog.querySelector("textarea");
const failure = dialog.querySelector('[data-part="error"]');

export class Instructions {
  #conversation;
  #kept;

  /**
   * `conversation()` is the id of the open conversation, null before its first prompt: until then they are kept here,
   * for `person`.
   */
  constructor({ person, conversation }) {
    this.#conversation = conversation;
    this.#kept = `instructions:${person}`;
    if (conversation() === null) this.#show(sessionStorage.getItem(this.#kept) ?? "");
    document.getElementById("edit-instructions").addEventListener("click", () => this.#open());
    dialog.querySelector('[data-part="save"]').addEventListener("click", () => this.#save());
  }

  get text() {
    return shown.querySelector("p").textContent;
  }

  /** They went with the first prompt. */
  began() {
    sessionStorage.removeItem(this.#kept);
  }

  #open() {
    field.value = this.text;
    failure.hidden = true;
    dialog.showModal();
  }

  async #save() {
    let text = field.value.trim();
    const id = this.#conversation();
    try {
      if (id === null) sessionStorage.setItem(this.#kept, text);
      else ({ system_prompt: text } = await call("PATCH", `/api/conversations/${id}/`, { system_prompt: text }));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      failure.textContent = error.message;
      failure.hidden = false;
      return;
    }
    this.#show(text);
    dialog.close();
  }

  #show(text) {
    shown.querySelector("p").textContent = text;
    shown.hidden = !text;
  }
}
