// Two completions of one prompt, side by side or, on small screens, one behind the other. They are versions of one
// message. The user goes on with one of them; without a choice, with the one that is shown, or the first.
import { byId, find, fromTemplate, part } from "../dom.js";
import { Generation } from "../generation/generation.js";
import { setVersionIds, versionIds } from "../versions.js";
/** @import { CompletionView } from "../generation/completion-view.js" */
/** @import { GenerationPresenter } from "../generation/presenter.js" */
/** @import { BranchData, Id } from "../types.js" */
/** @import { Branch } from "./branch.js" */

/**
 * What a comparison needs of the chat page.
 * @typedef {object} ComparisonPage
 * @property {Branch} branch
 * @property {GenerationPresenter} presenter
 * @property {(generation: Generation, view: CompletionView, model: string) => Promise<void>} show
 * @property {(view: CompletionView) => void} showStored
 * @property {(comparison: Comparison, data: BranchData) => void} onRestored gets the data of the added branch
 * @property {(view: CompletionView) => void} onChoose
 */

/**
 * Selects the model of the chosen completion for the next prompts.
 * @param {string} title
 */
function selectModel(title) {
  const field = byId("model", HTMLSelectElement);
  const option = [...field.options].find(({ text, disabled }) => text === title && !disabled);
  if (!option) return;
  field.value = option.value;
  field.dispatchEvent(new Event("change"));
}

const columns = /** @type {const} */ (["first", "second"]);

export class Comparison {
  #frame = fromTemplate("comparison-template");
  #branch;
  #views;

  /**
   * Puts two completions of the shown branch side by side.
   * @param {ComparisonPage} page
   * @param {{ first: CompletionView, second: CompletionView }} views
   */
  constructor({ branch, onChoose }, views) {
    this.#branch = branch;
    this.#views = views;
    views.first.node.before(this.#frame);
    for (const name of columns) {
      const [view, column] = [views[name], part(this.#frame, name)];
      const tab = part(this.#frame, `show-${name}`);
      part(column, "name").textContent = tab.textContent = view.model;
      column.setAttribute("aria-label", view.model);
      column.append(view.node);
      tab.addEventListener("click", () => this.#turnTo(name));
      part(column, "choose").addEventListener("click", () => {
        selectModel(view.model);
        onChoose(view);
      });
    }
    this.#turnTo("first");
  }

  /**
   * Leaves one completion in the branch. The other one stays its version.
   * @param {HTMLElement} [node] of the chosen completion, or a message elsewhere
   */
  choose(node) {
    const views = this.#views;
    const names = columns.filter((name) => views[name].node === node);
    const name = names[0] ?? (this.#frame.dataset.shown === "second" ? "second" : "first");
    const [kept, other] = name === "first" ? [views.first, views.second] : [views.second, views.first];
    // A refused completion is no message that a prompt could follow.
    const [chosen, left] = kept.id || !other.id ? [kept, other] : [other, kept];
    this.#frame.replaceWith(chosen.node);
    this.#branch.remove(left.node);
    const ids = [views.first, views.second].flatMap(({ id }) => (id === null ? [] : String(id)));
    if (versionIds(chosen.node).length < ids.length) setVersionIds(chosen.node, ids);
    this.#branch.leaf = chosen.id ?? this.#branch.leaf;
  }

  /** @param {(typeof columns)[number]} shown the column that small screens show */
  #turnTo(shown) {
    this.#frame.dataset.shown = shown;
    for (const name of columns) {
      part(this.#frame, `show-${name}`).setAttribute("aria-pressed", String(name === shown));
    }
  }
}

/**
 * Lets a second model complete a prompt, as soon as the first has begun.
 * @param {ComparisonPage} page
 * @param {{ generation: Generation, view: CompletionView, shown: Promise<void> }} first `shown` is settled when its
 *   generation has ended, or was refused
 * @param {{ slug: string, title: string }} model
 */
export function compare(page, { generation, view, shown }, model) {
  const second = page.branch.addCompletion();
  view.model = find(document, "#model option:checked", HTMLOptionElement).text;
  second.model = model.title;
  const comparison = new Comparison(page, { first: view, second });
  const findUrl = async () => {
    await Promise.race([generation.begun, shown]);
    const { message } = await generation.fetchStored();
    return `/api/messages/${message}/regenerate/`;
  };
  const complete = async () => {
    try {
      await page.show(Generation.fromRequest(findUrl(), { model: model.slug }), second, model.slug);
    } catch (error) {
      // The page shows the refusal of the first completion, and needs no second one.
      if (second.node.isConnected) page.presenter.showRefusal(second, error, { retry: complete });
    }
  };
  void complete();
  return comparison;
}

/**
 * Shows a stored or running completion beside the last one of the branch, which is the newer one.
 * @param {ComparisonPage} page
 * @param {Id} message
 */
export async function restore(page, message) {
  const { branch } = page;
  const last = branch.lastCompletion;
  const { view, data } = await branch.addStored(message);
  if (!last || branch.completions().at(-2) !== last) {
    branch.remove(view.node); // the user has gone on meanwhile
    return;
  }
  page.showStored(view);
  page.onRestored(new Comparison(page, { first: view, second: last }), data);
}
