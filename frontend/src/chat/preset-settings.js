// The presets in the settings dialog: their list, and the form that makes or changes one.
import { call, Refusal } from "../api.js";
import { byId, fromTemplate, part } from "../dom.js";
import { parametersOf, showParameters } from "./parameters.js";
import { fetchPresets } from "./preset-menu.js";
/** @import { Choice } from "./choice.js" */
/** @import { Parameters, Preset } from "../types.js" */

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 */
const fieldOf = (form, name) => /** @type {HTMLInputElement | null} */ (form.elements.namedItem(name));

export class PresetSettings {
  #list;
  #form;
  #newButton;
  #error;
  #choice;
  #readParameters;
  /**
   * The preset that the form changes; null for a new one.
   * @type {Preset | null}
   */
  #edited = null;

  /**
   * @param {HTMLElement} dialog
   * @param {Choice} choice
   * @param {() => Parameters} readParameters those of all prompts, which a new preset takes over
   */
  constructor(dialog, choice, readParameters) {
    this.#list = part(dialog, "presets");
    this.#form = part(dialog, "preset-form", HTMLFormElement);
    this.#newButton = part(dialog, "new-preset");
    this.#error = part(dialog, "presets-error");
    this.#choice = choice;
    this.#readParameters = readParameters;
    this.#newButton.addEventListener("click", () => this.#openForm(null));
    part(dialog, "cancel-preset").addEventListener("click", () => this.#closeForm());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#attempt(() => this.#save());
    });
  }

  async show() {
    this.#closeForm();
    await this.#attempt(() => this.#refresh());
  }

  async #refresh() {
    const presets = await fetchPresets();
    this.#list.replaceChildren(...presets.map((preset) => this.#createRow(preset)));
  }

  /** @param {Preset} preset */
  #createRow(preset) {
    const row = fromTemplate("preset-row-template");
    part(row, "title").textContent = preset.title;
    part(row, "shared").hidden = !preset.shared;
    // Only staff may share, and so have the field; others cannot change what is shared.
    const isFixed = preset.shared && !fieldOf(this.#form, "shared");
    for (const [name, action] of /** @type {const} */ ([
      ["edit", () => this.#openForm(preset)],
      ["delete", () => this.#attempt(() => this.#delete(preset))],
    ])) {
      const button = part(row, name);
      button.hidden = isFixed;
      button.setAttribute("aria-label", `${button.textContent} – ${preset.title}`);
      button.addEventListener("click", action);
    }
    return row;
  }

  /** @param {Preset | null} preset */
  #openForm(preset) {
    this.#edited = preset;
    const values = preset ?? {
      title: "",
      model: byId("model", HTMLSelectElement).value,
      system_prompt: byId("instructions").querySelector("p")?.textContent ?? "",
      parameters: this.#readParameters(),
      shared: false,
    };
    for (const name of /** @type {const} */ (["title", "model", "system_prompt"])) {
      const field = fieldOf(this.#form, name);
      if (field) field.value = values[name] ?? "";
    }
    const shared = fieldOf(this.#form, "shared");
    if (shared) shared.checked = values.shared;
    showParameters(this.#form, values.parameters);
    this.#form.hidden = false;
    this.#newButton.hidden = true;
    this.#form.scrollIntoView({ block: "nearest" });
    fieldOf(this.#form, "title")?.focus();
  }

  #closeForm() {
    const hadFocus = this.#form.contains(document.activeElement);
    this.#form.hidden = true;
    this.#newButton.hidden = false;
    this.#error.hidden = true;
    if (hadFocus) this.#newButton.focus();
  }

  async #save() {
    const value = (/** @type {string} */ name) => fieldOf(this.#form, name)?.value ?? "";
    const shared = fieldOf(this.#form, "shared");
    const body = {
      title: value("title"),
      model: value("model") || null,
      system_prompt: value("system_prompt").trim(),
      parameters: parametersOf(this.#form),
      ...(shared && { shared: shared.checked }),
    };
    const edited = this.#edited;
    /** @type {Preset} */
    const stored = await call(edited ? "PATCH" : "POST", `/api/presets/${edited ? `${edited.id}/` : ""}`, body);
    if (this.#choice.preset?.id === stored.id) this.#choice.preset = stored;
    this.#closeForm();
    await this.#refresh();
  }

  /** @param {Preset} preset */
  async #delete(preset) {
    await call("DELETE", `/api/presets/${preset.id}/`);
    if (this.#choice.preset?.id === preset.id) this.#choice.preset = null;
    this.#newButton.focus();
    await this.#refresh();
  }

  /** @param {() => Promise<void>} action */
  async #attempt(action) {
    this.#error.hidden = true;
    try {
      await action();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#error.textContent = error.message;
      this.#error.hidden = false;
    }
  }
}
