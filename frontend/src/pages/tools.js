// The page of text tools: one text in, one result out. The server keeps a result for a while, under the id of its
// generation only. This tab remembers the id and the form, so that a reload shows the result again.
import { Refusal } from "../api.js";
import { byId, find, fromTemplate, pageData, part } from "../dom.js";
import { CompletionView } from "../generation/completion-view.js";
import { Generation } from "../generation/generation.js";
import { GenerationPresenter } from "../generation/presenter.js";
import { Quotas } from "../quota.js";
import { text } from "../translations.js";
/** @import { EventHandlers, FinishReason, Id, UserData } from "../types.js" */

/** Characters above which a text is not remembered. More than any model takes; a tab's storage is limited. */
const MAX_REMEMBERED_CHARS = 500_000;

/**
 * What the tab remembers of the form, and of the last result.
 * @typedef {object} Remembered
 * @property {string} [tool]
 * @property {string} [language]
 * @property {string} [text]
 * @property {string} [model]
 * @property {Id | null} [generation]
 */

class ToolsPage {
  #form = byId("tool-form", HTMLFormElement);
  #textField = byId("text", HTMLTextAreaElement);
  #languageField = byId("language", HTMLInputElement);
  #modelChoice = byId("model", HTMLSelectElement);
  #runButton = part(this.#form, "run", HTMLButtonElement);
  #stopButton = part(this.#form, "stop", HTMLButtonElement);
  #resultSection = find(document, ".result");
  #result = byId("result");
  #models;
  #quotas;
  #presenter;
  #storageKey;
  /** @type {Remembered} */
  #remembered;
  /** @type {Generation | null} */
  #running = null;

  /** @param {UserData} data */
  constructor({ user, models, quotas }) {
    this.#models = models;
    this.#quotas = new Quotas(byId("quota"), quotas);
    this.#presenter = new GenerationPresenter({ models, quotas: this.#quotas, announcer: byId("announcer") });
    // Another user may log in within the same tab.
    this.#storageKey = `text-tools:${user}`;
    this.#remembered = JSON.parse(sessionStorage.getItem(this.#storageKey) ?? "{}");
  }

  /** Restores the form and the result of before a reload, and waits for the user. */
  start() {
    this.#restoreForm();
    this.#update();
    this.#form.addEventListener("input", () => this.#update());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      this.#run();
    });
    this.#stopButton.addEventListener("click", () => {
      this.#stopButton.disabled = true;
      this.#running?.stop().catch(() => (this.#stopButton.disabled = false));
    });
    if (this.#remembered.generation) this.#resume(this.#remembered.generation);
  }

  /** @param {Remembered} values */
  #remember(values) {
    Object.assign(this.#remembered, values);
    sessionStorage.setItem(this.#storageKey, JSON.stringify(this.#remembered));
  }

  #restoreForm() {
    const { tool, language, model, text: remembered = "" } = this.#remembered;
    for (const choice of this.#form.querySelectorAll("input")) {
      if (choice.name === "tool" && choice.value === tool) choice.checked = true;
    }
    if (language) this.#languageField.value = language;
    const isOffered = [...this.#modelChoice.options].some(({ value, disabled }) => value === model && !disabled);
    if (model && isOffered) this.#modelChoice.value = model;
    this.#textField.value = remembered;
  }

  get #chosenTool() {
    return find(this.#form, "[name=tool]:checked", HTMLInputElement);
  }

  #update() {
    const tool = this.#chosenTool;
    const [source, model] = [this.#textField.value, this.#modelChoice.value];
    const needsLanguage = tool.dataset.needsLanguage !== undefined;
    byId("language-field").hidden = !needsLanguage;
    this.#languageField.disabled = !needsLanguage;
    this.#quotas.select(this.#models.find(({ slug }) => slug === model)?.quota);
    this.#runButton.disabled = this.#running !== null || !source.trim();
    this.#remember({
      tool: tool.value,
      language: this.#languageField.value,
      text: source.length > MAX_REMEMBERED_CHARS ? "" : source,
      model,
    });
  }

  /** @param {Generation | null} generation */
  #setRunning(generation) {
    this.#running = generation;
    // A stop button that was clicked is disabled, and has lost the focus by that.
    const hadFocus =
      this.#stopButton.disabled ||
      document.activeElement === this.#runButton ||
      document.activeElement === this.#stopButton;
    this.#runButton.hidden = generation !== null;
    this.#stopButton.hidden = generation === null;
    this.#stopButton.disabled = false;
    this.#update();
    if (hadFocus) (generation ? this.#stopButton : this.#runButton).focus();
  }

  /** Shows an empty view in place of the last result. */
  #createView() {
    const node = fromTemplate("answer-template");
    const view = new CompletionView(node, { onRegenerate: () => this.#run(), isFollowed: () => true });
    this.#result.replaceChildren(node);
    this.#resultSection.hidden = false;
    return view;
  }

  #forgetResult() {
    this.#remember({ generation: null });
    this.#result.replaceChildren();
    this.#resultSection.hidden = true;
  }

  /**
   * Shows a generation until it ends; rejects when it was not started.
   * @param {Generation} generation
   * @param {CompletionView} view
   * @param {EventHandlers["done"]} [done]
   */
  async #show(generation, view, done) {
    this.#setRunning(generation);
    view.id = generation.id;
    try {
      await this.#presenter.show(generation, view, this.#modelChoice.value, {
        done,
        start: ({ generation: id }) => {
          view.id = id;
          this.#remember({ generation: id });
        },
        error: (error) => this.#presenter.showError(view, error, () => this.#run()),
      });
    } finally {
      this.#setRunning(null);
    }
  }

  async #run() {
    if (this.#running || !this.#form.reportValidity()) return;
    const request = {
      model: this.#modelChoice.value,
      prompt: this.#textField.value,
      text_tool: this.#chosenTool.value,
      ...(!this.#languageField.disabled && { target_language: this.#languageField.value }),
    };
    this.#remember({ generation: null });
    const view = this.#createView();
    this.#result.scrollIntoView({ block: "nearest" });
    try {
      await this.#show(Generation.fromRequest("/api/chat/", request), view);
    } catch (error) {
      this.#presenter.showRefusal(view, error, { retry: () => this.#run() });
    }
  }

  /**
   * Shows the result of before a reload, and follows it while it is still running.
   * @param {Id} id
   */
  async #resume(id) {
    const view = this.#createView();
    /** @type {FinishReason | null} */
    let finishReason = null;
    try {
      await this.#show(Generation.fromRunning(id, `/api/generations/${id}/events/`), view, (event) => {
        finishReason = event.finish_reason;
      });
    } catch (error) {
      if (error instanceof Refusal && error.code === "not_found") this.#forgetResult();
      else this.#presenter.showRefusal(view, error);
      return;
    }
    const isTextDeleted = !view.text && finishReason === "stop";
    if (!isTextDeleted) return;
    this.#remember({ generation: null });
    view.notice(text("gone"));
  }
}

new ToolsPage(/** @type {UserData} */ (pageData())).start();
