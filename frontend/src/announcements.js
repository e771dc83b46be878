// Announcements that the user closes are not shown again in this browser. A cookie keeps their keys, so that the server
// leaves them out and no page shows one for a moment.
const COOKIE = "closed_announcements";
const YEAR_SECONDS = 365 * 24 * 60 * 60;
/** The latest keys that are kept, so that the cookie stays small. */
const MOST_KEPT = 30;

/** @param {string} key */
function keepClosed(key) {
  const found = new RegExp(`(?:^|; )${COOKIE}=([\\w.-]*)`).exec(document.cookie)?.[1] ?? "";
  const keys = [...found.split(".").filter((kept) => kept && kept !== key), key].slice(-MOST_KEPT);
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${COOKIE}=${keys.join(".")}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax${secure}`;
}

/** Makes the buttons of announcements work. */
export function installAnnouncements() {
  document.addEventListener("click", ({ target }) => {
    const button = /** @type {Element} */ (target).closest("[data-close-announcement]");
    const announcement = /** @type {HTMLElement | null} */ (button?.closest("[data-announcement]"));
    if (!announcement) return;
    keepClosed(announcement.dataset.announcement ?? "");
    const section = announcement.parentElement;
    announcement.remove();
    const next = section?.querySelector("button");
    if (next) next.focus();
    else section?.remove();
  });
}
