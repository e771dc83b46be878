// The second model for the next prompt: chosen in a menu, shown above the prompt, and used once.
import { byId, part } from "../dom.js";
import { loadOnce } from "../load-once.js";
import { showFailure } from "./late-menus.js";

export const loadComparison = loadOnce(() => import("./comparison.js"));

/** @typedef {typeof import("./comparison.js")} ComparisonModule */
/** @typedef {{ slug: string, title: string, module: ComparisonModule }} PickedModel */
/** @typedef {{ slug: string, title: string, loading: Promise<ComparisonModule | null> }} LoadingModel */

export class SecondModel {
  #chip = byId("second-model");
  #menu = byId("compare-menu");
  /**
   * The chosen model; its module may still be loading.
   * @type {LoadingModel | null}
   */
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
      this.#show(null);
      byId("prompt").focus();
    });
  }

  /**
   * Returns the chosen model, and forgets it: each prompt with two completions costs twice.
   * @returns {Promise<PickedModel | null>}
   */
  async take() {
    const picked = this.#picked;
    this.#show(null);
    const module = await picked?.loading;
    return picked && module ? { slug: picked.slug, title: picked.title, module } : null;
  }

  /**
   * @param {string} slug
   * @param {string} title
   */
  #pick(slug, title) {
    const loading = loadComparison().catch(() => {
      this.#show(null);
      showFailure(byId("composer-more"));
      return null;
    });
    this.#show({ slug, title, loading });
    byId("prompt").focus();
  }

  /** @param {LoadingModel | null} picked */
  #show(picked) {
    this.#picked = picked;
    this.#chip.hidden = !picked;
    part(this.#chip, "title").textContent = picked?.title ?? "";
  }
}
