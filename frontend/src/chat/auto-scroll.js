// Keeps the end of a growing page in view, but only for a reader who is there already.

const NEAR = 96;
const page = document.scrollingElement;

let following = true;
let lastTop = 0;
let onChange = () => {};

const atEnd = () => page.scrollHeight - page.clientHeight - page.scrollTop < NEAR;

function follow(value) {
  if (following === value) return;
  following = value;
  onChange(value);
}

// Only a reader scrolls up; the page growing below moves nothing.
function onScroll() {
  if (atEnd()) follow(true);
  else if (page.scrollTop < lastTop) follow(false);
  lastTop = page.scrollTop;
}

/** Changes the page so that what `measure()` gives the place of stays where it is on the screen. */
export async function inPlace(measure, change) {
  const before = measure();
  await change();
  page.scrollTop += measure() - before;
  follow(atEnd());
}

export function scrollToEnd() {
  follow(true);
  page.scrollTop = page.scrollHeight;
}

/** Starts following; calls `callback(following)` when the reader leaves the end of the page or returns to it. */
export function installScrolling(callback) {
  onChange = callback;
  addEventListener("scroll", onScroll, { passive: true });
  const observer = new ResizeObserver(() => following && scrollToEnd());
  observer.observe(document.getElementById("main"));
  observer.observe(document.documentElement);
}
