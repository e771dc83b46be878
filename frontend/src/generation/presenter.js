// Shows generations in completion views while they run, and refusals and errors with what the user can do next.
import { Refusal } from "../api.js";
import { text } from "../translations.js";
/** @import { Quotas } from "../quota.js" */
/** @import { Action, ChargeSource, ChatModel, EventHandlers, EventPayloads, FinishReason, StoredError } from "../types.js" */
/** @import { CompletionView } from "./completion-view.js" */
/** @import { Generation } from "./generation.js" */

/** Refusals that the same request would meet again. */
const FINAL_CODES = ["content_blocked", "prompt_too_long", "invalid_request", "forbidden", "not_found"];

/**
 * What the user can do after a refusal: `retry` sends the same request again, `edit` changes it first.
 * @typedef {{ retry?: () => void, edit?: () => void }} NextSteps
 */

/**
 * Returns the actions to offer below a refusal with this code.
 * @param {string} code
 * @param {NextSteps} steps
 * @returns {Action[]}
 */
export function actionsAfterRefusal(code, { retry, edit }) {
  const editing = edit ? [{ label: text("edit"), run: edit }] : [];
  switch (code) {
    case "not_authenticated":
      return [{ label: text("logIn"), href: `/accounts/login/?next=${location.pathname}` }];
    case "terms_required":
      return [{ label: text("terms"), href: `/accounts/terms/?next=${location.pathname}` }, ...editing];
    case "account_incomplete":
      return [{ label: text("account"), href: "/accounts/email/" }, ...editing];
    case "quota_exhausted": {
      // An address is empty where the way is closed: guests may only sign up, and invitations need an open sign-up.
      const ways = [
        { label: text("signUp"), href: text("signUpUrl") },
        { label: text("invite"), href: text("inviteUrl") },
        { label: text("redeem"), href: text("redeemUrl") },
      ];
      return [...ways.filter(({ href }) => href), ...editing];
    }
    default:
      return retry && !FINAL_CODES.includes(code) ? [{ label: text("tryAgain"), run: retry }, ...editing] : editing;
  }
}

/** Shows generations and refusals, and keeps the quota line and the screen reader's announcement up to date. */
export class GenerationPresenter {
  #models;
  #quotas;
  #announcer;

  /** @param {{ models: ChatModel[], quotas: Quotas, announcer: HTMLElement }} collaborators */
  constructor({ models, quotas, announcer }) {
    this.#models = models;
    this.#quotas = quotas;
    this.#announcer = announcer;
  }

  /**
   * Shows `generation` in `view` until it ends; rejects when it was not started.
   * @param {Generation} generation
   * @param {CompletionView} view
   * @param {string} slug the model, until the stream names it
   * @param {Pick<EventHandlers, "start" | "done"> & Required<Pick<EventHandlers, "error">>} handlers `start` and `done`
   *   are called before the event is shown; `error` shows the error
   */
  async show(generation, view, slug, handlers) {
    view.running = true;
    view.charge = "";
    view.duration = undefined;
    // The time of a generation that began before is not known here.
    const startedAt = generation.id === null ? performance.now() : null;
    this.#announcer.textContent = ""; // so that the same announcement is made again
    // A `reset` may stand for events that listed sources or images, and has none itself.
    let mayMissLists = false;
    // What could not be kept is said beside the completion, also after its end.
    let loss = "";
    /** @param {ChargeSource} [source] */
    const showCharge = (source) => (view.charge = this.#describeCharge(slug, source));
    let showEnd = () => {}; // called once the text before it is shown
    await generation.follow({
      start: (event) => {
        slug = event.model;
        if (startedAt !== null) this.#quotas.countGuestUse(event.generation);
        this.#showStart(view, event);
        handlers.start?.(event);
      },
      message: ({ content }) => view.appendContent(content),
      reasoning: ({ content }) => view.appendReasoning(content),
      notice: ({ code, message }) => {
        if (code === "image_left_out") loss = message;
        view.notice(message);
      },
      reset: (texts) => {
        mayMissLists = true;
        view.replace(texts);
      },
      sources: ({ sources }) => {
        mayMissLists = false;
        view.sources = sources;
      },
      attachments: ({ attachments }) => (view.attachments = attachments),
      done: (event) => {
        handlers.done?.(event);
        showCharge(event.charge?.source);
        view.usage = event.usage;
        if (startedAt !== null) view.duration = (performance.now() - startedAt) / 1000;
        if (mayMissLists) this.#fetchLists(generation, view);
        if (event.quota) this.#quotas.update(event.quota);
        else this.#refreshQuotas();
        showEnd = () => {
          view.finish(event.finish_reason, event.finish_text);
          if (loss) view.notice(loss);
          // Not its text: screen readers, find and select-all would meet it twice.
          this.#announcer.textContent = text("completionReady");
        };
      },
      error: (event) => {
        showCharge(event.charge?.source);
        this.#refreshQuotas();
        showEnd = () => {
          this.#announcer.textContent = event.message;
          handlers.error(event);
        };
      },
      connection: (lost) => view.notice(lost ? text("reconnecting") : ""),
    });
    await view.showRest();
    showEnd();
  }

  /**
   * @param {CompletionView} view
   * @param {EventPayloads["start"]} event
   */
  #showStart(view, { continues, generation, model }) {
    view.begin(continues);
    if (!continues) view.sources = view.attachments = [];
    view.node.dataset.generation = String(generation);
    view.model = this.#modelTitle(model);
  }

  /**
   * Shows how a stored generation ended, from the data attributes that the template wrote.
   * @param {CompletionView} view
   * @param {(() => void) | null} retry
   */
  showStored(view, retry) {
    const { charge, finish, finishText, usage, error, reasoningSeconds, seconds } = view.node.dataset;
    view.charge = this.#describeCharge(view.model, /** @type {ChargeSource | ""} */ (charge));
    view.model = this.#modelTitle(view.model);
    if (reasoningSeconds) view.reasoningSeconds = Number(reasoningSeconds);
    if (error) {
      this.showError(view, JSON.parse(error), retry);
      return;
    }
    if (usage) view.usage = JSON.parse(usage);
    if (seconds) view.duration = Number(seconds);
    view.showEnd(/** @type {FinishReason | ""} */ (finish), finishText);
  }

  /**
   * Shows the error with which a generation ended. `retry` is not offered for blocked content.
   * @param {CompletionView} view
   * @param {StoredError} error
   * @param {(() => void) | null} retry
   */
  showError(view, { code, message, details }, retry) {
    const actions = retry && code !== "content_blocked" ? [{ label: text("tryAgain"), run: retry }] : [];
    view.fail({ message, code, actions, vendor: details });
  }

  /**
   * Shows why no generation was started. Throws what is not a refusal again, because it is a fault of the page.
   * @param {CompletionView} view
   * @param {unknown} error
   * @param {NextSteps} [steps]
   */
  showRefusal(view, error, steps = {}) {
    if (!(error instanceof Refusal)) {
      view.fail({ message: text("failed"), actions: actionsAfterRefusal("unknown", steps) });
      throw error;
    }
    const { code, message } = error;
    let details = "";
    if (code === "quota_exhausted") {
      const time = this.#quotas.resetTime();
      details = time && text("quotaResets", { time });
      this.#quotas.exhaustGuest();
      this.#refreshQuotas();
    }
    view.fail({ message, details, actions: actionsAfterRefusal(code, steps) });
    this.#announcer.textContent = message;
  }

  /**
   * @param {Generation} generation
   * @param {CompletionView} view
   */
  async #fetchLists(generation, view) {
    const stored = await generation.fetchStored().catch(() => null); // without the lists the text is still whole
    if (!stored) return;
    view.sources = stored.sources ?? [];
    view.attachments = stored.attachments ?? [];
  }

  #refreshQuotas() {
    this.#quotas.refresh().catch(() => {}); // an old figure is better than an error beside a completion
  }

  /** @param {string} slug */
  #modelTitle(slug) {
    return this.#findModel(slug)?.title ?? slug;
  }

  /**
   * @param {string} slug
   * @param {ChargeSource | ""} [source]
   */
  #describeCharge(slug, source) {
    return this.#quotas.describeCharge(this.#findModel(slug)?.quota, source);
  }

  /** @param {string} slug */
  #findModel(slug) {
    return this.#models.find((model) => model.slug === slug);
  }
}
