// The shown branch of a conversation: prompts and answers in order, and the leaf that the next prompt follows.
import { Answer } from "./answer.js";

const list = document.getElementById("messages");

function instance(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

export class Conversation {
  #answers = new Map();
  #onRegenerate;

  constructor({ id, leaf, onRegenerate }) {
    this.id = id;
    this.leaf = leaf;
    this.#onRegenerate = onRegenerate;
    for (const node of list.querySelectorAll(".answer")) this.#view(node);
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

  /** Shows a new answer in the place of `old`, as another version of it. */
  replaceAnswer(old) {
    const answer = this.#view(instance("answer-template"));
    answer.versions = old.versions;
    answer.versions.push(answer);
    old.node.replaceWith(answer.node);
    answer.showVersion();
    return answer;
  }

  /** Takes `answer` back and shows `old` again. */
  withdrawAnswer(answer, old) {
    old.versions.splice(old.versions.indexOf(answer), 1);
    answer.node.replaceWith(old.node);
    this.remove(answer.node);
    old.showVersion();
  }

  #showVersion(shown, step) {
    const other = shown.versions[shown.versions.indexOf(shown) + step];
    shown.node.replaceWith(other.node);
    this.leaf = other.id;
    other.showVersion();
  }

  remove(...nodes) {
    for (const node of nodes) {
      this.#answers.delete(node);
      node.remove();
    }
    document.body.classList.toggle("blank", !list.children.length);
  }

  #view(node) {
    const answer = new Answer(node, {
      onRegenerate: this.#onRegenerate,
      onVersion: (shown, step) => this.#showVersion(shown, step),
    });
    this.#answers.set(node, answer);
    return answer;
  }
}
