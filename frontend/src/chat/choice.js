// What the user chose for the next prompts beside the model: a preset, and parameters from the settings.
import { byId, part } from "../dom.js";
import { loadOnce } from "../load-once.js";
import { chosenParameters, readParameters } from "./parameters.js";
/** @import { ChatModel, GenerationRequest, Id, Preset } from "../types.js" */

const loadPresetMenu = loadOnce(() => import("./preset-menu.js"));

export class Choice {
  #chip = byId("preset-chip");
  #menu = byId("presets-menu");
  #modelField = byId("model", HTMLSelectElement);
  #userId;
  #models;
  /** @type {Id | null} */
  #conversationId;

  /** @type {Preset | null} */
  #preset = null;
  #loadSettings = loadOnce(async () => {
    const { createSettings } = await import("./settings.js");
    return createSettings(this.#userId, this);
  });

  /**
   * @param {object} options
   * @param {Id} options.userId parameters are kept in this browser, presets in this tab, for this user
   * @param {ChatModel[]} options.models
   * @param {Id | null} options.conversationId
   */
  constructor({ userId, models, conversationId }) {
    this.#userId = userId;
    this.#models = models;
    this.#conversationId = conversationId;
    this.#show(JSON.parse(sessionStorage.getItem(this.#key) ?? "null"));
    part(this.#chip, "remove").addEventListener("click", () => {
      this.preset = null;
      byId("prompt").focus();
    });
    this.#menu.addEventListener("toggle", async () => {
      if (!this.#menu.matches(":popover-open")) return;
      const { fillPresetMenu } = await loadPresetMenu();
      await fillPresetMenu(this.#menu, (preset) => this.#pick(preset));
    });
    document.addEventListener("click", ({ target }) => {
      const opener = /** @type {HTMLElement | null} */ (
        /** @type {Element} */ (target).closest("[data-open-settings]")
      );
      if (opener) this.#openSettings(opener.dataset.openSettings ?? "");
    });
  }

  get preset() {
    return this.#preset;
  }

  set preset(preset) {
    this.#show(preset);
    if (preset) sessionStorage.setItem(this.#key, JSON.stringify(preset));
    else sessionStorage.removeItem(this.#key);
  }

  /**
   * Keeps the preset for the conversation that has begun.
   * @param {Id} conversationId
   */
  begin(conversationId) {
    const preset = this.#preset;
    this.preset = null;
    this.#conversationId = conversationId;
    this.preset = preset;
  }

  /**
   * Returns the fields of a request that the user chose. The server takes those of the preset itself.
   * @param {string} slug of the model
   * @returns {Partial<GenerationRequest>}
   */
  fields(slug) {
    const takes = this.#models.find((model) => model.slug === slug)?.takes ?? [];
    const parameters = chosenParameters(readParameters(this.#userId), this.#preset?.parameters ?? {}, takes);
    return { ...(this.#preset && { preset: this.#preset.id }), ...parameters };
  }

  get #key() {
    return `preset:${this.#userId}:${this.#conversationId ?? "new"}`;
  }

  /** @param {Preset} preset */
  #pick(preset) {
    this.preset = preset;
    const option = [...this.#modelField.options].find(({ value }) => value === preset.model);
    if (option && !option.disabled) {
      this.#modelField.value = option.value;
      this.#modelField.dispatchEvent(new Event("change"));
    }
    byId("prompt").focus();
  }

  /** @param {Preset | null} preset */
  #show(preset) {
    this.#preset = preset;
    this.#chip.hidden = !preset;
    part(this.#chip, "title").textContent = preset?.title ?? "";
  }

  /** @param {string} section */
  async #openSettings(section) {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.removeAttribute("open");
    const settings = await this.#loadSettings();
    await settings.open(section);
  }
}
