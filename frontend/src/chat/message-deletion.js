// Deleting a message, with what follows it, from the shown branch.
import { call } from "../api.js";
/** @import { Branch } from "./branch.js" */

/**
 * Deletes a message on the server, and shows the branch that remains.
 * @param {Branch} branch
 * @param {HTMLElement} node
 */
export async function deleteMessage(branch, node) {
  // A prompt that was just sent has no id in the page yet.
  if (!node.dataset.id && branch.leaf) await branch.fetchIds(branch.leaf);
  if (!node.dataset.id || !node.isConnected) return;
  const before = branch.parentOf(node);
  await call("DELETE", `/api/messages/${node.dataset.id}/`);
  await branch.open(before || "");
}
