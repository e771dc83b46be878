// The links at the top of the account pages: on a phone they are one row that scrolls, as the page shows it first.

/** Scrolls the row so that the link of the shown page is in its middle. */
export function showCurrentLink() {
  // The chat has no such row, and may be a very long page.
  if (!document.body.classList.contains("page")) return;
  const current = document.querySelector(".page-navigation [aria-current]");
  const row = current?.parentElement;
  if (!(current instanceof HTMLElement) || !row || row.scrollWidth <= row.clientWidth) return;
  row.scrollLeft = current.offsetLeft - (row.clientWidth - current.offsetWidth) / 2;
}
