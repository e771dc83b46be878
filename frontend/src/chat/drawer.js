// The sidebar, which is a drawer on small screens, and the menus that open from a <details> element.
import { byId, find } from "../dom.js";

/** Screens on which the sidebar is a drawer; layout.css has the same bound. */
const NARROW_SCREEN = "(max-width: 56rem)";

class Drawer {
  #sidebar = byId("sidebar");
  #main = byId("main");
  #opener = byId("open-sidebar");
  #narrowScreen = matchMedia(NARROW_SCREEN);

  constructor() {
    this.#setOpen(false);
    this.#narrowScreen.addEventListener("change", () => this.#setOpen(false));
    this.#opener.addEventListener("click", () => {
      this.#setOpen(true);
      find(this.#sidebar, "[data-close-sidebar]").focus();
    });
    for (const closer of document.querySelectorAll("[data-close-sidebar]")) {
      closer.addEventListener("click", () => this.close());
    }
  }

  close() {
    if (!this.#sidebar.classList.contains("open")) return;
    this.#setOpen(false);
    this.#opener.focus();
  }

  /** @param {boolean} open */
  #setOpen(open) {
    this.#sidebar.classList.toggle("open", open);
    this.#sidebar.inert = this.#narrowScreen.matches && !open;
    this.#main.inert = this.#narrowScreen.matches && open;
    this.#opener.setAttribute("aria-expanded", String(open));
  }
}

const openMenus = () => /** @type {HTMLDetailsElement[]} */ ([...document.querySelectorAll("details.menu[open]")]);

/** Makes menus close with Escape and with a click elsewhere. Escape closes the drawer when no menu is open. */
export function installDrawerAndMenus() {
  const drawer = new Drawer();
  document.addEventListener("click", ({ target }) => {
    for (const menu of openMenus()) if (!menu.contains(/** @type {Node} */ (target))) menu.open = false;
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || document.querySelector("dialog[open]")) return;
    const menus = openMenus();
    for (const menu of menus) {
      menu.open = false;
      find(menu, "summary").focus();
    }
    if (!menus.length) drawer.close();
  });
}
