// One generation shown in an answer while it runs, and how refusals and failures look there.
import { Refusal } from "../api.js";
import { text } from "../translations.js";

export class Follower {
  #models;
  #quotas;
  #announcer;

  constructor({ models, quotas, announcer }) {
    this.#models = models;
    this.#quotas = quotas;
    this.#announcer = announcer;
  }

  modelTitle(slug) {
    return this.#model(slug)?.title ?? slug;
  }

  /** What an answer by this model cost, in words. */
  chargeOf(slug, source) {
    return this.#quotas.chargeOf(this.#model(slug)?.quota, source);
  }

  /**
   * Shows `generation` in `answer` until it ends; rejects when it was not started. `slug` is the model until the
   * stream says it. `on.start`, `on.done` and `on.error` are told the events of that name, before they are shown.
   */
  async show(generation, answer, slug, on) {
    let model = slug;
    answer.running = true;
    answer.charge = "";
    const tellCharge = (charge) => (answer.charge = this.chargeOf(model, charge?.source));
    await generation.follow({
      start: (event) => {
        model = event.model;
        answer.replace({});
        answer.node.dataset.generation = event.generation;
        answer.model = this.modelTitle(model);
        on.start?.(event);
      },
      message: ({ content }) => answer.appendContent(content),
      reasoning: ({ content }) => answer.appendReasoning(content),
      notice: ({ message }) => answer.notice(message),
      reset: (kept) => answer.replace(kept),
      done: (event) => {
        on.done?.(event);
        answer.finish(event.finish_reason);
        tellCharge(event.charge);
        if (event.quota) this.#quotas.update(event.quota);
        else this.#quotas.refresh().catch(() => {});
        this.#announcer.textContent = answer.text;
      },
      error: (event) => {
        tellCharge(event.charge);
        this.#announcer.textContent = event.message;
        this.#quotas.refresh().catch(() => {});
        on.error(event);
      },
      connection: (lost) => answer.notice(lost ? text("reconnecting") : ""),
    });
  }

  /** Shows in `answer` why nothing was started. The first of `actions` sends the same request once more. */
  refuse(answer, error, actions) {
    if (!(error instanceof Refusal)) {
      answer.fail({ message: text("failed"), actions });
      throw error;
    }
    const { code, message } = error;
    let details = "";
    if (code === "quota_exhausted") {
      const time = this.#quotas.resetTime();
      details = time && text("quotaResets", { time });
      this.#quotas.refresh().catch(() => {});
    }
    let shown = final.includes(code) ? actions.slice(1) : actions;
    if (code === "not_authenticated") shown = [[text("logIn"), `/accounts/login/?next=${location.pathname}`]];
    if (code === "quota_exhausted") shown = [...waysToCredits(), ...shown];
    if (code === "account_incomplete") shown = [[text("account"), "/accounts/email/"], ...actions.slice(1)];
    answer.fail({ message, details, actions: shown });
    this.#announcer.textContent = message;
  }

  #model(slug) {
    return this.#models.find((candidate) => candidate.slug === slug);
  }
}

/** Refusals that the same request, sent once more, would meet again. */
const final = ["quota_exhausted", "content_blocked", "prompt_too_long", "invalid_request", "forbidden", "not_found"];

/** Where somebody without a quota left can get more. */
function waysToCredits() {
  const inviting = text("inviteUrl") ? [[text("invite"), text("inviteUrl")]] : [];
  return [...inviting, [text("redeem"), text("usageUrl")]];
}
