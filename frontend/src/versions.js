// Turns that have siblings: which of them is shown, and the buttons to the others. `data-versions` of a turn's node
// holds the ids of all of them, an empty one for a turn that is not stored yet.

export const versionsOf = ({ dataset }) => (dataset.versions === undefined ? [] : dataset.versions.split(","));

export function setVersions(node, ids) {
  node.dataset.versions = ids.join(",");
  showVersions(node);
}

/** Says in the turn's node which one it is. */
export function showVersions(node) {
  const ids = versionsOf(node);
  const index = ids.indexOf(node.dataset.id);
  const part = (name) => node.querySelector(`[data-part="${name}"]`);
  part("versions").hidden = ids.length < 2 || index === -1;
  part("version").textContent = `${index + 1} / ${ids.length}`;
  part("previous").disabled = index === 0;
  part("next").disabled = index === ids.length - 1;
}

/** The id of the version that is so many steps away. */
export function versionAt(node, step) {
  const ids = versionsOf(node);
  return ids[ids.indexOf(node.dataset.id) + step] || null;
}
