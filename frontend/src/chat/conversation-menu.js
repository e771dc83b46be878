// The menu of a row in the list of conversations, and the dialogs that its actions open.
import { confirmIn } from "../dialogs.js";
import { byId, find, part } from "../dom.js";
/** @import { ConversationList } from "./conversation-list.js" */

/** Pixels kept free between the menu and the edge of the window. */
const EDGE_PX = 8;

export class ConversationMenu {
  #list;
  #menu = byId("conversation-menu");
  #renameDialog = byId("rename-dialog", HTMLDialogElement);
  #deleteDialog = byId("delete-dialog", HTMLDialogElement);
  /**
   * The row whose menu is open.
   * @type {HTMLElement | null}
   */
  #row = null;

  /** @param {ConversationList} list */
  constructor(list) {
    this.#list = list;
    this.#menu.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      const button = /** @type {HTMLElement | null} */ (target.closest("[data-action]"));
      if (button || target.closest("[data-export]")) this.#menu.hidePopover();
      const row = this.#row;
      if (button && row) list.attempt(() => this.#run(button.dataset.action, row));
    });
  }

  /** @param {Element} button */
  open(button) {
    const row = /** @type {HTMLElement} */ (button.closest("li"));
    this.#row = row;
    const isPinned = row.classList.contains("pinned");
    const isArchived = this.#list.isArchiveShown;
    const hidden = { pin: isPinned, unpin: !isPinned, archive: isArchived, unarchive: !isArchived };
    for (const [action, isHidden] of Object.entries(hidden)) {
      find(this.#menu, `[data-action="${action}"]`).hidden = isHidden;
    }
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (this.#menu.querySelectorAll("[data-export]"))) {
      link.href = `/api/conversations/${row.dataset.id}/export/?as=${link.dataset.export}`;
    }
    this.#menu.togglePopover(true); // open already after a double click
    const { bottom, right } = button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#menu;
    this.#menu.style.left = `${Math.max(EDGE_PX, Math.min(right - EDGE_PX, innerWidth - width - EDGE_PX))}px`;
    this.#menu.style.top = `${Math.min(bottom, innerHeight - height - EDGE_PX)}px`;
    find(this.#menu, "button:not([hidden])").focus();
  }

  /**
   * @param {string | undefined} action
   * @param {HTMLElement} row
   */
  async #run(action, row) {
    const id = row.dataset.id ?? "";
    switch (action) {
      case "pin":
      case "unpin":
        return this.#list.setPinned(id, action === "pin");
      case "archive":
      case "unarchive":
        return this.#list.setArchived(id, action === "archive");
      case "rename":
        return this.#rename(id, this.#list.titleOf(row));
      case "delete":
        part(this.#deleteDialog, "title").textContent = this.#list.titleOf(row);
        return (await confirmIn(this.#deleteDialog)) ? this.#list.delete(id) : undefined;
      default:
        throw new Error(`Unknown action ${action}`);
    }
  }

  /**
   * @param {string} id
   * @param {string} title
   */
  async #rename(id, title) {
    const field = find(this.#renameDialog, "input", HTMLInputElement);
    field.value = title;
    const confirmation = confirmIn(this.#renameDialog);
    field.select();
    if (!(await confirmation)) return;
    const newTitle = field.value.trim();
    if (newTitle && newTitle !== title) await this.#list.rename(id, newTitle);
  }
}
