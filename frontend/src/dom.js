// Typed look-ups in the page. A missing element, or one of another type, is an error that names it.

/**
 * Returns the first descendant of `root` that matches `selector`.
 * @template {Element} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} [type]
 * @returns {T}
 */
export function find(root, selector, type = /** @type {any} */ (HTMLElement)) {
  const element = root.querySelector(selector);
  if (!(element instanceof type)) throw new TypeError(`No ${type.name} matches ${selector}`);
  return element;
}

/**
 * Returns the element of the page with this id.
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [type]
 */
export const byId = (id, type) => find(document, `#${id}`, type);

/**
 * Returns the descendant of `root` that the template marks with `data-part`.
 * @template {Element} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} name
 * @param {new () => T} [type]
 */
export const part = (root, name, type) => find(root, `[data-part="${name}"]`, type);

/**
 * Returns a copy of the only element in the <template> with this id.
 * @param {string} id
 */
export function fromTemplate(id) {
  return find(/** @type {DocumentFragment} */ (byId(id, HTMLTemplateElement).content.cloneNode(true)), "*");
}

/**
 * Returns what the server wrote into the page for its scripts, or into another page of ours.
 * @param {Document} page
 * @returns {unknown}
 */
export const pageData = (page = document) => JSON.parse(find(page, "#page-data", HTMLScriptElement).text);

/**
 * Returns the text of a rendered completion as it is shown, also of parts far from the screen, which the browser has not
 * laid out (prose.css).
 * @param {HTMLElement} content
 */
export function shownText(content) {
  content.classList.add("laid-out");
  const shown = content.innerText.trim();
  content.classList.remove("laid-out");
  return shown;
}
