// Pages about a user's own account (usage, invitations, programs): copy buttons, and times in the reader's time zone.
import { installCopyButton } from "../copy-button.js";
import { find } from "../dom.js";

/** @param {string} selector */
const findAll = (selector) => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(selector));

for (const button of findAll("[data-copy]")) {
  const shown = find(document, button.dataset.copy ?? "", HTMLElement);
  installCopyButton(button, () => (shown instanceof HTMLInputElement ? shown.value : shown.textContent));
  if (shown instanceof HTMLInputElement) shown.addEventListener("focus", () => shown.select());
}

// The server writes times in its own zone, as 2026-11-21 17:05. The Swedish locale has the same form.
/** @type {Intl.DateTimeFormatOptions} */
const day = { year: "numeric", month: "2-digit", day: "2-digit" };
/** @type {Intl.DateTimeFormatOptions} */
const time = { hour: "2-digit", minute: "2-digit" };
const timeFormat = new Intl.DateTimeFormat("sv-SE", time);
const dateTimeFormat = new Intl.DateTimeFormat("sv-SE", { ...day, ...time });

for (const node of document.querySelectorAll("time")) {
  const format = { time: timeFormat, moment: dateTimeFormat }[node.dataset.local ?? ""];
  if (format) node.textContent = format.format(new Date(node.dateTime));
}
