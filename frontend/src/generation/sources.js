// The list of pages that a completion cites. The template writes the same elements for stored completions.
import { find, part } from "../dom.js";
import { isExternal } from "../markdown/links.js";
/** @import { Source } from "../types.js" */

/** Lists with more pages than this are closed at first. */
const MOST_OPEN = 8;

/**
 * Returns the host of a page as its address has it, or null for anything but a web address: scripts are no links.
 * @param {string} address
 */
export function hostOf(address) {
  const host = /^https?:\/\/(?:[^/?#]*@)?([^/?#@]+)/i.exec(address)?.[1];
  return host && URL.canParse(address) ? host : null;
}

/**
 * Shows the pages in `node`, which is hidden without any.
 * @param {HTMLDetailsElement} node
 * @param {Source[]} sources
 */
export function showSources(node, sources) {
  const items = sources.flatMap(({ url, title }) => {
    const host = hostOf(url);
    return host ? [createItem(url, title, host)] : [];
  });
  part(node, "source-list").replaceChildren(...items);
  find(node, ".sources-count").textContent = String(items.length);
  node.open = items.length <= MOST_OPEN;
  node.hidden = !items.length;
}

/**
 * @param {string} address
 * @param {string} title
 * @param {string} host
 */
function createItem(address, title, host) {
  const name = isExternal(address, location.host) ? createLink(address) : document.createElement("span");
  name.dir = "auto";
  name.textContent = title || host;
  const item = document.createElement("li");
  item.append(name);
  if (title) {
    const site = document.createElement("span");
    site.className = "source-host";
    site.textContent = host;
    item.append(" ", site);
  }
  return item;
}

/** @param {string} address */
function createLink(address) {
  const link = document.createElement("a");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}
