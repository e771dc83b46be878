// The dialog with all settings. The look is handled by theme.js, the presets by preset-settings.js.
import { call, Refusal } from "../api.js";
import { byId, find, part } from "../dom.js";
import { text } from "../translations.js";
import { parametersOf, readParameters, showParameters, storeParameters } from "./parameters.js";
import { PresetSettings } from "./preset-settings.js";
/** @import { Choice } from "./choice.js" */
/** @import { Id } from "../types.js" */

class Settings {
  #dialog = byId("settings-dialog", HTMLDialogElement);
  #parameters = part(this.#dialog, "parameters", HTMLFormElement);
  #instructionsForm = part(this.#dialog, "instructions-form", HTMLFormElement);
  #instructions = find(this.#instructionsForm, "textarea", HTMLTextAreaElement);
  #status = part(this.#dialog, "instructions-status");
  #presets;
  #userId;

  /**
   * @param {Id} userId
   * @param {Choice} choice
   */
  constructor(userId, choice) {
    this.#userId = userId;
    this.#presets = new PresetSettings(this.#dialog, choice, () => readParameters(userId));
    part(this.#dialog, "close").addEventListener("click", () => this.#dialog.close());
    this.#parameters.addEventListener("submit", (event) => event.preventDefault());
    this.#parameters.addEventListener("input", () => {
      if (this.#parameters.checkValidity()) storeParameters(userId, parametersOf(this.#parameters));
    });
    // A wrong number is not stored; the browser says why.
    this.#parameters.addEventListener("change", () => this.#parameters.reportValidity());
    this.#instructionsForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#report(async () => {
        const instructions = this.#instructions.value;
        await this.#exchangeInstructions("PATCH", { instructions });
        this.#status.textContent = text("saved");
      });
    });
  }

  /** @param {string} section the section to show, or "" */
  async open(section) {
    showParameters(this.#parameters, readParameters(this.#userId));
    this.#status.textContent = "";
    // Until the stored text is there, because it would replace what the user writes meanwhile.
    this.#instructions.disabled = true;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
    await Promise.all([this.#report(() => this.#exchangeInstructions("GET")), this.#presets.show()]);
    if (section) {
      const heading = find(this.#dialog, `[data-section="${section}"] h3`);
      heading.scrollIntoView({ block: "start" });
      heading.focus();
    }
  }

  /**
   * @param {string} method
   * @param {object} [body]
   */
  async #exchangeInstructions(method, body) {
    /** @type {{ instructions: string }} */
    const { instructions } = await call(method, "/api/me/instructions/", body);
    this.#instructions.value = instructions;
    this.#instructions.disabled = false;
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

/**
 * Makes the dialog work; it stays closed.
 * @param {Id} userId
 * @param {Choice} choice
 */
export const createSettings = (userId, choice) => new Settings(userId, choice);
