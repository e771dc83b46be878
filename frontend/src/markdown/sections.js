// Groups the blocks of a text: the browser lays out and paints each section by itself (prose.css), so that an update at
// the end of a long completion costs little more than at the end of a short one.

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
 * @param {boolean} growing whether `root` is shown while it grows
 */
export function appendToSections(root, growing) {
  let section = root.lastElementChild;
  if (!section || section.childElementCount >= SECTION_BLOCKS) {
    if (growing && section?.querySelector(".formula")) section.classList.add("formulas");
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
