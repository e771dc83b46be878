// The page of the payment example: follows its push channel with the browser's own EventSource.
import { call, Refusal } from "../api.js";
import { byId, pageData } from "../dom.js";
import { text } from "../translations.js";
/** @import { PushDemoData } from "../types.js" */

const page = /** @type {PushDemoData} */ (pageData());
const status = byId("status");
const receivedEvents = byId("received", HTMLTableSectionElement);
const payButton = byId("pay", HTMLButtonElement);
const steps = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#steps > li")]);

// A reload, or the same address tomorrow, is about the same order.
history.replaceState(null, "", `?order=${encodeURIComponent(page.order)}`);

/**
 * Marks the steps of the payment up to `step`; an unknown one marks none.
 * @param {string} step
 */
function showStep(step) {
  const reached = steps.findIndex(({ dataset }) => dataset.step === step);
  for (const [index, item] of steps.entries()) {
    item.classList.toggle("reached", index <= reached);
    if (index === reached) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

/** @param {MessageEvent<string>} event */
function addToTable({ lastEventId, type, data }) {
  const row = receivedEvents.insertRow();
  for (const value of [lastEventId, type, data]) row.insertCell().textContent = value;
}

/** @param {string} message */
function showStatus(message, failed = false) {
  status.textContent = message;
  status.classList.toggle("failed", failed);
}

/** Empties the page, because the channel sends everything it keeps from the beginning. */
function startOver() {
  receivedEvents.replaceChildren();
  showStep("");
  payButton.disabled = false;
  showStatus(text("waiting"));
}

const channel = new EventSource(page.events);

channel.addEventListener("open", () => {
  if (!receivedEvents.rows.length) startOver();
  else if (channel.readyState === EventSource.OPEN) showStatus(text("waiting"));
});
channel.addEventListener("reset", startOver);
for (const step of ["created", "paying", "paid", "complete"]) {
  channel.addEventListener(step, (event) => {
    addToTable(event);
    showStep(step);
    payButton.disabled = true;
  });
}
channel.addEventListener("complete", () => {
  channel.close(); // or the browser would connect again
  showStatus(text("complete"));
});
// The browser reports a broken connection as an event of the same name, without data.
channel.addEventListener("error", (event) => {
  if (event instanceof MessageEvent) {
    channel.close();
    addToTable(event);
    payButton.disabled = true;
    showStatus(JSON.parse(event.data).message, true);
  } else if (channel.readyState === EventSource.CLOSED) {
    showStatus(text("refused"), true);
  } else {
    showStatus(text("lost"));
  }
});

payButton.addEventListener("click", async () => {
  payButton.disabled = true;
  try {
    // Over plain HTTP the browser does not state which page sends this; then the server looks for this type.
    await call("GET", page.pay, undefined, { Accept: "application/json, text/event-stream" });
  } catch (error) {
    payButton.disabled = false;
    showStatus((error instanceof Refusal && error.message) || text("failed"), true);
  }
});
