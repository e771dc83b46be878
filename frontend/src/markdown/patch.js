// Changes nodes of the page into freshly rendered ones, in place: what stays the same keeps its nodes, and with them
// the reader's selection, scroll positions, focus and half-pressed buttons.

/** Attributes that do not come from the rendered text: set by decorations, or by the reader. */
const OWN_ATTRIBUTES = ["tabindex", "open"];

/**
 * What a decoration has made of a rendered element: the source it was made from, and how it takes another one.
 * `update` returns whether it could.
 * @typedef {{ source: Node, update?: (fresh: Element) => boolean }} Decoration
 */

/** @type {WeakMap<Element, Decoration>} */
const decorations = new WeakMap();

/**
 * Notes that `element` stands in the page for a rendered one.
 * @param {Element} element
 * @param {Decoration} decoration
 */
export const markDecorated = (element, decoration) => decorations.set(element, decoration);

/** @param {Element} element */
export const isDecorated = (element) => decorations.has(element);

/**
 * Makes the children of `live` look like those of `fresh`, which loses them.
 * @param {Element} live
 * @param {Element | DocumentFragment} fresh
 */
export function patchChildren(live, fresh) {
  let node = live.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const next = node?.nextSibling ?? null;
    if (!node) live.append(wanted);
    else if (!patchNode(node, wanted)) node.replaceWith(wanted);
    node = next;
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

/**
 * Makes one node look like another. Returns false when they are of different kinds.
 * @param {Node} live
 * @param {Node} fresh
 */
export function patchNode(live, fresh) {
  if (live instanceof Text && fresh instanceof Text) {
    patchText(live, fresh.data);
    return true;
  }
  if (!(live instanceof Element) || !(fresh instanceof Element)) return false;
  const decoration = decorations.get(live);
  if (decoration) return patchDecorated(decoration, fresh);
  if (live.nodeName !== fresh.nodeName) return false;
  patchAttributes(live, fresh);
  patchChildren(live, fresh);
  return true;
}

/**
 * @param {Decoration} decoration
 * @param {Element} fresh
 */
function patchDecorated(decoration, fresh) {
  if (decoration.source.isEqualNode(fresh)) return true;
  const source = fresh.cloneNode(true);
  if (!decoration.update?.(fresh)) return false;
  decoration.source = source;
  return true;
}

/**
 * Changes a text from the first character on that differs, so that a selection before it stays.
 * @param {Text} live
 * @param {string} text
 */
export function patchText(live, text) {
  const { data } = live;
  if (data === text) return;
  if (text.startsWith(data)) {
    live.appendData(text.slice(data.length));
    return;
  }
  let same = 0;
  while (same < data.length && data[same] === text[same]) same += 1;
  live.replaceData(same, data.length - same, text.slice(same));
}

/**
 * @param {Element} live
 * @param {Element} fresh
 */
function patchAttributes(live, fresh) {
  for (const { name, value } of fresh.attributes) if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  for (const name of live.getAttributeNames()) {
    if (!fresh.hasAttribute(name) && !OWN_ATTRIBUTES.includes(name)) live.removeAttribute(name);
  }
}
