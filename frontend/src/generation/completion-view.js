// The view of one answer: reasoning, Markdown, status, failure, and what can be done with it.
import { makeCopyButton } from "../copy-button.js";
import { Prose } from "../markdown/growing-markdown.js";
import { text } from "../translations.js";
import { setVersions, versionsOf } from "../versions.js";

const finishNotes = { length: "finishLength", content_filter: "finishFilter", cancelled: "finishCancelled" };

export class Answer {
  #part;
  #prose;
  #reasoning;
  #reasoningTouched = false;

  /** Takes over a node made from the answer template, empty or with stored text; finish() or fail() shows it. */
  constructor(node, { onRegenerate }) {
    this.node = node;
    this.#part = (name) => node.querySelector(`[data-part="${name}"]`);
    const [content, reasoning] = [this.#part("content"), this.#part("reasoning-text")];
    const stored = [content.textContent, reasoning.textContent];
    content.textContent = reasoning.textContent = "";
    this.#prose = new Prose(content);
    this.#reasoning = new Prose(reasoning);
    makeCopyButton(this.#part("copy"), () => this.#prose.source);
    this.#part("regenerate").addEventListener("click", () => onRegenerate(this));
    this.#part("reasoning").querySelector("summary").addEventListener("click", () => (this.#reasoningTouched = true));
    this.replace({ content: stored[0], reasoning: stored[1] });
  }

  get id() {
    return this.node.dataset.id || null;
  }

  set id(id) {
    const versions = versionsOf(this.node);
    this.node.dataset.id = id ?? "";
    if (id) setVersions(this.node, versions.map((version) => version || id));
  }

  get text() {
    return this.#part("content").innerText.trim();
  }

  get model() {
    return this.#part("model").textContent;
  }

  set model(title) {
    this.#part("model").textContent = title;
  }

  /** What it cost, in words. */
  set charge(words) {
    this.#part("charge").textContent = words;
  }

  set running(value) {
    this.node.classList.toggle("running", value);
    this.node.setAttribute("aria-busy", String(value));
  }

  appendContent(delta) {
    this.notice("");
    if (!this.#prose.source.trim() && delta.trim() && !this.#reasoningTouched) this.#part("reasoning").open = false;
    this.#prose.append(delta);
  }

  appendReasoning(delta) {
    this.notice("");
    const details = this.#part("reasoning");
    if (details.hidden && !this.#prose.source.trim()) details.open = true;
    details.hidden = false;
    this.#reasoning.append(delta);
  }

  replace({ content = "", reasoning = "" }) {
    this.#prose.replace(content ?? "");
    this.#reasoning.replace(reasoning ?? "");
    this.#part("reasoning").hidden = !reasoning;
  }

  /** A quiet line below the text; an empty one goes away. */
  notice(words) {
    const status = this.#part("status");
    if (status.textContent === words) return;
    status.textContent = words;
    status.hidden = !words;
  }

  finish(reason) {
    this.#end();
    this.notice(finishNotes[reason] ? text(finishNotes[reason]) : "");
  }

  /** Shows an error in place. `details`: a second line; `actions`: `[label, callback]` pairs. */
  fail({ message, details = "", actions = [] }) {
    this.#end();
    this.notice("");
    const failure = this.#part("failure");
    const line = document.createElement("p");
    line.textContent = message;
    failure.replaceChildren(line);
    if (details) {
      const more = document.createElement("p");
      more.className = "failure-details";
      more.textContent = details;
      failure.append(more);
    }
    if (actions.length) failure.append(actionRow(actions));
    failure.hidden = false;
  }

  clearFailure() {
    this.#part("failure").hidden = true;
  }

  #end() {
    this.running = false;
    this.#render();
  }

  #render() {
    this.#prose.finish();
    this.#reasoning.finish();
    this.node.classList.toggle("empty", !this.#prose.source.trim());
  }
}

function actionRow(actions) {
  const row = document.createElement("div");
  row.className = "failure-actions";
  for (const [label, action] of actions) {
    const control = document.createElement(typeof action === "string" ? "a" : "button");
    if (typeof action === "string") control.href = action;
    else {
      control.type = "button";
      control.addEventListener("click", action);
    }
    control.className = "button";
    control.textContent = label;
    row.append(control);
  }
  return row;
}
