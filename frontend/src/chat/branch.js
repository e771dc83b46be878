// The shown branch of a conversation: prompts and answers in order, and the leaf that the next prompt follows.
import { Answer } from "../generation/completion-view.js";
import { pageAt } from "../api.js";
import { setVersions, showVersions, versionAt, versionsOf } from "../versions.js";

const list = document.getElementById("messages");

function instance(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

export class Conversation {
  #answers = new Map();
  #onRegenerate;

  constructor({ id, leaf, onRegenerate, onVersion, onEdit }) {
    this.id = id;
    this.leaf = leaf;
    this.#onRegenerate = onRegenerate;
    for (const node of list.children) this.#view(node);
    list.addEventListener("click", ({ target }) => {
      const node = target.closest(".message");
      if (target.closest('[data-part="edit"]')) onEdit(node);
      for (const [name, step] of [["previous", -1], ["next", 1]]) {
        const version = target.closest(`[data-part="${name}"]`) && versionAt(node, step);
        if (version) onVersion(node, version, name);
      }
    });
  }

  get lastAnswer() {
    const nodes = list.querySelectorAll(".answer");
    return this.#answers.get(nodes[nodes.length - 1]) ?? null;
  }

  answers() {
    return this.#answers.values();
  }

  ofGeneration(id) {
    return [...this.#answers.values()].find(({ node }) => node.dataset.generation === String(id)) ?? null;
  }

  addPrompt(content) {
    const node = instance("prompt-template");
    node.querySelector('[data-part="content"]').textContent = content;
    list.append(node);
    document.body.classList.remove("blank");
    return node;
  }

  addAnswer() {
    const node = instance("answer-template");
    list.append(node);
    document.body.classList.remove("blank");
    return this.#view(node);
  }

  /** An answer that will be another version of `old`; `takeFrom` made room for it. */
  addVersion(old) {
    const answer = this.addAnswer();
    setVersions(answer.node, [...versionsOf(old.node), ""]);
    return answer;
  }

  /** The id of the message that stands before `node`; 0 before the first. */
  before(node) {
    return node.previousElementSibling?.dataset.id ?? 0;
  }

  /** Takes `node` and all that follows it out of sight, and returns it. */
  takeFrom(node) {
    const taken = [...list.children];
    taken.splice(0, taken.indexOf(node));
    for (const each of taken) each.remove();
    return taken;
  }

  putBack(nodes) {
    list.append(...nodes);
  }

  /** Shows the branch through a message instead, as the server renders it; returns the data of its page. */
  async open(messageId) {
    const { nodes, data } = await this.#rendered(messageId);
    this.#answers.clear();
    list.replaceChildren(...nodes);
    for (const node of nodes) this.#view(node);
    this.leaf = data.leaf;
    return data;
  }

  /** Learns from the server what the shown turns are called, and their versions. */
  async learn(messageId) {
    const { nodes } = await this.#rendered(messageId);
    for (const [i, node] of [...list.children].entries()) {
      if (!nodes[i]) continue;
      node.dataset.id = nodes[i].dataset.id;
      setVersions(node, versionsOf(nodes[i]));
    }
  }

  remove(...nodes) {
    for (const node of nodes) {
      this.#answers.delete(node);
      node.remove();
    }
    document.body.classList.toggle("blank", !list.children.length);
  }

  async #rendered(messageId) {
    const page = await pageAt(`/c/${this.id}/?message=${messageId}`);
    const nodes = [...page.getElementById("messages").children].map((node) => document.importNode(node, true));
    return { nodes, data: JSON.parse(page.getElementById("page-data").textContent) };
  }

  #view(node) {
    showVersions(node);
    if (!node.classList.contains("answer")) return null;
    const answer = new Answer(node, { onRegenerate: this.#onRegenerate });
    this.#answers.set(node, answer);
    return answer;
  }
}
