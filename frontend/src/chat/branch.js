// The shown branch of a conversation: prompts and completions in order, and the leaf that the next prompt follows.
import { fetchDocument } from "../api.js";
import { byId, fromTemplate, pageData, part } from "../dom.js";
import { CompletionView } from "../generation/completion-view.js";
import { makeReachable } from "../scroll-box.js";
import { showTime } from "./message-time.js";
import { setVersionIds, showVersion, versionAt, versionIds } from "../versions.js";
/** @import { BranchData, Id } from "../types.js" */

/**
 * @typedef {object} BranchCallbacks
 * @property {(view: CompletionView) => void} onRegenerate
 * @property {(view: CompletionView) => void} onContinue
 * @property {(node: HTMLElement, id: string, buttonName: string) => void} onVersion
 * @property {(promptNode: HTMLElement) => void} onEdit
 * @property {() => boolean} isFollowed whether the page shows its end as it grows
 */

/** The buttons of a message that lead to its other versions, and how many places away these are. */
const versionSteps = { previous: -1, next: 1 };

/** @param {Element} list */
const messageNodes = (list) => /** @type {HTMLElement[]} */ ([...list.children]);

/**
 * Returns whether a shown message is the stored one: by their ids, or by its text while it has no id in the page.
 * @param {HTMLElement} node
 * @param {HTMLElement | undefined} stored
 */
function isSameMessage(node, stored) {
  if (!stored) return false;
  const { id, generation } = node.dataset;
  if (generation && stored.dataset.generation && generation !== stored.dataset.generation) return false;
  return id ? id === stored.dataset.id : part(node, "content").textContent === part(stored, "content").textContent;
}

/**
 * Takes over the id, the versions and the time of the stored message.
 * @param {HTMLElement} node
 * @param {HTMLElement | undefined} stored
 */
function takeIds(node, stored) {
  if (!stored) return;
  node.dataset.id = stored.dataset.id;
  setVersionIds(node, versionIds(stored));
  showTime(node, new Date(part(stored, "time", HTMLTimeElement).dateTime));
}

export class Branch {
  #list = byId("messages");
  /** @type {Map<HTMLElement, CompletionView>} */
  #completions = new Map();
  #callbacks;

  /** @param {{ conversationId: Id | null, leaf: Id | null } & BranchCallbacks} options */
  constructor({ conversationId, leaf, onRegenerate, onContinue, onVersion, onEdit, isFollowed }) {
    this.conversationId = conversationId;
    this.leaf = leaf;
    this.#callbacks = { onRegenerate, onContinue, isFollowed };
    for (const node of messageNodes(this.#list)) this.#adopt(node);
    this.#list.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      const node = /** @type {HTMLElement} */ (target.closest(".message"));
      if (target.closest('[data-part="edit"]')) onEdit(node);
      for (const [name, step] of Object.entries(versionSteps)) {
        const id = target.closest(`[data-part="${name}"]`) && versionAt(node, step);
        if (id) onVersion(node, id, name);
      }
    });
  }

  /** @returns {CompletionView | undefined} */
  get lastCompletion() {
    return this.completions().at(-1);
  }

  /** Returns the views of the shown completions, in order. */
  completions() {
    return messageNodes(this.#list).flatMap((node) => this.#completions.get(node) ?? []);
  }

  /** @param {HTMLElement} node */
  completionOf(node) {
    return this.#completions.get(node);
  }

  /** @param {Id} generationId */
  findByGeneration(generationId) {
    return [...this.#completions.values()].find(({ node }) => node.dataset.generation === String(generationId));
  }

  /** @param {string} content */
  addPrompt(content) {
    const node = fromTemplate("prompt-template");
    part(node, "content").textContent = content;
    makeReachable(part(node, "content"));
    this.#append(node);
    return node;
  }

  addCompletion() {
    const node = fromTemplate("answer-template");
    this.#append(node);
    return this.#adoptCompletion(node);
  }

  /**
   * Adds a completion that becomes another version of `old`, which `detachFrom` has removed.
   * @param {CompletionView} old
   */
  addVersionOf(old) {
    const view = this.addCompletion();
    setVersionIds(view.node, [...versionIds(old.node), ""]);
    return view;
  }

  /**
   * Returns the id of the message before `node`; 0 before the first.
   * @param {HTMLElement} node
   * @returns {Id}
   */
  parentOf(node) {
    const previous = /** @type {HTMLElement | null} */ (node.previousElementSibling);
    return previous?.dataset.id ?? 0;
  }

  /**
   * Removes `node` and all that follows it from the page, and returns them for `reattach`.
   * @param {HTMLElement} node
   */
  detachFrom(node) {
    const nodes = messageNodes(this.#list);
    const detached = nodes.slice(nodes.indexOf(node));
    for (const each of detached) each.remove();
    return detached;
  }

  /** @param {HTMLElement[]} nodes */
  reattach(nodes) {
    this.#list.append(...nodes);
  }

  /**
   * Shows the branch through a message instead, as the server renders it. Returns the data of that page.
   * @param {Id} messageId
   */
  async open(messageId) {
    const { nodes, data } = await this.#fetchBranch(messageId);
    this.#completions.clear();
    this.#list.replaceChildren(...nodes);
    for (const node of nodes) this.#adopt(node);
    document.body.classList.toggle("blank", !nodes.length);
    this.leaf = data.leaf;
    return data;
  }

  /**
   * Fetches the ids and versions of the shown messages: those just sent have none yet.
   * @param {Id} messageId a message of the shown branch
   */
  async fetchIds(messageId) {
    const { nodes } = await this.#fetchBranch(messageId);
    for (const [i, node] of messageNodes(this.#list).entries()) takeIds(node, nodes[i]);
  }

  /**
   * Shows what is stored below the shown branch and was not shown yet. Returns the views of the completions that are
   * new, and the data of that page.
   */
  async catchUp() {
    const { nodes, data } = await this.#fetchBranch(this.leaf);
    const shown = messageNodes(this.#list);
    const firstOther = shown.findIndex((node, i) => !isSameMessage(node, nodes[i]));
    const same = firstOther < 0 ? shown.length : firstOther;
    this.remove(...shown.slice(same));
    for (const [i, node] of shown.slice(0, same).entries()) takeIds(node, nodes[i]);
    const fresh = nodes.slice(same);
    this.#list.append(...fresh);
    for (const node of fresh) this.#adopt(node);
    document.body.classList.toggle("blank", !nodes.length);
    this.leaf = data.leaf;
    return { views: fresh.flatMap((node) => this.#completions.get(node) ?? []), data };
  }

  /**
   * Adds the last completion of another branch at the end. Returns its view, and the data of that branch's page.
   * @param {Id} messageId
   */
  async addStored(messageId) {
    const { nodes, data } = await this.#fetchBranch(messageId);
    const node = /** @type {HTMLElement} */ (nodes.at(-1));
    this.#list.append(node);
    this.#adopt(node);
    return { view: /** @type {CompletionView} */ (this.#completions.get(node)), data };
  }

  /** @param {HTMLElement[]} nodes */
  remove(...nodes) {
    for (const node of nodes) {
      this.#completions.delete(node);
      node.remove();
    }
    document.body.classList.toggle("blank", !this.#list.children.length);
  }

  /** @param {HTMLElement} node */
  #append(node) {
    this.#list.append(node);
    showTime(node, new Date());
    document.body.classList.remove("blank");
    showVersion(node);
  }

  /** @param {HTMLElement} node */
  #adopt(node) {
    showVersion(node);
    showTime(node);
    if (node.classList.contains("answer")) this.#adoptCompletion(node);
    else makeReachable(part(node, "content"));
  }

  /** @param {HTMLElement} node */
  #adoptCompletion(node) {
    const view = new CompletionView(node, this.#callbacks);
    this.#completions.set(node, view);
    return view;
  }

  /** @param {Id | null} messageId null for the branch of the newest message */
  async #fetchBranch(messageId) {
    const page = await fetchDocument(`/c/${this.conversationId}/?message=${messageId ?? ""}`);
    const list = /** @type {HTMLElement} */ (page.getElementById("messages"));
    const nodes = messageNodes(list).map((node) => document.importNode(node, true));
    return { nodes, data: /** @type {BranchData} */ (pageData(page)) };
  }
}
