// The list of presets to choose from.
import { call, Refusal } from "../api.js";
import { fromTemplate, part } from "../dom.js";
import { text } from "../translations.js";
/** @import { Preset } from "../types.js" */

/** @returns {Promise<Preset[]>} */
export const fetchPresets = () => call("GET", "/api/presets/");

/**
 * Shows the presets that the user may use now.
 * @param {HTMLElement} menu
 * @param {(preset: Preset) => void} onPick
 */
export async function fillPresetMenu(menu, onPick) {
  const [list, status] = [part(menu, "list"), part(menu, "status")];
  try {
    const presets = await fetchPresets();
    list.replaceChildren(
      ...presets.map((preset) => {
        const button = fromTemplate("preset-template");
        button.textContent = preset.title;
        button.addEventListener("click", () => onPick(preset));
        return button;
      }),
    );
    status.textContent = presets.length ? "" : text("presetsNone");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    status.textContent = error.message;
  }
  status.hidden = !status.textContent;
}
