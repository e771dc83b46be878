// Groups the blocks of a text, so that the browser need not lay out and paint a long completion as a whole at each
// update: what a section above the screen takes is known from when it grew (prose.css).

/** Blocks of one section. */
const SECTION_BLOCKS = 12;

/** @param {string} className */
function createDiv(className) {
  const node = document.createElement("div");
  node.className = className;
  return node;
}

/**
 * Adds a block to the last section of `root`, and returns it.
 * @param {Element} root
 * @param {boolean} growing whether the sections before it have been shown as they grew
 */
export function appendToSections(root, growing) {
  let section = root.lastElementChild;
  if (!section || section.childElementCount >= SECTION_BLOCKS) {
    section?.classList.toggle("grown", growing);
    section = createDiv("section");
    root.append(section);
  }
  const block = createDiv("block");
  section.append(block);
  return block;
}

/**
 * Removes a block, and its section with the last one.
 * @param {Element} block
 */
export function removeFromSections(block) {
  const section = block.parentElement;
  block.remove();
  if (section && !section.childElementCount) section.remove();
}
