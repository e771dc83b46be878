// Edits a prompt in its place in the conversation.
import { find, fromTemplate, part } from "../dom.js";
import { fitHeight, installSendKey } from "./prompt-field.js";

/**
 * Replaces a prompt by a form with `draft` in it. Resolves to the text that the user sends, or to null when the user
 * cancels.
 * @param {HTMLElement} promptNode
 * @param {string} draft
 * @returns {Promise<string | null>}
 */
export function editPrompt(promptNode, draft) {
  const form = fromTemplate("edit-template");
  const field = find(form, "textarea", HTMLTextAreaElement);
  field.value = draft;
  part(promptNode, "content").after(form);
  promptNode.classList.add("editing");
  fitHeight(field);
  field.focus();
  field.setSelectionRange(draft.length, draft.length);
  return new Promise((resolve) => {
    /** @param {string | null} result */
    const close = (result) => {
      form.remove();
      promptNode.classList.remove("editing");
      resolve(result);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim()) close(field.value.trim());
    });
    part(form, "cancel").addEventListener("click", () => close(null));
    field.addEventListener("input", () => fitHeight(field));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) close(null);
    });
    installSendKey(field);
  });
}
