// The form below the conversation, in which the user writes prompts and chooses the model.
import { byId, find, part } from "../dom.js";
import { Attaching } from "./attaching.js";
import { fitHeight, installSendKey } from "./prompt-field.js";
import { TabDraft } from "./tab-draft.js";
/** @import { Attachment, ChatModel, Id } from "../types.js" */

export class Composer {
  #form = byId("composer", HTMLFormElement);
  #field = find(this.#form, "textarea", HTMLTextAreaElement);
  #sendButton = part(this.#form, "send", HTMLButtonElement);
  #stopButton = part(this.#form, "stop", HTMLButtonElement);
  #modelChoice = find(this.#form, "select", HTMLSelectElement);
  #running = false;
  #disabled = false;
  /** Whether a prompt waits for its files. */
  #waits = false;
  #attaching;
  #draft;
  #attached;

  /**
   * @param {object} options
   * @param {Id} options.userId drafts are kept for this user, because another one may log in within the same tab
   * @param {(prompt: string, attachments: Attachment[]) => void} options.onSend
   * @param {() => void} options.onStop
   * @param {(slug: string) => void} options.onModel
   */
  constructor({ userId, onSend, onStop, onModel }) {
    this.#draft = new TabDraft(`draft:${userId}`);
    this.#attached = new TabDraft(`attached:draft:${userId}`);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(onSend);
    });
    this.#field.addEventListener("input", () => this.#update());
    installSendKey(this.#field);
    this.#stopButton.addEventListener("click", () => {
      this.#stopButton.disabled = true;
      onStop();
    });
    this.#modelChoice.addEventListener("change", () => onModel(this.model));
    if (!this.#field.value) this.#field.value = this.#draft.text;
    this.#attaching = new Attaching({ draft: this.#attached, onChange: () => this.#update() });
    this.#update();
  }

  /** The slug of the chosen model. */
  get model() {
    return this.#modelChoice.value;
  }

  /** @param {ChatModel | undefined} model the chosen one */
  set chosenModel(model) {
    this.#attaching.model = model;
  }

  /**
   * Sends the prompt, when the files that it has are uploaded.
   * @param {(prompt: string, attachments: Attachment[]) => void} onSend
   */
  async #submit(onSend) {
    if (this.#waits) return;
    this.#waits = true;
    this.#update();
    await this.#attaching.settled();
    this.#waits = false;
    this.#update();
    const prompt = this.#field.value.trim();
    if (this.#running || this.#disabled || this.#attaching.blocks) return;
    if (prompt || this.#attaching.hasFiles) onSend(prompt, this.#attaching.take());
  }

  /** @param {Attachment[]} attachments what was taken for a prompt that was not sent */
  attach(attachments) {
    this.#attaching.restore(attachments);
  }

  /**
   * Puts a prompt into the field, for the user to change or send.
   * @param {string} prompt
   * @param {Attachment[]} [attachments]
   */
  fill(prompt, attachments = []) {
    this.attach(attachments);
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
   * @param {Attachment[]} attachments
   */
  keepDraft(prompt, attachments) {
    if (this.#field.value) return;
    this.#draft.text = prompt;
    if (attachments.length) this.#attached.text = JSON.stringify(attachments);
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

  /** The page has got the address of the conversation that its first prompt began. */
  followAddress() {
    this.#draft.follow();
    this.#attached.follow();
  }

  #update() {
    const isReady = !this.#running && !this.#waits && !this.#attaching?.blocks;
    this.#sendButton.disabled = !isReady || !(this.#field.value.trim() || this.#attaching?.hasFiles);
    fitHeight(this.#field);
    this.#draft.text = this.#field.value;
  }
}
