// Keeps the end of a growing page in view, but only for a reader who is there already.

const NEAR = 96;
const page = document.scrollingElement;

let following = true;
let onChange = () => {};

const distance = () => page.scrollHeight - page.clientHeight - page.scrollTop;

function follow(value) {
  if (following === value) return;
  following = value;
  onChange(value);
}

addEventListener("scroll", () => follow(distance() < NEAR), { passive: true });
addEventListener("resize", () => following && scrollToEnd());

/** Calls `callback(following)` when the reader leaves the end of the page or returns to it. */
export function watchFollowing(callback) {
  onChange = callback;
}

/** To be called after the page grew. */
export function pageGrew() {
  if (following) page.scrollTop = page.scrollHeight;
}

export function scrollToEnd() {
  follow(true);
  page.scrollTop = page.scrollHeight;
}
