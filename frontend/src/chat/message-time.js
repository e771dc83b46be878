// The time of a message, in the reader's time zone. `datetime` of its <time> is what the server stored; a message that
// was just sent has the time of this device until the page is loaded again.
import { part } from "../dom.js";
import { pageLanguage } from "../translations.js";

/**
 * Formats that were used before. Making one takes longer than using it hundreds of times.
 * @type {Map<string, Intl.DateTimeFormat>}
 */
const formats = new Map();

/**
 * @param {Date} moment
 * @param {Intl.DateTimeFormatOptions} options
 */
function format(moment, options) {
  const key = JSON.stringify(options);
  const known = formats.get(key) ?? new Intl.DateTimeFormat(pageLanguage(), options);
  formats.set(key, known);
  return known.format(moment);
}

/**
 * Returns the parts of a date that a reader needs to know, as options for `Intl.DateTimeFormat`.
 * @param {Date} moment
 * @param {Date} now
 * @returns {Intl.DateTimeFormatOptions}
 */
function neededDate(moment, now) {
  if (moment.toDateString() === now.toDateString()) return {};
  const day = /** @type {const} */ ({ month: "short", day: "numeric" });
  return moment.getFullYear() === now.getFullYear() ? day : { ...day, year: "numeric" };
}

/**
 * Shows when a message was created.
 * @param {HTMLElement} message
 * @param {Date} [created] the time of a message that is not stored yet
 */
export function showTime(message, created) {
  const time = part(message, "time", HTMLTimeElement);
  if (created) time.dateTime = created.toISOString();
  const moment = new Date(time.dateTime);
  time.textContent = format(moment, { ...neededDate(moment, new Date()), hour: "2-digit", minute: "2-digit" });
  time.title = format(moment, { dateStyle: "full", timeStyle: "short" });
}
