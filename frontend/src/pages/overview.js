// Pages about one's own account: copy buttons, and times by the reader's own clock.
import { makeCopyButton } from "../copy-button.js";

for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.querySelector(button.dataset.copy);
  makeCopyButton(button, () => field.value);
  field.addEventListener("focus", () => field.select());
}

/** The server writes its own zone's time; this locale writes the same form, 2026-11-21 17:05. */
const locale = "sv-SE";
const day = { year: "numeric", month: "2-digit", day: "2-digit" };
const clock = { hour: "2-digit", minute: "2-digit" };
const forms = {
  time: new Intl.DateTimeFormat(locale, clock),
  moment: new Intl.DateTimeFormat(locale, { ...day, ...clock }),
};
for (const node of document.querySelectorAll("time[data-local]")) {
  node.textContent = forms[node.dataset.local].format(new Date(node.dateTime));
}
