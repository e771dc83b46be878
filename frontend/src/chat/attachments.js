// Attachments that prompts in the page show: built for a prompt just sent, read again when it is edited, opened larger.
import { byId, find, fromTemplate, part } from "../dom.js";
/** @import { Attachment } from "../types.js" */

/** @param {Attachment} attachment */
export const contentUrl = ({ id }) => `/api/attachments/${id}/content/`;

/**
 * Shows the attachments of a prompt above its text.
 * @param {HTMLElement} promptNode
 * @param {Attachment[]} attachments
 */
export function showAttachments(promptNode, attachments) {
  part(promptNode, "attachments").replaceChildren(...attachments.map(attachmentNode));
}

/** @param {Attachment} attachment */
function attachmentNode(attachment) {
  const node = fromTemplate("attachment-template");
  const { id, kind, name } = attachment;
  Object.assign(node.dataset, { id, kind, name });
  part(node, "open", HTMLAnchorElement).href = contentUrl(attachment);
  const image = part(node, "image", HTMLImageElement);
  if (kind === "image") {
    Object.assign(image, { src: contentUrl(attachment), alt: name });
    part(node, "file").remove();
  } else {
    part(node, "name").textContent = name;
    image.remove();
  }
  return node;
}

/**
 * Returns the attachments that a prompt shows.
 * @param {HTMLElement} promptNode
 * @returns {Attachment[]}
 */
export const attachmentsOf = (promptNode) =>
  [...part(promptNode, "attachments").children].map((node) => {
    const { id = "", kind, name = "" } = /** @type {HTMLElement} */ (node).dataset;
    return { id: Number(id), kind: kind === "image" ? "image" : "text", name };
  });

/** Opens images of prompts larger in a dialog. Texts open in a tab of their own, as plain links. */
export function installImageDialog() {
  const dialog = byId("image-dialog", HTMLDialogElement);
  const image = part(dialog, "image", HTMLImageElement);
  byId("messages").addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const node = /** @type {Element} */ (event.target).closest('.attachment[data-kind="image"]');
    if (!node) return;
    event.preventDefault();
    const shown = find(node, "img", HTMLImageElement);
    Object.assign(image, { src: shown.src, alt: shown.alt });
    dialog.showModal();
  });
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog || target === image) dialog.close();
  });
}
