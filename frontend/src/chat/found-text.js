// Shows a text that a search found: its first occurrence in a message is scrolled into view and marked for a while.

/** Milliseconds for which the text and its message are marked. */
const MARKED_MS = 4_000;

/** The name of the highlight in messages.css. */
const HIGHLIGHT = "found-text";

/**
 * Folds the case of ASCII letters, as the server's search does.
 * @param {string} value
 */
const fold = (value) => value.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/**
 * Returns the pieces of `value`, of which every second one is the searched text.
 * @param {string} value
 * @param {string} query
 */
export function splitAround(value, query) {
  const pieces = [];
  const [folded, wanted] = [fold(value), fold(query)];
  let end = 0;
  for (let start = folded.indexOf(wanted); wanted && start >= 0; start = folded.indexOf(wanted, end)) {
    pieces.push(value.slice(end, start), value.slice(start, start + wanted.length));
    end = start + wanted.length;
  }
  return [...pieces, value.slice(end)];
}

/**
 * Returns the range of the first occurrence of a text in an element, also across elements such as `strong`.
 * @param {Element} element
 * @param {string} query
 */
function findRange(element, query) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  /** @type {{ node: Text, start: number }[]} */
  const nodes = [];
  let whole = "";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push({ node: /** @type {Text} */ (node), start: whole.length });
    whole += node.nodeValue;
  }
  const start = fold(whole).indexOf(fold(query));
  if (start < 0 || !query) return null;
  /** @param {number} position */
  const locate = (position) => nodes.findLast((each) => each.start <= position) ?? nodes[0];
  const [first, last] = [locate(start), locate(start + query.length - 1)];
  if (!first || !last) return null;
  const range = document.createRange();
  range.setStart(first.node, start - first.start);
  range.setEnd(last.node, start + query.length - last.start);
  return range;
}

/**
 * Marks a text in a rendered message, and returns how far below the message's top it begins.
 * @param {HTMLElement} message
 * @param {string} query
 */
export function markFound(message, query) {
  const content = /** @type {HTMLElement} */ (message.querySelector('[data-part="content"]'));
  const range = findRange(content, query);
  message.classList.add("found");
  if (range && "highlights" in CSS) CSS.highlights.set(HIGHLIGHT, new Highlight(range));
  setTimeout(() => {
    message.classList.remove("found");
    if ("highlights" in CSS) CSS.highlights.delete(HIGHLIGHT);
  }, MARKED_MS);
  if (!range) return 0;
  // A long prompt scrolls within its own box.
  content.scrollTop +=
    range.getBoundingClientRect().top - content.getBoundingClientRect().top - content.clientHeight / 2;
  return range.getBoundingClientRect().top - message.getBoundingClientRect().top;
}
