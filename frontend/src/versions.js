// Versions: siblings of a message, of which one is shown, and the buttons that lead to the others.
// `data-versions` of a message's node lists the ids of all of them; the id of one that is not stored yet is empty.
import { part } from "./dom.js";

/**
 * Returns the ids of a message's versions.
 * @param {HTMLElement} node
 */
export const versionIds = ({ dataset }) => (dataset.versions === undefined ? [] : dataset.versions.split(","));

/**
 * Stores the ids of a message's versions, and shows which one the node holds.
 * @param {HTMLElement} node
 * @param {string[]} ids
 */
export function setVersionIds(node, ids) {
  node.dataset.versions = ids.join(",");
  showVersion(node);
}

/**
 * Shows which version a node holds, and whether there is a previous and a next one.
 * @param {HTMLElement} node
 */
export function showVersion(node) {
  const ids = versionIds(node);
  const index = ids.indexOf(node.dataset.id ?? "");
  part(node, "versions").hidden = ids.length < 2 || index === -1;
  part(node, "version").textContent = `${index + 1} / ${ids.length}`;
  part(node, "previous", HTMLButtonElement).disabled = index === 0;
  part(node, "next", HTMLButtonElement).disabled = index === ids.length - 1;
}

/**
 * Returns the id of the version `step` places after the shown one, or null.
 * @param {HTMLElement} node
 * @param {number} step
 */
export function versionAt(node, step) {
  const ids = versionIds(node);
  return ids[ids.indexOf(node.dataset.id ?? "") + step] || null;
}
