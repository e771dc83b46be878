// The excerpt below a title in the list of conversations, with the searched text marked.
import { splitAround } from "./found-text.js";

/** Marks of Markdown that a reader of an excerpt does not need. */
const MARKS = /\*\*|__|~~|`+|\|(?::?-+:?\|)*|#{1,6} /g;

/**
 * @param {string} excerpt
 * @param {string} query
 */
export function createExcerpt(excerpt, query) {
  const node = document.createElement("span");
  node.className = "excerpt";
  node.dir = "auto";
  const plain = query.search(MARKS) >= 0 ? excerpt : excerpt.replace(MARKS, "");
  for (const [i, piece] of splitAround(plain, query).entries()) {
    if (!(i % 2)) {
      node.append(piece);
      continue;
    }
    const mark = document.createElement("mark");
    mark.textContent = piece;
    node.append(mark);
  }
  return node;
}
