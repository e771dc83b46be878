// Edits a prompt in its place in the conversation.
import { find, fromTemplate, part } from "../dom.js";
import { contentUrl } from "./attachments.js";
import { fitHeight, installSendKey } from "./prompt-field.js";
/** @import { Attachment } from "../types.js" */

/** @typedef {{ prompt: string, attachments: Attachment[] }} EditedPrompt */

/**
 * Returns the row of an attachment, with the button that leaves it out.
 * @param {Attachment} attachment
 * @param {() => void} onRemove
 */
function createRow(attachment, onRemove) {
  const node = fromTemplate("upload-template");
  const { kind, name } = attachment;
  part(node, "name").textContent = name;
  part(node, "progress").remove();
  const remove = part(node, "remove");
  remove.setAttribute("aria-label", `${remove.getAttribute("aria-label")} ${name}`);
  remove.addEventListener("click", onRemove);
  if (kind === "image") {
    const image = part(node, "image", HTMLImageElement);
    image.src = contentUrl(attachment);
    image.hidden = false;
    part(node, "icon", SVGElement).remove();
  }
  return node;
}

/**
 * Replaces a prompt by a form with `draft` in it. Resolves to what the user sends, or to null when the user cancels.
 * @param {HTMLElement} promptNode
 * @param {EditedPrompt} draft
 * @returns {Promise<EditedPrompt | null>}
 */
export function editPrompt(promptNode, draft) {
  const form = fromTemplate("edit-template");
  const field = find(form, "textarea", HTMLTextAreaElement);
  const kept = new Set(draft.attachments);
  const rows = part(form, "attachments");
  for (const attachment of kept) {
    const row = createRow(attachment, () => {
      kept.delete(attachment);
      row.remove();
      field.focus();
    });
    rows.append(row);
  }
  field.value = draft.prompt;
  part(promptNode, "content").after(form);
  promptNode.classList.add("editing");
  fitHeight(field);
  field.focus();
  field.setSelectionRange(draft.prompt.length, draft.prompt.length);
  return new Promise((resolve) => {
    /** @param {EditedPrompt | null} result */
    const close = (result) => {
      form.remove();
      promptNode.classList.remove("editing");
      resolve(result);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const prompt = field.value.trim();
      if (prompt || kept.size) close({ prompt, attachments: [...kept] });
    });
    part(form, "cancel").addEventListener("click", () => close(null));
    field.addEventListener("input", () => fitHeight(field));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) close(null);
    });
    installSendKey(field);
  });
}
