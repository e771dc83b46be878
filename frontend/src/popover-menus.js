// Menus that a button with `popovertarget` opens. The modules that an item belongs to listen to clicks on it.
import { byId, find } from "./dom.js";

/** Pixels between a menu and its button. */
const GAP_PX = 6;

/**
 * Puts a menu beside its button, on the side with more room.
 * @param {HTMLElement} menu
 * @param {Element} opener
 */
export function placeBeside(menu, opener) {
  const { left, right, top, bottom } = opener.getBoundingClientRect();
  const isLow = top + bottom > innerHeight;
  const isRight = left + right > document.documentElement.clientWidth;
  Object.assign(menu.style, {
    top: isLow ? "auto" : `${bottom + GAP_PX}px`,
    bottom: isLow ? `${innerHeight - top + GAP_PX}px` : "auto",
    left: isRight ? "auto" : `${left}px`,
    right: isRight ? `${document.documentElement.clientWidth - right}px` : "auto",
  });
}

/**
 * Returns the button to put a menu beside: for an item of another menu, which is closed by then, that of the other menu.
 * @param {HTMLElement} opener
 */
function anchorOf(opener) {
  const outer = opener.closest("[popover]");
  return outer ? find(document, `[popovertarget="${outer.id}"]`) : opener;
}

/** Makes the menus open beside their buttons, and close when the user chooses an item. */
export function installPopoverMenus() {
  for (const opener of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[popovertarget]"))) {
    const menu = byId(opener.getAttribute("popovertarget") ?? "");
    opener.addEventListener("click", () => placeBeside(menu, anchorOf(opener)));
    if (opener.closest("[popover]")) continue;
    menu.addEventListener(
      "click",
      ({ target }) => {
        if (/** @type {Element} */ (target).closest("button")) menu.hidePopover?.();
      },
      // Before the item's own listener, so that a dialog which the item opens returns the focus to the menu's button.
      { capture: true },
    );
  }
}
