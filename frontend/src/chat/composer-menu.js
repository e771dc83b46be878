// The menu beside the model choice. The modules that an item belongs to listen to clicks on it.
import { byId } from "../dom.js";

/** Pixels between the menu and its button. */
const GAP_PX = 6;

/** Makes the menu open above its button, and close when the user chooses an item. */
export function installComposerMenu() {
  const menu = byId("composer-menu");
  const opener = byId("composer-more");
  menu.addEventListener("beforetoggle", () => {
    const { left, top } = opener.getBoundingClientRect();
    menu.style.left = `${left}px`;
    menu.style.bottom = `${innerHeight - top + GAP_PX}px`;
  });
  menu.addEventListener(
    "click",
    ({ target }) => {
      if (/** @type {Element} */ (target).closest("button")) menu.hidePopover?.();
    },
    // Before the item's own listener, so that a dialog which the item opens returns the focus to the menu's button.
    { capture: true },
  );
}
