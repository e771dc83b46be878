// The colour theme: light, dark, or that of the system. The choice is kept in a cookie, so that the server writes it
// into each page, and the first paint is right.
const YEAR_SECONDS = 365 * 24 * 60 * 60;

const root = document.documentElement;

/** @returns {string} `light`, `dark`, or `system` */
const storedTheme = () => document.cookie.match(/(?:^|; )theme=(light|dark)(?:;|$)/)?.[1] ?? "system";

/** @param {string} theme */
function storeTheme(theme) {
  const seconds = theme === "system" ? 0 : YEAR_SECONDS;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `theme=${theme}; Path=/; Max-Age=${seconds}; SameSite=Lax${secure}`;
}

function showStoredTheme() {
  const theme = storedTheme();
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  const shade = getComputedStyle(root).getPropertyValue("--shade").trim();
  for (const meta of document.querySelectorAll("meta[name='theme-color']")) {
    const ofSystem = /** @type {HTMLMetaElement} */ (meta).dataset.system ?? "";
    meta.setAttribute("content", theme === "system" ? ofSystem : shade);
  }
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    const { themeChoice } = /** @type {HTMLElement} */ (button).dataset;
    button.setAttribute("aria-pressed", String(themeChoice === theme));
  }
}

/** Makes the buttons that choose a theme work, and shows what the user chose on another page or in another tab. */
export function installThemes() {
  document.addEventListener("click", ({ target }) => {
    const button = /** @type {Element} */ (target).closest("[data-theme-choice]");
    if (!button) return;
    storeTheme(/** @type {HTMLElement} */ (button).dataset.themeChoice ?? "system");
    showStoredTheme();
  });
  addEventListener("pageshow", showStoredTheme);
  document.addEventListener("visibilitychange", showStoredTheme);
  showStoredTheme();
}
