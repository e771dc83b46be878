// The view of one completion: its reasoning, Markdown, status and error, and the buttons below it.
import { showAttachments } from "../chat/attachments.js";
import { installCopyButton } from "../copy-button.js";
import { richHtml } from "../rich-html.js";
import { find, part, shownText } from "../dom.js";
import { GrowingMarkdown } from "../markdown/growing-markdown.js";
import { text } from "../translations.js";
import { setVersionIds, versionIds } from "../versions.js";
import { describeDuration, describeReasoning, describeUsage } from "./receipt.js";
import { showSources } from "./sources.js";
import { createVendorDetails } from "./vendor-details.js";
/** @import { Action, Attachment, Continued, ErrorDetails, FinishReason, Id, Source, TokensUsed } from "../types.js" */

/** The text that explains why a completion ended before its natural end. */
const finishTexts = {
  stop: "",
  length: "finishLength",
  content_filter: "finishFilter",
  cancelled: "finishCancelled",
};

/** The ends after which the completion can be continued. */
const continuableEnds = ["length", "cancelled", "interrupted"];

/**
 * Returns the first `count` characters, as the server counts them.
 * @param {string} source
 * @param {number} count
 */
const firstCharacters = (source, count) => (count ? Array.from(source).slice(0, count).join("") : "");

export class CompletionView {
  /** The text of earlier generations, which the running one continues. */
  #earlier = { content: "", reasoning: "" };
  #content;
  #reasoning;
  #status;
  #reasoningDetails;
  /** Whether the text is more than white space, as far as deltas say; each of them asks. */
  #hasText = false;
  #isFollowed;
  /** Whether the user opened or closed the reasoning; from then on it stays as the user left it. */
  #reasoningToggled = false;

  /**
   * Takes over a node made from the template, empty or with stored text. `finish` or `fail` shows the text.
   * @param {HTMLElement} node
   * @param {object} callbacks
   * @param {(view: CompletionView) => void} callbacks.onRegenerate
   * @param {(view: CompletionView) => void} [callbacks.onContinue]
   * @param {() => boolean} callbacks.isFollowed whether the page shows its end as it grows
   */
  constructor(node, { onRegenerate, onContinue, isFollowed }) {
    this.node = node;
    this.#status = part(node, "status");
    this.#reasoningDetails = part(node, "reasoning", HTMLDetailsElement);
    this.#isFollowed = isFollowed;
    this.#content = new GrowingMarkdown(part(node, "content"));
    this.#reasoning = new GrowingMarkdown(part(node, "reasoning-text"));
    installCopyButton(
      part(node, "copy"),
      () => this.#content.source,
      () => richHtml(part(node, "content")),
    );
    part(node, "regenerate").addEventListener("click", () => onRegenerate(this));
    part(node, "continue").addEventListener("click", () => onContinue?.(this));
    this.#keepEarlier({
      content_from: Number(node.dataset.contentFrom ?? 0),
      reasoning_from: Number(node.dataset.reasoningFrom ?? 0),
    });
    find(this.#reasoningDetails, "summary").addEventListener("click", () => (this.#reasoningToggled = true));
    this.#reasoningDetails.hidden = !this.#reasoning.source;
  }

  /** @returns {Id | null} */
  get id() {
    return this.node.dataset.id || null;
  }

  set id(id) {
    const versions = versionIds(this.node);
    this.node.dataset.id = String(id ?? "");
    if (id)
      setVersionIds(
        this.node,
        versions.map((version) => version || String(id)),
      );
  }

  /** Whether the latest generation has continued the text of an earlier one. */
  get isContinuation() {
    return Boolean(this.#earlier.content || this.#earlier.reasoning);
  }

  get text() {
    return shownText(part(this.node, "content"));
  }

  /** The model's title; until the view is first finished, the slug that the template wrote. */
  get model() {
    return part(this.node, "model").textContent;
  }

  set model(title) {
    part(this.node, "model").textContent = title;
  }

  /** @param {string} description text about what the completion cost */
  set charge(description) {
    part(this.node, "charge").textContent = description;
  }

  /** @param {TokensUsed | null | undefined} used */
  set usage(used) {
    part(this.node, "usage").textContent = describeUsage(used);
    if (used?.reasoning_seconds !== undefined) this.reasoningSeconds = used.reasoning_seconds;
  }

  /** @param {number | undefined} seconds from the start of the generation to its end */
  set duration(seconds) {
    part(this.node, "duration").textContent = describeDuration(seconds);
  }

  /** @param {number} seconds */
  set reasoningSeconds(seconds) {
    part(this.node, "reasoning-title").textContent = describeReasoning(seconds);
  }

  /** @param {Source[]} list */
  set sources(list) {
    showSources(part(this.node, "sources", HTMLDetailsElement), list);
  }

  /** @param {Attachment[]} list images that the model made */
  set attachments(list) {
    showAttachments(this.node, list);
  }

  /** @param {boolean} value */
  set running(value) {
    if (value) part(this.node, "continue").hidden = true;
    this.node.classList.toggle("running", value);
    this.node.setAttribute("aria-busy", String(value));
  }

  /**
   * Begins with the first event of a generation: without text, or with the earlier text that it continues.
   * @param {Continued} [continued]
   */
  begin(continued) {
    this.#keepEarlier(continued ?? { content_from: 0, reasoning_from: 0 });
    part(this.node, "failure").hidden = true;
    this.notice("");
    this.replace({});
  }

  /** @param {string} delta */
  appendContent(delta) {
    this.notice("");
    if (!this.#hasText && delta.trim()) {
      this.#hasText = true;
      if (!this.#isReasoningRead) this.#reasoningDetails.open = false;
    }
    this.#content.append(delta);
  }

  /** @param {string} delta */
  appendReasoning(delta) {
    this.notice("");
    const details = this.#reasoningDetails;
    if (details.hidden && !this.#hasText) details.open = true;
    details.hidden = false;
    this.#reasoning.append(delta);
  }

  /** @param {{ content?: string | null, reasoning?: string | null }} texts */
  replace({ content, reasoning }) {
    const whole = this.#earlier.content + (content ?? "");
    this.#hasText = Boolean(whole.trim());
    this.#content.replace(whole);
    this.#reasoning.replace(this.#earlier.reasoning + (reasoning ?? ""));
    this.#reasoningDetails.hidden = !this.#reasoning.source;
  }

  /**
   * Shows a quiet line below the text; an empty message hides it.
   * @param {string} message
   */
  notice(message) {
    if (this.#status.textContent === message) return;
    this.#status.textContent = message;
    this.#status.hidden = !message;
  }

  /** Resolves when the text that has arrived is shown. */
  async showRest() {
    await Promise.all([this.#content.showRest(), this.#reasoning.showRest()]);
  }

  /** Renders the text that was stored. */
  render() {
    this.#content.finish();
    this.#reasoning.finish();
  }

  /**
   * @param {FinishReason | ""} [reason]
   * @param {string} [explanation] a text of staff that explains it
   */
  finish(reason, explanation) {
    this.render();
    this.showEnd(reason, explanation);
  }

  /**
   * Shows how the completion ended, without rendering it.
   * @param {FinishReason | ""} [reason]
   * @param {string} [explanation] a text of staff that explains it
   */
  showEnd(reason, explanation = "") {
    this.#end(reason);
    const isEmpty = reason === "stop" && this.node.classList.contains("empty");
    const name = isEmpty ? "finishEmpty" : reason && finishTexts[reason];
    this.notice(explanation || (name ? text(name) : ""));
  }

  /**
   * @param {{ message: string, code?: string, details?: string, actions?: Action[], vendor?: ErrorDetails }} failure
   *   `details` is a second line
   */
  fail({ message, code = "", details = "", actions = [], vendor }) {
    this.render();
    this.#end(code);
    this.notice("");
    const lines = [message, details].filter(Boolean).map((line, index) => {
      const paragraph = document.createElement("p");
      if (index) paragraph.className = "failure-details";
      paragraph.textContent = line;
      return paragraph;
    });
    const failure = part(this.node, "failure");
    const rows = actions.length ? [createActionRow(actions)] : [];
    failure.replaceChildren(...lines, ...rows, ...createVendorDetails(vendor));
    failure.hidden = false;
  }

  /** Whether the user reads the reasoning: it must not fold away then. */
  get #isReasoningRead() {
    const details = this.#reasoningDetails;
    if (this.#reasoningToggled || !this.#isFollowed() || details.matches(":hover, :focus-within")) return true;
    const selection = getSelection();
    return Boolean(selection && !selection.isCollapsed && selection.containsNode(details, true));
  }

  /** @param {Pick<Continued, "content_from" | "reasoning_from">} place */
  #keepEarlier({ content_from: contentFrom, reasoning_from: reasoningFrom }) {
    this.#earlier = {
      content: firstCharacters(this.#content.source, contentFrom),
      reasoning: firstCharacters(this.#reasoning.source, reasoningFrom),
    };
  }

  /** @param {string} [reason] the finish reason, or the code of the error */
  #end(reason = "") {
    this.running = false;
    part(this.node, "continue").hidden = !this.id || !continuableEnds.includes(reason);
    const isEmpty = !this.#content.source.trim() && !part(this.node, "attachments").children.length;
    this.node.classList.toggle("empty", isEmpty);
  }
}

/** @param {Action[]} actions */
function createActionRow(actions) {
  const row = document.createElement("div");
  row.className = "failure-actions";
  for (const action of actions) {
    const control = "href" in action ? createLink(action.href) : createButton(action.run);
    control.className = "button";
    control.textContent = action.label;
    row.append(control);
  }
  return row;
}

/** @param {string} href */
function createLink(href) {
  const link = document.createElement("a");
  link.href = href;
  return link;
}

/** @param {() => void} run */
function createButton(run) {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", run);
  return button;
}
