// The dialog with all settings. The look is handled by theme.js, the presets by preset-settings.js.
import { call, Refusal } from "../api.js";
import { byId, find, part } from "../dom.js";
import { text } from "../translations.js";
import { parametersOf, readParameters, showParameters, storeParameters } from "./parameters.js";
import { PresetSettings } from "./preset-settings.js";
/** @import { Choice } from "./choice.js" */
/** @import { Id } from "../types.js" */

/** The user's instructions for all conversations. */
class StandingInstructions {
  #form;
  #field;
  #status;

  /** @param {HTMLElement} dialog */
  constructor(dialog) {
    this.#form = part(dialog, "instructions-form", HTMLFormElement);
    this.#field = find(this.#form, "textarea", HTMLTextAreaElement);
    this.#status = part(dialog, "instructions-status");
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#report(async () => {
        await this.#exchange("PATCH", { instructions: this.#field.value });
        this.#status.textContent = text("saved");
      });
    });
  }

  async show() {
    this.#status.textContent = "";
    // Until the stored text is there, because it would replace what the user writes meanwhile.
    this.#field.disabled = true;
    await this.#report(() => this.#exchange("GET"));
  }

  /**
   * @param {string} method
   * @param {object} [body]
   */
  async #exchange(method, body) {
    /** @type {{ instructions: string }} */
    const { instructions } = await call(method, "/api/me/instructions/", body);
    this.#field.value = instructions;
    this.#field.disabled = false;
  }

  /** @param {() => Promise<void>} action */
  async #report(action) {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#status.textContent = error.message;
    }
  }
}

class Settings {
  #dialog = byId("settings-dialog", HTMLDialogElement);
  #parameters = part(this.#dialog, "parameters", HTMLFormElement);
  /** What the server keeps. @type {{ show: () => Promise<void> }[]} */
  #stored;
  #userId;

  /**
   * @param {Id} userId
   * @param {Choice} choice
   */
  constructor(userId, choice) {
    this.#userId = userId;
    // The dialog of a guest has no such sections.
    const hasStored = this.#dialog.querySelector("[data-section]") !== null;
    const createStored = () => [
      new StandingInstructions(this.#dialog),
      new PresetSettings(this.#dialog, choice, () => readParameters(userId)),
    ];
    this.#stored = hasStored ? createStored() : [];
    part(this.#dialog, "close").addEventListener("click", () => this.#dialog.close());
    this.#parameters.addEventListener("submit", (event) => event.preventDefault());
    this.#parameters.addEventListener("input", () => {
      if (this.#parameters.checkValidity()) storeParameters(userId, parametersOf(this.#parameters));
    });
    // A wrong number is not stored; the browser says why.
    this.#parameters.addEventListener("change", () => this.#parameters.reportValidity());
  }

  /** @param {string} section the section to show, or "" */
  async open(section) {
    showParameters(this.#parameters, readParameters(this.#userId));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
    await Promise.all(this.#stored.map((stored) => stored.show()));
    if (section) {
      const heading = find(this.#dialog, `[data-section="${section}"] h3`);
      heading.scrollIntoView({ block: "start" });
      heading.focus();
    }
  }
}

/**
 * Makes the dialog work; it stays closed.
 * @param {Id} userId
 * @param {Choice} choice
 */
export const createSettings = (userId, choice) => new Settings(userId, choice);
