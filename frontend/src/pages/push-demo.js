// The page of the payment example: follows its push channel with the browser's own EventSource.

const page = JSON.parse(document.getElementById("page-data").textContent);
const { dataset: words } = document.getElementById("strings");
const status = document.getElementById("status");
const received = document.getElementById("received");
const pay = document.getElementById("pay");
const steps = [...document.querySelectorAll("#steps > li")];

// A reload, or the same address tomorrow, is about the same order.
history.replaceState(null, "", `?order=${encodeURIComponent(page.order)}`);

function show(step) {
  const reached = steps.findIndex((item) => item.dataset.step === step);
  steps.forEach((item, index) => item.classList.toggle("reached", index <= reached));
  steps.forEach((item, index) => item.toggleAttribute("aria-current", index === reached));
  steps[reached]?.setAttribute("aria-current", "step");
}

function note({ lastEventId, type, data }) {
  const row = received.insertRow();
  for (const text of [lastEventId, type, data]) row.insertCell().textContent = text;
}

function say(word, failed = false) {
  status.textContent = words[word] ?? word;
  status.classList.toggle("failed", failed);
}

function forget() {
  received.replaceChildren();
  show("");
  pay.disabled = false;
  say("waiting");
}

const source = new EventSource(page.events);

source.addEventListener("open", () => {
  if (!received.rows.length) forget();
  else if (source.readyState === EventSource.OPEN) say("waiting");
});
// What was shown may be incomplete: everything that is kept comes again.
source.addEventListener("reset", forget);
for (const step of ["created", "paying", "paid"]) {
  source.addEventListener(step, (event) => {
    note(event);
    show(step);
    pay.disabled = true;
  });
}
source.addEventListener("complete", (event) => {
  source.close(); // or the browser would connect again
  note(event);
  show("complete");
  say("complete");
  pay.disabled = true;
});
source.addEventListener("error", (event) => {
  if (event.data !== undefined) {
    source.close();
    note(event);
    pay.disabled = true;
    say(JSON.parse(event.data).message, true);
  } else if (source.readyState === EventSource.CLOSED) {
    say("refused", true);
  } else {
    say("lost");
  }
});

pay.addEventListener("click", async () => {
  pay.disabled = true;
  const answer = await fetch(page.pay, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.ok) return;
  pay.disabled = false;
  const refusal = await answer?.json().catch(() => null);
  say(refusal?.error?.message ?? "failed", true);
});
