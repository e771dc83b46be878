// The menus of messages and of conversations: each is loaded with the first click on a button that opens it.
import { offline } from "../api.js";
import { byId } from "../dom.js";
import { loadOnce } from "../load-once.js";
import { placeBeside } from "../popover-menus.js";
/** @import { ConversationList } from "./conversation-list.js" */
/** @import { MessageMenuOptions } from "./message-menu.js" */

/**
 * Says beside a button why its menu does not open.
 * @param {Element} button
 */
export function showFailure(button) {
  const note = byId("menu-failure");
  note.textContent = offline().message;
  note.togglePopover(true);
  placeBeside(note, button);
}

/**
 * Opens a menu when one of its buttons is clicked.
 * @template Module
 * @param {string} id of the element that holds the buttons
 * @param {string} selector of the buttons
 * @param {() => Promise<Module>} load
 * @param {(module: Module) => { open: (button: Element) => void }} create
 */
function openOnClick(id, selector, load, create) {
  /** @type {{ open: (button: Element) => void } | null} */
  let menu = null;
  byId(id).addEventListener("click", async ({ target }) => {
    const button = /** @type {Element} */ (target).closest(selector);
    if (!button) return;
    const module = await load().catch(() => null);
    if (!module) {
      showFailure(button);
      return;
    }
    menu ??= create(module);
    menu.open(button);
  });
}

/**
 * Makes the buttons of messages and of rows in the list of conversations open their menus.
 * @param {ConversationList} conversations
 * @param {MessageMenuOptions} options
 */
export function installLateMenus(conversations, options) {
  const loadConversationMenu = loadOnce(() => import("./conversation-menu.js"));
  const loadMessageMenu = loadOnce(() => import("./message-menu.js"));
  openOnClick(
    "conversations",
    "[data-more]",
    loadConversationMenu,
    ({ ConversationMenu }) => new ConversationMenu(conversations),
  );
  openOnClick("messages", '[data-part="more"]', loadMessageMenu, ({ MessageMenu }) => new MessageMenu(options));
}
