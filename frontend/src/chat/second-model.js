// The second model for the next prompt: chosen in a menu, shown above the prompt, and used once.
import { byId, part } from "../dom.js";
import { loadOnce } from "../load-once.js";
import { showFailure } from "./late-menus.js";

export const loadComparison = loadOnce(() => import("./comparison.js"));

/** @typedef {{ slug: string, title: string, module: typeof import("./comparison.js") }} PickedModel */

export class SecondModel {
  #chip = byId("second-model");
  #menu = byId("compare-menu");
  /** @type {PickedModel | null} */
  #picked = null;

  /** @param {() => string} getModel returns the slug of the first model */
  constructor(getModel) {
    this.#menu.addEventListener("toggle", () => {
      for (const button of this.#menu.querySelectorAll("button")) button.hidden = button.value === getModel();
    });
    this.#menu.addEventListener("click", ({ target }) => {
      if (target instanceof HTMLButtonElement) this.#pick(target.value, target.textContent);
    });
    part(this.#chip, "remove").addEventListener("click", () => {
      this.take();
      byId("prompt").focus();
    });
  }

  /** Returns the chosen model, and forgets it: each prompt with two completions costs twice. */
  take() {
    const picked = this.#picked;
    this.#show(null);
    return picked;
  }

  /**
   * @param {string} slug
   * @param {string} title
   */
  async #pick(slug, title) {
    const module = await loadComparison().catch(() => null);
    if (!module) showFailure(byId("composer-more"));
    else {
      this.#show({ slug, title, module });
      byId("prompt").focus();
    }
  }

  /** @param {PickedModel | null} picked */
  #show(picked) {
    this.#picked = picked;
    this.#chip.hidden = !picked;
    part(this.#chip, "title").textContent = picked?.title ?? "";
  }
}
