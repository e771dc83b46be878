// Where a conversation opens: at a message that a search found, where the reader was before Back or a reload, or at its
// end. The place is the first message on the screen and how far it is from the top of the window.
import { byId } from "../dom.js";
import { loadOnce } from "../load-once.js";
/** @import { RenderQueue } from "../generation/render-queue.js" */
/** @import { AutoScroll } from "./auto-scroll.js" */
/** @import { BranchData, Id } from "../types.js" */

const loadFoundText = loadOnce(() => import("./found-text.js"));

/** Pixels between the top of the window and a message that a link leads to; room for the bar of small screens. */
const LINKED_TOP_PX = 72;

/** @typedef {{ node: HTMLElement, top: number }} Place */

/** Begins the part of an address that names a searched text. */
const FOUND = "#found=";

/** Returns the searched text that this page was opened for; empty without one. */
function foundText() {
  if (!location.hash.startsWith(FOUND)) return "";
  try {
    return decodeURIComponent(location.hash.slice(FOUND.length));
  } catch {
    return ""; // a broken address of the user's own
  }
}

/**
 * Returns the address of a message, for a reader who searched for `query`.
 * @param {Id} conversation
 * @param {Id} message
 * @param {string} query
 */
export const foundUrl = (conversation, message, query) =>
  `/c/${conversation}/?message=${message}${FOUND}${encodeURIComponent(query)}`;

/** @param {string | null} id */
const messageNode = (id) =>
  id === null
    ? null
    : /** @type {HTMLElement | null} */ (byId("messages").querySelector(`.message[data-id="${CSS.escape(id)}"]`));

/** Returns the message that the address names, and where it stands then. */
function linkedPlace() {
  const node = messageNode(new URLSearchParams(location.search).get("message"));
  return node && { node, top: LINKED_TOP_PX };
}

/** The key in sessionStorage of the place in the shown conversation. */
const storageKey = () => `place:${location.pathname}`;

/**
 * Returns whether the page opens where it was left. After a reload the end of a running completion is shown.
 * @param {BranchData} data
 */
function isComingBack({ running }) {
  const [entry] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
  return entry?.type === "back_forward" || (entry?.type === "reload" && running === null);
}

/**
 * Returns where the conversation opens; null for its end.
 * @param {BranchData} data
 * @returns {Place | null}
 */
export function openingPlace(data) {
  const kept = isComingBack(data) && sessionStorage.getItem(storageKey());
  if (!kept) return linkedPlace();
  const place = /** @type {{ id: string, top: number } | null} */ (JSON.parse(kept));
  const node = place && messageNode(place.id);
  return node && { node, top: place.top };
}

/** Returns the message at the top of the screen, and where it stands. */
function shownPlace() {
  for (const node of /** @type {Iterable<HTMLElement>} */ (byId("messages").children)) {
    const { top, bottom } = node.getBoundingClientRect();
    if (bottom > LINKED_TOP_PX && node.dataset.id) return { id: node.dataset.id, top };
  }
  return null;
}

/**
 * Keeps the place when the page is left; null is the end.
 * @param {AutoScroll} scroll
 */
export function keepPlace(scroll) {
  history.scrollRestoration = "manual";
  addEventListener("pagehide", () => {
    sessionStorage.setItem(storageKey(), JSON.stringify(scroll.following ? null : shownPlace()));
  });
}

/**
 * Marks the text that a search found and brings it to the upper half of the screen; also when another result of the
 * search leads into the page that is shown.
 * @param {AutoScroll} scroll
 * @param {RenderQueue} renderQueue
 */
export function showFoundText(scroll, renderQueue) {
  const show = async () => {
    const [query, place] = [foundText(), linkedPlace()];
    if (!query || !place) return;
    const { markFound } = await loadFoundText();
    renderQueue.renderNow(place.node);
    const below = markFound(place.node, query);
    scroll.standAt(place.node, Math.min(place.top, innerHeight / 3 - below));
    history.replaceState(null, "", location.pathname + location.search);
  };
  show();
  addEventListener("hashchange", show);
}
