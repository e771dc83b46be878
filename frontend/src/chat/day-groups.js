// The headings of the list of conversations: pinned ones, then by the day on which each was used last, in the reader's
// time zone. The server renders the same headings by its own time zone (chat/conversations/days.py).
import { pageLanguage, text } from "../translations.js";

const DAY_MS = 24 * 60 * 60 * 1000;

/** Milliseconds after midnight at which headings change: timers may fire a little early. */
const AFTER_MIDNIGHT_MS = 500;

/**
 * Returns the beginning of a day.
 * @param {Date} moment
 * @param {number} [daysLater]
 */
const startOfDay = (moment, daysLater = 0) =>
  new Date(moment.getFullYear(), moment.getMonth(), moment.getDate() + daysLater);

/**
 * Returns the name of the text for the day of `moment`; empty when its month is the heading.
 * @param {Date} moment
 * @param {Date} now
 */
export function dayName(moment, now) {
  // Rounded, because a day of a clock change has 23 or 25 hours.
  const days = Math.round((startOfDay(now).getTime() - startOfDay(moment).getTime()) / DAY_MS);
  if (days <= 0) return "today";
  if (days === 1) return "yesterday";
  if (days <= 7) return "previousWeek";
  return days <= 30 ? "previousMonth" : "";
}

/**
 * @param {HTMLElement} row
 * @param {Date} now
 */
function headingOf({ classList, dataset }, now) {
  if (classList.contains("pinned")) return text("pinned");
  const used = new Date(dataset.updated ?? "");
  const name = dayName(used, now);
  return name ? text(name) : used.toLocaleDateString(pageLanguage(), { year: "numeric", month: "long" });
}

/** @param {string} label */
function createHeading(label) {
  const item = document.createElement("li");
  item.className = "day";
  const heading = document.createElement("h2");
  heading.textContent = label;
  item.append(heading);
  return item;
}

/**
 * Puts headings above the rows of a list, in place of those that are there.
 * @param {HTMLElement} list
 */
function group(list) {
  const now = new Date();
  let last = "";
  for (const item of /** @type {HTMLElement[]} */ ([...list.children])) {
    if (item.classList.contains("day")) {
      item.remove();
      continue;
    }
    const label = headingOf(item, now);
    if (label !== last) item.before(createHeading(label));
    last = label;
  }
}

/**
 * Keeps the headings of a list right: when rows come, go or move, at midnight, and when a sleeping page is shown again.
 * @param {HTMLElement} list
 */
export function groupByDay(list) {
  const observer = new MutationObserver(() => regroup());
  const regroup = () => {
    group(list);
    observer.takeRecords(); // its own changes
  };
  const waitForMidnight = () => {
    const now = new Date();
    const wait = startOfDay(now, 1).getTime() - now.getTime() + AFTER_MIDNIGHT_MS;
    setTimeout(() => {
      regroup();
      waitForMidnight();
    }, wait);
  };
  regroup();
  observer.observe(list, { childList: true });
  waitForMidnight();
  document.addEventListener("visibilitychange", () => document.hidden || regroup());
}
